//! What snapshots and the entries streaming by imply: sums, rates, ages, who owns what.

mod answered;
mod arrivals;
mod assemble;
mod census;
mod dead_settings;
mod facts;
mod fate;
mod few;
mod lasting;
mod pasted;
mod pile;
mod ports;
pub mod rates;
mod rows;
mod ruleset;
mod sampling;
mod schedule;
mod sought;
mod tap;
mod top;

pub use assemble::{Readings, assemble};
pub use census::{Census, Counted};
pub use facts::{
    Basis, Crowd, DeadSetting, Destination, Direction, Evidence, HalfOpen, ListenQueue, MAX_DESTINATIONS,
    Pile, PortUse, StateRow, Table, TapFacts, Told,
};
pub use lasting::{DAY_SECS, IDLE_SECS, Idle, Joined, Lasting, Stay};
pub use pasted::{EachFlow, from_paste};
pub use ports::Ports;
pub use ruleset::RulesetFacts;
pub use sampling::Sample;
pub use schedule::longest_gap_secs;
pub use sought::Sought;
pub use tap::TapLog;
pub use top::{Key, Top, TopTable, Value};
