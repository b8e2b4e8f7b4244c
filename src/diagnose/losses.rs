//! Packets that conntrack lost in the window while the table had room.

use crate::evidence::Evidence;

/// Fewer losses a second are a hiccup, not a fault.
const LEAST_PER_S: f64 = 1.0;
const LEAST: f64 = 3.0;
/// With more fill than this they are the full table's.
const ROOM: f64 = 0.9;

#[derive(Clone, Copy, Debug)]
pub struct Losses {
    pub failed: u64,
    pub dropped: u64,
    pub resolved: u64,
    pub too_long: u64,
    least: f64,
    room: bool,
}

/// `None` where no window was watched.
pub fn losses(evidence: &Evidence) -> Option<Losses> {
    let counters = evidence
        .conntrack
        .as_ref()
        .filter(|_| evidence.window_secs > 0.0)?;
    let rise = |name: &str| counters.get(name).copied().unwrap_or(0);
    let fill = evidence.table.as_ref().and_then(|table| table.fill);
    Some(Losses {
        failed: *counters.get("insert_failed")?,
        dropped: rise("drop"),
        resolved: rise("clash_resolve"),
        too_long: rise("chaintoolong"),
        least: (evidence.window_secs * LEAST_PER_S).max(LEAST),
        room: fill.is_none_or(|fill| fill < ROOM),
    })
}

impl Losses {
    /// Insertions failed, and not for want of room or because a chain was too long.
    pub fn failed_in_room(&self) -> bool {
        self.room && self.failed.saturating_sub(self.too_long) as f64 >= self.least
    }

    /// About one `drop` for each `insert_failed`.
    pub fn together(&self) -> bool {
        let apart = self.failed.abs_diff(self.dropped) as f64;
        self.failed_in_room() && self.dropped as f64 >= self.least && apart <= self.failed as f64 * 0.5
    }
}
