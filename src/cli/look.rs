//! One look at a namespace, from the first counter to the last socket: what `status`, `diagnose` and `record` share.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::onlooker::Noted;
pub use super::onlooker::{Note, Notes, Onlooker};
pub use super::window::Tap;
use super::window::{Counters, Window, window};
use crate::collect::{self, How, Needs, Presence, Tracking, Wish};
use crate::evidence::{Census, Counted, Evidence, Ports, Readings, TapLog, Way, assemble};
use crate::kernel::Kernel;
use crate::model::{Gap, NetCounters, Snapshot, SocketState, TableLook};

/// Sockets whose process is looked for.
const MAX_OWNED: usize = 512;

/// Counters that are watched for less say nothing.
const LEAST_WINDOW_SECS: f64 = 0.2;

/// What to look at, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub window_secs: f64,
    pub tap: Tap,
    pub wish: Wish,
}

/// Why there can be no verdict at all: one line, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CannotLook {
    #[error(
        "/proc cannot be read here, and without it nothing can be said: mount it (mount -t proc proc /proc)"
    )]
    NoProc,
    #[error(
        "nf_conntrack is not loaded here: nothing is tracked, so no entry can be held; look on the host whose \
         firewall tracks these connections"
    )]
    NoConntrack,
    #[error(
        "this network namespace is not tracking: no rule in it uses connection tracking, so its empty table says \
         nothing; look into the one that forwards or filters (--netns NAME, `ip netns` lists them)"
    )]
    NotTracking,
}

pub fn look(kernel: &mut dyn Kernel, ask: &Ask, notes: &mut Notes) -> Result<Evidence, CannotLook> {
    look_with(kernel, ask, &mut Noted(notes))
}

pub fn look_with(
    kernel: &mut dyn Kernel,
    ask: &Ask,
    onlooker: &mut dyn Onlooker,
) -> Result<Evidence, CannotLook> {
    let presence = present(kernel)?;
    let mut gaps = Vec::new();
    let Window {
        first,
        rules_before,
        mut tap,
    } = window(kernel, (ask.window_secs, ask.tap), &presence, &mut gaps, onlooker);
    let needs = Needs {
        sockets: true,
        addresses: true,
    };
    let mut snapshot = collect::snapshot(kernel, &presence, needs);
    gaps.extend(rules(kernel, &presence, &mut snapshot));
    let watched_secs = first
        .as_ref()
        .map_or(0.0, |(moment, ..)| snapshot.taken.secs_since(*moment));
    // Two readings so close together show no rise: no window then, as a replay of a look without one has none.
    let first = first.filter(|_| watched_secs >= LEAST_WINDOW_SECS);
    let window_secs = first.as_ref().map_or(0.0, |_| watched_secs);
    let untold = match snapshot.limits.count {
        Some(0) => untracked(kernel, &presence)?,
        _ => None,
    };
    let tracking_unknown = untold.is_some();
    gaps.extend(untold);
    if let Some(tap) = tap.as_mut().filter(|_| filtered(first.as_ref(), &snapshot)) {
        tap.facts.ways = ways(kernel, tap);
    }
    let (mut counted, table) = count(
        kernel,
        ask,
        &presence,
        &snapshot,
        tap.as_ref(),
        &mut gaps,
        onlooker,
    );
    let ports = ports(kernel, &presence, &snapshot, counted.as_mut(), &mut gaps);
    let (owners, unseen) = collect::owners(kernel, &wanted_inodes(&snapshot));
    gaps.extend(unseen);
    if let Some((_, _, _, missed)) = &first {
        gaps.extend(missed.iter().cloned());
    }
    let mut evidence = assemble(Readings {
        earlier: first.as_ref().map(|(_, stats, net, _)| (stats, net)),
        rules_before: rules_before.filter(|_| first.is_some()),
        window_secs,
        snapshot: &snapshot,
        counted,
        look: table,
        tap: tap.map(|tap| tap.facts),
        ports,
        owners,
        gaps,
    });
    evidence.tracking_unknown = tracking_unknown;
    Ok(evidence)
}

/// The packet filter's rules, and whether they give flows timeouts of their own.
fn rules(kernel: &mut dyn Kernel, presence: &Presence, snapshot: &mut Snapshot) -> Vec<Gap> {
    let mut gaps = Vec::new();
    match collect::ruleset(kernel, presence, true) {
        Ok(ruleset) => snapshot.ruleset = Some(ruleset),
        Err(gap) => gaps.push(gap),
    }
    let policies = collect::flow_policies(kernel, presence, snapshot.ruleset.as_ref());
    snapshot.flow_policies = policies.is_some();
    gaps.extend(policies);
    gaps
}

/// Whether the reverse path filter dropped something in the window.
fn filtered(first: Option<&Counters>, snapshot: &Snapshot) -> bool {
    let of = |net: &Option<NetCounters>| net.as_ref()?.get("TcpExt.IPReversePathFilter");
    let before = first.and_then(|(_, _, net, _)| of(net));
    before
        .zip(of(&snapshot.net))
        .is_some_and(|(then, now)| now > then)
}

/// Where packets come in, and which way their answers go.
fn ways(kernel: &mut dyn Kernel, tap: &TapLog) -> Vec<Way> {
    let names = collect::interfaces(kernel);
    let mut out = Vec::new();
    for (source, ifindex, syn_acks, syns) in tap.arrivals.most() {
        let Some(arrives_on) = names.get(&ifindex).cloned() else {
            continue;
        };
        out.push(Way {
            source: Some(source),
            rp_filter: collect::rp_filter(kernel, &arrives_on),
            route_by: collect::route_by(kernel, source).and_then(|index| names.get(&index).cloned()),
            arrives_on,
            syn_acks,
            syns,
        });
    }
    out
}

/// What is there, where there is anything to look at.
pub fn present(kernel: &mut dyn Kernel) -> Result<Presence, CannotLook> {
    let presence = Presence::read(kernel);
    match (&presence.release, presence.conntrack) {
        (_, true) => Ok(presence),
        (None, false) => Err(CannotLook::NoProc),
        (Some(_), false) => Err(CannotLook::NoConntrack),
    }
}

/// An empty table says nothing where nothing tracks. The gap: whether anything does could not be told.
pub fn untracked(kernel: &mut dyn Kernel, presence: &Presence) -> Result<Option<Gap>, CannotLook> {
    match collect::tracking(kernel, presence) {
        Tracking::Yes => Ok(None),
        Tracking::No => Err(CannotLook::NotTracking),
        Tracking::Unknown => Ok(Some(Gap::new(
            "ruleset",
            "the table is empty, and whether any rule here tracks connections could not be told",
            "sudo nft list ruleset; sudo iptables-save   # a rule with ct, conntrack, state or NAT tracks",
        ))),
    }
}

fn count(
    kernel: &mut dyn Kernel,
    ask: &Ask,
    presence: &Presence,
    snapshot: &Snapshot,
    tap: Option<&TapLog>,
    gaps: &mut Vec<Gap>,
    onlooker: &mut dyn Onlooker,
) -> (Option<Counted>, Option<TableLook>) {
    let plan = collect::plan(&snapshot.limits, &ask.wish, presence.doors());
    onlooker.note(Note::Reason(&plan.why));
    onlooker.note(Note::Progress("reading the table"));
    let mut census = Census::new(snapshot, tap);
    let whole = matches!(plan.how, How::Full | How::Procfs);
    onlooker.pass(kernel, whole, &snapshot.timeouts);
    // Entries must be older than the whole pass to count as held. The census learns in the end how long it really took.
    let now = kernel.now().plus_secs(plan.expected_secs);
    let passed = collect::pass(kernel, &plan, &snapshot.limits, &mut |flow| {
        census.add(flow, now);
        onlooker.entry(flow);
        ControlFlow::Continue(())
    });
    let complete = |look: &TableLook| look.sampled_of.is_none() && look.malformed == 0;
    onlooker.passed(
        whole
            && passed
                .as_ref()
                .is_ok_and(|(look, gap)| gap.is_none() && complete(look)),
    );
    match passed {
        Ok((look, gap)) => {
            gaps.extend(gap);
            let after = half_open_again(kernel, presence, gaps);
            (Some(census.finish(&look, after.as_deref())), Some(look))
        }
        Err(gap) => {
            gaps.push(gap);
            (None, None)
        }
    }
}

/// Which sockets came and went while the table was read.
fn half_open_again(
    kernel: &mut dyn Kernel,
    presence: &Presence,
    gaps: &mut Vec<Gap>,
) -> Option<Vec<crate::model::Socket>> {
    let mut out = Vec::new();
    let states = [SocketState::SynSent, SocketState::SynRecv];
    match collect::sockets(kernel, presence, &states, &mut |socket| out.push(*socket)) {
        Ok(()) => Some(out),
        Err(gap) => {
            gaps.push(Gap {
                reason: format!(
                    "the second reading of the sockets, after the table: {}",
                    gap.reason
                ),
                ..gap
            });
            None
        }
    }
}

/// All sockets stream by once: for the ports that they use, and for entries that one may stand behind.
fn ports(
    kernel: &mut dyn Kernel,
    presence: &Presence,
    snapshot: &Snapshot,
    mut counted: Option<&mut Counted>,
    gaps: &mut Vec<Gap>,
) -> Option<Vec<crate::evidence::PortUse>> {
    let mut ports = Ports::new(&snapshot.settings, snapshot.listeners.as_deref().unwrap_or(&[]));
    if ports.is_none() && !counted.as_ref().is_some_and(|counted| counted.seeks()) {
        return None;
    }
    match collect::sockets(kernel, presence, &SocketState::ALL, &mut |socket| {
        if let Some(ports) = &mut ports {
            ports.add(socket);
        }
        if let Some(counted) = &mut counted {
            counted.see(socket);
        }
    }) {
        Ok(()) => {
            if let Some(counted) = counted {
                counted.all_seen();
            }
            ports.map(Ports::finish)
        }
        Err(gap) => {
            gaps.push(gap);
            None
        }
    }
}

fn wanted_inodes(snapshot: &Snapshot) -> BTreeSet<u64> {
    let waiting = snapshot
        .half_open
        .iter()
        .flatten()
        .filter(|s| s.state == SocketState::SynSent);
    let full = snapshot.listeners.iter().flatten().filter(|s| s.recv_queue > 0);
    waiting
        .chain(full)
        .map(|s| s.inode)
        .filter(|inode| *inode != 0)
        .take(MAX_OWNED)
        .collect()
}
