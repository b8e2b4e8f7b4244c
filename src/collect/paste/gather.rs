//! The pieces of all files put together into one snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::files::File;
use crate::collect::sources::timeouts_by;
use crate::model::{Gap, Pasted, Process, Setting, Settings, Socket, SocketState, Tuple, current_name};
use crate::wire::paste::{self, Entries, Listing, Part};

#[derive(Default)]
pub struct Gather {
    out: Pasted,
    listed: BTreeMap<SocketState, u64>,
    histogram: Option<BTreeMap<SocketState, u64>>,
    /// Tuples of earlier files: netstat and ss of one host list the same sockets.
    seen: BTreeSet<Tuple>,
    processes: BTreeMap<Tuple, Process>,
}

impl Gather {
    pub fn take(&mut self, part: Part, file: &File) {
        match part {
            Part::SocketStates(states) if self.histogram.is_none() => self.histogram = Some(states),
            Part::TableStates(states) if self.out.table_states.is_none() => {
                self.out.table_states = Some(states);
            }
            Part::SocketStates(_) | Part::TableStates(_) => self.gap(
                file,
                "a second histogram of the same kind: only the first is used",
                "keep one of one moment",
            ),
            Part::Sockets(listing) => self.sockets(listing, file),
            Part::Entries(entries) => self.entries(&entries, file),
            Part::Stats { entries, stats } => {
                if self.out.snapshot.stats.replace(stats).is_some() {
                    self.gap(
                        file,
                        "a second reading of conntrack's counters: only the last is used, as totals",
                        "for what they rose by in between: ctlens diagnose --window 5s",
                    );
                }
                self.out.snapshot.limits.count = entries.or(self.out.snapshot.limits.count);
            }
            Part::Count(count) => self.out.snapshot.limits.count = Some(count),
            Part::Settings(settings) => self.settings(settings, file),
            Part::Counters(counters) => {
                let all = self.out.snapshot.net.get_or_insert_default();
                all.0.extend(counters.0);
            }
            Part::Log(log) => self.out.log.get_or_insert_default().add(log),
            Part::Addresses(addresses) => {
                let all = self.out.snapshot.addresses.get_or_insert_default();
                all.extend(addresses);
                self.out.addresses_whole = true;
            }
        }
    }

    fn gap(&mut self, file: &File, reason: impl Into<String>, remedy: &str) {
        self.out.snapshot.gaps.push(Gap::new(&file.name, reason, remedy));
    }

    fn sockets(&mut self, listing: Listing, file: &File) {
        // Rows that cannot be told from an earlier file's are taken to be others.
        let mut fresh = listing.states;
        let met: Vec<Socket> = listing
            .sockets
            .iter()
            .filter(|s| self.seen.contains(&s.tuple))
            .copied()
            .collect();
        for socket in &met {
            if let Some(count) = fresh.get_mut(&socket.state) {
                *count -= 1;
            }
        }
        for (state, count) in fresh.into_iter().filter(|(_, count)| *count > 0) {
            *self.listed.entry(state).or_default() += count;
        }
        let new = listing.sockets.iter().filter(|s| !self.seen.contains(&s.tuple));
        self.out.sockets.extend(new.copied());
        self.seen.extend(listing.sockets.iter().map(|s| s.tuple));
        self.processes.extend(listing.processes);
        if let Some(line) = listing.first_unread {
            let reason = format!(
                "line {line}: the addresses of {} sockets are cut, or names: they count by state only",
                listing.unread
            );
            self.gap(file, reason, "ss -tan > ss.txt   # or netstat -antW");
        }
    }

    fn entries(&mut self, entries: &Entries, file: &File) {
        if self.out.entry_files.last() != Some(&file.path) {
            self.out.entry_files.push(file.path.clone());
        }
        if let Some(shown) = entries.shown {
            let all = self.out.entries_shown.get_or_insert(0);
            *all = all.saturating_add(shown);
            if shown > entries.good {
                let reason = format!("{shown} entries were shown, but only {} are in it", entries.good);
                self.gap(file, reason, "conntrack -L > conntrack.txt");
            }
        }
        if let Some((line, reason)) = entries.first_bad {
            let reason = format!("line {line}: {reason}; {} such lines are left out", entries.bad);
            self.gap(file, reason, "conntrack -L > conntrack.txt");
        }
    }

    fn settings(&mut self, settings: paste::Settings, file: &File) {
        let in_force = settings.in_force;
        self.out
            .settings
            .extend(settings.lines.into_iter().map(|line| Setting {
                file: file.name.clone(),
                line: line.line,
                name: line.name,
                value: line.value,
                in_force,
            }));
    }

    pub fn finish(mut self) -> Pasted {
        self.apply_settings();
        self.apply_sockets();
        self.out.processes = self.processes;
        self.out
    }

    /// What a kernel printed goes before what a file asks for; within either, the last one counts.
    fn apply_settings(&mut self) {
        let mut settings = Settings::default();
        let mut current = BTreeMap::new();
        for in_force in [false, true] {
            for setting in self.out.settings.iter().filter(|s| s.in_force == in_force) {
                settings.0.insert(setting.name.clone(), setting.value.clone());
                let name = current_name(&setting.name).into_owned();
                current.insert(name, setting.value.clone());
                if in_force && setting.name == "kernel.osrelease" {
                    self.out.snapshot.host.kernel = Some(setting.value.clone());
                }
            }
        }
        let current = Settings(current);
        // All of conntrack's sizes and timeouts have 32 bits.
        let read = |name: &str| {
            let value = current.number(&format!("net.netfilter.nf_conntrack_{name}"));
            value.filter(|value| *value <= u64::from(u32::MAX))
        };
        let limits = &mut self.out.snapshot.limits;
        limits.count = read("count").or(limits.count);
        limits.max = read("max");
        limits.buckets = read("buckets");
        self.out.snapshot.timeouts = timeouts_by(&mut |name| read(name));
        self.out.snapshot.settings = settings;
    }

    fn apply_sockets(&mut self) {
        let listing = !self.listed.is_empty();
        let out = &mut self.out;
        if listing {
            let of = |wanted: &[SocketState]| -> Vec<Socket> {
                let chosen = out.sockets.iter().filter(|s| wanted.contains(&s.state));
                chosen.copied().collect()
            };
            let half_open = of(&[SocketState::SynSent, SocketState::SynRecv]);
            let listeners = of(&[SocketState::Listen]);
            let count = |state| self.listed.get(&state).copied().unwrap_or(0);
            let expected = count(SocketState::SynSent) + count(SocketState::SynRecv);
            let whole = expected == half_open.len() as u64;
            out.snapshot.half_open = Some(half_open).filter(|_| whole && would_show(&self.listed));
            out.snapshot.listeners = Some(listeners).filter(|l| !l.is_empty());
        }
        out.socket_states = [Some(std::mem::take(&mut self.listed)), self.histogram.take()]
            .into_iter()
            .flatten()
            .find(would_show);
        let addresses = out.snapshot.addresses.take();
        let mut addresses = addresses.unwrap_or_default();
        // The local end of a socket is the host's own.
        let ends = out.sockets.iter().map(|s| s.tuple.src);
        addresses.extend(ends.filter(|addr| !addr.is_unspecified()));
        addresses.sort();
        addresses.dedup();
        out.snapshot.addresses = Some(addresses).filter(|all| !all.is_empty());
    }
}

/// Whether a SYN_SENT socket would be among these: not in a listing of listeners, nor in one of a single state. A host
/// that has nothing but listeners and established connections cannot be told from a filter.
fn would_show(states: &BTreeMap<SocketState, u64>) -> bool {
    use SocketState::{Close, Listen, SynSent};
    let connected = states.keys().filter(|s| !matches!(s, Listen | Close)).count();
    states.contains_key(&SynSent) || connected >= 2
}
