//! What snapshots and the entries streaming by imply: sums, rates, ages, who owns what.

mod answered;
mod arrivals;
mod assemble;
mod census;
mod counted;
mod facts;
mod fate;
mod few;
pub mod floors;
mod forecast;
mod holders;
mod identity;
mod lasting;
mod ledger;
mod meets;
mod nat;
mod observer;
mod one_way;
mod pasted;
mod pile;
mod ports;
pub mod rates;
mod redirections;
mod refusals;
mod rows;
mod ruleset;
mod sampling;
mod schedule;
mod settings;
mod sought;
mod stale;
mod tap;
mod top;
mod translations;
mod vanished;
mod way;
mod ways;

pub use assemble::{Readings, assemble};
pub use census::Census;
pub use counted::Counted;
pub use facts::{
    Basis, Crowd, DeadSetting, Destination, Direction, Evidence, HalfOpen, ListenQueue, MAX_DESTINATIONS,
    Pile, PortUse, SLOWEST_SECS, StateRow, Table, TapFacts, Told, Vanished,
};
pub use forecast::{Forecast, Reading, forecast};
pub use holders::Holders;
pub use identity::{Identities, Identity};
pub use lasting::{DAY_SECS, IDLE_SECS, Idle, Joined, Lasting, Stay};
pub use ledger::{Drift, Ends, Ledger, MAX_ENTRIES, Place, Traffic, Turnover, place_of};
pub use meets::{Meets, Packets, meets, within};
pub use nat::NatUse;
pub use observer::Observer;
pub use one_way::{OneWay, OneWayWire};
pub use pasted::{EachFlow, from_paste};
pub use ports::Ports;
pub use refusals::{Refuser, Unreachable};
pub use ruleset::{RulesetFacts, inward, outward, through};
pub use sampling::Sample;
pub use schedule::{LAST_SYN_SECS, longest_gap_secs, may_renew_syn_sent};
pub use settings::{AUDITED, Around, Lint, Said, Severity, grouped, lint, lints};
pub use sought::Sought;
pub use stale::StaleNat;
pub use tap::TapLog;
pub use top::{Key, Top, TopTable, Value};
pub use way::{Stop, Stopper};
pub use ways::Way;
