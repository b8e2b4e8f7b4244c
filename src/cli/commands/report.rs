//! What `status` and `diagnose` share: evidence from a door or from pasted text, a report, an exit status.

use super::super::Outcome;
use super::super::args::{CommonArgs, Format, ReadArgs};
use super::super::door::Door;
use super::super::look::{Ask, look};
use super::super::terminal::{self, Progress};
use crate::collect::{self, Wish};
use crate::diagnose::{self, Cause, Report};
use crate::evidence::{self, Evidence};
use crate::model::Gap;
use crate::render::{self, Style};

pub fn wish(read: &ReadArgs) -> Wish {
    Wish {
        exact: read.exact,
        sample: read.sample,
        every: false,
        dump_anyway: read.harm.even_if_it_stalls,
    }
}

/// What was seen, and in which namespace, as the user named it.
pub struct Seen {
    pub evidence: Evidence,
    pub netns: Option<String>,
    /// What became of the recording. The verdict is worth printing without it.
    recorded: anyhow::Result<()>,
}

pub fn evidence(common: &CommonArgs, ask: &Ask) -> anyhow::Result<Seen> {
    let mut progress = Progress::new(common.verbose);
    let mut door = Door::open(common)?;
    let netns = door.netns.clone();
    if let Some(path) = door.pasted.clone() {
        let kernel = door.kernel();
        let pasted = collect::paste(kernel, &path)?;
        let evidence = evidence::from_paste(&pasted, &mut |each| {
            collect::pasted_entries(kernel, &pasted, each)
        });
        return Ok(Seen {
            evidence,
            netns,
            recorded: Ok(()),
        });
    }
    let looked = look(door.kernel(), ask, &mut |text| progress.show(text));
    progress.clear();
    // What was recorded up to a refusal is worth keeping: it replays the refusal.
    let recorded = door.close().map(drop);
    match looked {
        Ok(evidence) => Ok(Seen {
            evidence,
            netns,
            recorded,
        }),
        Err(cannot) => {
            terminal::complain_of(&recorded);
            Err(cannot.into())
        }
    }
}

/// Prints and says how it ended.
pub fn print(
    common: &CommonArgs,
    seen: &Seen,
    text: fn(&Report, &Style) -> String,
) -> anyhow::Result<Outcome> {
    let report = diagnose::diagnose(&seen.evidence);
    if let Some(line) = partial(&seen.evidence) {
        terminal::note(&line);
    }
    let style = terminal::style(common, seen.netns.as_deref());
    let printed = terminal::print(&match common.format {
        Format::Json => render::report_json(&report),
        Format::Text => text(&report, &style),
    });
    terminal::complain_of(&seen.recorded);
    printed?;
    Ok(outcome(&seen.evidence, report.verdict.cause))
}

/// Where the table itself was not seen: one line that says so.
pub fn partial(evidence: &Evidence) -> Option<String> {
    if evidence.half_open.is_some() || evidence.pasted {
        return None;
    }
    let gap = table_gap(evidence)?;
    Some(format!(
        "partial, without the table: {}; {}",
        gap.reason, gap.remedy
    ))
}

/// Why no entry could be read.
pub fn table_gap(evidence: &Evidence) -> Option<&Gap> {
    let table = ["ctnetlink", "/proc/net/nf_conntrack"];
    let mut gaps = evidence.gaps.iter();
    gaps.find(|gap| table.contains(&gap.source.as_str()))
}

fn outcome(evidence: &Evidence, cause: Cause) -> Outcome {
    match cause {
        Cause::None => Outcome::NothingFound,
        Cause::Undecided if evidence.half_open.is_none() && !evidence.pasted => Outcome::CouldNotLook,
        _ => Outcome::Found,
    }
}
