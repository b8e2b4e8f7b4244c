//! One apply from its first write to its last: in force, watched, kept or taken back.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::super::args::ApplyArgs;
use super::super::stop::pause;
use super::super::terminal;
use super::guard::{Baseline, Damage};
use super::journal::{Journal, said};
use super::plan::Plan;
use super::state::{Place, State};
use super::undo::{Undo, now, path_of, restore};
use super::wait::{End, Waiting, wait};
use super::watchdog::Watchdog;
use super::{INITIAL, held, persist};
use crate::kernel::{Change, Live};
use crate::model::Flow;
use crate::render::Flushed;

pub struct Run<'a> {
    pub args: &'a ApplyArgs,
    pub live: Live,
    pub place: Place,
    pub journal: Journal,
    pub stopped: Arc<AtomicBool>,
}

/// One apply at a time in a network namespace: an abstract socket's name is the namespace's own, and is free again
/// however its holder ends.
pub fn claim() -> anyhow::Result<UnixListener> {
    SocketAddr::from_abstract_name("ctlens-apply")
        .and_then(|name| UnixListener::bind_addr(&name))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "another apply is at work in this network namespace: wait until it is over. Nothing is changed"
            ),
            _ => anyhow::Error::new(error).context("making sure that no other apply is at work"),
        })
}

impl Run<'_> {
    /// Writes it all, waits, and keeps it or takes it back.
    pub fn put_in_force(&mut self, plan: &Plan) -> anyhow::Result<End> {
        let within = self.args.confirm_within;
        let began = Damage::read(&mut self.live);
        if !within.is_zero() {
            pause(self.args.baseline, &self.stopped);
        }
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(End::Back("stopped before anything was written".to_string()));
        }
        let baseline = Baseline::new(began, Damage::read(&mut self.live));
        anyhow::ensure!(
            !self.args.keep_if_quiet || baseline.sees(),
            "--keep-if-quiet: no counter of damage can be read here. Nothing is changed"
        );
        plan.still_holds()?;
        // As late as this: an apply that ends before it has written leaves what is known of the one before it.
        let before = self.place.load()?;
        let mut state = self.state(true, plan.undo());
        let netns = self.args.netns.as_deref().unwrap_or(INITIAL);
        let watchdog = Watchdog::start(netns, within, &state.undo, before.as_ref())?;
        let done = self.begin(plan, &mut state).map(|()| match within.is_zero() {
            true => End::Kept("without waiting"),
            false => self.wait(&baseline),
        });
        let end = match done {
            Ok(End::Kept(why)) => self.keep(plan, &mut state).map(|()| End::Kept(why)),
            other => other,
        };
        if !matches!(end, Ok(End::Kept(_))) {
            let why = match &end {
                Ok(End::Back(why)) => why.clone(),
                Err(error) => format!("{error:#}"),
                Ok(End::Kept(_)) => String::new(),
            };
            // Taking back goes on without its log: values that stay wrong are worse.
            let _ = self.journal.log("roll back", &plan.from, ("", ""), &why);
            let whole = self.take_back(&state.undo, before.as_ref());
            watchdog.dismiss();
            anyhow::ensure!(
                whole,
                "not all of it could be taken back ({why}): ctlens rollback tries again"
            );
            return end.context("it was taken back");
        }
        watchdog.dismiss();
        end
    }

    fn state(&self, waiting: bool, undo: Vec<Undo>) -> State {
        State {
            pid: std::process::id(),
            time: jiff::Timestamp::now().to_string(),
            waiting,
            stuck: false,
            undo,
        }
    }

    fn begin(&mut self, plan: &Plan, state: &mut State) -> anyhow::Result<()> {
        self.place.unconfirm();
        self.place.save(state)?;
        if self.write(plan, &mut state.undo)? {
            self.place.save(state)?;
        }
        Ok(())
    }

    fn wait(&mut self, baseline: &Baseline) -> End {
        let style = terminal::style_within(self.args.colour, self.args.netns.as_deref());
        let confirm = style.looking_again("ctlens confirm");
        let within = self.args.confirm_within;
        terminal::note(&format!(
            "in force; it is taken back in {} s unless it is confirmed here or by: {confirm}",
            within.as_secs()
        ));
        let waiting = Waiting {
            within,
            keep_if_quiet: self.args.keep_if_quiet,
            place: &self.place,
            baseline,
            stopped: &self.stopped,
        };
        wait(&mut self.live, &waiting)
    }

    /// From here on it is kept; for the next boot too, where that is wished for.
    fn keep(&mut self, plan: &Plan, state: &mut State) -> anyhow::Result<()> {
        self.journal.log("keep", &plan.from, ("", ""), "")?;
        if let Some(folder) = &self.args.persist {
            // The way back first, as everywhere.
            state.undo.push(persist::undo(folder)?);
            self.place.save(state)?;
            self.persist(plan, folder)?;
        }
        state.waiting = false;
        self.place.save(state)?;
        self.place.unconfirm();
        self.journal.log("keep", &plan.from, ("", ""), "done")
    }

    fn persist(&mut self, plan: &Plan, folder: &str) -> anyhow::Result<()> {
        let path = persist::path(folder);
        self.journal.log("persist", &path, ("", ""), "")?;
        persist::persist(folder, &plan.profile, &plan.from)?;
        self.journal.log("persist", &path, ("", ""), "done")
    }

    /// Nothing is to be written but, perhaps, the file for the next boot; what an apply before changed stays with it.
    pub fn keep_as_it_is(&mut self, plan: &Plan) -> anyhow::Result<End> {
        let Some(folder) = &self.args.persist else {
            return Ok(End::Kept("nothing but entries"));
        };
        let before = self.place.load()?;
        let first = before.as_ref().map_or(Vec::new(), |before| before.undo.clone());
        let mut state = self.state(false, first);
        // A file that is written once more is restored to what it was before the first time.
        let known = state.undo.iter().any(|undo| undo.is_file(&persist::path(folder)));
        if known {
            self.place.save(&state)?;
            self.persist(plan, folder)?;
        } else {
            self.keep(plan, &mut state)
                .inspect_err(|_| self.place.go_back(before.as_ref()))?;
        }
        Ok(End::Kept("in force already, and written for the next boot"))
    }

    /// Whether all of it could be.
    fn take_back(&mut self, undo: &[Undo], before: Option<&State>) -> bool {
        let problems = restore(&mut self.live, undo, &mut self.journal, true);
        for problem in &problems {
            terminal::note(problem);
        }
        self.place.taken_back(problems.is_empty(), before);
        problems.is_empty()
    }

    /// Whether the kernel made something else of a value, which `undo` then knows.
    fn write(&mut self, plan: &Plan, undo: &mut [Undo]) -> anyhow::Result<bool> {
        let mut differs = false;
        for change in &plan.changes {
            let (name, values) = (&change.name, (change.now.as_str(), change.then.as_str()));
            self.journal.log("write", name, values, "")?;
            let done = self.live.write_file(&path_of(name), &change.then);
            self.journal.log("write", name, values, &said(&done))?;
            done.with_context(|| format!("writing {name} = {}", change.then))?;
            let is = now(name).unwrap_or_default();
            if is != change.then {
                terminal::note(&format!(
                    "{name} was written {}, and the kernel has {is}",
                    change.then
                ));
                undo.iter_mut().for_each(|undo| undo.became(name, &is));
                differs = true;
            }
        }
        if let Some(text) = &plan.policies {
            self.journal.log("load", "nft", ("", text), "")?;
            let done = self.live.feed(&["nft", "-f", "-"], text);
            self.journal.log("load", "nft", ("", ""), &said(&done))?;
            done.map_err(|why| anyhow::anyhow!("loading the policies: {why}"))?;
        }
        Ok(differs)
    }

    pub fn flush(&mut self, held: &[Flow]) -> anyhow::Result<Option<Flushed>> {
        if held.is_empty() {
            return Ok(None);
        }
        let got = held::flush(
            &mut self.live,
            held,
            self.args.shorten_held,
            &mut self.journal,
            &self.stopped,
        );
        got.map(Some)
            .context("flushing held entries; the settings are kept")
    }
}
