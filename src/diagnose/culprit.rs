//! Which rule of the packet filter eats certain packets: by its counter, or by elimination.

use super::rule::{Weighed, fact, remark, whole};
use crate::evidence::{Evidence, Meets, Packets, RulesetFacts, Stopper, meets};
use crate::model::{Action, At, Chain, Engine, Estimate, Family, FilterRule, Hook};

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
    /// They are SYNs, whose entry is missing.
    pub new: bool,
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
    /// Lets these packets pass before it, and nothing else.
    pub accept: Option<String>,
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
    for stop in facts.stops(face.here, &face.packets) {
        let rise = match stop.by {
            Stopper::Rule(index) => facts.rises.get(&index).copied(),
            Stopper::Policy(index) => facts.policy_rises.get(&index).copied(),
        };
        // A counter that does not rise clears its rule.
        if rise.is_some_and(|rise| rise < least) {
            continue;
        }
        let nats = match (stop.by, stop.sure, rise) {
            (Stopper::Rule(_), true, Some(_)) => 2.5,
            (Stopper::Rule(_), false, Some(_)) => 1.5,
            (Stopper::Rule(_), true, None) => 0.7,
            (Stopper::Policy(_), _, Some(_)) => 2.0,
            (Stopper::Policy(_), true, None) => 0.6,
            (_, false, None) => 0.2,
        };
        if best.as_ref().is_none_or(|(known, _)| nats > *known) {
            let named = match stop.by {
                Stopper::Rule(index) => named(evidence, &facts.ruleset.rules[index], stop.sure, rise, nats),
                Stopper::Policy(index) => policy(evidence, &facts.ruleset.chains[index], rise, nats),
            };
            let accept = accept(facts, stop.by, &face.packets);
            best = Some((nats, Named { accept, ..named }));
        }
    }
    match best {
        Some((_, named)) if named.rise.is_some() => Culprit::Named(named),
        // Without a counter only what nothing else can have done is put down to a rule.
        best => match (untracked(facts, face), best) {
            (Some(why), _) => Culprit::Untracked(why),
            (None, Some((_, named))) if face.alone => Culprit::Named(named),
            _ => Culprit::None,
        },
    }
}

/// Why the table may have no entry of packets that are not lost.
fn untracked(facts: &RulesetFacts, face: &Face) -> Option<String> {
    if !face.new {
        return None;
    }
    let here = |at: At| matches!(at.hook, Hook::Prerouting | Hook::Output);
    let mut rules = facts.rules(|action| *action == Action::Notrack, here);
    if let Some((_, rule)) = rules.find(|(_, rule)| meets(rule, &face.packets) != Meets::No) {
        return Some(format!(
            "{} ({}) takes such packets out of tracking",
            place_of(rule),
            rule.text
        ));
    }
    let v6 = face.packets.src.or(face.packets.dst)?.is_ipv6();
    let family = if v6 { "IPv6" } else { "IPv4" };
    (!facts.tracks(v6)).then(|| format!("no rule makes the kernel track {family}"))
}

pub fn place_of(rule: &FilterRule) -> String {
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

fn named(evidence: &Evidence, rule: &FilterRule, sure: bool, rise: Option<u64>, nats: f64) -> Named {
    let family = rule.family.name();
    let (table, chain) = (&rule.table, &rule.chain);
    let place = place_of(rule);
    let sure = if sure {
        "meets these packets"
    } else {
        "may meet these packets"
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
        accept: None,
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
        accept: None,
        delete: None,
    }
}

/// The command that accepts just these packets before the rule, or at the end of the chain before its policy.
fn accept(facts: &RulesetFacts, by: Stopper, packets: &Packets) -> Option<String> {
    let (engine, family, table, chain, before) = match by {
        Stopper::Rule(index) => {
            let rule = &facts.ruleset.rules[index];
            (rule.engine, rule.family, &rule.table, &rule.chain, Some(rule))
        }
        Stopper::Policy(index) => {
            let chain = &facts.ruleset.chains[index];
            (chain.engine, chain.family, &chain.table, &chain.name, None)
        }
    };
    let (end, addr, port) = match (packets.dst, packets.dport, packets.src, packets.sport) {
        (Some(addr), Some(port), ..) => ("d", addr, port),
        (_, _, Some(addr), Some(port)) => ("s", addr, port),
        _ => return None,
    };
    let by_iptables = engine == Engine::Legacy || is_of_iptables(facts, family, table);
    if by_iptables {
        let tool = match (engine, addr.is_ipv6()) {
            (Engine::Legacy, false) => "iptables-legacy",
            (Engine::Legacy, true) => "ip6tables-legacy",
            (Engine::NfTables, false) => "iptables-nft",
            (Engine::NfTables, true) => "ip6tables-nft",
        };
        let place = match before {
            Some(rule) => format!("-I {chain} {}", rule.number),
            None => format!("-A {chain}"),
        };
        return Some(format!(
            "{tool} -t {table} {place} -{end} {addr} -p tcp --{end}port {port} -j ACCEPT"
        ));
    }
    let ip = if addr.is_ipv6() { "ip6" } else { "ip" };
    let place = match before {
        Some(rule) => ("insert", format!(" handle {}", rule.handle?)),
        None => ("add", String::new()),
    };
    Some(format!(
        "nft {} rule {} {table} {chain}{} {ip} {end}addr {addr} tcp {end}port {port} counter accept",
        place.0,
        family.name(),
        place.1
    ))
}

/// A table that iptables keeps in nf_tables: only its own tool should write there.
fn is_of_iptables(facts: &RulesetFacts, family: Family, table: &str) -> bool {
    matches!(family, Family::Ip | Family::Ip6)
        && ["filter", "nat", "mangle", "raw", "security"].contains(&table)
        && facts.ruleset.chains.iter().any(|chain| {
            let built_in = ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"];
            chain.table == table && chain.family == family && built_in.contains(&chain.name.as_str())
        })
}
