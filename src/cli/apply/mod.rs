//! `ctlens apply`, `confirm` and `rollback`: a profile in force, with a way back. Nothing else here changes the host.

mod guard;
mod held;
mod journal;
mod persist;
mod plan;
mod run;
mod state;
mod undo;
mod wait;
mod watchdog;
mod whole;

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Outcome;
use super::args::{ApplyArgs, ConfirmArgs, Format, RollbackArgs};
use super::look::present;
use super::stop::{pause, stop};
use super::terminal;
use crate::kernel::{Kernel, Live, Netns};
use crate::render::{Applied, NFT_TABLE, Style, applied_text, apply_json, apply_text};
use held::Held;
use journal::Journal;
use plan::Plan;
use run::{Run, claim};
use state::{Place, State};
use undo::{Undo, restore};
use wait::{End, is_yes};
pub use watchdog::watchdog;

pub fn apply(args: &ApplyArgs) -> anyhow::Result<Outcome> {
    let flushes = args.flush_held || args.shorten_held.is_some();
    let (profile, from) = plan::profile(args)?;
    anyhow::ensure!(
        flushes || !profile.is_empty(),
        "nothing to apply: name a PROFILE, --set NAME=SECS, --flush-held or --shorten-held SECS"
    );
    let mut live = Live::open(args.netns.as_deref().map(Netns::parse).as_ref())?;
    present(&mut live)?;
    let plan = plan::plan(&mut live, profile, from)?;
    let place = Place::here()?;
    check(args, &mut live, &plan, place.load()?.as_ref())?;
    let held = match flushes {
        true => held::held(&mut live)?,
        false => Held::default(),
    };
    let persists = args.persist.as_deref().map(persist::path);
    let mut applied = Applied {
        changes: &plan.changes,
        same: &plan.same,
        policies: plan.policies.as_deref(),
        persists: persists.as_deref(),
        held: flushes.then_some(held.flows.len() as u64),
        more_held: held.more,
        shorten_secs: args.shorten_held,
        outcome: "planned",
        because: String::new(),
        flushed: None,
    };
    show(args, &applied, apply_text)?;
    if args.dry_run || plan.is_empty() && held.flows.is_empty() && args.persist.is_none() {
        applied.outcome = if args.dry_run { "dry-run" } else { "nothing" };
        finish(args, &applied)?;
        return Ok(Outcome::NothingFound);
    }
    if !args.yes && !agreed("Do this?")? {
        terminal::note("nothing is changed");
        return Ok(Outcome::NothingFound);
    }
    let _claim = claim()?;
    let mut run = Run {
        args,
        live,
        place,
        journal: Journal::open(args.netns.as_deref().unwrap_or(INITIAL))?,
        stopped: stop()?,
    };
    let end = match plan.is_empty() {
        true => run.keep_as_it_is(&plan)?,
        false => run.put_in_force(&plan)?,
    };
    let outcome = match end {
        End::Kept(why) => {
            (applied.outcome, applied.because) = ("kept", why.to_string());
            applied.flushed = run.flush(&held.flows)?;
            Outcome::NothingFound
        }
        End::Back(why) => {
            (applied.outcome, applied.because) = ("rolled-back", why);
            Outcome::Found
        }
    };
    show(args, &applied, applied_text)?;
    finish(args, &applied)?;
    Ok(outcome)
}

/// How the log calls a namespace that has no name.
const INITIAL: &str = "initial";

/// What must not be, before anything is shown.
fn check(args: &ApplyArgs, live: &mut Live, plan: &Plan, before: Option<&State>) -> anyhow::Result<()> {
    if let Some(folder) = &args.persist {
        anyhow::ensure!(
            args.netns.is_none() && is_initial(),
            "sysctl.d is read for the initial network namespace only: --persist cannot be of another one"
        );
        anyhow::ensure!(
            Path::new(folder).is_dir(),
            "--persist={folder}: there is no such directory; nothing is changed"
        );
    }
    if let Some(state) = before.filter(|state| waits(state)) {
        anyhow::bail!(
            "an apply (pid {}) waits to be confirmed here: ctlens confirm, or wait until it is over",
            state.pid
        );
    }
    let there = plan.policies.is_some() && live.run(&format!("nft list table inet {NFT_TABLE}")).is_ok();
    anyhow::ensure!(
        !there,
        "nftables has a table inet {NFT_TABLE} already: ctlens rollback, or nft delete table inet {NFT_TABLE}"
    );
    Ok(())
}

fn show(args: &ApplyArgs, applied: &Applied, text: fn(&Applied, &Style) -> String) -> anyhow::Result<()> {
    match args.format {
        Format::Text => {
            let style = terminal::style_within(args.colour, args.netns.as_deref());
            terminal::print(&text(applied, &style))
        }
        Format::Json => Ok(()),
    }
}

fn finish(args: &ApplyArgs, applied: &Applied) -> anyhow::Result<()> {
    match args.format {
        Format::Json => terminal::print(&apply_json(applied)),
        Format::Text => Ok(()),
    }
}

/// How long an apply may take to hear of its confirmation, and to write what it then writes.
const HEARD_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub fn confirm(args: &ConfirmArgs) -> anyhow::Result<Outcome> {
    let _live = Live::open(args.netns.as_deref().map(Netns::parse).as_ref())?;
    let place = Place::here()?;
    let Some(waits) = place.load()?.filter(waits) else {
        anyhow::bail!("no apply waits to be confirmed in this network namespace");
    };
    place.confirm()?;
    // Its time may have been over meanwhile: only what it says itself is true.
    let asked = Instant::now();
    while asked.elapsed() < HEARD_WITHIN {
        match place.load()? {
            Some(now) if now.is_of(&waits) && now.waiting && is_running(now.pid) => {
                pause(LOOK_EVERY, &AtomicBool::new(false));
            }
            Some(now) if now.is_of(&waits) && !now.waiting && !now.stuck => {
                terminal::print("Confirmed: it is kept. ctlens rollback takes it back.\n")?;
                return Ok(Outcome::NothingFound);
            }
            _ => anyhow::bail!("too late: it is taken back"),
        }
    }
    anyhow::bail!(
        "the apply (pid {}) has not answered within {} s: ctlens status tells what is in force",
        waits.pid,
        HEARD_WITHIN.as_secs()
    )
}

/// An apply that could still hear of it.
fn waits(state: &State) -> bool {
    state.waiting && is_running(state.pid)
}

pub fn rollback(args: &RollbackArgs) -> anyhow::Result<Outcome> {
    let mut live = Live::open(args.netns.as_deref().map(Netns::parse).as_ref())?;
    let place = Place::here()?;
    let Some(state) = place.load()? else {
        anyhow::bail!("nothing was applied in this network namespace since it is there");
    };
    anyhow::ensure!(
        !waits(&state),
        "an apply (pid {}) still waits: let it run out, or stop it with Ctrl-C",
        state.pid
    );
    terminal::print(&crate::render::rollback_text(
        &state.time,
        &state.undo.iter().map(words).collect::<Vec<_>>(),
    ))?;
    if !args.yes && !agreed("Restore these?")? {
        terminal::note("nothing is changed");
        return Ok(Outcome::NothingFound);
    }
    let mut journal = Journal::open(args.netns.as_deref().unwrap_or(INITIAL))?;
    let problems = restore(&mut live, &state.undo, &mut journal, args.force);
    problems.iter().for_each(|problem| terminal::note(problem));
    match problems.is_empty() {
        true => {
            place.forget();
            terminal::print("Restored.\n")?;
            Ok(Outcome::NothingFound)
        }
        false => Ok(Outcome::CouldNotLook),
    }
}

/// Whether this is the namespace of the first process. Where that one's cannot be read: since 5.13 only the initial
/// namespace has a writable nf_conntrack_max.
fn is_initial() -> bool {
    let link = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    match (link("1"), link("self")) {
        (Some(first), own) => own == Some(first),
        (None, _) => std::fs::metadata(undo::path_of("net.netfilter.nf_conntrack_max"))
            .is_ok_and(|max| !max.permissions().readonly()),
    }
}

fn words(undo: &Undo) -> String {
    match undo {
        Undo::Sysctl { name, old, new } => format!("{name} {new} -> {old}"),
        Undo::Nft => "the policies in nftables' table inet ctlens are deleted".to_string(),
        Undo::File { path, old: None } => format!("{path} is deleted"),
        Undo::File { path, old: Some(_) } => format!("{path} is what it was"),
    }
}

fn is_running(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// On a terminal only: who cannot be asked has to say --yes.
fn agreed(question: &str) -> anyhow::Result<bool> {
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked here: say --yes, or --dry-run to see it only. Nothing is changed"
    );
    let mut out = std::io::stderr();
    write!(out, "{question} [y/N] ")
        .and_then(|()| out.flush())
        .context("asking")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("hearing the answer")?;
    Ok(is_yes(&answer))
}
