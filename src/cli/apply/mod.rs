//! `ctlens apply`, `confirm` and `rollback`: a profile in force, with a way back. Nothing else here changes the host.

mod guard;
mod held;
mod journal;
mod persist;
mod plan;
mod state;
mod undo;
mod wait;
mod watchdog;
mod whole;

use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::Outcome;
use super::args::{ApplyArgs, ConfirmArgs, Format, RollbackArgs};
use super::look::present;
use super::stop::{pause, stop};
use super::terminal;
use crate::kernel::{Change, Kernel, Live, Netns};
use crate::model::Flow;
use crate::render::{Applied, NFT_TABLE, Style, applied_text, apply_json, apply_text};
use guard::{Baseline, Damage};
use held::Held;
use journal::Journal;
use plan::Plan;
use state::{Place, State};
use undo::{Undo, path_of, restore};
use wait::{End, Waiting, wait};
use watchdog::Watchdog;
pub use watchdog::watchdog;

/// Everything of one run.
struct Run<'a> {
    args: &'a ApplyArgs,
    live: Live,
    place: Place,
    /// What an apply before this one changed.
    before: Option<State>,
    journal: Journal,
    stopped: std::sync::Arc<AtomicBool>,
}

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
    let before = place.load()?;
    check(args, &mut live, &plan, before.as_ref())?;
    let held = match flushes {
        true => held::held(&mut live)?,
        false => Held::default(),
    };
    let mut applied = Applied {
        changes: &plan.changes,
        same: &plan.same,
        policies: plan.policies.as_deref(),
        held: flushes.then_some(held.flows.len() as u64),
        more_held: held.more,
        shorten_secs: args.shorten_held,
        outcome: "planned",
        because: String::new(),
        flushed: None,
    };
    show(args, &applied, apply_text)?;
    if args.dry_run || plan.is_empty() && held.flows.is_empty() {
        applied.outcome = if args.dry_run { "dry-run" } else { "nothing" };
        finish(args, &applied)?;
        return Ok(Outcome::NothingFound);
    }
    if !args.yes && !agreed("Do this?")? {
        terminal::note("nothing is changed");
        return Ok(Outcome::NothingFound);
    }
    let mut run = Run {
        args,
        live,
        place,
        before,
        journal: Journal::open(args.netns.as_deref().unwrap_or(INITIAL))?,
        stopped: stop()?,
    };
    let end = match plan.is_empty() {
        true => End::Kept("nothing but entries"),
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
    if args.persist.is_some() {
        anyhow::ensure!(
            args.netns.is_none() && is_initial(),
            "sysctl.d is read for the initial network namespace only: --persist cannot be of another one"
        );
    }
    if let Some(state) = before.filter(|state| state.waiting && is_running(state.pid)) {
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

impl Run<'_> {
    /// Writes it all, waits, and keeps it or takes it back.
    fn put_in_force(&mut self, plan: &Plan) -> anyhow::Result<End> {
        let mut state = State {
            pid: std::process::id(),
            time: jiff::Timestamp::now().to_string(),
            waiting: true,
            undo: plan.undo(),
        };
        self.place.unconfirm();
        self.place.save(&state)?;
        let within = self.args.confirm_within;
        let began = Damage::read(&mut self.live);
        if !within.is_zero() {
            pause(self.args.baseline, &self.stopped);
        }
        if self.stopped.load(Ordering::Relaxed) {
            self.place.go_back(self.before.as_ref());
            return Ok(End::Back("stopped before anything was written".to_string()));
        }
        let baseline = Baseline::new(began, Damage::read(&mut self.live));
        let netns = self.args.netns.as_deref().unwrap_or(INITIAL);
        let watchdog = Watchdog::start(netns, within, &state.undo, self.before.as_ref())
            .inspect_err(|_| self.place.go_back(self.before.as_ref()))?;
        if let Err(error) = self.write(plan) {
            self.take_back(&state.undo);
            watchdog.dismiss();
            return Err(error.context("it was taken back"));
        }
        let confirm = match &self.args.netns {
            Some(netns) => format!("ctlens confirm --netns {netns}"),
            None => "ctlens confirm".to_string(),
        };
        let end = match within.is_zero() {
            true => End::Kept("without waiting"),
            false => {
                terminal::note(&format!(
                    "in force; it is taken back in {} s unless it is confirmed here or by: {confirm}",
                    within.as_secs()
                ));
                let waiting = Waiting {
                    within,
                    keep_if_quiet: self.args.keep_if_quiet,
                    place: &self.place,
                    baseline: &baseline,
                    stopped: &self.stopped,
                };
                wait(&mut self.live, &waiting)
            }
        };
        match &end {
            End::Kept(_) => {
                if let Some(folder) = &self.args.persist {
                    let written = persist::persist(folder, &plan.profile, &plan.from);
                    state.undo.push(written.context("all of it is taken back")?);
                }
                state.waiting = false;
                self.place.save(&state)?;
                self.place.unconfirm();
                self.journal.log("keep", &plan.from, ("", ""), "done")?;
            }
            End::Back(why) => {
                self.journal.log("roll back", &plan.from, ("", ""), why)?;
                self.take_back(&state.undo);
            }
        }
        watchdog.dismiss();
        Ok(end)
    }

    fn take_back(&mut self, undo: &[Undo]) {
        for problem in restore(&mut self.live, undo, &mut self.journal, true) {
            terminal::note(&problem);
        }
        self.place.go_back(self.before.as_ref());
    }

    fn write(&mut self, plan: &Plan) -> anyhow::Result<()> {
        for change in &plan.changes {
            let (name, values) = (&change.name, (change.now.as_str(), change.then.as_str()));
            self.journal.log("write", name, values, "")?;
            let done = self.live.write_file(&path_of(name), &change.then);
            let said = done
                .as_ref()
                .err()
                .map_or("done".to_string(), ToString::to_string);
            self.journal.log("write", name, values, &said)?;
            done.with_context(|| format!("writing {name} = {}", change.then))?;
            let is = undo::now(name).unwrap_or_default();
            anyhow::ensure!(
                is == change.then,
                "{name} was written {}, and the kernel has {is}",
                change.then
            );
        }
        if let Some(text) = &plan.policies {
            self.journal.log("load", "nft", ("", text), "")?;
            let done = self.live.feed(&["nft", "-f", "-"], text);
            let said = done.as_ref().err().cloned().unwrap_or("done".to_string());
            self.journal.log("load", "nft", ("", ""), &said)?;
            done.map_err(|why| anyhow::anyhow!("loading the policies: {why}"))?;
        }
        Ok(())
    }

    fn flush(&mut self, held: &[Flow]) -> anyhow::Result<Option<crate::render::Flushed>> {
        if held.is_empty() {
            return Ok(None);
        }
        let got = held::flush(
            &mut self.live,
            held,
            self.args.shorten_held,
            &mut self.journal,
            &self.stopped,
        )?;
        Ok(Some(got))
    }
}

pub fn confirm(args: &ConfirmArgs) -> anyhow::Result<Outcome> {
    let _live = Live::open(args.netns.as_deref().map(Netns::parse).as_ref())?;
    let place = Place::here()?;
    match place
        .load()?
        .filter(|state| state.waiting && is_running(state.pid))
    {
        Some(_) => {
            place.confirm()?;
            terminal::print("Confirmed: it is kept. ctlens rollback takes it back.\n")?;
            Ok(Outcome::NothingFound)
        }
        None => anyhow::bail!("no apply waits to be confirmed in this network namespace"),
    }
}

pub fn rollback(args: &RollbackArgs) -> anyhow::Result<Outcome> {
    let mut live = Live::open(args.netns.as_deref().map(Netns::parse).as_ref())?;
    let place = Place::here()?;
    let Some(state) = place.load()? else {
        anyhow::bail!("nothing was applied in this network namespace since it is there");
    };
    anyhow::ensure!(
        !(state.waiting && is_running(state.pid)),
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

/// Whether this is the namespace of the first process, as far as that can be read.
fn is_initial() -> bool {
    let link = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    link("1").is_none_or(|first| Some(first) == link("self"))
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
    Ok(matches!(answer.trim(), "y" | "yes"))
}
