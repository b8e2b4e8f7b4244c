//! One look after the other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::args::WatchArgs;
use super::super::commands::wish;
use super::super::look::{Ask, CannotLook, Tap, look_with};
use super::ear::Ear;
use super::tapping::{TAP_SECS, Tapping};
use crate::collect::Wish;
use crate::diagnose::diagnose;
use crate::evidence::{Evidence, Observer, Reading, StateRow, forecast};
use crate::kernel::Kernel;
use crate::model::Moment;
use crate::render::Frame;
use crate::tune::Mode;

const READINGS: usize = 600;

pub struct Turns<'a> {
    args: &'a WatchArgs,
    began: Option<Moment>,
    last: Option<Moment>,
    number: u64,
    readings: Vec<Reading>,
    ear: Ear<'a>,
    /// Of two profiles, the one that would be in force.
    mode: Mode,
    /// What the last look found.
    pub evidence: Option<Evidence>,
    tapping: Tapping,
}

impl<'a> Turns<'a> {
    /// `observer` is told all that is heard and read.
    pub fn new(
        args: &'a WatchArgs,
        stopped: Arc<AtomicBool>,
        observer: Option<&'a mut dyn Observer>,
    ) -> Turns<'a> {
        Turns {
            args,
            began: None,
            last: None,
            number: 0,
            readings: Vec::new(),
            ear: Ear::new(args, stopped, observer),
            evidence: None,
            mode: Mode::default(),
            tapping: Tapping::default(),
        }
    }

    /// What the user wants, or the ledger needs.
    fn wish(&self, at_secs: f64) -> Wish {
        let wish = wish(&self.args.read);
        Wish {
            exact: wish.exact || wish.sample.is_none() && self.ear.wants_whole(at_secs),
            ..wish
        }
    }

    fn profile(&mut self, fill: Option<f64>) -> Option<Mode> {
        let switch = self.args.adaptive.as_ref()?;
        self.mode = self.mode.next(fill?, *switch);
        Some(self.mode)
    }

    /// The next look; `None` where the recording ends.
    pub fn next(&mut self, kernel: &mut dyn Kernel) -> Result<Option<Frame>, CannotLook> {
        let now = kernel.now();
        let began = *self.began.get_or_insert(now);
        self.ear.began = began;
        if self.number == 0 {
            self.ear.begin(kernel);
        }
        let tap = self.tapping.tap(now.secs_since(began), !self.ear.on);
        let tapped = tap != Tap::Off;
        let interval = self.args.interval.as_secs_f64();
        let ask = Ask {
            window_secs: if tapped { interval.max(TAP_SECS) } else { interval },
            tap,
            wish: self.wish(now.secs_since(began)),
        };
        // Events wait while the wire is listened to, and when they happened is not known then.
        self.ear.exact = !tapped;
        let evidence = look_with(kernel, &ask, &mut self.ear)?;
        self.ear.settle(kernel);
        self.ear.exact = true;
        let taken = evidence.taken.unwrap_or(now);
        if self.ear.ended || self.last.is_some_and(|last| taken <= last) {
            return Ok(None);
        }
        self.last = Some(taken);
        self.number += 1;
        let mut report = diagnose(&evidence);
        let at_secs = taken.secs_since(began);
        let as_told_ago_s = self.tapping.learn(&mut report, tapped, at_secs);
        let rows = report.states.as_deref();
        if let Some(count) = report.table.as_ref().and_then(|table| table.count) {
            self.readings.push(Reading::new(at_secs, count, rows));
            let over = self.readings.len().saturating_sub(READINGS);
            self.readings.drain(..over);
        }
        let (max, count) = report
            .table
            .as_ref()
            .map_or((None, None), |table| (table.max, table.count));
        let fill = report.table.as_ref().and_then(|table| table.fill);
        let forecast = forecast(&self.readings, max, rows);
        let holders = self.ear.holders(count);
        let heard = self.ear.heard();
        let per_s = heard
            .as_ref()
            .map_or_else(|| arrivals(rows), |heard| Some(heard.came_per_s));
        let frame = Frame {
            number: self.number,
            at_secs,
            as_told_ago_s,
            forecast,
            way: self.ear.way(),
            why: self.ear.why(per_s),
            costs: self.ear.costs(per_s),
            half_open: evidence.half_open.as_ref().and_then(|half_open| half_open.told()),
            heard,
            holders,
            alerts: Vec::new(),
            profile: self.profile(fill),
            report,
        };
        self.ear.choose(kernel, self.args.events, (per_s, at_secs));
        self.evidence = Some(evidence);
        Ok(Some(frame))
    }
}

/// New flows a second as far as the table tells: entries that nothing renews, by their ages.
fn arrivals(rows: Option<&[StateRow]>) -> Option<f64> {
    let told = rows?
        .iter()
        .filter(|row| {
            matches!(
                row.state.as_deref(),
                None | Some("SYN_SENT" | "TIME_WAIT" | "CLOSE")
            )
        })
        .filter_map(|row| row.new_per_s.map(|rate| rate.value));
    told.reduce(|a, b| a + b)
}
