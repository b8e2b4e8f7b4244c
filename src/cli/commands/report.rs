//! What `status` and `diagnose` share: evidence from a door or from pasted text, a report, an exit status.

use super::super::Outcome;
use super::super::args::{CommonArgs, Format, ReadArgs};
use super::super::door::Door;
use super::super::look::{Ask, look};
use super::super::terminal::{self, Progress};
use crate::collect::Wish;
use crate::diagnose::{self, Cause, Report};
use crate::evidence::Evidence;
use crate::render::{self, Style};

pub fn wish(read: &ReadArgs) -> Wish {
    Wish {
        exact: read.exact,
        sample: read.sample,
        every: false,
    }
}

pub fn evidence(common: &CommonArgs, ask: &Ask) -> anyhow::Result<Evidence> {
    let mut progress = Progress::new(common.verbose);
    let mut door = Door::open(common)?;
    let looked = look(door.kernel(), ask, &mut |text| progress.show(text));
    progress.clear();
    // What was recorded up to a refusal is worth keeping: it replays the refusal.
    door.close()?;
    Ok(looked?)
}

/// Prints and says how it ended.
pub fn print(
    common: &CommonArgs,
    evidence: &Evidence,
    text: fn(&Report, &Style) -> String,
) -> anyhow::Result<Outcome> {
    let report = diagnose::diagnose(evidence);
    if let Some(line) = partial(evidence) {
        terminal::note(&line);
    }
    terminal::print(&match common.format {
        Format::Json => render::report_json(&report),
        Format::Text => text(&report, &terminal::style(common)),
    })?;
    Ok(outcome(evidence, report.verdict.cause))
}

/// Where the table itself was not seen: one line that says so.
fn partial(evidence: &Evidence) -> Option<String> {
    if evidence.half_open.is_some() || evidence.pasted {
        return None;
    }
    let gap = evidence.gaps.iter().find(|gap| gap.source == "ctnetlink")?;
    Some(format!(
        "partial, without the table: {}; {}",
        gap.reason, gap.remedy
    ))
}

fn outcome(evidence: &Evidence, cause: Cause) -> Outcome {
    match cause {
        Cause::None => Outcome::NothingFound,
        Cause::Undecided if evidence.half_open.is_none() && !evidence.pasted => Outcome::CouldNotLook,
        _ => Outcome::Found,
    }
}
