//! The nouns, in the kernel's words: plain data without parsing, clock or I/O.

mod bpf;
mod counters;
mod estimate;
mod event;
mod flow;
mod limits;
mod log;
mod moment;
mod pasted;
mod profile;
mod ruleset;
mod segment;
mod settings;
mod snapshot;
mod socket;
mod timer;

pub use bpf::BpfInstruction;
pub use counters::{ConntrackStats, NetCounters};
pub use estimate::Estimate;
pub use event::{Event, EventKind, Gone};
pub use flow::{Flow, Status, TcpState, Tuple, proto};
pub use limits::{Limits, Timeouts};
pub use log::LogFacts;
pub use moment::Moment;
pub use pasted::{Pasted, Setting};
pub use profile::{Profile, Target};
pub use ruleset::{
    Action, At, CONNTRACK_PRIORITY, Chain, Condition, Engine, Family, FilterRule, Hook, Mapping, Match,
    Ruleset, Tally, TimeoutPolicy, ct_state,
};
pub use segment::{Segment, SegmentKind, TcpFlags};
pub use settings::{Settings, current_name};
pub use snapshot::{Gap, Host, Snapshot, TableLook, TableSource, version};
pub use socket::{Process, Socket, SocketState};
pub use timer::Timer;
