//! `ctlens list`: the entries, filtered, as they stream by.

use std::ops::ControlFlow;

use anyhow::Context;

use super::super::Outcome;
use super::super::args::{Format, ListArgs};
use super::super::door::Door;
use super::super::look::{Note, Notes, present, untracked};
use super::super::terminal::{self, Progress, Rows};
use crate::collect::{self, FlowFilter, How, Plan, Presence, Wish};
use crate::evidence::{Sample, Top};
use crate::kernel::Kernel;
use crate::model::{Flow, Gap, Snapshot, TableLook};
use crate::render;

/// Smaller tables are read whole without asking whether the kernel could leave something out.
const PROBE_ABOVE: u64 = 20_000;
/// Entries of the early-closed sample that tells how much a filter matches.
const PROBE_ENTRIES: u64 = 5_000;
/// Rows of --top where no --limit is given.
const TOP_ROWS: usize = 20;

pub fn list(args: &ListArgs) -> anyhow::Result<Outcome> {
    let mut progress = Progress::new(args.common.verbose);
    let mut door = Door::open(&args.common)?;
    let listed = match door.pasted.clone() {
        Some(path) => from_paste(door.kernel(), args, &path),
        None => from_table(door.kernel(), args, &mut |text| progress.show(text)),
    };
    progress.clear();
    terminal::complain_of(&door.close().map(drop));
    listed?;
    Ok(Outcome::NothingFound)
}

fn from_table(kernel: &mut dyn Kernel, args: &ListArgs, notes: &mut Notes) -> anyhow::Result<TableLook> {
    let presence = present(kernel)?;
    let snapshot = collect::snapshot(kernel, &presence, collect::Needs::default());
    if snapshot.limits.count == Some(0)
        && let Some(gap) = untracked(kernel, &presence)?
    {
        terminal::note(&format!("{}: {}; {}", gap.source, gap.reason, gap.remedy));
    }
    let filter = filter(args);
    let plan = plan(kernel, args, &presence, &snapshot, &filter);
    notes(Note::Reason(&plan.why));
    notes(Note::Progress("reading the table"));
    let passed = print(args, &mut |each| {
        collect::pass(kernel, &plan, &snapshot.limits, &mut |flow| {
            if filter.matches(flow, &snapshot.timeouts) {
                each(flow)
            } else {
                ControlFlow::Continue(())
            }
        })
    })?;
    ended(passed)
}

fn ended(passed: Passed) -> anyhow::Result<TableLook> {
    match passed {
        Ok((look, None)) => Ok(look),
        Ok((look, Some(gap))) => {
            terminal::note(&format!("{}: {}; {}", gap.source, gap.reason, gap.remedy));
            Ok(look)
        }
        Err(gap) => Err(anyhow::anyhow!(
            "reading the table: {}; {}",
            gap.reason,
            gap.remedy
        )),
    }
}

fn from_paste(kernel: &mut dyn Kernel, args: &ListArgs, path: &str) -> anyhow::Result<TableLook> {
    let pasted = collect::paste(kernel, path)?;
    let filter = filter(args);
    let timeouts = pasted.snapshot.timeouts;
    let nothing = || {
        let why = format!("{path} holds no entries");
        Gap::new(
            "pasted text",
            why,
            "paste `conntrack -L` or /proc/net/nf_conntrack",
        )
    };
    let passed = print(args, &mut |each| {
        let walked = collect::pasted_entries(kernel, &pasted, &mut |flow| {
            if filter.matches(flow, &timeouts) {
                each(flow)
            } else {
                ControlFlow::Continue(())
            }
        });
        walked.map(|look| (look, None)).ok_or_else(nothing)
    })?;
    ended(passed)
}

type Passed = Result<(TableLook, Option<Gap>), Gap>;
type Matching<'a> = dyn FnMut(&Flow) -> ControlFlow<()> + Send + 'a;

/// Feeds the matching entries of `pass` to rows or to a count by keys.
fn print(args: &ListArgs, pass: &mut dyn FnMut(&mut Matching<'_>) -> Passed) -> anyhow::Result<Passed> {
    if let Some(keys) = &args.top {
        let mut top = Top::new(keys.0.clone());
        let passed = pass(&mut |flow| {
            top.add(flow);
            ControlFlow::Continue(())
        });
        if let Ok((look, _)) = &passed {
            let mut table = top.finish();
            table.sample = look.sampled_of.map(|_| Sample::of_look(look, 0.0));
            let rows = args.limit.map_or(TOP_ROWS, |limit| limit as usize);
            terminal::print(&match args.common.format {
                Format::Text => render::top_text(&table, rows, &terminal::style(&args.common, None)),
                Format::Json => render::top_json(&table, rows),
            })?;
        }
        return Ok(passed);
    }
    let (mut rows, mut left, mut written) = (Rows::new(), args.limit.unwrap_or(u64::MAX), Ok(()));
    let write = match args.common.format {
        Format::Text => render::flow_text,
        Format::Json => render::flow_json,
    };
    let passed = pass(&mut |flow| match rows.write(|row| write(flow, row)) {
        Ok(true) if left > 1 => {
            left -= 1;
            ControlFlow::Continue(())
        }
        Ok(_) => ControlFlow::Break(()),
        Err(error) => {
            written = Err(error);
            ControlFlow::Break(())
        }
    });
    written
        .and_then(|()| rows.finish())
        .context("writing the entries")?;
    Ok(passed)
}

fn filter(args: &ListArgs) -> FlowFilter {
    FlowFilter {
        older_than_secs: args.older_than.map(|age| age.as_secs_f64().ceil() as u32),
        ..FlowFilter::from(&args.filter)
    }
}

fn plan(
    kernel: &mut dyn Kernel,
    args: &ListArgs,
    presence: &Presence,
    snapshot: &Snapshot,
    filter: &FlowFilter,
) -> Plan {
    let wish = Wish {
        exact: args.exact,
        every: true,
        dump_anyway: args.harm.even_if_it_stalls,
        ..Wish::default()
    };
    let whole = collect::plan(&snapshot.limits, &wish, presence.doors());
    let pushed = filter.pushable();
    let large = snapshot.limits.count.is_some_and(|count| count > PROBE_ABOVE);
    if whole.how != How::Full || pushed.is_empty() || !large {
        return whole;
    }
    let probe = Plan {
        how: How::Sample(PROBE_ENTRIES),
        ..whole.clone()
    };
    let (mut hits, mut seen) = (0, 0);
    let probed = collect::pass(kernel, &probe, &snapshot.limits, &mut |flow| {
        seen += 1;
        hits += u64::from(collect::admits(&pushed, flow));
        ControlFlow::Continue(())
    });
    match probed {
        Ok(_) => collect::push_filter(&snapshot.limits, pushed, hits, seen),
        Err(_) => whole,
    }
}
