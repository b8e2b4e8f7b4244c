//! Pasted text as evidence: from a listing of entries, or from histograms without directions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{
    Basis, Census, Counted, Direction, Evidence, HalfOpen, Pile, Ports, Readings, StateRow, assemble,
    settings,
};
use crate::model::{
    Estimate, Flow, Gap, Moment, Pasted, Snapshot, SocketState, TableLook, TableSource, TcpState, proto,
};

/// Takes each entry of the table.
pub type EachFlow<'a> = dyn FnMut(&Flow) -> ControlFlow<()> + Send + 'a;

/// Sockets that are no listeners, as a share of the half-open entries: with fewer, the host passes on other hosts'
/// connections, and its own sockets say nothing of their entries.
const OWN_SHARE: f64 = 0.05;
/// A listing of less than this share of the count was cut or filtered (expired entries are in the count, too) …
const WHOLE_SHARE: f64 = 0.5;
/// … and what it does not show matters, unless it shows this many half-open entries.
const PILE: u64 = 500;

/// `walk` hands on each pasted entry, and says how that went; `None` where none were pasted.
pub fn from_paste(pasted: &Pasted, walk: &mut dyn FnMut(&mut EachFlow<'_>) -> Option<TableLook>) -> Evidence {
    let (snapshot, dead) = without_rejected(pasted);
    let mut census = Census::pasted(&snapshot, pasted.addresses_whole);
    let mut seen = Seen::default();
    let look = walk(&mut |flow| {
        seen.add(flow);
        census.add(flow, Moment::default());
        ControlFlow::Continue(())
    });
    let mut gaps = Vec::new();
    let (look, states) = choose(pasted, look, &seen, &mut gaps);
    let mut counted = look
        .as_ref()
        .map(|look| census.finish(look, snapshot.half_open.as_deref()));
    if let (Some(counted), Some(look)) = (&mut counted, &look) {
        doubt(&mut counted.half_open, look, &snapshot);
        if pasted.socket_states.is_some() && !pasted.sockets.is_empty() {
            pasted.sockets.iter().for_each(|socket| counted.see(socket));
            counted.all_seen();
        }
    }
    let shows = look
        .as_ref()
        .is_none_or(|look| shows_enough(pasted, look, &seen, &mut gaps));
    let ports = pasted.socket_states.as_ref().and_then(|_| {
        let mut ports = Ports::new(&snapshot.settings, snapshot.listeners.as_deref().unwrap_or(&[]))?;
        pasted.sockets.iter().for_each(|socket| ports.add(socket));
        Some(ports.finish())
    });
    let mut out = assemble(Readings {
        earlier: None,
        rules_before: None,
        window_secs: 0.0,
        snapshot: &snapshot,
        counted: None,
        look,
        tap: None,
        ports,
        owners: BTreeMap::new(),
        gaps,
    });
    name_listeners(&mut out, pasted);
    let by_state = |states: &BTreeMap<SocketState, u64>| {
        let named = states.iter().map(|(state, n)| (state.name().to_string(), *n));
        named.collect()
    };
    out.sockets = pasted.socket_states.as_ref().map(by_state);
    out.pasted = true;
    out.log = pasted.log.clone();
    out.taken = None;
    out.dead_settings = dead;
    fill(&mut out, counted.filter(|_| shows), states, pasted);
    out
}

/// Takes values out that never came into force.
fn without_rejected(pasted: &Pasted) -> (Snapshot, Vec<super::DeadSetting>) {
    let mut snapshot = pasted.snapshot.clone();
    let mut dead = Vec::new();
    for (setting, rejected) in settings::dead(&pasted.settings) {
        if rejected && snapshot.settings.get(&setting.name) == Some(setting.value.as_str()) {
            snapshot.settings.0.remove(&setting.name);
            let reason = format!(
                "{} is rejected by the kernel: what is in force is not known",
                setting.value
            );
            snapshot.gaps.push(Gap::new(
                &setting.name,
                reason,
                format!("sysctl {}", setting.name),
            ));
        }
        dead.push(setting);
    }
    (snapshot, dead)
}

/// TCP entries that came by, by state, and all others.
#[derive(Default)]
struct Seen {
    tcp: BTreeMap<TcpState, u64>,
    others: u64,
}

impl Seen {
    fn add(&mut self, flow: &Flow) {
        match flow.tcp_state.filter(|_| flow.proto == proto::TCP) {
            Some(state) => *self.tcp.entry(state).or_default() += 1,
            None => self.others += 1,
        }
    }

    fn half_open(&self) -> u64 {
        let of = |state| self.tcp.get(&state).copied().unwrap_or(0);
        of(TcpState::SynSent) + of(TcpState::SynRecv)
    }

    /// The only state among them.
    fn single(&self) -> Option<(TcpState, u64)> {
        let mut all = self.tcp.iter();
        let (state, count) = all.next().filter(|_| self.others == 0)?;
        all.next().is_none().then_some((*state, *count))
    }
}

type Histogram = BTreeMap<TcpState, u64>;

/// Listing, histogram, or a listing of one state as a sample of the histogram.
fn choose<'a>(
    pasted: &'a Pasted,
    look: Option<TableLook>,
    seen: &Seen,
    gaps: &mut Vec<Gap>,
) -> (Option<TableLook>, Option<&'a Histogram>) {
    let (Some(mut look), Some(histogram)) = (look, &pasted.table_states) else {
        return (look, pasted.table_states.as_ref());
    };
    if let Some((state, count)) = seen.single() {
        let all = histogram.get(&state).copied().unwrap_or(0);
        if all > count {
            look.sampled_of = Some(all);
            return (Some(look), Some(histogram));
        }
    }
    let (listed, all) = (seen.tcp.values().sum::<u64>(), histogram.values().sum::<u64>());
    if listed as f64 >= all as f64 * WHOLE_SHARE {
        return (Some(look), None);
    }
    let reason =
        format!("{listed} TCP entries were listed, but the histogram has {all}: only the histogram is used");
    let remedy = "conntrack -L -p tcp --state SYN_SENT > conntrack.txt";
    gaps.push(Gap::new("conntrack", reason, remedy));
    (None, Some(histogram))
}

/// False where the listing is known to lack most of the table, and shows no pile-up.
fn shows_enough(pasted: &Pasted, look: &TableLook, seen: &Seen, gaps: &mut Vec<Gap>) -> bool {
    let expected = pasted.entries_shown.or(pasted.snapshot.limits.count).unwrap_or(0);
    if look.sampled_of.is_some() || look.dumped as f64 >= expected as f64 * WHOLE_SHARE {
        return true;
    }
    let reason = format!(
        "{} of {expected} entries were pasted: the listing was cut or filtered",
        look.dumped
    );
    gaps.push(Gap::new("conntrack", reason, "conntrack -L > conntrack.txt"));
    seen.half_open() >= PILE
}

/// Sockets without an entry may be later attempts of those whose entries seem held, since the two were not pasted at
/// the same moment; and only a whole listing can say that an entry is missing.
fn doubt(half_open: &mut HalfOpen, look: &TableLook, snapshot: &Snapshot) {
    let unmatched = half_open.sockets_without_entry.unwrap_or(0) as f64;
    if let Some(pile) = half_open.syn_sent.get_mut(&Direction::Out) {
        pile.held.low = (pile.held.low - unmatched).max(0.0);
        pile.live.high = (pile.live.high + unmatched).min(pile.entries.high);
        pile.of_settled = None;
    }
    let whole = |count: u64| look.dumped as f64 >= count as f64 * WHOLE_SHARE;
    if !snapshot.limits.count.is_some_and(whole) {
        half_open.sockets_without_entry = None;
    }
}

/// A paste names programs, but not the users they run as.
fn name_listeners(out: &mut Evidence, pasted: &Pasted) {
    for queue in out.listeners.iter_mut().flatten() {
        let of_queue = pasted
            .processes
            .iter()
            .find(|(tuple, _)| (tuple.src, tuple.sport) == (queue.addr, queue.port));
        queue.process = of_queue.map(|(_, process)| process.name.clone());
    }
}

fn fill(out: &mut Evidence, counted: Option<Counted>, histogram: Option<&Histogram>, pasted: &Pasted) {
    let states = pasted.socket_states.as_ref();
    let sent = states.map(|states| Waiting::new(states, SocketState::SynSent));
    let received = states.map(|states| Waiting::new(states, SocketState::SynRecv));
    if let Some(mut counted) = counted {
        counted.half_open.owners.clear();
        if pasted.snapshot.half_open.is_none() {
            by_number(&mut counted.half_open.syn_sent, sent, Direction::Out);
            by_number(&mut counted.half_open.syn_recv, received, Direction::In);
        }
        out.half_open = Some(counted.half_open);
        out.lasting = Some(counted.lasting);
        out.states = Some(counted.states);
    }
    let Some(histogram) = histogram else { return };
    let table = out.table.get_or_insert_default();
    table.source = Some(TableSource::Pasted.name());
    out.states = Some(rows(histogram, &out.timeouts));
    let half_open = out.half_open.get_or_insert_default();
    half_open.syn_sent_sockets = sent.map(|waiting| waiting.sockets);
    half_open.syn_recv_sockets = received.map(|waiting| waiting.sockets);
    // A single row is a reading of that state; what it says nothing of may be there.
    let unknown = Estimate {
        high: pasted.snapshot.limits.max.unwrap_or(u64::from(u32::MAX)) as f64,
        ..Estimate::default()
    };
    let of = |state| match histogram.get(&state) {
        Some(count) => Estimate::exact(*count as f64),
        None if histogram.len() == 1 => unknown,
        None => Estimate::exact(0.0),
    };
    // What a listing told of one state it told better.
    if half_open.syn_sent.is_empty() {
        half_open.syn_sent = piles_of(of(TcpState::SynSent), sent, Direction::Out);
    }
    if half_open.syn_recv.is_empty() {
        half_open.syn_recv = piles_of(of(TcpState::SynRecv), received, Direction::In);
    }
}

/// Sockets by number only.
#[derive(Clone, Copy)]
struct Waiting {
    /// In the half-open state in question.
    sockets: u64,
    /// In any state but LISTEN.
    connected: u64,
}

impl Waiting {
    fn new(states: &BTreeMap<SocketState, u64>, state: SocketState) -> Waiting {
        let connected = states.iter().filter(|(state, _)| **state != SocketState::Listen);
        Waiting {
            sockets: states.get(&state).copied().unwrap_or(0),
            connected: connected.map(|(_, n)| *n).sum(),
        }
    }

    /// Whether sockets of this host could stand behind so many entries.
    fn tells_of(&self, entries: f64) -> bool {
        self.connected as f64 >= entries * OWN_SHARE
    }
}

/// Listed entries and sockets known by number only: each socket stands behind one of the host's own entries (`way`)
/// or, beyond those, of those whose direction is not known.
fn by_number(piles: &mut BTreeMap<Direction, Pile>, waiting: Option<Waiting>, way: Direction) {
    let Some(waiting) = waiting else { return };
    let mut sockets = waiting.sockets as f64;
    for direction in [way, Direction::Unknown] {
        let Some(pile) = piles.get_mut(&direction) else {
            continue;
        };
        if direction == Direction::Unknown && !waiting.tells_of(pile.entries.value) {
            continue;
        }
        let live = sockets.min(pile.entries.value);
        sockets -= live;
        pile.live = Estimate::exact(live);
        pile.held = less(pile.entries, live);
        pile.unclear = Estimate::exact(0.0);
        pile.of_settled = None;
        pile.basis = Basis::Sockets;
    }
}

fn less(entries: Estimate, live: f64) -> Estimate {
    Estimate {
        value: entries.value - live,
        low: (entries.low - live).max(0.0),
        high: (entries.high - live).max(0.0),
    }
}

/// Each waiting socket has one of the entries, and tells its direction; the others have none. Without sockets that
/// could tell, nothing is known of any.
fn piles_of(entries: Estimate, waiting: Option<Waiting>, way: Direction) -> BTreeMap<Direction, Pile> {
    let known = waiting.filter(|waiting| entries.is_exact() && waiting.tells_of(entries.value));
    let live = known.map_or(0.0, |waiting| (waiting.sockets as f64).min(entries.value));
    let (basis, held) = match known {
        Some(_) => (Basis::Sockets, less(entries, live)),
        None => (Basis::Nothing, Estimate::default()),
    };
    let rest = less(entries, live);
    let answered_for = Pile {
        entries: Estimate::exact(live),
        live: Estimate::exact(live),
        basis,
        ..Pile::default()
    };
    let others = Pile {
        entries: rest,
        held,
        unclear: if known.is_some() {
            Estimate::default()
        } else {
            rest
        },
        basis,
        ..Pile::default()
    };
    [(way, answered_for), (Direction::Unknown, others)]
        .into_iter()
        .filter(|(_, pile)| pile.entries.high > 0.0)
        .collect()
}

fn rows(histogram: &Histogram, timeouts: &crate::model::Timeouts) -> Vec<StateRow> {
    let all = histogram.values().sum::<u64>().max(1) as f64;
    let row = |(state, count): (&TcpState, &u64)| {
        let entries = *count as f64;
        // Half-open entries are never ASSURED; of the others a histogram does not tell.
        let half_open = matches!(state, TcpState::SynSent | TcpState::SynRecv | TcpState::SynSent2);
        StateRow {
            proto: "tcp".to_string(),
            state: Some(state.name().to_string()),
            entries: Estimate::exact(entries),
            share: entries / all,
            timeout_s: timeouts.of_tcp(*state),
            evictable: Estimate {
                value: if half_open { entries } else { 0.0 },
                low: if half_open { entries } else { 0.0 },
                high: entries,
            },
            ..StateRow::default()
        }
    };
    histogram.iter().map(row).collect()
}
