//! SYNs that came in and left no trace: the ruleset dropped them before they were confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::{HashSet, HashSetExt};

use super::{Destination, MAX_DESTINATIONS, TapLog, Vanished};
use crate::model::{Estimate, Flow, Tuple};

/// Where sockets without an entry want to go, most of them first.
pub fn wanted<'a>(sockets: impl Iterator<Item = &'a Tuple>) -> Vec<Destination> {
    let mut places: BTreeMap<(IpAddr, u16), u64> = BTreeMap::new();
    for tuple in sockets {
        *places.entry((tuple.dst, tuple.dport)).or_default() += 1;
    }
    let mut out: Vec<Destination> = places
        .into_iter()
        .map(|((addr, port), sockets)| Destination {
            addr,
            port,
            entries: Estimate::exact(sockets as f64),
            answered: 0,
        })
        .collect();
    out.sort_by(|a, b| b.entries.value.total_cmp(&a.entries.value));
    out.truncate(MAX_DESTINATIONS);
    out
}

/// What became of the SYN_SENT sockets during the pass.
#[derive(Default)]
pub struct Meanwhile {
    pub gave_up: u64,
    pub gave_up_settled: u64,
    pub new_sockets: u64,
    /// Waited all along, and have no entry.
    pub without_entry: Option<u64>,
    pub without_entry_to: Vec<Destination>,
}

/// Which of the tapped SYNs have an entry. It grows with the tap, which is bounded.
pub struct Entered(HashSet<Tuple>);

impl Default for Entered {
    fn default() -> Entered {
        Entered(HashSet::new())
    }
}

impl Entered {
    pub fn add(&mut self, flow: &Flow, tap: &TapLog) {
        if tap.syns_of(&flow.orig) > 0 {
            self.0.insert(flow.orig);
        }
    }

    /// The SYNs without an entry and without a RST, by where they went.
    pub fn vanished(&self, tap: &TapLog, own: impl Fn(&IpAddr) -> bool) -> Vec<Vanished> {
        let mut places: BTreeMap<(IpAddr, u16), (u64, u64, BTreeSet<IpAddr>)> = BTreeMap::new();
        for (tuple, times) in tap.syns() {
            if self.0.contains(tuple) || tap.was_reset(tuple) {
                continue;
            }
            let (attempts, repeated, sources) = places.entry((tuple.dst, tuple.dport)).or_default();
            *attempts += 1;
            *repeated += u64::from(times > 1);
            sources.insert(tuple.src);
        }
        let mut out: Vec<Vanished> = places
            .into_iter()
            .map(|((addr, port), (attempts, repeated, sources))| Vanished {
                addr,
                port,
                attempts,
                repeated,
                sources: sources.len() as u64,
                local: own(&addr),
            })
            .collect();
        // Stable: ties stay in the order of the addresses.
        out.sort_by_key(|place| std::cmp::Reverse(place.attempts));
        out.truncate(MAX_DESTINATIONS);
        out
    }
}
