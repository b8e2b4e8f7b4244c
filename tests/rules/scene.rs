//! Evidence made by hand, from a few figures: in code, or as the JSON of a fixture.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ctlens::diagnose::{FindingDoc, Report, diagnose};
use ctlens::evidence::{
    Evidence, HalfOpen, ListenQueue, NatUse, OneWay, OneWayWire, PortUse, Refuser, StaleNat, StateRow, Table,
    TapFacts, Unreachable, Way,
};
use ctlens::model::{Estimate, Flow, Gap, TcpState, Timer, Tuple};
use serde::Deserialize;

use crate::filter::{SceneRule, ruleset};
use crate::heap::{Heap, destinations, piles, socket};
use crate::lasts::{Lasts, lasting};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    pub at: String,
    pub queued: u32,
    pub backlog: u32,
    pub process: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    pub from: String,
    pub to: String,
    pub used: u64,
    pub range: u64,
    pub by_state: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wire {
    pub secs: f64,
    pub syn_acks_unseen: u64,
    pub unreachables: u64,
    pub syn_acks: u64,
    pub resets: u64,
    pub ways: Vec<SceneWay>,
    pub refusers: Vec<Refusing>,
}

/// SYN/ACKs of one sender.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SceneWay {
    pub source: String,
    pub arrives_on: String,
    pub route_by: Option<String>,
    pub rp_filter: Option<u64>,
    pub syn_acks: u64,
}

/// Ports that source NAT has in use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Translated {
    pub from: String,
    pub to: String,
    pub by_state: BTreeMap<String, u64>,
    pub range: Option<u64>,
    /// Which of `rules` gives it.
    pub rule: Option<usize>,
    pub new_per_s: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stale {
    pub entries: u64,
    pub renewed: u64,
    pub from: String,
    pub to: String,
    pub goes_to: String,
    pub should: String,
}

/// A place that refuses SYNs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Refusing {
    pub at: String,
    pub resets: u64,
    pub asked: u64,
    pub unreachables: u64,
    /// Absent: all of them.
    pub entered: Option<u64>,
    /// Who sent the ICMP errors, where it was not the place itself.
    pub sender: Option<String>,
    pub answered: u64,
    pub sources: u64,
    pub one_shot: f64,
    pub looped: u64,
    pub own: bool,
}

/// Connections seen in one direction; each by `address:port`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Halves {
    pub picked_up: u64,
    pub picked_up_from: BTreeMap<String, u64>,
    pub picked_up_to: BTreeMap<String, u64>,
    pub began: u64,
    pub went_on_to: BTreeMap<String, u64>,
    pub strays_from: BTreeMap<String, u64>,
    pub stray_clients: u64,
}

/// A host. [`Scene::default`] is a quiet one that was looked at in full.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scene {
    pub about: String,
    pub window_s: f64,
    pub count: Option<u64>,
    pub max: Option<u64>,
    pub buckets: Option<u64>,
    pub dumped: Option<u64>,
    pub sampled_of: Option<u64>,
    /// Entries by `tcp SYN_SENT`, `udp`, …
    pub states: BTreeMap<String, u64>,
    /// By `out`, `in`, `forward`, `unknown`.
    pub syn_sent: BTreeMap<String, Heap>,
    pub syn_recv: BTreeMap<String, Heap>,
    pub lasting: Lasts,
    /// Entries of all namespaces; absent: as many as `count`.
    pub host_entries: Option<u64>,
    pub syn_sent_sockets: Option<u64>,
    pub sockets_without_entry: Option<u64>,
    /// Sockets by `address:port` they want to go to.
    pub without_entry_to: BTreeMap<String, u64>,
    /// Beside the quiet host's, which are all 0.
    pub conntrack: BTreeMap<String, u64>,
    pub net: BTreeMap<String, i64>,
    pub sockets: BTreeMap<String, u64>,
    pub listeners: Vec<Queue>,
    pub ports: Vec<Ports>,
    pub tap: Option<Wire>,
    pub one_way: Halves,
    pub rules: Vec<SceneRule>,
    pub nat: Vec<Translated>,
    pub stale: Option<Stale>,
    pub kernel: Option<String>,
    pub settings: BTreeMap<String, String>,
    /// By TCP state.
    pub timeouts: BTreeMap<String, u32>,
    /// Sources that were refused.
    pub gaps: Vec<String>,
    /// Inputs that were not had at all: `table`, `states`, `half_open`, `lasting`, `host_entries`, `conntrack`, `net`,
    /// `sockets`, `listeners`, `ports`, `ruleset`, `nat`, `stale_nat`, `one_way`.
    pub absent: Vec<String>,
    pub expect: Expect,
}

/// What a fixture's verdict must be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    pub bottleneck: Option<String>,
    pub cause: Option<String>,
    pub trigger: Option<String>,
    pub place: Option<Vec<String>>,
    pub entries_explained: Option<f64>,
    /// Words that the finding's `because` has.
    pub says: Vec<String>,
}

const TIMEOUTS: [(&str, u32); 5] = [
    ("SYN_SENT", 120),
    ("SYN_RECV", 60),
    ("ESTABLISHED", 432_000),
    ("CLOSE_WAIT", 60),
    ("TIME_WAIT", 120),
];

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            about: String::new(),
            window_s: 2.0,
            count: Some(300),
            max: Some(262_144),
            buckets: Some(262_144),
            dumped: None,
            sampled_of: None,
            states: BTreeMap::new(),
            syn_sent: BTreeMap::new(),
            syn_recv: BTreeMap::new(),
            lasting: Lasts::default(),
            host_entries: None,
            syn_sent_sockets: Some(0),
            sockets_without_entry: Some(0),
            without_entry_to: BTreeMap::new(),
            one_way: Halves::default(),
            rules: Vec::new(),
            nat: Vec::new(),
            stale: None,
            kernel: Some("6.18.0".into()),
            conntrack: BTreeMap::new(),
            net: BTreeMap::new(),
            sockets: BTreeMap::new(),
            listeners: Vec::new(),
            ports: Vec::new(),
            tap: None,
            settings: BTreeMap::new(),
            timeouts: TIMEOUTS.map(|(state, secs)| (state.to_string(), secs)).into(),
            gaps: Vec::new(),
            absent: Vec::new(),
            expect: Expect::default(),
        }
    }
}

impl Scene {
    pub fn syn_sent(mut self, direction: &str, heap: Heap) -> Scene {
        self.syn_sent.insert(direction.into(), heap);
        self
    }

    pub fn syn_recv(mut self, direction: &str, heap: Heap) -> Scene {
        self.syn_recv.insert(direction.into(), heap);
        self
    }

    pub fn conntrack(mut self, name: &str, rise: u64) -> Scene {
        self.conntrack.insert(name.into(), rise);
        self
    }

    pub fn net(mut self, name: &str, rise: i64) -> Scene {
        self.net.insert(name.into(), rise);
        self
    }

    pub fn without(mut self, input: &str) -> Scene {
        self.absent.push(input.into());
        self
    }

    pub fn report(&self) -> Report {
        diagnose(&self.evidence())
    }

    pub fn evidence(&self) -> Evidence {
        let given = |name: &str| !self.absent.iter().any(|a| a == name);
        for name in &self.absent {
            assert!(INPUTS.contains(&name.as_str()), "no input is called {name}");
        }
        let mut out = Evidence {
            window_secs: self.window_s,
            table: given("table").then(|| self.table()),
            states: given("states").then(|| self.states()),
            half_open: given("half_open").then(|| HalfOpen {
                syn_sent: piles(&self.syn_sent),
                syn_recv: piles(&self.syn_recv),
                syn_sent_sockets: self.syn_sent_sockets,
                sockets_without_entry: self.sockets_without_entry,
                without_entry_to: destinations(&self.without_entry_to),
                ..HalfOpen::default()
            }),
            lasting: given("lasting").then(|| lasting(&self.lasting)),
            host_entries: self.host_entries.or(self.count).filter(|_| given("host_entries")),
            conntrack: given("conntrack").then(|| self.counters()),
            net: given("net").then(|| self.net_counters()),
            sockets: given("sockets").then(|| self.sockets.clone()),
            listeners: given("listeners").then(|| self.listeners.iter().map(queue).collect()),
            ports: given("ports").then(|| self.ports.iter().map(port_use).collect()),
            tap: self.tap.as_ref().map(|wire| TapFacts {
                secs: wire.secs,
                syn_acks_unseen_by_conntrack: wire.syn_acks_unseen,
                unreachables: wire.unreachables,
                syn_acks: wire.syn_acks,
                resets: wire.resets,
                ways: wire.ways.iter().map(way).collect(),
                refusers: Some(wire.refusers.iter().map(refuser).collect()),
                ..TapFacts::default()
            }),
            nat: given("nat").then(|| self.nat.iter().map(nat_use).collect()),
            stale_nat: given("stale_nat").then(|| self.stale.as_ref().map(stale)),
            one_way: given("one_way").then(|| one_way(&self.one_way, self.tap.is_some())),
            ruleset: given("ruleset").then(|| ruleset(&self.rules)),
            ..Evidence::default()
        };
        out.host.kernel = self.kernel.clone();
        out.settings.0 = self.settings.clone();
        out.timeouts.set(Timer::Udp, Some(30));
        for (state, secs) in &self.timeouts {
            let timer = TcpState::from_name(state).and_then(Timer::of_state);
            let timer = timer.unwrap_or_else(|| panic!("no TCP state is called {state}"));
            out.timeouts.set(timer, Some(*secs));
        }
        out.gaps = self
            .gaps
            .iter()
            .map(|source| Gap::new(source.as_str(), "not permitted", "run as root"))
            .collect();
        out
    }

    fn table(&self) -> Table {
        let fill = match (self.count, self.max) {
            (Some(count), Some(max)) if max > 0 => Some(count as f64 / max as f64),
            _ => None,
        };
        Table {
            count: self.count,
            max: self.max,
            buckets: self.buckets,
            fill,
            mean_chain: self
                .host_entries
                .or(self.count)
                .zip(self.buckets)
                .map(|(entries, buckets)| 2.0 * entries as f64 / buckets as f64),
            dumped: self.dumped.or(self.count),
            sampled_of: self.sampled_of,
            ..Table::default()
        }
    }

    fn states(&self) -> Vec<StateRow> {
        let all: u64 = self.states.values().sum();
        let row = |(name, entries): (&String, &u64)| {
            let (proto, state) = name
                .split_once(' ')
                .map_or((name.as_str(), None), |(p, s)| (p, Some(s)));
            StateRow {
                proto: proto.into(),
                state: state.map(str::to_string),
                entries: Estimate::exact(*entries as f64),
                share: *entries as f64 / all as f64,
                timeout_s: state.and_then(|s| self.timeouts.get(s)).copied(),
                ..StateRow::default()
            }
        };
        self.states.iter().map(row).collect()
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let names = [
            "found",
            "invalid",
            "insert_failed",
            "drop",
            "early_drop",
            "search_restart",
            "clash_resolve",
            "chaintoolong",
        ];
        for name in self.conntrack.keys() {
            assert!(names.contains(&name.as_str()), "no counter is called {name}");
        }
        names
            .map(|name| (name, self.conntrack.get(name).copied().unwrap_or(0)))
            .into()
    }

    fn net_counters(&self) -> BTreeMap<String, i64> {
        let names = [
            "TcpExt.ListenOverflows",
            "TcpExt.ListenDrops",
            "TcpExt.TCPReqQFullDrop",
            "TcpExt.SyncookiesSent",
            "Tcp.OutRsts",
            "TcpExt.IPReversePathFilter",
            "TcpExt.PAWSActive",
            "TcpExt.PAWSEstab",
            "TcpExt.PAWSTimewait",
            "Tcp.AttemptFails",
        ];
        let mut out: BTreeMap<String, i64> = names.map(|name| (name.to_string(), 0)).into();
        out.extend(self.net.clone());
        out
    }
}

pub const INPUTS: [&str; 14] = [
    "table",
    "states",
    "half_open",
    "lasting",
    "host_entries",
    "conntrack",
    "net",
    "sockets",
    "listeners",
    "ports",
    "ruleset",
    "nat",
    "stale_nat",
    "one_way",
];

/// The finding of one cause.
pub fn finding<'a>(report: &'a Report, cause: &str) -> &'a FindingDoc {
    report
        .findings
        .iter()
        .find(|f| f.name.name() == cause)
        .unwrap_or_else(|| panic!("no finding is called {cause}"))
}

/// `found`, `clear` or `unknown`.
pub fn state(report: &Report, cause: &str) -> String {
    let json = serde_json::to_value(finding(report, cause)).expect("a finding is plain data");
    json["state"].as_str().expect("a word").to_string()
}

/// `firewall / syn-sent-hold < backend-unresponsive`: bottleneck, cause, and what set it off.
pub fn short(report: &Report) -> String {
    let verdict = &report.verdict;
    let trigger = verdict
        .trigger
        .as_ref()
        .map_or(String::new(), |t| format!(" < {}", t.cause.name()));
    format!(
        "{} / {}{trigger}",
        verdict.bottleneck.name(),
        verdict.cause.name()
    )
}

fn way(given: &SceneWay) -> Way {
    Way {
        source: Some(given.source.parse().expect("an address")),
        arrives_on: given.arrives_on.clone(),
        route_by: given.route_by.clone(),
        rp_filter: given.rp_filter,
        syn_acks: given.syn_acks,
        syns: 0,
    }
}

fn nat_use(given: &Translated) -> NatUse {
    let (dst, dport) = socket(&given.to);
    let name = |state: &str| TcpState::from_name(state).map_or("no TCP state", TcpState::name);
    let closing = ["TIME_WAIT", "CLOSE"]
        .iter()
        .filter_map(|state| given.by_state.get(*state))
        .sum::<u64>();
    NatUse {
        proto: 6,
        snat: given.from.parse().expect("an address"),
        dst,
        dport,
        used: Estimate::exact(given.by_state.values().sum::<u64>() as f64),
        closing: Estimate::exact(closing as f64),
        by_state: given
            .by_state
            .iter()
            .map(|(state, n)| (name(state), *n))
            .collect(),
        range: given.range,
        rule: given.rule,
        new_per_s: given.new_per_s.map(Estimate::exact),
    }
}

fn stale(given: &Stale) -> StaleNat {
    let at = |text: &str| text.parse::<SocketAddr>().expect("address:port");
    let (from, to, goes_to) = (at(&given.from), at(&given.to), at(&given.goes_to));
    let orig = Tuple {
        src: from.ip(),
        dst: to.ip(),
        sport: from.port(),
        dport: to.port(),
    };
    let mut reply = orig.inverted();
    (reply.src, reply.sport) = (goes_to.ip(), goes_to.port());
    StaleNat {
        entries: Estimate::exact(given.entries as f64),
        renewed: Estimate::exact(given.renewed as f64),
        example: Flow {
            orig,
            reply,
            proto: 17,
            ..Flow::default()
        },
        goes_to,
        should_go_to: at(&given.should),
        rule: "udp dport 514 dnat".into(),
    }
}

fn queue(queue: &Queue) -> ListenQueue {
    let (addr, port) = socket(&queue.at);
    ListenQueue {
        addr,
        port,
        queued: queue.queued,
        backlog: Some(queue.backlog),
        process: queue.process.clone(),
    }
}

fn refuser(refusing: &Refusing) -> Refuser {
    let (addr, port) = socket(&refusing.at);
    let sender = refusing
        .sender
        .as_ref()
        .map_or(addr, |sender| sender.parse().expect("an address"));
    Refuser {
        addr,
        port,
        resets: refusing.resets,
        asked: refusing.asked,
        unreachables: refusing.unreachables,
        entered: refusing.entered.or(Some(refusing.unreachables)),
        says: (refusing.unreachables > 0).then_some(Unreachable {
            sender,
            icmp_type: 3,
            icmp_code: if sender == addr { 3 } else { 1 },
        }),
        answered: refusing.answered,
        sources: refusing.sources,
        one_shot: refusing.one_shot,
        looped: refusing.looped,
        own: refusing.own,
    }
}

fn one_way(halves: &Halves, tapped: bool) -> OneWay {
    let all = |counts: &BTreeMap<String, u64>| counts.values().sum();
    OneWay {
        picked_up: Estimate::exact(halves.picked_up as f64),
        picked_up_from: destinations(&halves.picked_up_from),
        picked_up_to: destinations(&halves.picked_up_to),
        wire: tapped.then(|| OneWayWire {
            began: halves.began,
            went_on: all(&halves.went_on_to),
            went_on_to: destinations(&halves.went_on_to),
            strays: all(&halves.strays_from),
            strays_from: destinations(&halves.strays_from),
            stray_clients: halves.stray_clients,
        }),
    }
}

fn port_use(ports: &Ports) -> PortUse {
    let (dst, dport) = socket(&ports.to);
    PortUse {
        src: ports.from.parse().expect("an address"),
        dst,
        dport,
        used: ports.used,
        reusable: 0,
        range: ports.range,
        by_state: ports.by_state.clone(),
    }
}
