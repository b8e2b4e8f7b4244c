//! What every pass over the table counts, and how it may end.

use std::ops::ControlFlow;

use super::ask::ADMIN_REMEDY;
use super::window::Window;
use crate::model::{Flow, Gap, Limits, TableLook};

/// Takes each entry; `Break` = enough, and the pass ends there.
pub type Each<'a> = dyn FnMut(&Flow) -> ControlFlow<()> + Send + 'a;

/// How it went, and what it does not show.
pub type Passed = (TableLook, Option<Gap>);

/// Why there was no pass.
pub struct Failure {
    /// A replay that has no answer: the other form of the table may be there.
    pub not_recorded: bool,
    pub gap: Gap,
}

impl Failure {
    pub fn of(gap: Gap) -> Failure {
        Failure {
            not_recorded: false,
            gap,
        }
    }
}

/// What came of a pass so far.
#[derive(Default)]
pub struct Tally {
    pub dumped: u64,
    pub malformed: u64,
    pub duplicates: u64,
    seen: Window,
}

impl Tally {
    /// Hands an entry on, once, however often it comes; `None` could not be decoded.
    #[inline]
    pub fn take(&mut self, flow: Option<&Flow>, each: &mut Each<'_>) -> ControlFlow<()> {
        let Some(flow) = flow else {
            self.malformed += 1;
            return ControlFlow::Continue(());
        };
        if self.seen.again(flow) {
            self.duplicates += 1;
            return ControlFlow::Continue(());
        }
        self.dumped += 1;
        each(flow)
    }
}

/// Entries that were there but could not be decoded: the figures are short of them.
pub fn unread(source: &str, malformed: u64) -> Option<Gap> {
    (malformed > 0).then(|| {
        Gap::new(
            source,
            format!("{malformed} entries could not be decoded and are not counted"),
            "report it with a recording (ctlens record FILE)",
        )
    })
}

/// What a pass that was closed early is a sample of. A part of an unknown whole would pass for the whole.
pub fn whole(stopped: bool, limits: &Limits, dumped: u64) -> Result<Option<u64>, Gap> {
    match (stopped, limits.count) {
        (false, _) => Ok(None),
        (true, Some(count)) => Ok(Some(count.max(dumped))),
        (true, None) => {
            let reason = "only a part of the table was read, and its size is not known";
            Err(Gap::new("ctnetlink", reason, ADMIN_REMEDY))
        }
    }
}
