//! The packet filter's rules: where each is called from, and what its counter did over the window.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Action, At, Chain, Condition, Engine, Family, FilterRule, Hook, Mapping, Match, Ruleset};

/// Chains called from chains, at most so deep (NFT_JUMP_STACK_SIZE).
const MAX_DEPTH: usize = 16;

/// The ruleset at the window's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulesetFacts {
    pub ruleset: Ruleset,
    /// Packets that a rule's counter rose by over the window, by the rule's index in `ruleset.rules`; absent where it has
    /// no counter, or where no window was watched.
    pub rises: BTreeMap<usize, u64>,
    /// The same of the policies of base chains that count, by the chain's index.
    pub policy_rises: BTreeMap<usize, u64>,
    /// Where each rule's chain is called from.
    places: Vec<BTreeSet<At>>,
}

impl RulesetFacts {
    /// `earlier`: the same ruleset at the window's beginning, where there was a window.
    pub fn between(earlier: Option<&Ruleset>, later: Ruleset) -> RulesetFacts {
        let (mut rises, mut policy_rises) = (BTreeMap::new(), BTreeMap::new());
        if let Some(earlier) = earlier {
            let before: BTreeMap<_, u64> = earlier
                .rules
                .iter()
                .filter_map(|rule| Some((rule_key(rule), rule.counter?.packets)))
                .collect();
            for (index, rule) in later.rules.iter().enumerate() {
                if let (Some(now), Some(then)) = (rule.counter, before.get(&rule_key(rule))) {
                    rises.insert(index, now.packets.saturating_sub(*then));
                }
            }
            let before: BTreeMap<_, u64> = earlier
                .chains
                .iter()
                .filter_map(|chain| Some((chain_key(chain), chain.counter?.packets)))
                .collect();
            for (index, chain) in later.chains.iter().enumerate() {
                if let (Some(now), Some(then)) = (chain.counter, before.get(&chain_key(chain))) {
                    policy_rises.insert(index, now.packets.saturating_sub(*then));
                }
            }
        }
        RulesetFacts {
            places: places(&later),
            ruleset: later,
            rises,
            policy_rises,
        }
    }

    /// Rules that do `wanted`, with their index, called from a place that `here` admits.
    pub fn rules<'a>(
        &'a self,
        wanted: impl Fn(&Action) -> bool + 'a,
        here: impl Fn(At) -> bool + 'a,
    ) -> impl Iterator<Item = (usize, &'a FilterRule)> + 'a {
        let rules = self.ruleset.rules.iter().enumerate();
        rules.filter(move |(index, rule)| {
            wanted(&rule.then)
                && self
                    .places
                    .get(*index)
                    .is_some_and(|places| places.iter().any(|at| here(*at)))
        })
    }

    /// Whether any rule or object is known to make the kernel track this family; where the rules were read only in part,
    /// one may. Other parts of the kernel may track too (Open vSwitch, IPVS, tc): a `false` is no proof.
    pub fn tracks(&self, v6: bool) -> bool {
        let own = if v6 { Family::Ip6 } else { Family::Ip };
        let asks = |c: &Condition| {
            let named =
                |text: &str| text.starts_with("ct ") || text.contains("conn") || text.contains("state");
            matches!(&c.what, Match::State(_)) || matches!(&c.what, Match::Other(text) if named(text))
        };
        let acts = |action: &Action| match action {
            Action::Snat(_)
            | Action::Dnat(_)
            | Action::Masquerade(_)
            | Action::Redirect(_)
            | Action::Timeout(_)
            | Action::Synproxy
            | Action::Offload(_) => true,
            Action::Other(text) => text.starts_with("ct") || text.contains("CONN") || text.contains("CT"),
            _ => false,
        };
        let tracks = |rule: &FilterRule| {
            [own, Family::Inet, Family::Bridge].contains(&rule.family)
                && (acts(&rule.then) || rule.when.iter().any(asks) || rule.text.contains("ct "))
        };
        let rules = &self.ruleset;
        rules.partial || !rules.timeout_policies.is_empty() || rules.rules.iter().any(tracks)
    }

    /// Source NAT that may serve an address: the rule and its mapping.
    pub fn source_nat(&self) -> impl Iterator<Item = (&FilterRule, &Mapping)> {
        self.ruleset.rules.iter().filter_map(|rule| match &rule.then {
            Action::Snat(mapping) | Action::Masquerade(mapping) => Some((rule, mapping)),
            _ => None,
        })
    }
}

type ChainKey = (Engine, Family, String, String);

fn chain_key(chain: &Chain) -> ChainKey {
    (
        chain.engine,
        chain.family,
        chain.table.clone(),
        chain.name.clone(),
    )
}

/// A handle is a rule's for as long as it lives; legacy rules have only their place.
fn rule_key(rule: &FilterRule) -> (ChainKey, Option<u64>, u32) {
    let chain = (rule.engine, rule.family, rule.table.clone(), rule.chain.clone());
    let number = if rule.handle.is_some() { 0 } else { rule.number };
    (chain, rule.handle, number)
}

/// Follows jumps from the base chains on.
fn places(ruleset: &Ruleset) -> Vec<BTreeSet<At>> {
    let mut reached: BTreeMap<ChainKey, BTreeSet<At>> = BTreeMap::new();
    let mut jumps: BTreeMap<ChainKey, BTreeSet<ChainKey>> = BTreeMap::new();
    for chain in &ruleset.chains {
        if let Some(at) = chain.at {
            reached.entry(chain_key(chain)).or_default().insert(at);
        }
    }
    for rule in &ruleset.rules {
        if let Action::Jump(target) | Action::Goto(target) = &rule.then {
            let (from, _, _) = rule_key(rule);
            let to = (rule.engine, rule.family, rule.table.clone(), target.clone());
            jumps.entry(from).or_default().insert(to);
        }
    }
    for _ in 0..MAX_DEPTH {
        let mut grew = false;
        for (from, targets) in &jumps {
            let Some(places) = reached.get(from).cloned() else {
                continue;
            };
            for to in targets {
                let known = reached.entry(to.clone()).or_default();
                let before = known.len();
                known.extend(places.iter().copied());
                grew |= known.len() > before;
            }
        }
        if !grew {
            break;
        }
    }
    let of = |rule: &FilterRule| reached.get(&rule_key(rule).0).cloned().unwrap_or_default();
    ruleset.rules.iter().map(of).collect()
}

/// Where packets to this host's own sockets pass, after conntrack.
pub fn inward(at: At) -> bool {
    matches!(at.hook, Hook::Input | Hook::Prerouting) && !at.before_conntrack()
}

/// Where packets that pass through pass, after conntrack.
pub fn through(at: At) -> bool {
    matches!(at.hook, Hook::Forward | Hook::Prerouting | Hook::Postrouting) && !at.before_conntrack()
}

/// Where what this host sends itself passes.
pub fn outward(at: At) -> bool {
    matches!(at.hook, Hook::Output | Hook::Postrouting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tally;

    fn rule(chain: &str, then: Action, when: Vec<Match>, packets: u64) -> FilterRule {
        FilterRule {
            engine: Engine::NfTables,
            family: Family::Inet,
            table: "filter".into(),
            chain: chain.into(),
            handle: Some(packets),
            number: 1,
            when: when
                .into_iter()
                .map(|what| Condition { not: false, what })
                .collect(),
            then,
            counter: Some(Tally { packets, bytes: 0 }),
            text: String::new(),
        }
    }

    fn chain(name: &str, at: Option<At>) -> Chain {
        Chain {
            engine: Engine::NfTables,
            family: Family::Inet,
            table: "filter".into(),
            name: name.into(),
            at,
            drops: false,
            counter: None,
        }
    }

    #[test]
    fn jumps_tell_where_a_rule_is_called() {
        let input = At {
            hook: Hook::Input,
            priority: 0,
        };
        let ruleset = Ruleset {
            chains: vec![
                chain("input", Some(input)),
                chain("a", None),
                chain("b", None),
                chain("lost", None),
            ],
            rules: vec![
                rule("input", Action::Jump("a".into()), vec![], 1),
                rule("a", Action::Goto("b".into()), vec![], 2),
                rule("b", Action::Jump("a".into()), vec![], 3),
                rule("b", Action::Drop, vec![], 4),
                rule("lost", Action::Drop, vec![], 5),
            ],
            ..Ruleset::default()
        };
        let facts = RulesetFacts::between(None, ruleset);
        let drops: Vec<usize> = facts
            .rules(|a| *a == Action::Drop, inward)
            .map(|(i, _)| i)
            .collect();
        assert_eq!(drops, [3]);
        assert_eq!(facts.rules(|a| *a == Action::Drop, outward).count(), 0);
    }

    #[test]
    fn counters_are_differences_of_the_same_rule() {
        let with = |packets: u64| {
            let mut rule = rule("input", Action::Drop, vec![], 7);
            rule.counter = Some(Tally { packets, bytes: 0 });
            Ruleset {
                rules: vec![rule],
                ..Ruleset::default()
            }
        };
        let facts = RulesetFacts::between(Some(&with(100)), with(142));
        assert_eq!(facts.rises.get(&0), Some(&42));
        assert!(RulesetFacts::between(None, with(142)).rises.is_empty());
        let mut other = with(0);
        other.rules[0].handle = Some(8);
        assert!(
            RulesetFacts::between(Some(&other), with(142)).rises.is_empty(),
            "another rule's counter"
        );
    }
}
