//! One file per command: what it asks for, and what it prints of it.

mod audit;
mod diagnose;
mod events;
mod explain;
mod list;
mod recommend;
mod record;
mod report;
mod simulate;
mod status;

pub use audit::audit;
pub use diagnose::{ask, diagnose};
pub use events::events;
pub use explain::explain;
pub use list::list;
pub use recommend::recommend;
pub use record::record;
pub use report::wish;
pub use simulate::simulate;
pub use status::{ask_status, status};
