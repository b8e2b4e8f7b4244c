//! Which rule of the packet filter eats certain packets: by its counter, or by elimination.

use super::rule::{Weighed, fact, remark, whole};
use crate::evidence::{Evidence, Meets, Packets, RulesetFacts, meets};
use crate::model::{Action, At, Chain, Engine, Estimate, FilterRule, Hook};

/// Packets that vanish at some of the hooks, and what says so.
pub struct Face {
    pub packets: Packets,
    /// Where a rule must stand to eat them.
    pub here: fn(At) -> bool,
    /// "the SYNs to 10.9.1.3:80"
    pub dropped: String,
    pub item: Weighed,
    /// What was seen, in a sentence.
    pub what: String,
    pub entries: Option<Estimate>,
    /// Nothing but a rule brings this about: without one it is still a question of rules.
    pub alone: bool,
    /// What shows the rule.
    pub settle: String,
}

pub enum Culprit {
    Named(Named),
    /// Not a drop, but why the table says nothing.
    Untracked(String),
    None,
    Unread,
}

/// A rule or policy that drops them.
pub struct Named {
    /// `inet filter output handle 7`
    pub place: String,
    /// The rule itself.
    pub words: String,
    pub evidence: Vec<Weighed>,
    /// Of its counter over the window.
    pub rise: Option<u64>,
    pub show: String,
    pub delete: Option<String>,
}

/// A counter that rises by less each second may have risen for others.
const LEAST_RISE_PER_S: f64 = 2.0;

pub fn culprit(evidence: &Evidence, face: &Face) -> Culprit {
    let Some(facts) = &evidence.ruleset else {
        return Culprit::Unread;
    };
    let least = (evidence.window_secs * LEAST_RISE_PER_S).max(3.0) as u64;
    let mut best: Option<(f64, Named)> = None;
    let drops = facts.rules(|action| *action == Action::Drop, face.here);
    for (index, rule) in drops {
        let met = meets(rule, &face.packets);
        let rise = facts.rises.get(&index).copied();
        // A counter that does not rise clears its rule.
        let nats = match (met, rise) {
            (Meets::No, _) => continue,
            (_, Some(rise)) if rise < least => continue,
            (Meets::Yes, Some(_)) => 2.5,
            (Meets::Perhaps, Some(_)) => 1.5,
            (Meets::Yes, None) => 0.7,
            (Meets::Perhaps, None) => 0.2,
        };
        if best.as_ref().is_none_or(|(known, _)| nats > *known) {
            best = Some((nats, named(evidence, rule, met, rise, nats)));
        }
    }
    let policies = facts.dropping_policies(face.here);
    for (index, chain) in policies {
        let rise = facts.policy_rises.get(&index).copied();
        let nats = match rise {
            Some(rise) if rise < least => continue,
            Some(_) => 2.0,
            None if accepts(facts, chain, face) => continue,
            None => 0.6,
        };
        if best.as_ref().is_none_or(|(known, _)| nats > *known) {
            best = Some((nats, policy(evidence, chain, rise, nats)));
        }
    }
    match best {
        // Without a counter only what nothing else can have done is put down to a rule.
        Some((_, named)) if named.rise.is_some() || face.alone => Culprit::Named(named),
        _ => untracked(facts, face).map_or(Culprit::None, Culprit::Untracked),
    }
}

/// Whether a rule of the chain surely accepts such packets before its policy is asked.
fn accepts(facts: &RulesetFacts, chain: &Chain, face: &Face) -> bool {
    facts.ruleset.rules.iter().any(|rule| {
        rule.then == Action::Accept
            && (&rule.table, &rule.chain, rule.family, rule.engine)
                == (&chain.table, &chain.name, chain.family, chain.engine)
            && meets(rule, &face.packets) == Meets::Yes
    })
}

fn untracked(facts: &RulesetFacts, face: &Face) -> Option<String> {
    let here = |at: At| matches!(at.hook, Hook::Prerouting | Hook::Output);
    let mut rules = facts.rules(|action| *action == Action::Notrack, here);
    let rule = rules.find(|(_, rule)| meets(rule, &face.packets) != Meets::No)?.1;
    Some(format!("{} ({})", place_of(rule), rule.text))
}

fn place_of(rule: &FilterRule) -> String {
    let family = rule.family.name();
    match (rule.engine, rule.handle) {
        (Engine::NfTables, Some(handle)) => format!("{family} {} {} handle {handle}", rule.table, rule.chain),
        _ => format!(
            "{} {} {} rule {}",
            tool(rule.engine, family),
            rule.table,
            rule.chain,
            rule.number
        ),
    }
}

fn tool(engine: Engine, family: &str) -> &'static str {
    match (engine, family) {
        (Engine::NfTables, _) => "nft",
        (Engine::Legacy, "ip6") => "ip6tables-legacy",
        (Engine::Legacy, _) => "iptables-legacy",
    }
}

fn named(evidence: &Evidence, rule: &FilterRule, met: Meets, rise: Option<u64>, nats: f64) -> Named {
    let family = rule.family.name();
    let (table, chain) = (&rule.table, &rule.chain);
    let place = place_of(rule);
    let sure = match met {
        Meets::Yes => "meets these packets",
        _ => "may meet these packets",
    };
    let item = match rise {
        Some(rise) => fact(
            "rule-counter-rises",
            nats,
            format!(
                "{place} {sure}, and its counter rose by {} in {:.1} s",
                whole(rise as f64),
                evidence.window_secs
            ),
            rise as f64,
            "packets",
        ),
        None => remark(
            "rule-by-elimination",
            nats,
            format!("{place} {sure}; it has no counter, and nothing else here drops them"),
        ),
    };
    let (show, delete) = match (rule.engine, rule.handle) {
        (Engine::NfTables, Some(handle)) => (
            format!("nft -a list chain {family} {table} {chain}"),
            Some(format!(
                "nft delete rule {family} {table} {chain} handle {handle}"
            )),
        ),
        (engine, _) => {
            let tool = tool(engine, family);
            (
                format!("{tool} -t {table} -nvL {chain} --line-numbers"),
                Some(format!("{tool} -t {table} -D {chain} {}", rule.number)),
            )
        }
    };
    Named {
        words: format!("{place} ({})", rule.text),
        place,
        evidence: vec![item],
        rise,
        show,
        delete,
    }
}

fn policy(evidence: &Evidence, chain: &Chain, rise: Option<u64>, nats: f64) -> Named {
    let family = chain.family.name();
    let place = match chain.engine {
        Engine::NfTables => format!("{family} {} {} policy", chain.table, chain.name),
        engine => format!("{} {} {} policy", tool(engine, family), chain.table, chain.name),
    };
    let item = match rise {
        Some(rise) => fact(
            "policy-counter-rises",
            nats,
            format!(
                "the {place} is to drop, and it met {} packets in {:.1} s",
                whole(rise as f64),
                evidence.window_secs
            ),
            rise as f64,
            "packets",
        ),
        None => remark(
            "policy-by-elimination",
            nats,
            format!("the {place} is to drop, and no rule before it is known to accept these packets"),
        ),
    };
    let show = match chain.engine {
        Engine::NfTables => format!("nft -a list chain {family} {} {}", chain.table, chain.name),
        engine => format!("{} -t {} -nvL {}", tool(engine, family), chain.table, chain.name),
    };
    Named {
        words: format!("{place} drop"),
        place,
        evidence: vec![item],
        rise,
        show,
        delete: None,
    }
}
