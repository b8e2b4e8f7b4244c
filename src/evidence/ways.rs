//! Which interfaces packets come in on, beside the one that the route back to their sender uses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{Segment, SegmentKind};

/// Senders and interfaces remembered.
const MAX_PAIRS: usize = 4_096;
/// Senders that are looked up.
const MAX_ASKED: usize = 8;

/// Packets of one sender on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    pub source: Option<IpAddr>,
    /// The name of the interface they came in on.
    pub arrives_on: String,
    /// The name of the interface that the route back uses; absent where there is no route, or it is not known.
    pub route_by: Option<String>,
    /// `net.ipv4.conf.*.rp_filter` in force on the first: 1 is strict, 2 loose.
    pub rp_filter: Option<u64>,
    pub syn_acks: u64,
    pub syns: u64,
}

/// Counts packets by sender and interface, IPv4 only: IPv6 has no reverse path filter of its own.
#[derive(Default)]
pub struct Arrivals(BTreeMap<(IpAddr, u32), (u64, u64)>);

impl Arrivals {
    pub fn add(&mut self, segment: &Segment) {
        let key = (segment.tuple.src, segment.ifindex);
        if segment.tuple.src.is_ipv6() || self.0.len() >= MAX_PAIRS && !self.0.contains_key(&key) {
            return;
        }
        match segment.kind {
            SegmentKind::SynAck => self.0.entry(key).or_default().0 += 1,
            SegmentKind::Syn => self.0.entry(key).or_default().1 += 1,
            _ => {}
        }
    }

    /// Senders and interfaces with the most packets, those with SYN/ACKs first: (sender, interface, SYN/ACKs, SYNs).
    pub fn most(&self) -> Vec<(IpAddr, u32, u64, u64)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|((source, ifindex), (syn_acks, syns))| (*source, *ifindex, *syn_acks, *syns))
            .collect();
        // Stable: ties stay in the order of the addresses.
        all.sort_by_key(|(_, _, syn_acks, syns)| std::cmp::Reverse((*syn_acks, *syns)));
        all.truncate(MAX_ASKED);
        all
    }
}
