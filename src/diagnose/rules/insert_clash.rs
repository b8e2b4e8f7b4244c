//! Two packets of one new flow race to insert its entry, and one of them is dropped.

use super::nat_ports_exhausted;
use crate::diagnose::cause::Cause;
use crate::diagnose::culprit::place_of;
use crate::diagnose::losses::{Losses, losses};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{
    Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact, fix, remark, whole,
};
use crate::diagnose::source_nat::{self, Other};
use crate::evidence::Evidence;
use crate::model::{Action, FilterRule};

pub const RULE: Rule = Rule {
    cause: Cause::InsertClash,
    explain: "\
What: two packets that begin a flow race each other: two SYNs of one connection, or two clients that get the same
translated port at the same moment. Only one entry can be inserted, and conntrack drops the other packet.
Why it matters: clients see delays of exactly 1, 3 or 5 s now and then: a resolver that sends A and AAAA questions
from one UDP port, or parallel connections through masquerading.
Example:
  $ conntrack -S
shows insert_failed rising with the delays, on a table that is nearly empty.
How it is told apart: insert_failed rises while the table has room (table-full), no port range is full
(nat-ports-exhausted) and no chain is too long (hash-undersized). clash_resolve counts the races that ended well: two
datagrams of one flow (A and AAAA from one port, measured on 6.18, even where DNAT gives them different targets) cost
no packet, so a rise of it alone is no fault. Two clients with one source port behind masquerade do, UDP as well as
TCP. A delay on every single connection is no race.
What to do: masquerade with fully-random, let the resolver use one question at a time, or take DNS out of tracking.
  $ nft add rule ip nat post oifname eth0 masquerade fully-random",
    refutes: "insert_failed flat, a full port range, or a full table",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(lost) = losses(evidence) else {
        return Verdict::unknown("insert_failed was not watched over a window");
    };
    if !lost.failed_in_room() {
        let text = match lost.failed {
            0 => "insert_failed did not rise".to_string(),
            failed => format!("insert_failed rose by {failed}, which room, chains or chance explain"),
        };
        return Verdict::clear(text);
    }
    let text = format!(
        "insert_failed rose by {} in {:.1} s, while the table has room",
        whole(lost.failed as f64),
        evidence.window_secs
    );
    match nat_ports_exhausted::pressed(evidence) {
        None => Verdict::leaning_to(
            vec![Cause::NatPortsExhausted, Cause::InsertClash],
            format!("{text}, and how many translated ports are in use was not seen"),
            "ctlens list --top dst:dport --limit 20   # SNAT has one port range per destination",
        ),
        Some(true) => Verdict::clear(format!("{text}: a port range that is nearly full explains it")),
        Some(false) => Verdict::Found(Box::new(finding(evidence, &lost, text))),
    }
}

fn finding(evidence: &Evidence, lost: &Losses, text: String) -> Finding {
    let in_order = in_order(evidence);
    Finding {
        headline: format!(
            "Conntrack dropped {} first packets in {:.1} s that raced for the same flow or the same translated port.",
            whole(lost.failed as f64),
            evidence.window_secs
        ),
        place: Vec::new(),
        entries: None,
        evidence: items(evidence, lost, text, in_order.map(|(_, rule)| rule)),
        fixes: fixes(evidence, in_order),
        looked: Looked::For(format!(
            "the table has room, chaintoolong rose by {}, and no port range is full",
            lost.too_long
        )),
    }
}

/// The first rule that picks ports in order and serves addresses whose ports are in use; or else the first of all.
fn in_order(evidence: &Evidence) -> Option<(usize, &FilterRule)> {
    let rules = &evidence.ruleset.as_ref()?.ruleset.rules;
    let plain = |rule: &FilterRule| match &rule.then {
        Action::Snat(mapping) | Action::Masquerade(mapping) => !mapping.fully_random,
        _ => false,
    };
    let serves = evidence.nat.iter().flatten().filter_map(|used| used.rule);
    let mut all = serves.chain(0..rules.len());
    let index = all.find(|index| rules.get(*index).is_some_and(plain))?;
    Some((index, &rules[index]))
}

fn items(evidence: &Evidence, lost: &Losses, text: String, in_order: Option<&FilterRule>) -> Vec<Weighed> {
    let mut items: Vec<Weighed> = vec![
        fact("insert-failed-rises", 1.5, text, lost.failed as f64, "packets"),
        remark(
            "no-port-pressure",
            0.7,
            "no range of translated ports is nearly full",
        ),
    ];
    if lost.resolved > 0 {
        let text = format!(
            "{} other races ended well (clash_resolve)",
            whole(lost.resolved as f64)
        );
        items.push(fact(
            "clashes-resolved",
            0.7,
            text,
            lost.resolved as f64,
            "packets",
        ));
    }
    let rows = evidence.states.as_deref().unwrap_or(&[]);
    if let Some(row) = rows
        .iter()
        .find(|row| row.proto == "udp" && row.entries.value >= 1.0)
    {
        let text = format!(
            "{} UDP entries: such flows begin with several packets at once",
            count(row.entries)
        );
        items.push(estimate("udp-entries", 0.3, text, row.entries, "entries"));
    }
    if let Some(rule) = in_order {
        let text = format!(
            "`{}` picks ports in order: parallel packets pick the same",
            rule.text
        );
        items.push(remark("not-fully-random", 0.3, text));
    }
    items
}

fn fixes(evidence: &Evidence, in_order: Option<(usize, &FilterRule)>) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if let Some((facts, (index, rule))) = evidence.ruleset.as_ref().zip(in_order) {
        fixes.push(match source_nat::add_before(facts, index, Other::FullyRandom) {
            Some(command) => fix(
                format!("Pick ports at random, before {}", place_of(rule)),
                Some(command),
                "parallel connections seldom pick the same port then; new connections only",
            ),
            None => fix(
                format!("Add `fully-random` to {} (`{}`)", place_of(rule), rule.text),
                Some(source_nat::show(facts, rule)),
                "iptables: --random-fully; parallel connections seldom pick the same port then",
            ),
        });
    }
    fixes.push(fix(
        "See which flows race: those that begin with two packets at once",
        Some("conntrack -E -e NEW -o timestamp | head -n 50".to_string()),
        "clients with one source port, or one client's packets twice: the winner is listed, the loser is not",
    ));
    fixes
}
