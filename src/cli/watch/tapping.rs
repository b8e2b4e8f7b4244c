//! When a watch listens on the wire, and what it makes of that until it listens again.
//!
//! Each packet of the host goes by the tap's filter: three seconds in thirty cost a tenth of what listening all the time
//! does. What the wire told stands until then.

use super::super::look::Tap;
use crate::diagnose::{Cause, EvidenceItem, Judgement, Report, Side, whole};

/// How long it is listened to, as in one `diagnose`.
pub const TAP_SECS: f64 = 3.0;
/// From one time to the next, where something is to be asked.
const EVERY_SECS: f64 = 30.0;
/// The same where something new is to be asked.
const ANEW_SECS: f64 = 5.0;
/// The same where very many new flows come.
const EVERY_SECS_HOT: f64 = 120.0;

#[derive(Default)]
pub struct Tapping {
    /// When it was listened to, seconds since the watch began.
    last: Option<f64>,
    /// What the verdict was then, where it named somebody.
    told: Option<Judgement>,
    /// It was open even then.
    in_vain: bool,
    asks: Asks,
}

/// What the last look left open.
#[derive(Clone, Copy, Default, PartialEq)]
enum Asks {
    #[default]
    Nothing,
    /// What the wire was asked before.
    Again,
    /// Something that it was not asked yet.
    Anew,
}

impl Tapping {
    /// For the look that begins now. The first one listens, as `diagnose` does.
    pub fn tap(&self, at_secs: f64, hot: bool) -> Tap {
        let every = match self.asks {
            Asks::Nothing => f64::INFINITY,
            Asks::Anew => ANEW_SECS,
            Asks::Again if hot => EVERY_SECS_HOT,
            Asks::Again => EVERY_SECS,
        };
        match self.last.is_none_or(|last| at_secs - last >= every) {
            true => Tap::Where(TAP_SECS),
            false => Tap::Off,
        }
    }

    /// Makes the verdict stand that the wire told before, where it still does: how many seconds old that is then.
    pub fn learn(&mut self, report: &mut Report, tapped: bool, at_secs: f64) -> Option<f64> {
        let open = is_open(&report.verdict);
        if tapped {
            self.last = Some(at_secs);
            self.in_vain = open;
            self.told = (!open && report.verdict.cause != Cause::None).then(|| report.verdict.clone());
            self.asks = Asks::Again;
            return None;
        }
        // It is off in turns; that is no gap worth a line in each look.
        report.gaps.retain(|gap| gap.source != "tap");
        let stands = self.told.as_ref().filter(|told| stands(told, &report.verdict));
        self.asks = match (open, stands.is_some() || self.in_vain) {
            (false, _) => Asks::Nothing,
            (true, true) => Asks::Again,
            (true, false) => Asks::Anew,
        };
        let (told, ago) = stands.zip(self.last.map(|last| at_secs - last))?;
        report.verdict = told.clone();
        report.verdict.evidence.push(EvidenceItem {
            id: "as-the-wire-told",
            supports: true,
            text: format!(
                "so it was {} s ago, when the wire was listened to; the figures are of then",
                whole(ago)
            ),
            value: Some(ago),
            low: None,
            high: None,
            unit: "s",
        });
        Some(ago)
    }
}

/// Something is undecided in it.
fn is_open(verdict: &Judgement) -> bool {
    let trigger = verdict.trigger.as_ref();
    verdict.cause == Cause::Undecided || trigger.is_some_and(|trigger| trigger.side == Side::Undecided)
}

/// Whether the look without the wire still points to the same.
fn stands(told: &Judgement, now: &Judgement) -> bool {
    match &now.leans_to {
        Some(lean) if now.cause == Cause::Undecided => lean.causes.contains(&told.cause),
        _ => now.cause == told.cause && is_open(now),
    }
}
