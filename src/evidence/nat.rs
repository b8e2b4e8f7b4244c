//! Ports that source NAT has in use: one range for each translated address towards each destination.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::{HashMap, HashMapExt};

use super::arrivals::ARRIVAL_SECS;
use super::meets::{Meets, Packets, meets};
use super::ruleset::RulesetFacts;
use super::sampling::Sample;
use crate::model::{Estimate, Flow, TcpState, proto};

/// Pairs of a translated address and a destination that are remembered. Entries come in random order, so those that
/// matter come early.
const MAX_PAIRS: usize = 16_384;
/// Pairs reported, fullest first.
const MAX_REPORTED: usize = 5;
/// What is left of 16 bits where no rule names a range: nf_nat_l4proto_unique_tuple() searches 1024 to 65535 for source
/// ports that are not below 1024.
const WHOLE_RANGE: u64 = 64_512;

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
    young: u64,
    by_state: [u64; 10],
    stateless: u64,
}

/// Folds entries as they stream by.
pub struct NatTally(HashMap<(u8, IpAddr, IpAddr, u16), Tally>);

impl Default for NatTally {
    fn default() -> NatTally {
        NatTally(HashMap::new())
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
        if self.0.len() >= MAX_PAIRS && !self.0.contains_key(&key) {
            return;
        }
        let tally = self.0.entry(key).or_default();
        tally.used += 1;
        // Only these states have an age that tells when the entry came.
        let fresh = matches!(flow.tcp_state, Some(TcpState::SynSent | TcpState::SynRecv));
        tally.young += u64::from(fresh && age_secs.is_some_and(|age| u64::from(age) <= ARRIVAL_SECS));
        match flow.tcp_state.filter(|_| flow.proto == proto::TCP) {
            Some(state) => tally.by_state[state as usize] += 1,
            None => tally.stateless += 1,
        }
    }

    /// Fullest first; ties by address.
    pub fn finish(self, sample: Sample, rules: Option<&RulesetFacts>) -> Vec<NatUse> {
        let mut all: Vec<_> = self.0.into_iter().collect();
        all.sort_by(|(ka, a), (kb, b)| b.used.cmp(&a.used).then(ka.cmp(kb)));
        all.truncate(MAX_REPORTED);
        let reported = all.into_iter().map(|((proto, snat, dst, dport), tally)| {
            let of = |state: TcpState| tally.by_state[state as usize];
            let closing = of(TcpState::TimeWait) + of(TcpState::Close) + of(TcpState::SynSent2);
            let per_s = |e: Estimate| Estimate {
                value: e.value / ARRIVAL_SECS as f64,
                low: e.low / ARRIVAL_SECS as f64,
                high: e.high / ARRIVAL_SECS as f64,
            };
            NatUse {
                proto,
                snat,
                dst,
                dport,
                used: sample.estimate(tally.used),
                closing: sample.estimate(closing),
                new_per_s: (tally.young > 0).then(|| per_s(sample.estimate(tally.young))),
                range: rules.and_then(|rules| range(rules, snat, dst, dport)),
                by_state: named(&tally),
            }
        });
        reported.collect()
    }
}

fn named(tally: &Tally) -> BTreeMap<&'static str, u64> {
    let states = TcpState::ALL
        .into_iter()
        .map(|state| (state.name(), tally.by_state[state as usize]));
    let all = states.chain([("no TCP state", tally.stateless)]);
    all.filter(|(_, entries)| *entries > 0).collect()
}

/// How many ports the first rule gives that may serve this pair.
fn range(rules: &RulesetFacts, snat: IpAddr, dst: IpAddr, dport: u16) -> Option<u64> {
    let packets = Packets {
        dst: Some(dst),
        dport: Some(dport),
        ..Packets::default()
    };
    let serves = |(low, high): (IpAddr, IpAddr)| low <= snat && snat <= high;
    let (_, mapping) = rules.source_nat().find(|(rule, mapping)| {
        !mapping.unknown && mapping.addresses.is_none_or(serves) && meets(rule, &packets) != Meets::No
    })?;
    match mapping.ports {
        Some((low, high)) => Some(u64::from(high.saturating_sub(low)) + 1),
        None => Some(WHOLE_RANGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Engine, Family, FilterRule, Mapping, Ruleset, Tuple};

    #[test]
    fn ports_are_counted_by_address_and_destination_and_ranges_come_from_rules() {
        let mut tally = NatTally::default();
        for port in 0..30u16 {
            let orig = Tuple {
                src: "10.0.0.9".parse().unwrap(),
                dst: "10.9.1.3".parse().unwrap(),
                sport: 40_000 + port,
                dport: 80,
            };
            let mut flow = Flow {
                orig,
                reply: orig.inverted(),
                proto: proto::TCP,
                tcp_state: Some(TcpState::SynSent),
                ..Flow::default()
            };
            (flow.reply.dst, flow.reply.dport) = ("192.0.2.1".parse().unwrap(), 5000 + port);
            tally.add(&flow, Some(3));
            let mut plain = flow;
            plain.reply = plain.orig.inverted();
            tally.add(&plain, None);
        }
        let masquerade = FilterRule {
            engine: Engine::NfTables,
            family: Family::Ip,
            table: "nat".into(),
            chain: "post".into(),
            handle: Some(1),
            number: 1,
            when: Vec::new(),
            then: Action::Masquerade(Mapping {
                ports: Some((5000, 5999)),
                ..Mapping::default()
            }),
            counter: None,
            text: String::new(),
        };
        let ruleset = Ruleset {
            rules: vec![masquerade],
            ..Ruleset::default()
        };
        let got = tally.finish(Sample::all(60), Some(&RulesetFacts::between(None, ruleset)));
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].used.value, got[0].range), (30.0, Some(1000)));
        assert_eq!(got[0].by_state["SYN_SENT"], 30);
        assert_eq!(got[0].new_per_s.map(|e| e.value), Some(3.0));
    }
}
