//! Where the pile-up is one destination's: timeouts for its flows alone, which leave all others as they are.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::evidence::{Destination, Evidence, Pile};
use crate::model::{Target, Timer, proto};

/// Fewer are no trouble.
const PILE: f64 = 500.0;
/// So many destinations are named at most.
const MAX_TARGETS: usize = 3;
/// Those that are named have this share of all, or nobody is.
const TOGETHER: f64 = 0.8;
/// A resolver's client asks again after 5 s (resolv.conf(5), timeout): nobody waits for an answer for longer than twice that.
const DATAGRAM_SECS: u32 = 10;
/// RFC 4787 REQ-5 b lets mappings of these be shorter.
const WELL_KNOWN: u16 = 1024;

/// A destination in trouble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trouble {
    /// `tcp 10.9.1.3:80`
    pub to: String,
    /// The timeout by its name.
    pub timeout: &'static str,
    pub entries: f64,
    pub secs: u32,
    pub now_s: u32,
    #[serde(skip)]
    pub target: Target,
}

/// `syn_sent_secs`: the least that handshakes need; `now`: timeouts in force.
pub fn troubles(evidence: &Evidence, syn_sent_secs: u32) -> Vec<Trouble> {
    let half_open = evidence.half_open.as_ref();
    let syn_sent: Vec<&Pile> = half_open.into_iter().flat_map(|h| h.syn_sent.values()).collect();
    let udp: Vec<&Pile> = evidence
        .lasting
        .iter()
        .flat_map(|lasting| lasting.udp.values())
        .collect();
    let mut out = of(&syn_sent, proto::TCP, Timer::SynSent, evidence, &|_| {
        syn_sent_secs
    });
    out.extend(of(
        &udp,
        proto::UDP,
        Timer::Udp,
        evidence,
        &|destination| match destination.port < WELL_KNOWN {
            true => DATAGRAM_SECS,
            false => Timer::Udp.default_secs(),
        },
    ));
    out
}

fn of(
    piles: &[&Pile],
    number: u8,
    timer: Timer,
    evidence: &Evidence,
    least: &dyn Fn(&Destination) -> u32,
) -> Vec<Trouble> {
    let Some(now_s) = evidence.timeouts.get(timer) else {
        return Vec::new();
    };
    let all: f64 = piles.iter().map(|pile| pile.settled().value).sum();
    if all < PILE {
        return Vec::new();
    }
    let mut places: BTreeMap<(std::net::IpAddr, u16), (f64, &Destination)> = BTreeMap::new();
    for destination in piles.iter().flat_map(|pile| &pile.destinations) {
        let place = places
            .entry((destination.addr, destination.port))
            .or_insert((0.0, destination));
        place.0 += destination.entries.value;
    }
    let mut places: Vec<(f64, &Destination)> = places.into_values().collect();
    places.sort_by(|(a, x), (b, y)| b.total_cmp(a).then((x.addr, x.port).cmp(&(y.addr, y.port))));
    let named = places.iter().take(MAX_TARGETS).scan(0.0, |sum, place| {
        // What comes after enough of them adds nothing.
        let before = *sum;
        *sum += place.0;
        (before < TOGETHER * all).then_some(*place)
    });
    let named: Vec<(f64, &Destination)> = named.collect();
    if named.iter().map(|(entries, _)| entries).sum::<f64>() < TOGETHER * all {
        return Vec::new();
    }
    let trouble = |(entries, destination): (f64, &Destination)| {
        let secs = least(destination);
        (secs < now_s).then(|| Trouble {
            to: format!("{} {}", proto::name(number).unwrap_or("?"), destination.label()),
            timeout: timer.name(),
            entries,
            secs,
            now_s,
            target: Target {
                proto: number,
                dst: destination.addr,
                dport: Some(destination.port),
                timeouts: BTreeMap::from([(timer, secs)]),
            },
        })
    };
    named.into_iter().filter_map(trouble).collect()
}
