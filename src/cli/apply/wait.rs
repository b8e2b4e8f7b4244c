//! The time in which it is kept or taken back.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::stop::pause;
use super::guard::{Baseline, Damage};
use super::state::Place;
use crate::kernel::Kernel;

/// How it ended.
pub enum End {
    Kept(&'static str),
    Back(String),
}

/// Damage is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And everything else.
const TICK: Duration = Duration::from_millis(200);

pub struct Waiting<'a> {
    pub within: Duration,
    pub keep_if_quiet: bool,
    pub place: &'a Place,
    pub baseline: &'a Baseline,
    pub stopped: &'a AtomicBool,
}

pub fn wait(kernel: &mut dyn Kernel, waiting: &Waiting) -> End {
    let (began, mut looked) = (Instant::now(), Instant::now());
    let answers = std::io::stdin().is_terminal().then(lines);
    let mut told = u64::MAX;
    loop {
        let left = waiting.within.saturating_sub(began.elapsed());
        if waiting.place.is_confirmed() {
            return End::Kept("confirmed by ctlens confirm");
        }
        if let Some(answer) = answers.as_ref().and_then(|answers| answers.try_recv().ok()) {
            return match is_yes(&answer) {
                true => End::Kept("confirmed"),
                false => End::Back("not confirmed".to_string()),
            };
        }
        if waiting.stopped.load(Ordering::Relaxed) {
            return End::Back("stopped by a signal".to_string());
        }
        if looked.elapsed() >= LOOK_EVERY || left.is_zero() {
            looked = Instant::now();
            let damage = Damage::read(kernel);
            if let Some(worse) = waiting.baseline.worse(&damage) {
                return End::Back(worse);
            }
            if waiting.keep_if_quiet && damage.is_blind() {
                return End::Back("no counter of damage can be read any more".to_string());
            }
        }
        if left.is_zero() {
            return match waiting.keep_if_quiet {
                true => End::Kept("no damage rose"),
                false => End::Back(format!("not confirmed within {} s", waiting.within.as_secs())),
            };
        }
        let secs = left.as_secs();
        if answers.is_some() && std::mem::replace(&mut told, secs) != secs {
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[Kctlens: keep it? [y/N] (taken back in {secs} s) "
            );
        }
        pause(TICK.min(left), waiting.stopped);
    }
}

pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "yes")
}

/// What is typed, line by line.
fn lines() -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin()
            .lock()
            .read_line(&mut line)
            .is_ok_and(|length| length > 0)
        {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    lines
}
