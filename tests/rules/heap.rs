//! A pile of half-open entries made by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ctlens::evidence::{Basis, Destination, Direction, Pile};
use ctlens::model::Estimate;
use serde::Deserialize;

/// `6248`, or `[value, low, high]` of a sample.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Figure {
    Exact(f64),
    Bounds([f64; 3]),
}

impl Default for Figure {
    fn default() -> Figure {
        Figure::Exact(0.0)
    }
}

impl Figure {
    pub fn estimate(self) -> Estimate {
        match self {
            Figure::Exact(value) => Estimate::exact(value),
            Figure::Bounds([value, low, high]) => Estimate { value, low, high },
        }
    }
}

/// Half-open entries of one state and direction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heap {
    pub entries: Figure,
    pub held: Figure,
    pub live: Figure,
    pub unclear: Figure,
    pub basis: String,
    pub new_per_s: Option<Figure>,
    /// Entries by `address:port`.
    pub to: BTreeMap<String, Figure>,
    /// Entries in later states, by the same.
    pub answered: BTreeMap<String, u64>,
    /// … touched within seconds.
    pub answered_lately: Option<Figure>,
    pub old: Option<Figure>,
    pub insist: Option<Figure>,
    pub sources: u64,
    pub one_shot: Option<f64>,
    pub v6_share: f64,
    pub to_self: f64,
}

/// `entries` towards one place, with what is known of them.
pub fn heap(entries: f64, held: f64, live: f64, basis: &str, place: &str) -> Heap {
    Heap {
        entries: Figure::Exact(entries),
        held: Figure::Exact(held),
        live: Figure::Exact(live),
        unclear: Figure::Exact(entries - held - live),
        basis: basis.into(),
        to: [(place.to_string(), Figure::Exact(entries))].into(),
        sources: 1,
        one_shot: Some(0.0),
        ..Heap::default()
    }
}

pub fn piles(heaps: &BTreeMap<String, Heap>) -> BTreeMap<Direction, Pile> {
    heaps
        .iter()
        .map(|(name, heap)| (direction(name), pile(heap)))
        .collect()
}

fn direction(name: &str) -> Direction {
    match name {
        "out" => Direction::Out,
        "in" => Direction::In,
        "forward" => Direction::Forward,
        "unknown" => Direction::Unknown,
        _ => panic!("no direction is called {name}"),
    }
}

pub fn pile(heap: &Heap) -> Pile {
    let mut destinations: Vec<Destination> = heap
        .to
        .iter()
        .map(|(place, entries)| {
            let (addr, port) = socket(place);
            let answered = heap.answered.get(place).copied().unwrap_or(0);
            Destination {
                addr,
                port,
                entries: entries.estimate(),
                answered,
            }
        })
        .collect();
    destinations.sort_by(|a, b| b.entries.value.total_cmp(&a.entries.value));
    Pile {
        entries: heap.entries.estimate(),
        held: heap.held.estimate(),
        live: heap.live.estimate(),
        unclear: heap.unclear.estimate(),
        basis: match heap.basis.as_str() {
            "sockets" => Basis::Sockets,
            "tap" => Basis::Tap,
            "ages" => Basis::Ages,
            "" | "nothing" => Basis::Nothing,
            other => panic!("no basis is called {other}"),
        },
        new_per_s: heap.new_per_s.map(Figure::estimate),
        destinations,
        answered_lately: heap.answered_lately.map(Figure::estimate),
        old: heap.old.map(Figure::estimate),
        insist: heap.insist.map(Figure::estimate),
        sources: heap.sources,
        one_shot: heap.one_shot,
        v6_share: heap.v6_share,
        to_self: heap.to_self,
        ..Pile::default()
    }
}

pub fn socket(text: &str) -> (IpAddr, u16) {
    let parsed: SocketAddr = text
        .parse()
        .unwrap_or_else(|_| panic!("{text} is no address:port"));
    (parsed.ip(), parsed.port())
}

/// Plain counts by `address:port`, largest first.
pub fn destinations(counts: &BTreeMap<String, u64>) -> Vec<Destination> {
    let mut out: Vec<Destination> = counts
        .iter()
        .map(|(place, entries)| {
            let (addr, port) = socket(place);
            Destination {
                addr,
                port,
                entries: Estimate::exact(*entries as f64),
                answered: 0,
            }
        })
        .collect();
    out.sort_by(|a, b| b.entries.value.total_cmp(&a.entries.value));
    out
}
