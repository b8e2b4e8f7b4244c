//! Readings and counts put together into what rules look at.

use std::collections::BTreeMap;

use super::{Counted, Evidence, ListenQueue, PortUse, RulesetFacts, Table, TapFacts, rates};
use crate::model::{ConntrackStats, Gap, NetCounters, Process, Ruleset, Snapshot, SocketState, TableLook};

/// All that one look brought home.
pub struct Readings<'a> {
    /// Counters at the window's beginning; `None` where there is no window.
    pub earlier: Option<(&'a Option<ConntrackStats>, &'a Option<NetCounters>)>,
    /// The ruleset at the window's beginning.
    pub rules_before: Option<Ruleset>,
    pub window_secs: f64,
    /// Read at the window's end, before the pass.
    pub snapshot: &'a Snapshot,
    pub counted: Option<Counted>,
    pub look: Option<TableLook>,
    pub tap: Option<TapFacts>,
    pub ports: Option<Vec<PortUse>>,
    pub owners: BTreeMap<u64, Process>,
    pub gaps: Vec<Gap>,
}

pub fn assemble(readings: Readings) -> Evidence {
    let snapshot = readings.snapshot;
    let mut tap = readings.tap;
    let mut out = Evidence {
        host: snapshot.host.clone(),
        taken: Some(snapshot.taken),
        window_secs: readings.window_secs,
        table: Some(table(snapshot, readings.look.as_ref())),
        settings: snapshot.settings.clone(),
        timeouts: snapshot.timeouts,
        ports: readings.ports,
        host_entries: snapshot.limits.host_entries,
        entry_bytes: snapshot.limits.entry_bytes,
        ..Evidence::default()
    };
    if let Some(mut counted) = readings.counted {
        counted.half_open.owners = by_owner(snapshot, &readings.owners);
        if let (Some(tap), Some(unseen)) = (&mut tap, counted.unseen_syn_acks) {
            tap.syn_acks_unseen_by_conntrack = unseen;
            tap.vanished = counted.vanished;
            tap.refusers = counted.refusers;
        }
        if let Some(table) = &mut out.table {
            table.expired = counted.expired;
        }
        out.one_way = Some(counted.one_way);
        out.states = Some(counted.states);
        out.nat = Some(counted.nat);
        out.stale_nat = counted.stale_nat;
        out.half_open = Some(counted.half_open);
        out.lasting = Some(counted.lasting);
    }
    out.tap = tap;
    let (stats, net) = readings
        .earlier
        .map_or((None, None), |(s, n)| (Some(s.as_ref()), Some(n.as_ref())));
    // A window whose beginning was not read has no differences.
    out.conntrack = match (&snapshot.stats, stats) {
        (Some(later), None) => Some(rates::conntrack(None, later)),
        (Some(later), Some(Some(earlier))) => Some(rates::conntrack(Some(earlier), later)),
        _ => None,
    };
    out.net = match (&snapshot.net, net) {
        (Some(later), None) => Some(rates::net(None, later)),
        (Some(later), Some(Some(earlier))) => Some(rates::net(Some(earlier), later)),
        _ => None,
    };
    let between = |later: &Ruleset| RulesetFacts::between(readings.rules_before.as_ref(), later.clone());
    out.ruleset = snapshot.ruleset.as_ref().map(between);
    out.sockets = snapshot.half_open.as_ref().map(|sockets| {
        let mut by_state = BTreeMap::new();
        for socket in sockets {
            *by_state.entry(socket.state.name().to_string()).or_default() += 1;
        }
        by_state
    });
    out.listeners = snapshot.listeners.as_ref().map(|listeners| {
        let queue = |socket: &crate::model::Socket| ListenQueue {
            addr: socket.tuple.src,
            port: socket.tuple.sport,
            queued: socket.recv_queue,
            backlog: socket.send_queue,
            process: readings.owners.get(&socket.inode).map(|p| p.name.clone()),
        };
        listeners.iter().map(queue).collect()
    });
    out.gaps = snapshot.gaps.iter().cloned().chain(readings.gaps).collect();
    dedupe(&mut out.gaps);
    out
}

fn table(snapshot: &Snapshot, look: Option<&TableLook>) -> Table {
    let limits = snapshot.limits;
    let ratio = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) if b > 0 => Some(a as f64 / b as f64),
        _ => None,
    };
    Table {
        count: limits.count,
        max: limits.max,
        buckets: limits.buckets,
        fill: ratio(limits.count, limits.max),
        mean_chain: ratio(limits.host_entries.or(limits.count), limits.buckets).map(|mean| mean * 2.0),
        dumped: look.map(|l| l.dumped),
        sampled_of: look.and_then(|l| l.sampled_of),
        expired: None,
        source: look.map(|l| l.source.name()),
        duplicates: look.map(|l| l.duplicates),
        malformed: look.map(|l| l.malformed),
    }
}

/// SYN_SENT sockets by process, then by uid where no process was found.
fn by_owner(snapshot: &Snapshot, owners: &BTreeMap<u64, Process>) -> Vec<(Option<Process>, u32, u64)> {
    let mut counts: BTreeMap<(Option<Process>, u32), u64> = BTreeMap::new();
    for socket in snapshot
        .half_open
        .iter()
        .flatten()
        .filter(|s| s.state == SocketState::SynSent)
    {
        *counts
            .entry((owners.get(&socket.inode).cloned(), socket.uid))
            .or_default() += 1;
    }
    let mut out: Vec<_> = counts
        .into_iter()
        .map(|((process, uid), n)| (process, uid, n))
        .collect();
    out.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.cmp(b)));
    out
}

/// The window's two readings miss the same things.
fn dedupe(gaps: &mut Vec<Gap>) {
    let mut seen = std::collections::BTreeSet::new();
    gaps.retain(|gap| seen.insert((gap.source.clone(), gap.reason.clone())));
}
