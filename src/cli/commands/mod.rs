//! One file per command: what it asks for, and what it prints of it.

mod audit;
mod diagnose;
mod events;
mod explain;
mod list;
mod record;
mod report;
mod status;

pub use audit::audit;
pub use diagnose::diagnose;
pub use events::events;
pub use explain::explain;
pub use list::list;
pub use record::record;
pub use report::wish;
pub use status::status;
