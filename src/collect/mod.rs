//! Asks through the kernel door, decodes, and returns nouns. What is missing becomes a gap; nothing fails as a whole.

mod ask;
mod audit;
mod events;
mod filter;
mod legacy;
mod listing;
mod owners;
mod pass;
mod paste;
mod plan;
mod policies;
mod presence;
mod ruleset;
mod sockets;
mod sources;
mod stall;
mod tally;
mod tap;
mod ways;
mod window;

pub use audit::{AuditedHost, audited_host, file_settings};
pub use events::{BUFFER_BYTES, Listening, Turn, events};
pub use filter::{FlowFilter, Prefix, admits};
pub use owners::owners;
pub use pass::pass;
pub use paste::{PasteError, paste, pasted_entries};
pub use plan::{Closed, Doors, How, Plan, SAMPLE_ABOVE, Wish, plan, push_filter};
pub use policies::flow_policies;
pub use presence::{Presence, Tracking, tracking};
pub use ruleset::ruleset;
pub use sockets::sockets;
pub use sources::{Needs, counters, snapshot};
pub use tally::{Each, Passed};
pub use tap::{TapLook, tap, worth_tapping};
pub use ways::{interfaces, route_by, rp_filter};
