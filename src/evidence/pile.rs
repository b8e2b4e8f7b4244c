//! Half-open entries of one TCP state and direction, tallied while they stream by.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};
use hdrhistogram::Histogram;

use super::schedule::{LAST_SYN_SECS, Sender, chance_of_repeat};
use super::{Basis, Destination, MAX_DESTINATIONS, Pile, sampling::Sample};
use crate::model::{Estimate, Flow};

/// Distinct sources, and distinct destinations, remembered per pile.
const MAX_ADDRESSES: usize = 16_384;
/// Arrivals per second are counted over the entries of at most this age.
const ARRIVAL_SECS: u32 = 10;
/// CTA_TIMEOUT is in whole seconds, and a repeat is due only after one: younger entries tell nothing.
const TOO_YOUNG_SECS: f64 = 1.0;
/// With ages alone: most applications give up a connect within this time.
const LIKELY_GIVEN_UP_SECS: f64 = 7.0;
/// So many entries whose live sender could not have hidden settle the question by themselves.
const ENOUGH_CERTAIN: u64 = 30;
const LONGEST_AGE_SECS: u64 = 500_000;

/// What is known of one entry's originator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Held,
    Live,
    Unclear,
    /// No socket can tell: a repeat was, or was not, seen on the wire.
    Tapped {
        sender: Sender,
        repeated: bool,
        /// At the end of the tap.
        age_secs: f64,
        tap_secs: f64,
    },
    /// Neither socket nor tap.
    Aged {
        age_secs: f64,
    },
}

#[derive(Default)]
struct Wire {
    seen: u64,
    certain: u64,
    certain_seen: u64,
    tellable: u64,
    blind: u64,
    chance_sum: f64,
    weight_sum: f64,
    weight_variance: f64,
}

#[derive(Default)]
struct Aged {
    surely_gone: u64,
    likely_gone: u64,
    likely_live: u64,
}

pub struct PileTally {
    entries: u64,
    held: u64,
    live: u64,
    unclear: u64,
    wire: Wire,
    aged: Aged,
    v6: u64,
    ages: Histogram<u32>,
    ages_known: u64,
    sources: HashMap<IpAddr, u32>,
    sources_capped: bool,
    destinations: HashMap<(IpAddr, u16), (u64, u64)>,
}

impl Default for PileTally {
    fn default() -> PileTally {
        PileTally {
            entries: 0,
            held: 0,
            live: 0,
            unclear: 0,
            wire: Wire::default(),
            aged: Aged::default(),
            v6: 0,
            ages: Histogram::new_with_bounds(1, LONGEST_AGE_SECS, 2).expect("constant bounds are valid"),
            ages_known: 0,
            sources: HashMap::new(),
            sources_capped: false,
            destinations: HashMap::new(),
        }
    }
}

impl PileTally {
    pub fn add(&mut self, flow: &Flow, age_secs: Option<u32>, fate: Fate) {
        self.entries += 1;
        self.v6 += u64::from(flow.orig.src.is_ipv6());
        if let Some(age) = age_secs {
            self.ages_known += 1;
            self.ages.saturating_record(u64::from(age));
        }
        match fate {
            Fate::Held => self.held += 1,
            Fate::Live => self.live += 1,
            Fate::Unclear => self.unclear += 1,
            Fate::Tapped {
                sender,
                repeated,
                age_secs,
                tap_secs,
            } => self.tapped(sender, repeated, age_secs, tap_secs),
            Fate::Aged { age_secs } => self.aged(age_secs),
        }
        if let Some(seen) = self.sources.get_mut(&flow.orig.src) {
            *seen += 1;
        } else if self.sources.len() < MAX_ADDRESSES {
            self.sources.insert(flow.orig.src, 1);
        } else {
            self.sources_capped = true;
        }
        let key = (flow.orig.dst, flow.orig.dport);
        if let Some(seen) = self.destinations.get_mut(&key) {
            seen.0 += 1;
        } else if self.destinations.len() < MAX_ADDRESSES {
            self.destinations.insert(key, (1, 0));
        }
    }

    /// An entry of a later state to a destination of this pile: it answers somebody.
    pub fn answered(&mut self, dst: IpAddr, dport: u16) {
        if let Some(seen) = self.destinations.get_mut(&(dst, dport)) {
            seen.1 += 1;
        }
    }

    /// Entries that a socket answered for before the pass, but no longer after it.
    pub fn gave_up_meanwhile(&mut self, entries: u64) {
        let moved = entries.min(self.live);
        self.live -= moved;
        self.unclear += moved;
    }

    fn tapped(&mut self, sender: Sender, repeated: bool, age_secs: f64, tap_secs: f64) {
        if age_secs <= TOO_YOUNG_SECS && !repeated {
            self.unclear += 1;
            return;
        }
        let chance = if repeated {
            chance_of_repeat(sender, age_secs, tap_secs).max(tap_secs / LAST_SYN_SECS)
        } else {
            chance_of_repeat(sender, age_secs, tap_secs)
        };
        let wire = &mut self.wire;
        if chance <= 0.0 {
            wire.blind += 1;
            return;
        }
        wire.tellable += 1;
        wire.chance_sum += chance;
        if chance >= 0.99 {
            wire.certain += 1;
            wire.certain_seen += u64::from(repeated);
        }
        if repeated {
            let weight = 1.0 / chance;
            wire.seen += 1;
            wire.weight_sum += weight;
            wire.weight_variance += weight * (weight - 1.0);
        }
    }

    fn aged(&mut self, age_secs: f64) {
        if age_secs > LAST_SYN_SECS {
            self.aged.surely_gone += 1;
        } else if age_secs > LIKELY_GIVEN_UP_SECS {
            self.aged.likely_gone += 1;
        } else if age_secs > TOO_YOUNG_SECS {
            self.aged.likely_live += 1;
        } else {
            self.unclear += 1;
        }
    }

    /// `new_sockets`: local sockets that appeared during the pass; one of them may have taken up an entry that
    /// counts as held.
    pub fn finish(self, sample: Sample, new_sockets: u64) -> Pile {
        let entries = sample.estimate(self.entries);
        let (held, live, basis) = self.fates(sample, entries, new_sockets);
        let one_shot = (!self.sources.is_empty())
            .then(|| self.sources.values().filter(|n| **n == 1).count() as f64 / self.sources.len() as f64);
        Pile {
            entries,
            held,
            live,
            unclear: sample.estimate(self.unclear),
            basis,
            new_per_s: self.arrivals(sample),
            median_age_s: (self.ages_known > 0).then(|| self.ages.value_at_quantile(0.5) as u32),
            destinations: destinations(self.destinations, sample),
            sources: self.sources.len() as u64,
            sources_capped: self.sources_capped,
            one_shot,
            v6_share: if self.entries == 0 {
                0.0
            } else {
                self.v6 as f64 / self.entries as f64
            },
        }
    }

    fn arrivals(&self, sample: Sample) -> Option<Estimate> {
        if self.ages_known == 0 {
            return None;
        }
        let secs = u64::from(ARRIVAL_SECS).min(self.ages.max()).max(1);
        let young = sample.estimate(self.ages.count_between(0, secs));
        let per = |n: f64| n / secs as f64;
        Some(Estimate {
            value: per(young.value),
            low: per(young.low),
            high: per(young.high),
        })
    }

    fn fates(&self, sample: Sample, entries: Estimate, new_sockets: u64) -> (Estimate, Estimate, Basis) {
        let zero = Estimate::exact(0.0);
        if self.held + self.live > 0 {
            let mut held = sample.estimate(self.held);
            held.low = (held.low - new_sockets as f64).max(0.0);
            return (held, sample.estimate(self.live), Basis::Sockets);
        }
        if self.wire.tellable + self.wire.blind > 0 {
            let (held, live) = self.wire_fates();
            return (
                scaled(held, self.entries, entries),
                scaled(live, self.entries, entries),
                Basis::Tap,
            );
        }
        let Aged {
            surely_gone,
            likely_gone,
            likely_live,
        } = self.aged;
        if surely_gone + likely_gone + likely_live == 0 {
            return (zero, zero, Basis::Nothing);
        }
        let held = Estimate {
            value: (surely_gone + likely_gone) as f64,
            low: surely_gone as f64,
            high: (surely_gone + likely_gone + likely_live) as f64,
        };
        let live = Estimate {
            value: likely_live as f64,
            low: 0.0,
            high: (likely_gone + likely_live) as f64,
        };
        (
            scaled(held, self.entries, entries),
            scaled(live, self.entries, entries),
            Basis::Ages,
        )
    }

    /// Each repeat stands for 1/chance live senders (Horvitz-Thompson); entries too old to repeat are taken to
    /// be live as often as the others, and may all be or not be.
    fn wire_fates(&self) -> (Estimate, Estimate) {
        let wire = &self.wire;
        let (tellable, blind) = (wire.tellable as f64, wire.blind as f64);
        if wire.tellable == 0 {
            let unknown = Estimate {
                value: 0.0,
                low: 0.0,
                high: blind,
            };
            return (
                Estimate {
                    value: blind,
                    low: 0.0,
                    high: blind,
                },
                unknown,
            );
        }
        let value = wire.weight_sum.min(tellable);
        let spread = 1.96 * wire.weight_variance.sqrt();
        let mean_chance = wire.chance_sum / tellable;
        let mut high = (value + spread).min(tellable);
        if wire.seen == 0 && wire.certain < wire.tellable {
            // The rule of three: none seen still allows 3 / chance.
            high = (3.0 / mean_chance).min((wire.tellable - wire.certain) as f64);
        }
        let mut low = (value - spread).max(wire.seen as f64).min(value);
        if wire.certain < ENOUGH_CERTAIN && self.all_of_one_age() {
            // One burst's repeats come, or do not come, all together.
            low = wire.seen as f64;
            high = tellable - (wire.certain - wire.certain_seen) as f64;
        }
        let ratio = |live: f64| live / tellable;
        let live = Estimate {
            value: value + blind * ratio(value),
            low: low + blind * ratio(low),
            high: high + blind * ratio(high).max(ratio(value)),
        };
        let all = tellable + blind;
        (
            Estimate {
                value: all - live.value,
                low: all - live.high,
                high: all - live.low,
            },
            live,
        )
    }

    fn all_of_one_age(&self) -> bool {
        let (young, old) = (
            self.ages.value_at_quantile(0.05),
            self.ages.value_at_quantile(0.95),
        );
        (old - young) as f64 <= (young as f64 / 2.0).max(2.0)
    }
}

fn scaled(part: Estimate, of: u64, to: Estimate) -> Estimate {
    let of = of.max(1) as f64;
    Estimate {
        value: part.value / of * to.value,
        low: part.low / of * to.low,
        high: (part.high / of * to.high).min(to.high),
    }
}

fn destinations(map: HashMap<(IpAddr, u16), (u64, u64)>, sample: Sample) -> Vec<Destination> {
    let mut all: Vec<_> = map.into_iter().collect();
    all.sort_by(|(ka, a), (kb, b)| b.0.cmp(&a.0).then(ka.cmp(kb)));
    all.truncate(MAX_DESTINATIONS);
    all.into_iter()
        .map(|((addr, port), (entries, answered))| Destination {
            addr,
            port,
            entries: sample.estimate(entries),
            answered,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tapped(age_secs: f64, repeated: bool) -> Fate {
        Fate::Tapped {
            sender: Sender::Syn,
            repeated,
            age_secs,
            tap_secs: 3.0,
        }
    }

    fn pile(fates: impl IntoIterator<Item = (u32, Fate)>) -> Pile {
        let mut tally = PileTally::default();
        let mut count = 0;
        for (age, fate) in fates {
            count += 1;
            tally.add(&Flow::default(), Some(age), fate);
        }
        tally.finish(Sample::all(count), 0)
    }

    #[test]
    fn sockets_count_and_new_ones_widen_the_bound() {
        let mut tally = PileTally::default();
        for n in 0..100 {
            let fate = if n < 90 { Fate::Held } else { Fate::Live };
            tally.add(&Flow::default(), Some(20), fate);
        }
        tally.gave_up_meanwhile(2);
        let got = tally.finish(Sample::all(100), 3);
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
    fn arrivals_and_sources() {
        let mut tally = PileTally::default();
        for n in 0..1000u16 {
            let mut flow = Flow::default();
            flow.orig.src = std::net::Ipv4Addr::from(u32::from(n % 500)).into();
            flow.orig.dport = 80;
            tally.add(&flow, Some(u32::from(n % 100)), Fate::Held);
        }
        let got = tally.finish(Sample::all(1000), 0);
        assert_eq!((got.sources, got.one_shot), (500, Some(0.0)));
        assert_eq!(got.destinations[0].entries.value, 1000.0);
        assert!(
            (got.new_per_s.unwrap().value - 11.0).abs() < 0.2,
            "{:?}",
            got.new_per_s
        );
    }
}
