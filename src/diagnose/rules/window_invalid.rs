//! Conntrack calls packets of live connections invalid, and somebody resets or drops them.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{largest, one_way};
use crate::diagnose::logged;
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, fact, fix, remark, whole};
use crate::evidence::{Evidence, RulesetFacts};
use crate::model::{Action, FilterRule, Match, TcpState, ct_state};

/// Fewer invalid packets, or each second fewer, are scans and late duplicates.
const LEAST: f64 = 10.0;
const LEAST_PER_S: f64 = 5.0;
/// So many RSTs of this host, or packets that an `invalid` rule drops, for each invalid packet.
const SHARE: f64 = 0.3;

pub const RULE: Rule = Rule {
    cause: Cause::WindowInvalid,
    explain: "\
What: packets of established connections fall outside the window that conntrack reckons with. It calls them invalid: their
addresses are not translated back, and this host answers them itself with a RST, or a `ct state invalid drop` rule eats
them.
Why it matters: long transfers break with `connection reset by peer`, though neither end reset anything.
Example:
  $ conntrack -S
shows invalid rising together with `nstat -az TcpOutRsts` on a gateway whose own programs talk to nobody.
How it is told apart: invalid rises while established connections are there, and nearly each invalid packet has a RST of
this host, where addresses are translated, or a hit of an `invalid` drop rule. Invalid packets without entries are scans (the wire shows them as SYN/ACKs
and RSTs) or asymmetric-routing (SYN_SENT entries whose answers take another way).
What to do: be liberal about windows, and drop what is invalid before this host answers it.
  $ sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1",
    refutes: "invalid flat, RSTs that do not rise with it, or invalid packets that belong to no entry",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    if let Some(logged) = logged::window(evidence) {
        return logged;
    }
    let watched = evidence.conntrack.as_ref().filter(|_| evidence.window_secs > 0.0);
    let Some(invalid) = watched.and_then(|counters| counters.get("invalid").copied()) else {
        return Verdict::unknown("invalid was not watched over a window");
    };
    if (invalid as f64) < (evidence.window_secs * LEAST_PER_S).max(LEAST) {
        return Verdict::clear(format!("invalid rose by {invalid}"));
    }
    let text = format!(
        "invalid rose by {} in {:.1} s",
        whole(invalid as f64),
        evidence.window_secs
    );
    if let Some((direction, pile)) = largest(evidence, TcpState::SynSent)
        && one_way(evidence, direction, pile).is_some()
    {
        return Verdict::clear(format!("{text}, for entries whose answers take another way"));
    }
    let Some(established) = established(evidence) else {
        return Verdict::unknown(format!("{text}, and the entries were not seen"));
    };
    if established < 1.0 {
        return Verdict::clear(format!("{text}, and no connection is established"));
    }
    let victim = match victim(evidence, invalid) {
        Harm::To(victim) => victim,
        Harm::None => return Verdict::clear(format!("{text}, but nobody resets or drops them")),
        Harm::Unknown(why) => return Verdict::unknown(format!("{text}, and {why}")),
    };
    let Some(tap) = &evidence.tap else {
        return Verdict::leaning(
            format!("{text}: whether they are packets of connections or a scan's, only the wire tells"),
            "ctlens diagnose --tap 3s",
        );
    };
    // SYN/ACKs without an entry and RSTs are invalid too, and pass by the tap.
    let others = tap.syn_acks + tap.resets;
    if others as f64 >= invalid as f64 * SHARE {
        return Verdict::clear(format!(
            "{text}; {others} SYN/ACKs and RSTs came in meanwhile: a scan, or its echo"
        ));
    }
    Verdict::Found(Box::new(finding(evidence, invalid, text, victim)))
}

fn established(evidence: &Evidence) -> Option<f64> {
    let rows = evidence.states.as_ref()?;
    let row = rows
        .iter()
        .find(|row| row.state.as_deref() == Some("ESTABLISHED"));
    Some(row.map_or(0.0, |row| row.entries.value))
}

/// Who harms the connections.
enum Victim {
    Resets(i64),
    Rule(String, u64),
}

enum Harm {
    To(Victim),
    None,
    Unknown(&'static str),
}

fn victim(evidence: &Evidence, invalid: u64) -> Harm {
    let least = invalid as f64 * SHARE;
    let mut uncounted = false;
    for (index, rule) in evidence.ruleset.iter().flat_map(invalid_drops) {
        let rises = evidence
            .ruleset
            .as_ref()
            .and_then(|facts| facts.rises.get(&index));
        match rises {
            Some(rise) if *rise as f64 >= least => {
                let place = format!("{} {} {}", rule.family.name(), rule.table, rule.chain);
                return Harm::To(Victim::Rule(place, *rise));
            }
            Some(_) => {}
            None => uncounted = true,
        }
    }
    if uncounted {
        return Harm::Unknown("an `invalid` rule that may drop them has no counter");
    }
    if !may_translate(evidence) {
        return Harm::None;
    }
    match evidence.net.as_ref().and_then(|net| net.get("Tcp.OutRsts")) {
        Some(resets) if *resets as f64 >= least => Harm::To(Victim::Resets(*resets)),
        Some(_) => Harm::None,
        None => Harm::Unknown("the RSTs of this host were not counted"),
    }
}

fn invalid_drops(facts: &RulesetFacts) -> impl Iterator<Item = (usize, &FilterRule)> {
    let invalid = |what: &Match| matches!(what, Match::State(bits) if *bits == ct_state::INVALID);
    let drops = facts.rules(|action| *action == Action::Drop, |_| true);
    drops.filter(move |(_, rule)| {
        rule.when
            .iter()
            .any(|condition| !condition.not && invalid(&condition.what))
    })
}

/// An invalid packet that no address is translated for reaches its socket all the same, which does not reset it.
fn may_translate(evidence: &Evidence) -> bool {
    let Some(facts) = evidence.ruleset.as_ref().filter(|facts| !facts.ruleset.partial) else {
        return true;
    };
    let translates = |rule: &FilterRule| {
        matches!(
            rule.then,
            Action::Snat(_) | Action::Dnat(_) | Action::Masquerade(_) | Action::Redirect(_)
        )
    };
    facts.ruleset.rules.iter().any(translates) || evidence.nat.as_ref().is_some_and(|nat| !nat.is_empty())
}

fn finding(evidence: &Evidence, invalid: u64, text: String, victim: Victim) -> Finding {
    let mut items: Vec<Weighed> = vec![fact("invalid-rises", 1.0, text, invalid as f64, "packets")];
    let does = match &victim {
        Victim::Resets(resets) => {
            let text = format!("this host sent {} RSTs meanwhile", whole(*resets as f64));
            items.push(fact("resets-sent", 1.2, text, *resets as f64, "packets"));
            "this host resets them"
        }
        Victim::Rule(place, rise) => {
            let text = format!(
                "an `invalid` rule of {place} dropped {} meanwhile",
                whole(*rise as f64)
            );
            items.push(fact("invalid-dropped", 1.2, text, *rise as f64, "packets"));
            "its rule for invalid packets drops them"
        }
    };
    items.push(remark(
        "no-scan",
        0.7,
        "hardly a SYN/ACK or RST came in: they are packets of connections",
    ));
    let translated = evidence.nat.as_ref().is_some_and(|nat| {
        nat.iter().any(|used| {
            used.by_state
                .get("ESTABLISHED")
                .is_some_and(|entries| *entries > 0)
        })
    });
    if translated {
        items.push(remark(
            "translated",
            0.5,
            "established connections are translated here",
        ));
    }
    if evidence
        .settings
        .number("net.netfilter.nf_conntrack_tcp_be_liberal")
        == Some(0)
    {
        items.push(remark("not-liberal", 0.3, "nf_conntrack_tcp_be_liberal is 0"));
    }
    Finding {
        headline: format!(
            "Conntrack calls packets of live connections invalid ({} in {:.1} s), and {does}.",
            whole(invalid as f64),
            evidence.window_secs
        ),
        place: Vec::new(),
        entries: None,
        evidence: items,
        fixes: fixes(),
        looked: Looked::For("RSTs or rule hits rose with invalid, and the wire shows no scan".to_string()),
    }
}

fn fixes() -> Vec<Fix> {
    vec![
        fix(
            "Take packets outside the window for valid",
            Some("sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1".to_string()),
            "at once, for connections that are there too; RSTs are still checked",
        ),
        fix(
            "See what is wrong with them",
            Some("sysctl -w net.netfilter.nf_conntrack_log_invalid=6; dmesg | tail".to_string()),
            "the log names window, checksum or state; set it back to 0",
        ),
    ]
}
