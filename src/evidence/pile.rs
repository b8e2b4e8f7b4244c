//! Half-open entries of one TCP state and direction, tallied while they stream by.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use hdrhistogram::Histogram;

use super::arrivals::per_second;
use super::fate::{Fate, Fates};
use super::few::{End, crowd, top_share};
use super::{
    Destination, Direction, MAX_DESTINATIONS, Pile, SLOWEST_SECS, answered::Answered, sampling::Sample,
};
use crate::model::Flow;

/// Distinct sources, and distinct destinations, remembered per pile.
const MAX_ADDRESSES: usize = 16_384;
const LONGEST_AGE_SECS: u64 = 500_000;

/// What else a pile counts of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// So young that its answer may be about to come.
    pub under_way: bool,
    /// Both ends are this host.
    pub to_self: bool,
    /// Whether its SYN came again on the wire; `None`: no tap.
    pub insists: Option<bool>,
}

pub struct PileTally {
    entries: u64,
    under_way: u64,
    to_self: u64,
    insist: Option<u64>,
    fates: Fates,
    settled_fates: Fates,
    v6: u64,
    ages: Histogram<u32>,
    ages_known: u64,
    sources: HashMap<IpAddr, u32>,
    sources_capped: bool,
    destinations: HashMap<(IpAddr, u16), u64>,
    late_secs: f64,
}

impl Default for PileTally {
    fn default() -> PileTally {
        PileTally {
            entries: 0,
            under_way: 0,
            to_self: 0,
            insist: None,
            fates: Fates::default(),
            settled_fates: Fates::default(),
            v6: 0,
            ages: Histogram::new_with_bounds(1, LONGEST_AGE_SECS, 2).expect("constant bounds are valid"),
            ages_known: 0,
            sources: HashMap::new(),
            sources_capped: false,
            destinations: HashMap::new(),
            late_secs: 0.0,
        }
    }
}

impl PileTally {
    pub fn add(&mut self, flow: &Flow, age_secs: Option<u32>, marks: Marks, fate: Fate) {
        self.entries += 1;
        self.under_way += u64::from(marks.under_way);
        self.to_self += u64::from(marks.to_self);
        self.v6 += u64::from(flow.orig.src.is_ipv6());
        if let Some(age) = age_secs {
            self.ages_known += 1;
            self.ages.saturating_record(u64::from(age));
        }
        self.fates.add(fate);
        if let Some(insists) = marks.insists {
            *self.insist.get_or_insert(0) += u64::from(insists && !marks.under_way);
        }
        if !marks.under_way {
            self.settled_fates.add(fate);
            self.tally_ends(flow);
        }
    }

    /// A handshake under way, however many there are, is no reason to name its ends.
    fn tally_ends(&mut self, flow: &Flow) {
        if let Some(seen) = self.sources.get_mut(&flow.orig.src) {
            *seen += 1;
        } else if self.sources.len() < MAX_ADDRESSES {
            self.sources.insert(flow.orig.src, 1);
        } else {
            self.sources_capped = true;
        }
        // Behind DNAT it is not the address that the SYN was sent to which fails to answer.
        let key = (flow.reply.src, flow.reply.sport);
        if let Some(seen) = self.destinations.get_mut(&key) {
            *seen += 1;
        } else if self.destinations.len() < MAX_ADDRESSES {
            self.destinations.insert(key, 1);
        }
    }

    /// The source of more than half of the settled entries.
    pub fn largest_source(&self) -> Option<(IpAddr, u64)> {
        let settled = self.entries - self.under_way;
        let found = self.sources.iter().find(|(_, n)| u64::from(**n) * 2 > settled);
        found.map(|(addr, n)| (*addr, u64::from(*n)))
    }

    /// The pass took so much longer than ages were reckoned with.
    pub fn took_longer(&mut self, secs: f64) {
        self.late_secs = secs;
    }

    /// Entries that a socket answered for before the pass, but no longer after it; of these, the settled ones.
    pub fn gave_up_meanwhile(&mut self, entries: u64, settled: u64) {
        self.fates.gave_up_meanwhile(entries);
        self.settled_fates.gave_up_meanwhile(settled);
    }

    /// `new_sockets`: local sockets that appeared during the pass; one of them may have taken up an entry that
    /// counts as held.
    pub fn finish(mut self, sample: Sample, answered: &Answered, new_sockets: u64) -> Pile {
        self.fates.settle(self.late_secs);
        self.settled_fates.settle(self.late_secs);
        let entries = sample.estimate(self.entries);
        let spread = (
            self.ages.value_at_quantile(0.05),
            self.ages.value_at_quantile(0.95),
        );
        let (told, basis) = self.fates.finish(sample, self.entries, spread, new_sockets);
        let settled = self.entries - self.under_way;
        let (of_settled, _) = self.settled_fates.finish(sample, settled, spread, new_sockets);
        let one_shot = (!self.sources.is_empty())
            .then(|| self.sources.values().filter(|n| **n == 1).count() as f64 / self.sources.len() as f64);
        let new_per_s = (self.ages_known > 0).then(|| per_second(&self.ages, sample));
        let crowd = crowd(&self.sources, sample);
        let largest = largest(self.destinations);
        let by_all = largest.iter().map(|(end, _)| answered.by(end)).sum();
        let lately = largest.iter().map(|(end, _)| answered.lately_by(end)).sum();
        let old = self
            .ages
            .count_between(u64::from(SLOWEST_SECS) + 1, LONGEST_AGE_SECS);
        Pile {
            entries,
            settled: Some(sample.estimate(settled)),
            held: told.held,
            live: told.live,
            unclear: told.unclear,
            of_settled: Some(of_settled),
            basis,
            new_per_s,
            median_age_s: (self.ages_known > 0).then(|| self.ages.value_at_quantile(0.5) as u32),
            top_share: Some(top_share(&largest, settled, sample)),
            answered: Some(sample.estimate(by_all)),
            answered_lately: (self.ages_known > 0).then(|| sample.estimate(lately)),
            old: (self.ages_known > 0).then(|| sample.estimate(old)),
            insist: self.insist.map(|insist| sample.estimate(insist)),
            destinations: destinations(largest, answered, sample),
            sources: self.sources.len() as u64,
            sources_capped: self.sources_capped,
            one_shot,
            crowd,
            v6_share: self.v6 as f64 / self.entries.max(1) as f64,
            to_self: self.to_self as f64 / self.entries.max(1) as f64,
        }
    }
}

/// One pile for each direction that has entries. `new_sockets`: see [`PileTally::finish`]; they are of outgoing ones.
pub fn piles(
    tallies: [PileTally; 4],
    sample: Sample,
    answered: &Answered,
    new_sockets: u64,
) -> BTreeMap<Direction, Pile> {
    Direction::ALL
        .into_iter()
        .zip(tallies)
        .map(|(direction, tally)| {
            let new_sockets = if direction == Direction::Out {
                new_sockets
            } else {
                0
            };
            (direction, tally.finish(sample, answered, new_sockets))
        })
        .filter(|(_, pile)| pile.entries.high > 0.0 && pile.entries.value > 0.0)
        .collect()
}

fn largest(map: HashMap<End, u64>) -> Vec<(End, u64)> {
    let mut all: Vec<_> = map.into_iter().collect();
    all.sort_by(|(ka, a), (kb, b)| b.cmp(a).then(ka.cmp(kb)));
    all.truncate(MAX_DESTINATIONS);
    all
}

fn destinations(largest: Vec<(End, u64)>, answered: &Answered, sample: Sample) -> Vec<Destination> {
    let destination = |(end, entries): (End, u64)| Destination {
        addr: end.0,
        port: end.1,
        entries: sample.estimate(entries),
        answered: sample.estimate(answered.by(&end)).value as u64,
    };
    largest.into_iter().map(destination).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Basis;
    use super::super::schedule::Sender;
    use super::*;
    use crate::model::Estimate;

    fn tapped(age_secs: f64, repeated: bool) -> Fate {
        Fate::Tapped {
            sender: Sender::Syn,
            repeated,
            age_secs,
            tap_secs: 3.0,
            caught: 1.0,
        }
    }

    fn under_way(under_way: bool) -> Marks {
        Marks {
            under_way,
            ..Marks::default()
        }
    }

    fn pile(fates: impl IntoIterator<Item = (u32, Fate)>) -> Pile {
        let mut tally = PileTally::default();
        let mut count = 0;
        for (age, fate) in fates {
            count += 1;
            tally.add(&Flow::default(), Some(age), under_way(age <= 2), fate);
        }
        tally.finish(Sample::all(count), &Answered::default(), 0)
    }

    #[test]
    fn sockets_count_and_new_ones_widen_the_bound() {
        let mut tally = PileTally::default();
        for n in 0..100 {
            let fate = if n < 90 { Fate::Held } else { Fate::Live };
            tally.add(&Flow::default(), Some(20), under_way(false), fate);
        }
        tally.gave_up_meanwhile(2, 2);
        let got = tally.finish(Sample::all(100), &Answered::default(), 3);
        assert_eq!(
            got.held,
            Estimate {
                value: 90.0,
                low: 87.0,
                high: 90.0
            }
        );
        assert_eq!(
            (got.live.value, got.unclear.value, got.basis),
            (8.0, 2.0, Basis::Sockets)
        );
    }

    #[test]
    fn silence_of_young_entries_is_certain() {
        let got = pile((0..1000).map(|n| (2 + n % 5, tapped(f64::from(2 + n % 5), false))));
        assert_eq!(got.basis, Basis::Tap);
        assert!(got.held.low >= 990.0, "{got:?}");
        assert_eq!(got.live.low, 0.0);
    }

    #[test]
    fn repeats_of_all_mean_live() {
        let got = pile((0..600).map(|n| (2 + n % 5, tapped(f64::from(2 + n % 5), true))));
        assert!(got.live.low >= 590.0 && got.held.high <= 10.0, "{got:?}");
    }

    #[test]
    fn one_old_burst_is_not_decided_by_silence() {
        let got = pile((0..1000).map(|_| (25, tapped(24.5, false))));
        assert!(got.live.high > 900.0 && got.held.low < 100.0, "{got:?}");
    }

    #[test]
    fn ages_alone_are_likely_not_certain() {
        let got = pile((0..1000).map(|n| {
            (
                n % 120,
                Fate::Aged {
                    age_secs: f64::from(n % 120),
                },
            )
        }));
        assert_eq!(got.basis, Basis::Ages);
        assert!(got.held.value > 900.0 && got.held.low < 500.0, "{got:?}");
    }

    #[test]
    fn behind_nat_the_one_that_should_answer_is_named() {
        let mut flow = Flow::default();
        flow.orig.dst = "10.0.0.1".parse().unwrap();
        flow.orig.dport = 80;
        flow.reply.src = "10.1.0.7".parse().unwrap();
        flow.reply.sport = 8080;
        let mut tally = PileTally::default();
        tally.add(&flow, Some(20), under_way(false), Fate::Held);
        let mut answered = Answered::default();
        answered.add(&flow, None);
        let got = tally.finish(Sample::all(1), &answered, 0);
        assert_eq!(
            (got.destinations[0].label().as_str(), got.destinations[0].answered),
            ("10.1.0.7:8080", 1)
        );
    }

    #[test]
    fn the_old_and_the_insisting_are_counted_apart_from_those_answered_lately() {
        let mut tally = PileTally::default();
        let mut flow = Flow::default();
        flow.reply.sport = 80;
        for age in [1, 5, SLOWEST_SECS, SLOWEST_SECS + 1] {
            let marks = Marks {
                insists: Some(age <= 5),
                ..under_way(age <= 2)
            };
            tally.add(&flow, Some(age), marks, Fate::Held);
        }
        let mut answered = Answered::default();
        answered.add(&flow, Some(SLOWEST_SECS));
        answered.add(&flow, Some(SLOWEST_SECS + 1));
        answered.add(&flow, None);
        let got = tally.finish(Sample::all(4), &answered, 0);
        let exact = |count| Some(Estimate::exact(count));
        assert_eq!((got.old, got.insist), (exact(1.0), exact(1.0)));
        assert_eq!((got.answered, got.answered_lately), (exact(3.0), exact(1.0)));
    }

    #[test]
    fn arrivals_and_sources() {
        let mut tally = PileTally::default();
        for n in 0..1000u16 {
            let mut flow = Flow::default();
            flow.orig.src = std::net::Ipv4Addr::from(u32::from(n % 500)).into();
            flow.reply.sport = 80;
            tally.add(
                &flow,
                Some(u32::from(n % 100)),
                under_way(n % 100 <= 2),
                Fate::Held,
            );
        }
        let got = tally.finish(Sample::all(1000), &Answered::default(), 0);
        assert_eq!((got.sources, got.one_shot), (485, Some(0.0)));
        assert_eq!(got.destinations[0].entries.value, 970.0);
        assert_eq!(got.settled(), Estimate::exact(970.0));
        assert!(
            (got.new_per_s.unwrap().value - 11.0).abs() < 0.2,
            "{:?}",
            got.new_per_s
        );
    }

    #[test]
    fn handshakes_under_way_beside_a_pile_change_nothing_of_it() {
        let mut tally = PileTally::default();
        let to = |port: u16| Flow {
            reply: crate::model::Tuple {
                sport: port,
                ..Default::default()
            },
            ..Flow::default()
        };
        for _ in 0..600 {
            tally.add(&to(80), Some(20), under_way(false), Fate::Held);
            tally.add(&to(8080), Some(1), under_way(true), Fate::Live);
        }
        tally.gave_up_meanwhile(5, 0);
        let got = tally.finish(Sample::all(1200), &Answered::default(), 0);
        assert_eq!((got.held.value, got.live.value), (600.0, 595.0));
        let settled = got.of_settled();
        assert_eq!(
            (settled.held.value, settled.live.value, settled.unclear.value),
            (600.0, 0.0, 0.0)
        );
        let ports: Vec<u16> = got.destinations.iter().map(|d| d.port).collect();
        assert_eq!((ports, got.settled().value), (vec![80], 600.0));
    }
}
