//! One instant on both clocks. Only `Kernel::now` makes one.

/// An instant: the monotonic clock for differences, the real-time clock for dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub mono_ns: u64,
    /// `CLOCK_REALTIME`, in nanoseconds since 1970-01-01 UTC.
    pub real_ns: u64,
}

impl Moment {
    /// Seconds from `earlier` to this moment; 0 where `earlier` is later.
    pub fn secs_since(self, earlier: Moment) -> f64 {
        self.mono_ns.saturating_sub(earlier.mono_ns) as f64 / 1e9
    }

    /// The moment `secs` later on both clocks.
    pub fn plus_secs(self, secs: f64) -> Moment {
        let ns = (secs.max(0.0) * 1e9) as u64;
        Moment {
            mono_ns: self.mono_ns.saturating_add(ns),
            real_ns: self.real_ns.saturating_add(ns),
        }
    }
}
