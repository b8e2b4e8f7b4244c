//! How many entries a state holds under a timeout: arrivals a second times the seconds that each stays (Little's law).

use crate::evidence::StateRow;
use crate::model::Timer;
use crate::tune::measured::OfTimer;

/// What one timeout's state looks like.
pub struct Traffic<'a> {
    pub timer: Timer,
    pub of: &'a OfTimer,
    /// Entries that the last reading has of it, the whole table's where that was a sample.
    pub entries: f64,
    /// Arrivals a second: heard, or by the entries' ages.
    pub arrivals_per_s: Option<f64>,
    /// Of these, the share that stays until its time is over.
    pub by_timeout: Option<f64>,
    pub now_secs: u32,
    /// Expirations a second.
    pub expired_per_s: f64,
}

/// What the whole observation was.
pub struct Whole<'a> {
    /// Of the last look.
    pub rows: &'a [StateRow],
    /// Entries of the table for each that the last reading met: more than 1 where that was a sample.
    pub scale: f64,
    pub secs: f64,
    /// For so long every event was heard.
    pub heard_secs: f64,
}

impl<'a> Traffic<'a> {
    pub fn new(timer: Timer, of: &'a OfTimer, now_secs: u32, whole: &Whole) -> Traffic<'a> {
        let heard = (whole.heard_secs > 0.0 && of.came > 0).then(|| of.came as f64 / whole.heard_secs);
        let row = whole.rows.iter().find(|row| row.name() == timer.label());
        let by_age = row.and_then(|row| row.new_per_s).map(|rate| rate.value);
        let aged = by_age.filter(|_| matches!(timer, Timer::SynSent | Timer::TimeWait | Timer::Close));
        Traffic {
            timer,
            of,
            entries: of.entries as f64 * whole.scale,
            arrivals_per_s: heard.or(aged),
            // By ages those count that have not moved on.
            by_timeout: of.by_timeout().filter(|_| heard.is_some()).or(aged.map(|_| 1.0)),
            now_secs,
            expired_per_s: (of.expired[0] + of.expired[1]) as f64 * whole.scale / whole.secs.max(1.0),
        }
    }

    /// Entries in the long run at the observed rate, were the timeout `secs`.
    pub fn entries_under(&self, secs: u32) -> f64 {
        if let (true, Some(per_s), Some(waiting)) =
            (!self.timer.is_renewed(), self.arrivals_per_s, self.by_timeout)
        {
            // A datagram that was answered stays as long as one that was not.
            let waiting = if self.timer >= Timer::Udp { 1.0 } else { waiting };
            let moving_secs = (self.of.moved_ms.mean() / 1000.0).min(f64::from(secs));
            return per_s * (waiting * f64::from(secs) + (1.0 - waiting) * moving_secs);
        }
        match self.of.touched_within(secs) {
            Some(share) if secs < self.now_secs => self.entries * share,
            _ => self.entries + self.expired_per_s * f64::from(secs.saturating_sub(self.now_secs)),
        }
    }
}
