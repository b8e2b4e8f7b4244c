//! What is told once, as it begins.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::super::args::WatchArgs;
use super::super::conditions::Condition;
use super::super::terminal;
use crate::diagnose::Side;
use crate::render::Frame;

pub struct Alerts<'a> {
    conditions: &'a [Condition],
    runner: Option<Runner>,
    /// Which of them held in the look before; the first stands for the verdict where there is no condition.
    held: Vec<bool>,
}

impl<'a> Alerts<'a> {
    /// To be made before this thread goes to another namespace: commands run in the one of whoever typed them. `quiet`:
    /// what they write to standard error would end up on the screen.
    pub fn new(args: &'a WatchArgs, quiet: bool) -> Alerts<'a> {
        Alerts {
            conditions: &args.alert,
            runner: args.on_alert.clone().map(|command| Runner::start(command, quiet)),
            held: vec![false; args.alert.len().max(1)],
        }
    }

    /// Marks what holds, runs the command for each that begins to hold, and gives a sentence for it.
    pub fn look(&mut self, frame: &mut Frame) -> Vec<String> {
        let now: Vec<(bool, String)> = match self.conditions {
            [] if self.runner.is_none() => return Vec::new(),
            [] => vec![(named(frame), frame.report.verdict.cause.name().to_string())],
            some => some.iter().map(|c| (c.holds(frame), c.text.clone())).collect(),
        };
        let headline = match named(frame) {
            true => frame.report.verdict.headline.clone(),
            false => "nobody is named".to_string(),
        };
        let mut begun = Vec::new();
        for (held, (holds, why)) in self.held.iter_mut().zip(now) {
            if holds && !*held {
                begun.push(format!("alert: {why}: {headline}"));
                if let Some(runner) = &self.runner {
                    runner.run(&why, &headline);
                }
            }
            *held = holds;
            frame.alerts.extend(holds.then_some(why));
        }
        begun
    }
}

/// Whether the verdict names somebody.
fn named(frame: &Frame) -> bool {
    !matches!(frame.report.verdict.bottleneck, Side::None | Side::Undecided)
}

/// A thread that stays in the namespace in which it was started.
struct Runner {
    alerts: Option<Sender<(String, String)>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    fn start(command: String, quiet: bool) -> Runner {
        let (alerts, told) = channel::<(String, String)>();
        let thread = thread::spawn(move || {
            for (why, headline) in told {
                run(&command, &why, &headline, quiet);
            }
        });
        Runner {
            alerts: Some(alerts),
            thread: Some(thread),
        }
    }

    fn run(&self, why: &str, headline: &str) {
        if let Some(alerts) = &self.alerts {
            // It ends with this only.
            let _ = alerts.send((why.to_string(), headline.to_string()));
        }
    }
}

/// What was told last is run all the same.
impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.alerts.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// It is not waited for; what became of it is its own to tell.
fn run(command: &str, why: &str, headline: &str, quiet: bool) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env("CTLENS_ALERT", why)
        .env("CTLENS_HEADLINE", headline)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if quiet {
        shell.stderr(Stdio::null());
    }
    match shell.spawn() {
        // Else it stays a zombie until this process ends.
        Ok(mut child) => drop(thread::spawn(move || child.wait())),
        Err(error) if !quiet => terminal::note(&format!("running {command}: {error}")),
        Err(_) => {}
    }
}
