//! What is simulated, and what comes of it.

use serde::Serialize;

use crate::evidence::Place;
use crate::model::{Profile, Timer};

pub const TIMERS: usize = Timer::ALL.len();
/// What is simulated.
#[derive(Clone, Debug)]
pub struct Under {
    pub profile: Profile,
    /// `nf_conntrack_max`, where it is known.
    pub max: Option<u64>,
    pub buckets: u64,
    /// Every flow so many times.
    pub rate: f64,
    /// Of the grid.
    pub step_ms: u32,
    /// A packet in the middle of a connection makes a new entry (nf_conntrack_tcp_loose).
    pub loose: bool,
}

/// The table at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub at_ms: u32,
    /// nf_conntrack_count: expired entries that were not yet collected included.
    pub count: u64,
    /// What a dump shows.
    pub entries: u64,
    pub by_timer: [u32; TIMERS],
}

/// The most of something, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Peak {
    pub entries: u64,
    pub at_s: f64,
}

impl Peak {
    pub fn see(&mut self, entries: u64, at_ms: i64) {
        if entries > self.entries {
            (self.entries, self.at_s) = (entries, at_ms as f64 / 1000.0);
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    pub points: Vec<Point>,
    /// As a dump shows it.
    pub peak: Peak,
    pub peak_count: Peak,
    /// By [`Timer`].
    pub peaks: [Peak; TIMERS],
    pub flows: u64,
    /// New entries that found no room.
    pub drop: u64,
    pub early_drop: u64,
    /// By the collector, after a drop; the kernel counts these nowhere.
    pub gc_evicted: u64,
    /// Flows that went on after their entry had expired, …
    pub cut: u64,
    /// … and those of them that got a new entry in the middle.
    pub picked_up: u64,
    pub cut_to: Vec<(Place, u64)>,
    /// The profile gives some of them more time than they had: what expired before the observation is not known, and for
    /// so many seconds figures are too low.
    pub blind_s: u32,
}
