//! A host observed for a while, live or as it was recorded: looks at intervals, and events between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::args::{Command, CommonArgs, Listen, ReadArgs, WatchArgs};
use super::commands;
use super::door::Door;
use super::look::{Note, Onlooker, look_with};
use super::terminal::{self, Progress};
use super::watch::Turns;
use crate::diagnose::{Report, diagnose};
use crate::evidence::{Evidence, Observer};
use crate::kernel::Kernel;
use crate::model::{Flow, Timeouts};

/// How a host was observed, and what the last look found.
pub struct Observed {
    pub evidence: Evidence,
    pub report: Report,
    /// From the first look's beginning to the last one's end.
    pub secs: f64,
}

/// Opens the host, or a recording of it, observes, and closes it again; beside it the namespace as the user named it.
pub fn observed(
    common: &CommonArgs,
    args: WatchArgs,
    stopped: &Arc<AtomicBool>,
    progress: &mut Progress,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Observed, Option<String>)> {
    let mut door = Door::open(common)?;
    let args = as_made(args, door.made_by.as_ref());
    let seen = observe(
        &mut door,
        &args,
        stopped,
        &mut |note| progress.show(note),
        observer,
    );
    let netns = door.netns.clone();
    terminal::complain_of(&door.close().map(drop));
    Ok((seen?, netns))
}

/// Observes until `args.lasting` is over, the recording ends, or somebody stops it. A recording of a single look has that.
fn observe(
    door: &mut Door,
    args: &WatchArgs,
    stopped: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(Note<'_>),
    observer: &mut dyn Observer,
) -> anyhow::Result<Observed> {
    if let Some(pasted) = &door.pasted {
        anyhow::bail!("{pasted} is no recording: text that was pasted tells of one moment, and of no change");
    }
    let once = match &door.made_by {
        Some(Command::Diagnose(made)) => Some(commands::ask(&made.read, &made.watch)),
        Some(Command::Record(made)) => Some(commands::ask(&made.read, &made.watch)),
        Some(Command::Status(made)) => Some(commands::ask_status(made)),
        Some(Command::List(_) | Command::Events(_)) => {
            anyhow::bail!(
                "this recording is of a list, or of events alone: record with `ctlens recommend --record FILE`"
            )
        }
        _ => None,
    };
    let kernel = door.kernel();
    if let Some(ask) = once {
        let began = kernel.now();
        let evidence = look_with(kernel, &ask, &mut Once { observer })?;
        let secs = evidence.taken.map_or(0.0, |taken| taken.secs_since(began));
        let report = diagnose(&evidence);
        return Ok(Observed {
            evidence,
            report,
            secs,
        });
    }
    let (mut secs, mut report) = (0.0, None);
    let mut turns = Turns::new(args, Arc::clone(stopped), Some(observer));
    while let Some(frame) = turns.next(kernel)? {
        secs = frame.at_secs;
        report = Some(frame.report);
        progress(Note::Progress(&format!("observed for {secs:.0} s")));
        let over = args.lasting.is_some_and(|lasting| secs >= lasting.as_secs_f64());
        if over || stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    match (turns.evidence, report) {
        (Some(evidence), Some(report)) => Ok(Observed {
            evidence,
            report,
            secs,
        }),
        _ => anyhow::bail!("the recording ends before its first look does: record for longer"),
    }
}

/// The options of what made the recording decide what is looked at; `None` where they are the user's.
fn as_made(args: WatchArgs, made_by: Option<&Command>) -> WatchArgs {
    let made = match made_by {
        Some(Command::Watch(made)) => made.clone(),
        Some(Command::Recommend(made)) => made.watching(),
        _ => return args,
    };
    WatchArgs {
        interval: made.interval,
        events: made.events,
        updates: made.updates,
        buffer: made.buffer,
        read: made.read,
        lasting: None,
        ..args
    }
}

/// How `recommend` and `simulate` watch: every change is heard.
/// `interval`: from one look to the next.
pub fn watching(common: &CommonArgs, read: &ReadArgs, interval: Duration, events: Listen) -> WatchArgs {
    let always = Duration::from_secs(1);
    WatchArgs {
        common: common.clone(),
        read: read.clone(),
        interval,
        lasting: None,
        lines: true,
        until: Vec::new(),
        alert: Vec::new(),
        on_alert: None,
        adaptive: None,
        events,
        updates: Some((always, always)),
        buffer: crate::collect::BUFFER_BYTES,
        speed: None,
    }
}

/// Shows the entries of a single look.
struct Once<'a> {
    observer: &'a mut dyn Observer,
}

impl Onlooker for Once<'_> {
    fn note(&mut self, _: Note<'_>) {}

    fn pass(&mut self, _: &mut dyn Kernel, whole: bool, timeouts: &Timeouts) {
        self.observer.pass(0.0, whole, timeouts);
    }

    fn entry(&mut self, flow: &Flow) {
        self.observer.entry(flow);
    }

    fn passed(&mut self, whole: bool) {
        self.observer.passed(0.0, whole);
    }
}
