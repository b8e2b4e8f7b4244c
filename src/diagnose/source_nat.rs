//! What to type where source NAT should give other ports. It adds a rule before the one that gives them now, and takes
//! nothing away: what that rule is for is not known here.

use std::net::SocketAddr;

use crate::evidence::RulesetFacts;
use crate::model::{Action, Engine, Family, FilterRule, Mapping, Match, proto};

/// What the rule to add does otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Other {
    /// Any port, towards one place.
    AnyPort(u8, SocketAddr),
    /// The same ports, picked at random.
    FullyRandom,
}

/// The command that adds it; `None` where the rule asks something that is not understood, or is not nft's own.
pub fn add_before(facts: &RulesetFacts, index: usize, other: Other) -> Option<String> {
    let rule = facts.ruleset.rules.get(index)?;
    let (verb, mapping) = translation(rule)?;
    let handle = rule.handle.filter(|_| !by_iptables(facts, rule))?;
    let asks = conditions(rule, verb)?;
    let mut words = vec![asks.to_string()];
    let (ports, flag) = match other {
        Other::AnyPort(protocol, to) => {
            let asked = format!("{asks} ");
            let new = towards(protocol, to)?;
            words.extend(
                new.into_iter()
                    .filter(|word| !asked.contains(&format!("{word} "))),
            );
            (None, "")
        }
        Other::FullyRandom => (mapping.ports, " fully-random"),
    };
    words.retain(|word| !word.is_empty());
    Some(format!(
        "nft insert rule {} {} {} handle {handle} {}{}{flag}",
        rule.family.name(),
        rule.table,
        rule.chain,
        words.iter().map(|word| format!("{word} ")).collect::<String>(),
        action(rule, verb, mapping, ports)?,
    ))
}

/// The command that shows the rule among those beside it.
pub fn show(facts: &RulesetFacts, rule: &FilterRule) -> String {
    let (table, chain) = (&rule.table, &rule.chain);
    if !by_iptables(facts, rule) {
        return format!("nft -a list chain {} {table} {chain}", rule.family.name());
    }
    let six = if rule.family == Family::Ip6 { "6" } else { "" };
    let kind = if rule.engine == Engine::Legacy {
        "legacy"
    } else {
        "nft"
    };
    format!("ip{six}tables-{kind} -t {table} -L {chain} -n -v --line-numbers")
}

/// Only iptables should write into a table that it keeps.
fn by_iptables(facts: &RulesetFacts, rule: &FilterRule) -> bool {
    let built_in = |name: &str| ["POSTROUTING", "INPUT"].contains(&name);
    rule.engine == Engine::Legacy
        || rule.table == "nat"
            && matches!(rule.family, Family::Ip | Family::Ip6)
            && facts.ruleset.chains.iter().any(|chain| {
                chain.table == rule.table && chain.family == rule.family && built_in(&chain.name)
            })
}

fn translation(rule: &FilterRule) -> Option<(&'static str, Mapping)> {
    match rule.then {
        Action::Masquerade(mapping) => Some(("masquerade", mapping)),
        Action::Snat(mapping) => Some(("snat", mapping)),
        _ => None,
    }
    .filter(|(_, mapping)| !mapping.unknown)
}

/// In nft's words, where each of them is known.
fn conditions<'a>(rule: &'a FilterRule, verb: &str) -> Option<&'a str> {
    let named = |condition: &crate::model::Condition| {
        !condition.not && matches!(condition.what, Match::Protocol(number) if proto::name(number).is_some())
    };
    let understood = rule.when.iter().all(|condition| match condition.what {
        Match::Source(..)
        | Match::Destination(..)
        | Match::Protocol(_)
        | Match::InputInterface(_)
        | Match::OutputInterface(_) => true,
        // nft asks for ports by the protocol's name.
        Match::SourcePorts(..) | Match::DestinationPorts(..) => rule.when.iter().any(named),
        _ => false,
    });
    let (asks, _) = rule.text.rsplit_once(verb)?;
    understood.then_some(asks.trim_end())
}

fn towards(protocol: u8, to: SocketAddr) -> Option<[String; 2]> {
    let family = if to.is_ipv6() { "ip6" } else { "ip" };
    let protocol = proto::name(protocol)?;
    Some([
        format!("{family} daddr {}", to.ip()),
        format!("{protocol} dport {}", to.port()),
    ])
}

fn action(rule: &FilterRule, verb: &str, mapping: Mapping, ports: Option<(u16, u16)>) -> Option<String> {
    let ports = ports.map_or(String::new(), |(low, high)| format!(":{low}-{high}"));
    let Some((low, high)) = mapping.addresses else {
        let to = if ports.is_empty() { "" } else { " to " };
        // Without an address only masquerade knows which one it is.
        return (verb == "masquerade").then(|| format!("{verb}{to}{ports}"));
    };
    let family = match (rule.family, low.is_ipv6()) {
        (Family::Inet, true) => " ip6",
        (Family::Inet, false) => " ip",
        _ => "",
    };
    let bracketed = |addr: std::net::IpAddr| match addr.is_ipv6() && !ports.is_empty() {
        true => format!("[{addr}]"),
        false => addr.to_string(),
    };
    let addresses = match low == high {
        true => bracketed(low),
        false => format!("{}-{}", bracketed(low), bracketed(high)),
    };
    Some(format!("{verb}{family} to {addresses}{ports}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Chain, Condition, Ruleset};

    fn rule(then: Action, when: Vec<Match>, text: &str) -> FilterRule {
        let conditions = when.into_iter();
        FilterRule {
            engine: Engine::NfTables,
            family: Family::Inet,
            table: "nat".into(),
            chain: "post".into(),
            handle: Some(7),
            number: 1,
            when: conditions.map(|what| Condition { not: false, what }).collect(),
            then,
            counter: None,
            text: text.into(),
        }
    }

    fn facts(rule: FilterRule, chain: &str) -> RulesetFacts {
        let chain = Chain {
            engine: rule.engine,
            family: rule.family,
            table: rule.table.clone(),
            name: chain.into(),
            at: None,
            drops: false,
            counter: None,
        };
        let ruleset = Ruleset {
            chains: vec![chain],
            rules: vec![rule],
            ..Ruleset::default()
        };
        RulesetFacts::between(None, ruleset)
    }

    fn to_addr(addr: &str) -> Action {
        let addr = addr.parse().unwrap();
        Action::Snat(Mapping {
            addresses: Some((addr, addr)),
            ports: Some((5000, 5999)),
            ..Mapping::default()
        })
    }

    #[test]
    fn a_rule_is_added_in_the_words_of_the_one_before_which_it_stands() {
        let out = vec![Match::OutputInterface("snat0".into())];
        let with = |then| rule(then, out.clone(), "oifname \"snat0\" snat to …");
        let place = Other::AnyPort(proto::TCP, "10.9.1.3:80".parse().unwrap());
        assert_eq!(
            add_before(&facts(with(to_addr("192.0.2.1")), "post"), 0, place).unwrap(),
            "nft insert rule inet nat post handle 7 oifname \"snat0\" ip daddr 10.9.1.3 tcp dport 80 \
             snat ip to 192.0.2.1"
        );
        assert_eq!(
            add_before(&facts(with(to_addr("fd00::1")), "post"), 0, Other::FullyRandom).unwrap(),
            "nft insert rule inet nat post handle 7 oifname \"snat0\" snat ip6 to [fd00::1]:5000-5999 fully-random"
        );
    }

    #[test]
    fn what_the_rule_asks_for_is_not_asked_twice() {
        let ports = |port| vec![Match::Protocol(proto::TCP), Match::DestinationPorts(port, port)];
        let place = Other::AnyPort(proto::TCP, "10.9.1.3:80".parse().unwrap());
        let added = |port: u16| {
            let text = format!("tcp dport {port} masquerade");
            let rule = rule(Action::Masquerade(Mapping::default()), ports(port), &text);
            add_before(&facts(rule, "post"), 0, place).unwrap()
        };
        assert!(added(80).ends_with("handle 7 tcp dport 80 ip daddr 10.9.1.3 masquerade"));
        assert!(added(8080).contains("tcp dport 8080 ip daddr 10.9.1.3 tcp dport 80 "));
    }

    #[test]
    fn what_is_not_understood_is_only_shown() {
        let odd = rule(
            Action::Masquerade(Mapping::default()),
            vec![Match::Other("mark".into())],
            "[mark] masquerade",
        );
        assert_eq!(add_before(&facts(odd, "post"), 0, Other::FullyRandom), None);
        let mut kept = rule(Action::Masquerade(Mapping::default()), vec![], "masquerade");
        kept.family = Family::Ip;
        let facts = facts(kept.clone(), "POSTROUTING");
        assert_eq!(
            add_before(&facts, 0, Other::FullyRandom),
            None,
            "iptables keeps it"
        );
        assert_eq!(
            show(&facts, &kept),
            "iptables-nft -t nat -L post -n -v --line-numbers"
        );
    }
}
