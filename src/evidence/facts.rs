//! What snapshots imply, as plain figures that rules read and reports show. Absent is `None`, never 0.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::{Lasting, NatUse, OneWay, Refuser, RulesetFacts, StaleNat, Way};
use crate::model::{Estimate, Gap, Host, LogFacts, Moment, Process, Settings, TcpState, Timeouts};

/// All that a rule may look at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub host: Host,
    /// When the window ended; absent for pasted text.
    pub taken: Option<Moment>,
    /// Seconds between the two readings of the counters; 0 = totals since boot.
    pub window_secs: f64,
    pub table: Option<Table>,
    /// One row per protocol and TCP state that has entries, TCP first, in the kernel's order.
    pub states: Option<Vec<StateRow>>,
    pub half_open: Option<HalfOpen>,
    /// Entries that outlive their connections.
    pub lasting: Option<Lasting>,
    /// Entries of all namespaces, which share the hash.
    pub host_entries: Option<u64>,
    /// Bytes of memory for an entry, without its extensions.
    pub entry_bytes: Option<f64>,
    /// Conntrack's counters: differences over the window, or totals where it is 0.
    pub conntrack: Option<BTreeMap<&'static str, u64>>,
    /// /proc/net/{netstat,snmp} by `Group.Name`: differences over the window, or totals where it is 0.
    pub net: Option<BTreeMap<String, i64>>,
    /// Sockets by state name, from inet_diag or a pasted histogram.
    pub sockets: Option<BTreeMap<String, u64>>,
    pub listeners: Option<Vec<ListenQueue>>,
    pub ports: Option<Vec<PortUse>>,
    pub tap: Option<TapFacts>,
    /// Ports in use by source NAT, fullest destination first; absent where the table was not read.
    pub nat: Option<Vec<NatUse>>,
    /// Unreplied entries that today's rules would map elsewhere; absent where table or rules were not read.
    pub stale_nat: Option<Option<StaleNat>>,
    /// Connections of which this host sees one direction only.
    pub one_way: Option<OneWay>,
    /// The packet filter's rules; absent where they were not read.
    pub ruleset: Option<RulesetFacts>,
    pub settings: Settings,
    pub timeouts: Timeouts,
    /// What pasted log lines told.
    pub log: Option<LogFacts>,
    /// Pasted settings that do nothing, or harm.
    pub dead_settings: Vec<DeadSetting>,
    /// All of it comes from pasted text: no window, no tap, and nothing of one moment.
    pub pasted: bool,
    /// The table is empty, and whether any rule tracks connections could not be told: it says nothing then.
    pub tracking_unknown: bool,
    pub gaps: Vec<Gap>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// `nf_conntrack_count`, expired entries not yet collected included.
    pub count: Option<u64>,
    pub max: Option<u64>,
    pub buckets: Option<u64>,
    /// count / max.
    pub fill: Option<f64>,
    /// Mean entries per bucket that a lookup walks: 2 × host entries / buckets (own count where the host's is not known).
    pub mean_chain: Option<f64>,
    /// Entries really looked at.
    pub dumped: Option<u64>,
    /// Set where `dumped` is a sample of so many, expired entries included.
    pub sampled_of: Option<u64>,
    /// Entries of `sampled_of` that had expired; absent where every entry was read.
    #[serde(serialize_with = "serialize_estimate_option")]
    pub expired: Option<Estimate>,
    /// `ctnetlink`, `procfs` or `pasted`.
    pub source: Option<&'static str>,
    /// Met twice and counted once; absent where there was no pass.
    pub duplicates: Option<u64>,
    /// Not decodable; absent where there was no pass.
    pub malformed: Option<u64>,
}

/// One row of `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StateRow {
    /// `tcp`, `udp`, …
    pub proto: String,
    /// TCP only.
    pub state: Option<String>,
    #[serde(serialize_with = "serialize_estimate")]
    pub entries: Estimate,
    /// Of all entries, 0 to 1.
    pub share: f64,
    /// The timeout in force for new entries, seconds.
    pub timeout_s: Option<u32>,
    /// Entries entering the state per second, where ages can be told.
    #[serde(serialize_with = "serialize_estimate_option")]
    pub new_per_s: Option<Estimate>,
    /// Seconds since the timeout was last set, where that can be told: the age in states that nothing renews.
    pub oldest_s: Option<u32>,
    pub median_s: Option<u32>,
    /// True in a sample: there may be older ones.
    pub oldest_at_least: bool,
    /// Not ASSURED: may go by early_drop when the table is full.
    #[serde(serialize_with = "serialize_estimate")]
    pub evictable: Estimate,
}

impl StateRow {
    /// The state, or the protocol where that has none.
    pub fn name(&self) -> &str {
        self.state.as_deref().unwrap_or(&self.proto)
    }

    /// Most entries first.
    pub fn by_entries(rows: Option<&[StateRow]>) -> Vec<&StateRow> {
        let mut rows: Vec<&StateRow> = rows.into_iter().flatten().collect();
        rows.sort_by(|a, b| b.entries.value.total_cmp(&a.entries.value));
        rows
    }
}

/// Which way a half-open entry's SYN went, seen from this namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A local address sent the SYN.
    Out,
    /// A local address was to answer it.
    In,
    /// Neither end is local.
    Forward,
    /// Local addresses are not all known, or a histogram was pasted.
    Unknown,
}

impl Direction {
    pub const ALL: [Direction; 4] = [
        Direction::Out,
        Direction::In,
        Direction::Forward,
        Direction::Unknown,
    ];
}

/// What tells held entries from live ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Joined with this namespace's sockets.
    Sockets,
    /// Retransmissions seen, or missing, on the wire.
    Tap,
    /// Only the entries' ages.
    Ages,
    #[default]
    Nothing,
}

/// Half-open entries of one TCP state and direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pile {
    pub entries: Estimate,
    /// Of these, the ones older than a handshake takes; `None`: nothing tells, so all of them.
    pub settled: Option<Estimate>,
    /// Whose originator (SYN_RECV: whose half-open peer) is gone.
    pub held: Estimate,
    pub live: Estimate,
    /// Younger than the reading took, or changed during it: neither.
    pub unclear: Estimate,
    /// The three of the settled entries alone; `None`: nothing tells these apart, so all.
    pub of_settled: Option<Told>,
    pub basis: Basis,
    pub new_per_s: Option<Estimate>,
    pub median_age_s: Option<u32>,
    /// Who is to answer the settled ones, after DNAT, largest first, at most [`MAX_DESTINATIONS`].
    pub destinations: Vec<Destination>,
    /// Distinct source addresses among the settled entries looked at; a lower bound when `sources_capped`.
    pub sources: u64,
    pub sources_capped: bool,
    /// Share of the sources that have just one entry, 0 to 1; of those looked at.
    pub one_shot: Option<f64>,
    /// The two for the whole table; `None`: all were looked at.
    pub crowd: Option<Crowd>,
    /// The share of the settled entries that `destinations` take; `None`: their sum.
    pub top_share: Option<Estimate>,
    /// Entries of later states to `destinations`; `None`: their sum.
    pub answered: Option<Estimate>,
    /// Of these, the ones that a packet touched within [`SLOWEST_SECS`]; `None`: nothing tells.
    pub answered_lately: Option<Estimate>,
    /// Entries that nothing touched for longer than [`SLOWEST_SECS`]; `None`: nothing tells.
    pub old: Option<Estimate>,
    /// Settled entries whose SYN came again on the wire; `None`: no tap.
    pub insist: Option<Estimate>,
    /// IPv6 among the entries looked at, 0 to 1.
    pub v6_share: f64,
    /// Outgoing ones whose other end is this host too, 0 to 1.
    pub to_self: f64,
}

/// Who sends a pile's SYNs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    pub sources: Estimate,
    /// Share of them with just one entry.
    pub one_shot: Estimate,
}

impl Pile {
    /// Entries that are no handshakes under way, as far as anybody can tell.
    pub fn settled(&self) -> Estimate {
        self.settled.unwrap_or(self.entries)
    }

    /// What is told of these: a handshake under way may well have a socket, and says nothing of who fails.
    pub fn of_settled(&self) -> Told {
        self.of_settled.unwrap_or(Told {
            held: self.held,
            live: self.live,
            unclear: self.unclear,
        })
    }
}

/// Entries by what is known of their originators.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    pub held: Estimate,
    pub live: Estimate,
    pub unclear: Estimate,
}

pub const MAX_DESTINATIONS: usize = 10;
/// No handshake that somebody waits for takes longer: three SYNs of RFC 6298's schedule (0, 1 and 3 s), and a slow way.
pub const SLOWEST_SECS: u32 = 10;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Destination {
    pub addr: IpAddr,
    pub port: u16,
    #[serde(serialize_with = "serialize_estimate")]
    pub entries: Estimate,
    /// Entries to it in any later TCP state: it answers somebody.
    pub answered: u64,
}

impl Destination {
    /// `10.9.1.3:80`, `[fd00::3]:80`.
    pub fn label(&self) -> String {
        std::net::SocketAddr::new(self.addr, self.port).to_string()
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HalfOpen {
    pub syn_sent: BTreeMap<Direction, Pile>,
    pub syn_recv: BTreeMap<Direction, Pile>,
    /// Local sockets in SYN_SENT, whether or not they have an entry.
    pub syn_sent_sockets: Option<u64>,
    /// Of those, the ones without an entry: their SYN never got out, or nothing tracks it.
    pub sockets_without_entry: Option<u64>,
    /// Where most of these want to go, at most [`MAX_DESTINATIONS`].
    pub without_entry_to: Vec<Destination>,
    /// Local request sockets in SYN_RECV.
    pub syn_recv_sockets: Option<u64>,
    /// Who owns the live SYN_SENT sockets: (process, uid, sockets), most first.
    pub owners: Vec<(Option<Process>, u32, u64)>,
}

impl HalfOpen {
    /// All piles of one state.
    pub fn of(&self, state: TcpState) -> &BTreeMap<Direction, Pile> {
        if state == TcpState::SynRecv {
            &self.syn_recv
        } else {
            &self.syn_sent
        }
    }

    /// Of both states.
    pub fn piles(&self) -> impl Iterator<Item = &Pile> + Clone {
        self.syn_sent.values().chain(self.syn_recv.values())
    }

    /// Held, live, or neither, of both states; `None`: nothing told any of them apart.
    pub fn told(&self) -> Option<Told> {
        let told = |of: fn(&Pile) -> Estimate| Estimate::sum_at_worst(self.piles().map(of));
        let known = self
            .piles()
            .all(|pile| pile.basis != Basis::Nothing || pile.entries.value == 0.0);
        known.then(|| Told {
            held: told(|pile| pile.held),
            live: told(|pile| pile.live),
            unclear: told(|pile| pile.unclear),
        })
    }
}

/// A listening socket's accept queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenQueue {
    pub addr: IpAddr,
    pub port: u16,
    pub queued: u32,
    /// Not told by /proc/net/tcp.
    pub backlog: Option<u32>,
    pub process: Option<String>,
}

/// Local ports in use towards one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct PortUse {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub dport: u16,
    /// Distinct local ports in use that a new connect() cannot take.
    pub used: u64,
    /// TIME_WAIT ports that tcp_tw_reuse lets a new connect() take.
    pub reusable: u64,
    /// Ports that ip_local_port_range less ip_local_reserved_ports gives.
    pub range: u64,
    /// Of `used`, by socket state name.
    pub by_state: BTreeMap<String, u64>,
}

/// What the tap saw in its window, incoming packets only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TapFacts {
    pub secs: f64,
    pub segments: u64,
    /// Packets lost for want of buffer.
    pub lost: u64,
    pub syns: u64,
    /// SYNs whose tuple was seen before in the window.
    pub syn_retransmits: u64,
    pub syn_acks: u64,
    pub syn_ack_retransmits: u64,
    /// SYN/ACKs for a tuple that the table still has in SYN_SENT.
    pub syn_acks_unseen_by_conntrack: u64,
    pub unreachables: u64,
    /// RSTs that came in.
    pub resets: u64,
    /// Where SYNs went that came in and have neither an entry nor a RST, largest first, at most [`MAX_DESTINATIONS`];
    /// absent where the table was not read whole.
    pub vanished: Option<Vec<Vanished>>,
    /// Who sends on which interface, where the reverse path filter dropped something in the window.
    pub ways: Vec<Way>,
    /// Who refuses, most first, at most [`MAX_DESTINATIONS`]; absent where the table was not read.
    pub refusers: Option<Vec<Refuser>>,
}

/// SYNs that came in to one place and left no trace in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Vanished {
    pub addr: IpAddr,
    pub port: u16,
    /// Distinct tuples.
    pub attempts: u64,
    /// Of these, the ones whose SYN came again.
    pub repeated: u64,
    pub sources: u64,
    /// The address is this host's own.
    pub local: bool,
}

/// A setting that does nothing, or harm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadSetting {
    /// The file it stands in.
    pub file: String,
    pub name: String,
    pub value: String,
    /// Why it is dead, in a sentence.
    pub why: String,
}

fn serialize_estimate<S: serde::Serializer>(e: &Estimate, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Doc {
        value: f64,
        low: f64,
        high: f64,
    }
    Doc {
        value: e.value,
        low: e.low,
        high: e.high,
    }
    .serialize(s)
}

fn serialize_estimate_option<S: serde::Serializer>(e: &Option<Estimate>, s: S) -> Result<S::Ok, S::Error> {
    match e {
        Some(e) => serialize_estimate(e, s),
        None => s.serialize_none(),
    }
}
