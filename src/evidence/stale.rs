//! Unreplied entries that an older ruleset mapped, and that today's would send elsewhere.

use std::net::{IpAddr, SocketAddr};

use super::meets::within;
use super::ruleset::RulesetFacts;
use crate::model::{Action, Flow, Match};

/// An entry whose reply comes from elsewhere than today's rules send its packets to.
#[derive(Clone, Debug, PartialEq)]
pub struct StaleNat {
    /// Unreplied entries whose mapping the rules would not give now.
    pub entries: u64,
    /// Of these, the ones that a packet renewed a moment ago.
    pub renewed: u64,
    /// The first of them that was renewed, or else of all.
    pub example: Flow,
    pub goes_to: SocketAddr,
    pub should_go_to: SocketAddr,
    /// The rule that says so.
    pub rule: String,
}

/// A destination NAT rule that asks nothing but what an entry tells.
#[derive(Clone, Debug)]
struct Redirection {
    proto: Option<u8>,
    dst: (IpAddr, u8),
    ports: (u16, u16),
    to: IpAddr,
    to_port: Option<u16>,
    words: String,
}

/// Looks for entries that an older ruleset mapped.
#[derive(Default)]
pub struct StaleTally {
    rules: Vec<Redirection>,
    found: Option<StaleNat>,
}

/// Renewed so lately, the client is still at it.
const RENEWED_SECS: u32 = 5;
/// Rules compared with each unreplied entry.
const MAX_RULES: usize = 64;

impl StaleTally {
    pub fn new(rules: Option<&RulesetFacts>) -> StaleTally {
        let rules = rules.map_or_else(Vec::new, redirections);
        StaleTally { rules, found: None }
    }

    /// `since_set_secs`: since a packet renewed it.
    pub fn add(&mut self, flow: &Flow, since_set_secs: Option<u32>) {
        if self.rules.is_empty() || flow.status.seen_reply() {
            return;
        }
        let first = self.rules.iter().find(|rule| {
            rule.proto.is_none_or(|proto| proto == flow.proto)
                && within(flow.orig.dst, rule.dst.0, rule.dst.1)
                && (rule.ports.0..=rule.ports.1).contains(&flow.orig.dport)
        });
        let Some(rule) = first else { return };
        let should = SocketAddr::new(rule.to, rule.to_port.unwrap_or(flow.orig.dport));
        let goes = SocketAddr::new(flow.reply.src, flow.reply.sport);
        if should == goes {
            return;
        }
        let renewed = since_set_secs.is_some_and(|secs| secs <= RENEWED_SECS);
        let found = self.found.get_or_insert_with(|| StaleNat {
            entries: 0,
            renewed: 0,
            example: *flow,
            goes_to: goes,
            should_go_to: should,
            rule: rule.words.clone(),
        });
        // The same one whatever order they come in.
        let earlier = (renewed, std::cmp::Reverse(flow.orig))
            > (found.renewed > 0, std::cmp::Reverse(found.example.orig));
        found.entries += 1;
        found.renewed += u64::from(renewed);
        if earlier {
            (found.example, found.goes_to, found.should_go_to) = (*flow, goes, should);
            found.rule = rule.words.clone();
        }
    }

    pub fn finish(self) -> Option<StaleNat> {
        self.found
    }
}

/// In their order, up to the first that cannot be told: it may take packets from those after it.
fn redirections(rules: &RulesetFacts) -> Vec<Redirection> {
    let mut out = Vec::new();
    for rule in &rules.ruleset.rules {
        let Action::Dnat(mapping) = &rule.then else {
            continue;
        };
        let plain = mapping
            .addresses
            .filter(|(low, high)| low == high && !mapping.unknown);
        let port = mapping
            .ports
            .filter(|(low, high)| low == high)
            .map(|(low, _)| low);
        let mut one = Redirection {
            proto: None,
            dst: (IpAddr::from([0, 0, 0, 0]), 0),
            ports: (0, u16::MAX),
            to: IpAddr::from([0, 0, 0, 0]),
            to_port: port,
            words: rule.text.clone(),
        };
        let (mut told, mut aimed) = (mapping.ports.is_none() || port.is_some(), false);
        for condition in &rule.when {
            match (&condition.what, condition.not) {
                (Match::Destination(addr, bits), false) => (one.dst, aimed) = ((*addr, *bits), true),
                (Match::DestinationPorts(low, high), false) => one.ports = (*low, *high),
                (Match::Protocol(number), false) => one.proto = Some(*number),
                (Match::Source(addr, 0), false) if addr.is_unspecified() => {}
                _ => told = false,
            }
        }
        match plain {
            Some((to, _)) if told && aimed && out.len() < MAX_RULES => out.push(Redirection { to, ..one }),
            _ => break,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Condition, Engine, Family, FilterRule, Mapping, Ruleset, Status, Tuple, proto};

    fn nat_rule(when: Vec<Match>, then: Action) -> FilterRule {
        FilterRule {
            engine: Engine::NfTables,
            family: Family::Ip,
            table: "nat".into(),
            chain: "pre".into(),
            handle: Some(1),
            number: 1,
            when: when
                .into_iter()
                .map(|what| Condition { not: false, what })
                .collect(),
            then,
            counter: None,
            text: "the rule".into(),
        }
    }

    fn facts(rules: Vec<FilterRule>) -> RulesetFacts {
        RulesetFacts::between(
            None,
            Ruleset {
                rules,
                ..Ruleset::default()
            },
        )
    }

    fn to(addr: &str, port: Option<u16>) -> Mapping {
        let addr = addr.parse().unwrap();
        Mapping {
            addresses: Some((addr, addr)),
            ports: port.map(|port| (port, port)),
            ..Mapping::default()
        }
    }

    fn flow(reply_src: &str, sport: u16) -> Flow {
        let orig = Tuple {
            src: "10.0.0.9".parse().unwrap(),
            dst: "10.0.0.1".parse().unwrap(),
            sport: 5353,
            dport: 53,
        };
        let mut reply = orig.inverted();
        (reply.src, reply.sport) = (reply_src.parse().unwrap(), sport);
        Flow {
            orig,
            reply,
            proto: proto::UDP,
            ..Flow::default()
        }
    }

    fn stale(rules: Vec<FilterRule>, flows: &[Flow]) -> Option<StaleNat> {
        let mut tally = StaleTally::new(Some(&facts(rules)));
        flows.iter().for_each(|flow| tally.add(flow, Some(1)));
        tally.finish()
    }

    fn dns() -> Vec<Match> {
        vec![
            Match::Destination("10.0.0.1".parse().unwrap(), 32),
            Match::Protocol(proto::UDP),
            Match::DestinationPorts(53, 53),
        ]
    }

    #[test]
    fn an_older_mapping_is_found() {
        let rule = nat_rule(dns(), Action::Dnat(to("10.1.0.7", Some(5300))));
        let got = stale(
            vec![rule.clone()],
            &[flow("10.0.0.1", 53), flow("10.1.0.7", 5300)],
        )
        .unwrap();
        assert_eq!((got.entries, got.renewed), (1, 1));
        assert_eq!(got.should_go_to.to_string(), "10.1.0.7:5300");
        let mut answered = flow("10.0.0.1", 53);
        answered.status = Status(Status::SEEN_REPLY);
        assert_eq!(stale(vec![rule], &[answered]), None, "somebody answers there");
    }

    #[test]
    fn a_rule_that_cannot_be_told_judges_nobody_after_it() {
        let mut odd = dns();
        odd.push(Match::InputInterface("eth0".into()));
        let first = nat_rule(odd, Action::Dnat(to("10.1.0.8", None)));
        let second = nat_rule(dns(), Action::Dnat(to("10.1.0.7", None)));
        assert_eq!(stale(vec![first, second.clone()], &[flow("10.0.0.1", 53)]), None);
        let spread = Mapping {
            unknown: true,
            ..Mapping::default()
        };
        let map = nat_rule(dns(), Action::Dnat(spread));
        assert_eq!(stale(vec![map], &[flow("10.0.0.1", 53)]), None);
    }
}
