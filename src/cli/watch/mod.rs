//! `ctlens watch`: the same look again and again.

mod alerts;
mod ear;
mod tapping;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use alerts::Alerts;
pub use turns::Turns;

use super::Outcome;
use super::args::{Command, Format, WatchArgs};
use super::door::Door;
use super::stop::{pause, stop};
use super::terminal;
use crate::diagnose::Cause;
use crate::kernel::Kernel;
use crate::render::{Frame, Style, Way, frame_json, frame_line, shell_quoted};
use crate::tui::{self, Screen};

/// Who is shown each look; false: enough.
trait Audience {
    fn show(&mut self, frame: Frame) -> anyhow::Result<bool>;

    fn tell(&mut self, text: String);
}

pub fn watch(args: &WatchArgs) -> anyhow::Result<Outcome> {
    let on_terminal = args.common.format == Format::Text && !args.lines && terminal::is_interactive();
    let mut alerts = Alerts::new(args, on_terminal);
    let mut door = Door::open(&args.common)?;
    if let Some(pasted) = &door.pasted {
        anyhow::bail!("{pasted} is no recording: text that was pasted does not change");
    }
    let args = &as_recorded(args, door.made_by.as_ref());
    let netns = door.netns.clone();
    let stopped = stop()?;
    let style = terminal::style(&args.common, netns.as_deref());
    let outcome = if on_terminal {
        let screen = Screen::new(netns, style);
        on_screen(door.kernel(), args, &stopped, &mut alerts, screen)
    } else {
        in_lines(door.kernel(), args, &stopped, &mut alerts, style)
    };
    terminal::complain_of(&door.close().map(drop));
    outcome
}

/// What decides what is looked at is what it was when the recording was made; what is made of it is asked for now.
fn as_recorded(args: &WatchArgs, made_by: Option<&Command>) -> WatchArgs {
    match made_by {
        Some(Command::Watch(made)) => WatchArgs {
            interval: made.interval,
            events: made.events,
            updates: made.updates,
            buffer: made.buffer,
            read: made.read.clone(),
            ..args.clone()
        },
        _ => args.clone(),
    }
}

/// The look stays on this thread, which is the one that is in the namespace; the screen gets one of its own.
fn on_screen(
    kernel: &mut dyn Kernel,
    args: &WatchArgs,
    stopped: &Arc<AtomicBool>,
    alerts: &mut Alerts,
    mut screen: Screen,
) -> anyhow::Result<Outcome> {
    let (sender, frames) = sync_channel(WAITING);
    let over = Arc::new(AtomicBool::new(false));
    let (left, ended) = (Arc::clone(stopped), Arc::clone(&over));
    let drawing = thread::spawn(move || {
        let shown = tui::show(&mut screen, &frames, &|| {
            ended.load(Ordering::Relaxed) || left.load(Ordering::Relaxed)
        });
        left.store(true, Ordering::Relaxed);
        shown
    });
    let mut audience = Watchers {
        sender,
        pace: args.speed.unwrap_or(1.0),
        replayed: args.common.from.is_some(),
        stopped: Arc::clone(stopped),
        told: Vec::new(),
    };
    let outcome = follow(kernel, args, stopped, alerts, &mut audience);
    let Watchers {
        replayed,
        told,
        sender,
        ..
    } = audience;
    drop(sender);
    // The last look of a recording stays until the user leaves.
    if !replayed || !matches!(outcome, Ok(Outcome::NothingFound)) {
        over.store(true, Ordering::Relaxed);
    }
    let shown = drawing.join();
    told.iter().for_each(|text| terminal::note(text));
    match shown {
        Ok(shown) => shown.context("drawing on the terminal")?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    outcome
}

/// Looks that wait to be drawn.
const WAITING: usize = 16;

struct Watchers {
    sender: SyncSender<Frame>,
    pace: f64,
    replayed: bool,
    stopped: Arc<AtomicBool>,
    /// It is said when the screen is gone.
    told: Vec<String>,
}

impl Audience for Watchers {
    fn show(&mut self, frame: Frame) -> anyhow::Result<bool> {
        let secs = frame.report.window_s / self.pace;
        if self.sender.send(frame).is_err() {
            return Ok(false);
        }
        if self.replayed {
            pause(Duration::from_secs_f64(secs), &self.stopped);
        }
        Ok(!self.stopped.load(Ordering::Relaxed))
    }

    fn tell(&mut self, text: String) {
        self.told.push(text);
    }
}

/// Looks until somebody has enough.
fn follow(
    kernel: &mut dyn Kernel,
    args: &WatchArgs,
    stopped: &Arc<AtomicBool>,
    alerts: &mut Alerts,
    audience: &mut dyn Audience,
) -> anyhow::Result<Outcome> {
    let mut turns = Turns::new(args, Arc::clone(stopped), None);
    while let Some(mut frame) = turns.next(kernel)? {
        let reached = args.until.iter().find(|condition| condition.holds(&frame));
        alerts
            .look(&mut frame)
            .into_iter()
            .for_each(|text| audience.tell(text));
        let over = args
            .lasting
            .is_some_and(|lasting| frame.at_secs >= lasting.as_secs_f64());
        if !audience.show(frame)? {
            break;
        }
        if let Some(condition) = reached {
            audience.tell(format!("{} holds", condition.text));
            return Ok(Outcome::Found);
        }
        if over || stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(Outcome::NothingFound)
}

fn in_lines(
    kernel: &mut dyn Kernel,
    args: &WatchArgs,
    stopped: &Arc<AtomicBool>,
    alerts: &mut Alerts,
    style: Style,
) -> anyhow::Result<Outcome> {
    let mut lines = Lines {
        json: args.common.format == Format::Json,
        style,
        pace: args.speed,
        stopped: Arc::clone(stopped),
        way: None,
        unseen: BTreeSet::new(),
        asks: false,
    };
    let outcome = follow(kernel, args, stopped, alerts, &mut lines);
    lines.end(args.common.from.as_deref());
    outcome
}

struct Lines {
    json: bool,
    style: Style,
    /// Of a recording that is not to be told at once.
    pace: Option<f64>,
    stopped: Arc<AtomicBool>,
    way: Option<Way>,
    /// Of what it was told that it cannot be seen.
    unseen: BTreeSet<String>,
    /// Whether the last look named somebody, or could not.
    asks: bool,
}

impl Lines {
    /// Once, and again when it changes: documents have it in each look.
    fn explain(&mut self, frame: &Frame) {
        if self.way.replace(frame.way) != Some(frame.way) {
            terminal::note(&format!("{}: {}", frame.way.name(), frame.why));
        }
        for gap in &frame.report.gaps {
            if self.unseen.insert(gap.source.clone()) {
                let remedy = self.style.on_host(&gap.remedy);
                terminal::note(&format!("not seen: {}: {}; {remedy}", gap.source, gap.reason));
            }
        }
    }

    /// What to type next.
    fn end(&self, recording: Option<&str>) {
        if !self.json && self.asks {
            let command = match recording {
                Some(file) => format!("ctlens diagnose --from {}", shell_quoted(file)),
                None => self.style.looking_again("ctlens diagnose"),
            };
            terminal::note(&format!("the verdict with its evidence and fixes: {command}"));
        }
    }
}

impl Audience for Lines {
    fn show(&mut self, frame: Frame) -> anyhow::Result<bool> {
        if !self.json {
            self.explain(&frame);
        }
        self.asks = frame.report.verdict.cause != Cause::None;
        let line = match self.json {
            true => frame_json(&frame),
            false => frame_line(&frame, &self.style),
        };
        if let Some(pace) = self.pace {
            pause(
                Duration::from_secs_f64(frame.report.window_s / pace),
                &self.stopped,
            );
        }
        terminal::print_more(&line)
    }

    fn tell(&mut self, text: String) {
        terminal::note(&text);
    }
}
