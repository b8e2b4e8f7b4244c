//! Who is told, in the order of time, what events and readings of the table show.

use crate::model::{Event, Flow, Timeouts};

/// Times are seconds since the observation began.
pub trait Observer: Send {
    /// `exact`: it happened then, and not some seconds before.
    fn event(&mut self, event: &Event, at_secs: f64, exact: bool);

    /// Events that were lost before `at_secs`.
    fn lost(&mut self, events: u64, at_secs: f64);

    /// Nobody listens from now on.
    fn deaf(&mut self, at_secs: f64);

    /// A reading of the table begins; whether it is to meet every entry, or a sample that is always of the same buckets.
    /// `timeouts`: in force then.
    fn pass(&mut self, at_secs: f64, whole: bool, timeouts: &Timeouts);

    /// An entry that the reading met.
    fn entry(&mut self, flow: &Flow);

    /// The reading ends; whether it met every entry.
    fn passed(&mut self, at_secs: f64, whole: bool);
}
