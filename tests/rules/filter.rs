//! A packet filter made by hand.

use ctlens::evidence::RulesetFacts;
use ctlens::model::{
    Action, At, Chain, Condition, Engine, Family, FilterRule, Hook, Mapping, Match, Ruleset, Tally, ct_state,
};
use serde::Deserialize;

use crate::heap::socket;

/// One rule in a base chain of its own hook; its chain's policy accepts unless `policy` says drop.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SceneRule {
    /// `output 0`: hook and priority.
    pub at: String,
    /// `drop`, `accept`, `notrack`, `snat ADDR`, `masquerade`, `dnat ADDR:PORT`, `policy drop`.
    pub does: String,
    /// Matches these ends.
    pub to: Option<String>,
    pub from: Option<String>,
    /// `ct state invalid`.
    pub invalid: bool,
    /// Asks something that nobody understands.
    pub odd: bool,
    /// Of its ports, for NAT.
    pub ports: Option<[u16; 2]>,
    /// What its counter rose by; absent: it has none.
    pub rise: Option<u64>,
}

pub fn ruleset(rules: &[SceneRule]) -> RulesetFacts {
    let mut later = Ruleset::default();
    for (index, rule) in rules.iter().enumerate() {
        let at = at(&rule.at);
        let name = rule.at.split(' ').next().unwrap_or("").to_string();
        if !later.chains.iter().any(|chain| chain.at == Some(at)) {
            later.chains.push(Chain {
                engine: Engine::NfTables,
                family: Family::Inet,
                table: "filter".into(),
                name: name.clone(),
                at: Some(at),
                drops: rule.does == "policy drop",
                counter: None,
            });
        }
        if rule.does != "policy drop" {
            later.rules.push(filter_rule(rule, name, index as u64 + 1));
        }
    }
    let mut earlier = later.clone();
    for (now, then) in later.rules.iter_mut().zip(&mut earlier.rules) {
        // The rise was put into `bytes` to get here.
        if let (Some(now), Some(then)) = (&mut now.counter, &mut then.counter) {
            then.packets = 1000;
            now.packets = 1000 + now.bytes;
        }
    }
    RulesetFacts::between(Some(&earlier), later)
}

fn at(text: &str) -> At {
    let (hook, priority) = text.split_once(' ').unwrap_or((text, "0"));
    let hook = match hook {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        other => panic!("no hook is called {other}"),
    };
    At {
        hook,
        priority: priority.parse().expect("a priority"),
    }
}

fn filter_rule(rule: &SceneRule, chain: String, handle: u64) -> FilterRule {
    let mut when = Vec::new();
    let mut is = |what: Match| when.push(Condition { not: false, what });
    if let Some(to) = &rule.to {
        let (addr, port) = socket(to);
        is(Match::Destination(addr, if addr.is_ipv6() { 128 } else { 32 }));
        is(Match::DestinationPorts(port, port));
    }
    if let Some(from) = &rule.from {
        let (addr, port) = socket(from);
        is(Match::Source(addr, if addr.is_ipv6() { 128 } else { 32 }));
        is(Match::SourcePorts(port, port));
    }
    if rule.invalid {
        is(Match::State(ct_state::INVALID));
    }
    if rule.odd {
        is(Match::Other("fib".into()));
    }
    FilterRule {
        engine: Engine::NfTables,
        family: Family::Inet,
        table: "filter".into(),
        chain,
        handle: Some(handle),
        number: 1,
        then: action(rule),
        counter: rule.rise.map(|bytes| Tally { packets: 0, bytes }),
        text: rule.does.clone(),
        when,
    }
}

fn action(rule: &SceneRule) -> Action {
    let (verb, target) = rule.does.split_once(' ').unwrap_or((&rule.does, ""));
    let ports = rule.ports.map(|[low, high]| (low, high));
    match verb {
        "drop" => Action::Drop,
        "accept" => Action::Accept,
        "notrack" => Action::Notrack,
        "synproxy" => Action::Synproxy,
        "masquerade" => Action::Masquerade(Mapping {
            ports,
            ..Mapping::default()
        }),
        "snat" => {
            let addr = target.parse().expect("an address");
            Action::Snat(Mapping {
                addresses: Some((addr, addr)),
                ports,
                ..Mapping::default()
            })
        }
        "dnat" => {
            let (addr, port) = socket(target);
            Action::Dnat(Mapping {
                addresses: Some((addr, addr)),
                ports: Some((port, port)),
                ..Mapping::default()
            })
        }
        other => panic!("no rule does {other}"),
    }
}
