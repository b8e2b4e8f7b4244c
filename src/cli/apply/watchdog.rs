//! A child that holds the old values: it restores them when its parent dies, or says nothing in time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::super::Outcome;
use super::journal::Journal;
use super::state::{Place, State};
use super::undo::{Undo, restore};
use crate::kernel::Live;

/// What it says when it stands ready, and what ends it.
const READY: &str = "ready";
const OVER: &str = "over";
/// Longer than the parent's own waiting and restoring take.
const MARGIN: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
struct Orders {
    netns: String,
    within_secs: f64,
    undo: Vec<Undo>,
    /// What an apply before had changed.
    before: Option<State>,
}

/// The parent's end.
pub struct Watchdog {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Watchdog {
    /// It is in the same namespace as this process, and stands ready when this returns.
    pub fn start(
        netns: &str,
        within: Duration,
        undo: &[Undo],
        before: Option<&State>,
    ) -> anyhow::Result<Watchdog> {
        let me = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(me)
            .arg("watchdog")
            // Ctrl-C on the terminal, or its end, are the parent's.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting the watchdog")?;
        let orders = Orders {
            netns: netns.to_string(),
            within_secs: (within + MARGIN).as_secs_f64(),
            undo: undo.to_vec(),
            before: before.cloned(),
        };
        let mut text = serde_json::to_string(&orders).context("writing the watchdog's orders")?;
        text.push('\n');
        let mut pipe = child.stdin.take().context("the watchdog's input")?;
        pipe.write_all(text.as_bytes())
            .context("telling the watchdog its orders")?;
        let mut said = String::new();
        let out = child.stdout.take().context("the watchdog's output")?;
        BufReader::new(out)
            .read_line(&mut said)
            .context("hearing the watchdog")?;
        anyhow::ensure!(
            said.trim() == READY,
            "the watchdog did not start: nothing is changed"
        );
        Ok(Watchdog {
            child,
            orders: Some(pipe),
        })
    }

    /// It is kept, or was taken back already.
    pub fn dismiss(mut self) {
        if let Some(mut pipe) = self.orders.take() {
            let _ = writeln!(pipe, "{OVER}");
        }
        let _ = self.child.wait();
    }
}

/// The child's whole life.
pub fn watchdog() -> anyhow::Result<Outcome> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let first = lines.recv().context("no orders came")?;
    let orders: Orders = serde_json::from_str(&first).context("reading the orders")?;
    let mut journal = Journal::open(&orders.netns)?;
    let mut live = Live::open(None)?;
    // A hangup of the terminal is no reason to leave the values as they are.
    let _stopped = super::super::stop::stop()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")
        .and_then(|()| out.flush())
        .context("saying ready")?;
    let why = match lines.recv_timeout(Duration::from_secs_f64(orders.within_secs)) {
        Ok(line) if line == OVER => return Ok(Outcome::NothingFound),
        Ok(_) | Err(RecvTimeoutError::Disconnected) => "its parent died",
        Err(RecvTimeoutError::Timeout) => "its parent says nothing",
    };
    // Restoring goes on without its log.
    let _ = journal.log("watchdog", "", ("", ""), why);
    let problems = restore(&mut live, &orders.undo, &mut journal, true);
    for problem in &problems {
        super::super::terminal::note(problem);
    }
    Place::here()?.taken_back(problems.is_empty(), orders.before.as_ref());
    Ok(Outcome::Found)
}
