//! `ctlens events`: what comes, changes and goes, as it happens.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use anyhow::Context;

use super::super::Outcome;
use super::super::args::{EventsArgs, Format, Kind, Reason};
use super::super::door::Door;
use super::super::look::{present, untracked};
use super::super::stop::stop;
use super::super::terminal::{self, Rows};
use crate::collect::{self, FlowFilter, Listening};
use crate::diagnose::whole;
use crate::kernel::Kernel;
use crate::model::{Event, EventKind, Gap, Gone};
use crate::render;

/// Whether to stop is looked at so often, in seconds; rows are written out then too.
const TURN_SECS: f64 = 0.2;

/// What came in the end.
#[derive(Default)]
struct Sum {
    events: u64,
    lost: u64,
    malformed: u64,
    secs: f64,
    room: u64,
}

pub fn events(args: &EventsArgs) -> anyhow::Result<Outcome> {
    let mut door = Door::open(&args.common)?;
    if let Some(pasted) = &door.pasted {
        anyhow::bail!("{pasted} is no recording: events come from the kernel, or from a recording of them");
    }
    let heard = listen(door.kernel(), args);
    terminal::complain_of(&door.close().map(drop));
    let sum = heard?;
    terminal::note(&format!(
        "{} events in {:.1} s, {} lost{}; the buffer holds about {}",
        sum.events,
        sum.secs,
        sum.lost,
        match sum.malformed {
            0 => String::new(),
            n => format!(", {n} made no sense"),
        },
        whole(sum.room as f64),
    ));
    Ok(Outcome::NothingFound)
}

fn listen(kernel: &mut dyn Kernel, args: &EventsArgs) -> anyhow::Result<Sum> {
    let presence = present(kernel)?;
    if let Some(gap) = untracked(kernel, &presence)?.or_else(|| silent(kernel)) {
        terminal::note(&format!("{}: {}; {}", gap.source, gap.reason, gap.remedy));
    }
    let stopped = stop()?;
    let listening = Listening {
        kinds: kinds(&args.kinds),
        updates_apart: false,
        filter: FlowFilter::from(&args.filter),
        buffer_bytes: args.buffer,
    };
    let began = kernel.now();
    let end = args.lasting.map(|lasting| began.plus_secs(lasting.as_secs_f64()));
    let (mut rows, mut sum) = (Rows::new(), Sum::default());
    let (mut now, mut over, mut written) = (began, false, Ok(()));
    while !over && !stopped.load(Ordering::Relaxed) && end.is_none_or(|end| now < end) {
        let deadline = now.plus_secs(TURN_SECS);
        let deadline = end.map_or(deadline, |end| end.min(deadline));
        let turn = collect::events(kernel, &presence, &listening, deadline, &mut |event| {
            if !wanted(args, event) {
                return ControlFlow::Continue(());
            }
            sum.events += 1;
            let more = rows.write(|row| match args.common.format {
                Format::Text => render::event_text(event, row),
                Format::Json => render::event_json(event, row),
            });
            over = args.limit.is_some_and(|limit| sum.events >= limit);
            match more {
                Ok(true) if !over => ControlFlow::Continue(()),
                Ok(going_on) => {
                    over |= !going_on;
                    ControlFlow::Break(())
                }
                Err(error) => {
                    (over, written) = (true, Err(error));
                    ControlFlow::Break(())
                }
            }
        });
        let turn = turn.map_err(|gap| anyhow::anyhow!("hearing events: {}; {}", gap.reason, gap.remedy))?;
        now = turn.now;
        if turn.lost > 0 && !over {
            rows.write(|row| match args.common.format {
                Format::Text => render::lost_text(turn.lost, row),
                Format::Json => render::lost_json(turn.lost, row),
            })
            .context("writing the events")?;
        }
        sum.lost += turn.lost;
        sum.malformed += turn.malformed;
        sum.room = sum.room.max(turn.room);
        over |= turn.ended || !rows.flush().context("writing the events")?;
    }
    written.context("writing the events")?;
    sum.secs = now.secs_since(began);
    Ok(sum)
}

fn kinds(given: &[Kind]) -> Vec<EventKind> {
    let mut out: Vec<EventKind> = given
        .iter()
        .map(|kind| match kind {
            Kind::New => EventKind::New,
            Kind::Update => EventKind::Update,
            Kind::Destroy => EventKind::Destroy,
        })
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn wanted(args: &EventsArgs, event: &Event) -> bool {
    let Some(reason) = args.gone else { return true };
    matches!(
        (reason, event.gone()),
        (Reason::Expired, Some(Gone::Expired))
            | (Reason::Refused, Some(Gone::Refused))
            | (Reason::Evicted, Some(Gone::Evicted))
            | (Reason::Reused, Some(Gone::Reused))
            | (Reason::Deleted, Some(Gone::Deleted(_)))
            | (Reason::Unknown, Some(Gone::Unknown))
    )
}

/// With nf_conntrack_events=0 no entry ever says anything.
fn silent(kernel: &mut dyn Kernel) -> Option<Gap> {
    let text = kernel
        .read_file("/proc/sys/net/netfilter/nf_conntrack_events")
        .ok()?;
    (text.trim_ascii() == b"0").then(|| {
        Gap::new(
            "events",
            "nf_conntrack_events is 0 here: entries that are made now will send no events",
            "sysctl -w net.netfilter.nf_conntrack_events=2   # for entries made from then on",
        )
    })
}
