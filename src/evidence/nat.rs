//! Ports that source NAT has in use: one range for each translated address towards each destination.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::{HashMap, HashMapExt};

use super::arrivals::ARRIVAL_SECS;
use super::ruleset::RulesetFacts;
use super::sampling::Sample;
use super::translations::{FIRST_FREE, Serving, Translation, WHOLE_RANGE, serving, translations};
use crate::model::{Estimate, Flow, TcpState, proto};

/// Pairs of a translated address and a destination that are remembered: where there are more, those with few entries are
/// forgotten, and the others' bounds say so.
const MAX_PAIRS: usize = 16_384;
/// Pairs reported, fullest first.
const MAX_REPORTED: usize = 16;
/// Translated ports towards one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct NatUse {
    /// IP protocol number.
    pub proto: u8,
    /// The address that the destination sees.
    pub snat: IpAddr,
    pub dst: IpAddr,
    pub dport: u16,
    /// Entries, each with a port of its own.
    pub used: Estimate,
    /// Of these, what closes: since 6.12 a new connection may take such a port (nf_nat_used_tuple_harder).
    pub closing: Estimate,
    /// Of those looked at, by TCP state.
    pub by_state: BTreeMap<&'static str, u64>,
    /// Ports that the rules allow; absent where that is not known.
    pub range: Option<u64>,
    /// The rule that gives them, by its index in the ruleset.
    pub rule: Option<usize>,
    /// New entries each second, where ages tell.
    pub new_per_s: Option<Estimate>,
}

impl NatUse {
    pub fn place(&self) -> SocketAddr {
        SocketAddr::new(self.dst, self.dport)
    }
}

#[derive(Default)]
struct Tally {
    used: u64,
    /// Of these, the ones with a port that only source ports below 1024 get.
    low: u64,
    /// The lowest and the highest port.
    ports: (u16, u16),
    /// Entries that may have been forgotten before.
    missed: u64,
    young: u64,
    /// Of the entries whose age is known.
    oldest: u32,
    by_state: [u64; 10],
    stateless: u64,
}

type Pair = (u8, IpAddr, IpAddr, u16);

/// Folds entries as they stream by.
pub struct NatTally {
    pairs: HashMap<Pair, Tally>,
    /// The most entries of a pair that was forgotten.
    forgotten: u64,
}

impl Default for NatTally {
    fn default() -> NatTally {
        NatTally {
            pairs: HashMap::new(),
            forgotten: 0,
        }
    }
}

impl NatTally {
    pub fn add(&mut self, flow: &Flow, age_secs: Option<u32>) {
        // /proc/net/nf_conntrack tells no status: the tuples say it as well.
        let translated = (flow.reply.dst, flow.reply.dport) != (flow.orig.src, flow.orig.sport);
        if !translated || !matches!(flow.proto, proto::TCP | proto::UDP) {
            return;
        }
        let key = (flow.proto, flow.reply.dst, flow.reply.src, flow.reply.sport);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            self.forget_few();
        }
        let missed = self.forgotten;
        let tally = self.pairs.entry(key).or_insert_with(|| Tally {
            missed,
            ports: (u16::MAX, 0),
            ..Tally::default()
        });
        let port = flow.reply.dport;
        tally.used += 1;
        tally.low += u64::from(port < FIRST_FREE);
        tally.ports = (tally.ports.0.min(port), tally.ports.1.max(port));
        // Only these states have an age that tells when the entry came.
        let fresh = matches!(flow.tcp_state, Some(TcpState::SynSent | TcpState::SynRecv));
        if let Some(age) = age_secs.filter(|_| fresh) {
            tally.oldest = tally.oldest.max(age);
            tally.young += u64::from(u64::from(age) <= ARRIVAL_SECS);
        }
        match flow.tcp_state.filter(|_| flow.proto == proto::TCP) {
            Some(state) => tally.by_state[state as usize] += 1,
            None => tally.stateless += 1,
        }
    }

    /// The half with the fewest entries goes. They come in random order, so a pair with many is not among them.
    fn forget_few(&mut self) {
        let mut used: Vec<u64> = self.pairs.values().map(|tally| tally.used).collect();
        let middle = used.len() / 2;
        let (_, most, _) = used.select_nth_unstable(middle);
        let (most, mut forgotten) = (*most, self.forgotten);
        self.pairs.retain(|_, tally| {
            let stays = tally.used > most;
            if !stays {
                forgotten = forgotten.max(tally.used + tally.missed);
            }
            stays
        });
        self.forgotten = forgotten;
    }

    /// The fullest range first; ties by address.
    pub fn finish(self, sample: Sample, rules: Option<&RulesetFacts>) -> Vec<NatUse> {
        let rules: Option<Vec<Translation>> = rules.map(translations);
        let served = |(pair, tally): (Pair, Tally)| {
            let serving = rules
                .as_ref()
                .and_then(|rules| serving(rules, pair, tally.used, tally.ports));
            let share = tally.used as f64 / serving.as_ref().map_or(WHOLE_RANGE, |found| found.range) as f64;
            (share, pair, tally, serving)
        };
        let mut all: Vec<_> = self.pairs.into_iter().map(served).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(MAX_REPORTED);
        let reported = all.into_iter();
        reported
            .map(|(_, pair, tally, serving)| in_use(pair, &tally, serving, sample))
            .collect()
    }
}

fn in_use(pair: Pair, tally: &Tally, serving: Option<Serving>, sample: Sample) -> NatUse {
    let (proto, snat, dst, dport) = pair;
    let of = |state: TcpState| tally.by_state[state as usize];
    let closing = of(TcpState::TimeWait) + of(TcpState::Close) + of(TcpState::SynSent2);
    // Low ports are of another range.
    let low = match serving.as_ref().is_some_and(|found| found.whole) {
        true => tally.low,
        false => 0,
    };
    let used = sample.estimate(tally.used - low);
    let secs = ARRIVAL_SECS.min(tally.oldest.into()).max(1) as f64;
    let young = sample.estimate(tally.young);
    NatUse {
        proto,
        snat,
        dst,
        dport,
        used: Estimate {
            high: used
                .high
                .max(sample.estimate(tally.used - low + tally.missed).high),
            ..used
        },
        closing: sample.estimate(closing),
        new_per_s: (tally.young > 0).then(|| Estimate {
            value: young.value / secs,
            low: young.low / secs,
            high: young.high / secs,
        }),
        range: serving.as_ref().map(|found| found.range),
        rule: serving.map(|found| found.rule),
        by_state: named(tally),
    }
}

fn named(tally: &Tally) -> BTreeMap<&'static str, u64> {
    let states = TcpState::ALL
        .into_iter()
        .map(|state| (state.name(), tally.by_state[state as usize]));
    let all = states.chain([("no TCP state", tally.stateless)]);
    all.filter(|(_, entries)| *entries > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Engine, Family, FilterRule, Mapping, Match, Ruleset, Tuple};

    fn flow(dst: &str, port: u16) -> Flow {
        let orig = Tuple {
            src: "10.0.0.9".parse().unwrap(),
            dst: dst.parse().unwrap(),
            sport: 40_000 + port % 20_000,
            dport: 80,
        };
        let mut flow = Flow {
            orig,
            reply: orig.inverted(),
            proto: proto::TCP,
            tcp_state: Some(TcpState::SynSent),
            ..Flow::default()
        };
        (flow.reply.dst, flow.reply.dport) = ("192.0.2.1".parse().unwrap(), port);
        flow
    }

    fn masquerade(ports: Option<(u16, u16)>, what: Vec<Match>) -> FilterRule {
        let conditions = what.into_iter();
        FilterRule {
            engine: Engine::NfTables,
            family: Family::Ip,
            table: "nat".into(),
            chain: "post".into(),
            handle: Some(1),
            number: 1,
            when: conditions
                .map(|what| crate::model::Condition { not: false, what })
                .collect(),
            then: Action::Masquerade(Mapping {
                ports,
                ..Mapping::default()
            }),
            counter: None,
            text: String::new(),
        }
    }

    fn used(flows: impl IntoIterator<Item = Flow>, rules: Vec<FilterRule>) -> Vec<NatUse> {
        let mut tally = NatTally::default();
        let mut met = 0;
        for flow in flows {
            tally.add(&flow, Some(3));
            met += 1;
        }
        let ruleset = Ruleset {
            rules,
            ..Ruleset::default()
        };
        let facts = RulesetFacts::between(None, ruleset);
        tally.finish(Sample::all(met), Some(&facts))
    }

    fn ports(range: std::ops::Range<u16>) -> impl Iterator<Item = Flow> {
        range.map(|port| flow("10.9.1.3", port))
    }

    #[test]
    fn ports_are_counted_by_address_and_destination_and_ranges_come_from_rules() {
        let plain = ports(5000..5030).map(|mut flow| {
            flow.reply = flow.orig.inverted();
            flow
        });
        let got = used(
            ports(5000..5030).chain(plain),
            vec![masquerade(Some((5000, 5999)), vec![])],
        );
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].used.value, got[0].range), (30.0, Some(1000)));
        assert_eq!((got[0].by_state["SYN_SENT"], got[0].rule), (30, Some(0)));
        assert_eq!(got[0].new_per_s.map(|e| e.value), Some(10.0), "in 3 s");
    }

    #[test]
    fn the_fullest_range_comes_first_however_few_ports_it_has() {
        let busy = (0..6).flat_map(|n| (2000..2100).map(move |port| flow(&format!("10.9.2.{n}"), port)));
        let to_narrow = vec![Match::Destination("10.9.1.3".parse().unwrap(), 32)];
        let rules = vec![
            masquerade(Some((5000, 5049)), to_narrow),
            masquerade(None, vec![]),
        ];
        let got = used(busy.chain(ports(5000..5050)), rules);
        assert_eq!((got[0].used.value, got[0].range), (50.0, Some(50)));
        assert_eq!(got[1].range, Some(WHOLE_RANGE));
    }

    #[test]
    fn a_range_that_other_ports_than_its_own_are_from_is_not_the_one() {
        let perhaps = vec![Match::OutputInterface("eth1".into())];
        let rules = vec![masquerade(Some((5000, 5999)), perhaps), masquerade(None, vec![])];
        let range = |flows: std::ops::Range<u16>| used(ports(flows), rules.clone())[0].range;
        assert_eq!(range(5000..5200), Some(1000), "all of them lie there");
        assert_eq!(range(5900..6100), Some(WHOLE_RANGE));
        assert_eq!(range(5000..5005), None, "so few may lie there by chance");
    }

    #[test]
    fn low_ports_and_udp_have_ranges_of_their_own() {
        let got = used(ports(1000..1034), vec![masquerade(None, vec![])]);
        assert_eq!((got[0].used.value, got[0].range), (10.0, Some(WHOLE_RANGE)));
        let of_udp = vec![Match::Protocol(proto::UDP)];
        let udp = ports(5000..5040).map(|mut flow| {
            (flow.proto, flow.tcp_state) = (proto::UDP, None);
            flow
        });
        let rules = vec![masquerade(Some((5000, 5099)), of_udp), masquerade(None, vec![])];
        let got = used(udp.chain(ports(5000..5030)), rules);
        assert_eq!((got[0].proto, got[0].range), (proto::UDP, Some(100)));
        assert_eq!((got[1].proto, got[1].range), (proto::TCP, Some(WHOLE_RANGE)));
    }

    #[test]
    fn many_destinations_do_not_hide_a_full_one() {
        let one = |n: usize| {
            flow(
                &format!("10.{}.{}.{}", 20 + n / 62_500, n / 250 % 250, n % 250),
                2000,
            )
        };
        let scanned = (0..60_000).flat_map(|n| {
            let full = (n % 60 == 0).then(|| flow("10.9.1.3", 5000 + (n / 60) as u16));
            [Some(one(n)), full].into_iter().flatten()
        });
        let got = used(
            scanned,
            vec![masquerade(Some((5000, 5999)), vec![]), masquerade(None, vec![])],
        );
        assert_eq!((got[0].used.value, got[0].used.high), (1000.0, 1000.0));
        let late = (0..40_000).map(one).chain(ports(5000..5100));
        let got = used(late, vec![masquerade(None, vec![])]);
        assert_eq!(
            (got[0].used.value, got[0].used.high),
            (100.0, 102.0),
            "two may have been forgotten"
        );
    }
}
