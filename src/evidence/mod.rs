//! What snapshots and the entries streaming by imply: sums, rates, ages, who owns what.

mod facts;

pub use facts::{
    Basis, DeadSetting, Destination, Direction, Evidence, HalfOpen, ListenQueue, MAX_DESTINATIONS, Pile,
    PortUse, StateRow, Table, TapFacts,
};
