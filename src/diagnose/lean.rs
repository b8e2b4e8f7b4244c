//! What the facts lean to where no rule may decide.

use super::cause::Cause;
use super::damage;
use super::half_open::{
    PileUp, Sure, answers_here, background, completed, largest, only_slow, pile_from, pile_up,
};
use super::outcomes::Outcomes;
use super::report::Lean;
use super::rule::{Finding, Verdict, whole};
use super::trigger;
use crate::evidence::Evidence;
use crate::model::TcpState;

/// What the facts lean to where nothing was found.
pub fn leaning(evidence: &Evidence, outcomes: &Outcomes) -> Option<Lean> {
    let mut graver: Vec<&(Cause, &Verdict)> = outcomes.iter().collect();
    graver.sort_by_key(|(cause, _)| damage::rank(*cause));
    graver
        .into_iter()
        .find_map(|(cause, verdict)| of_rule(*cause, verdict))
        .or_else(|| unexplained(evidence, outcomes))
        .or_else(|| damaged(evidence))
        .or_else(|| outside(evidence))
        .or_else(|| unseen(evidence))
        .or_else(|| untold(evidence))
}

/// Who fails is not the bottleneck before it is known that his pile-up is not held.
pub fn hold_in_question(
    evidence: &Evidence,
    outcomes: &Outcomes,
    failing: Cause,
    finding: &Finding,
) -> Option<Lean> {
    // What explains no entry of a pile-up is a fault of its own, whatever piles up beside it.
    finding.entries?;
    let of = |(hold, state): &(Cause, TcpState)| {
        let (direction, pile) = largest(evidence, *state)?;
        if failing == Cause::ListenerOverflow && !answers_here(direction, pile) {
            return None;
        }
        let verdict = outcomes.iter().find(|(cause, _)| cause == hold)?.1;
        let lean = of_rule(*hold, verdict)?;
        Some(Lean {
            causes: vec![*hold, failing],
            ..lean
        })
    };
    trigger::sets_off(failing).iter().find_map(of)
}

/// What a rule leans to that could not answer.
fn of_rule(cause: Cause, verdict: &Verdict) -> Option<Lean> {
    match verdict {
        Verdict::Unknown {
            because,
            settle: Some(settle),
            towards,
        } => Some(Lean {
            causes: if towards.is_empty() {
                vec![cause]
            } else {
                towards.clone()
            },
            because: because.clone(),
            settle: settle.clone(),
        }),
        _ => None,
    }
}

/// A pile-up that nobody is found behind.
fn unexplained(evidence: &Evidence, outcomes: &Outcomes) -> Option<Lean> {
    let piled = |state: TcpState| {
        let (_, pile) = largest(evidence, state)?;
        let innocent = match state {
            _ if only_slow(pile) == Sure::Yes => true,
            TcpState::SynRecv => completed(pile).0 == Sure::Yes,
            _ => background(evidence, pile).0 == Sure::Yes,
        };
        (pile_up(evidence, pile.settled()) == PileUp::Yes && !innocent).then_some(pile)
    };
    if piled(TcpState::SynSent).is_some() {
        return trigger::unexplained(evidence, outcomes, TcpState::SynSent);
    }
    piled(TcpState::SynRecv).and_then(|_| trigger::unexplained(evidence, outcomes, TcpState::SynRecv))
}

/// Fewer losses a second are a hiccup, not a fault.
const LEAST_DAMAGE_PER_S: f64 = 1.0;

/// Conntrack loses packets, and the table is not full.
fn damaged(evidence: &Evidence) -> Option<Lean> {
    let counters = evidence
        .conntrack
        .as_ref()
        .filter(|_| evidence.window_secs > 0.0)?;
    let rise = |name: &str| counters.get(name).copied().unwrap_or(0);
    let (failed, drop, early) = (rise("insert_failed"), rise("drop"), rise("early_drop"));
    let least = (evidence.window_secs * LEAST_DAMAGE_PER_S).max(3.0);
    if ((failed + drop + early) as f64) < least {
        return None;
    }
    let causes = match (failed, drop, early) {
        (0, ..) => vec![Cause::TableFull],
        (_, 0, _) => vec![Cause::InsertClash, Cause::NatPortsExhausted],
        _ => vec![Cause::NatPortsExhausted, Cause::InsertClash],
    };
    let fill = evidence.table.as_ref().and_then(|t| t.fill);
    let settle = match causes[0] {
        Cause::TableFull => "ctlens diagnose --window 60s",
        _ => "ctlens list --top dst:dport --limit 20   # SNAT has one port range per destination",
    };
    Some(Lean {
        causes,
        because: format!(
            "insert_failed rose by {failed}, drop by {drop} and early_drop by {early} in {:.1} s, and the table is {}",
            evidence.window_secs,
            fill.map_or("of unknown size".to_string(), |fill| format!(
                "{:.1} % full",
                fill * 100.0
            ))
        ),
        settle: settle.to_string(),
    })
}

/// A cloud tracks connections too, outside of this host, and counts what it drops on the network card.
fn outside(evidence: &Evidence) -> Option<Lean> {
    let net = evidence.net.as_ref()?;
    let dropped = net
        .get("ethtool.conntrack_allowance_exceeded")
        .copied()
        .filter(|n| *n > 0)?;
    Some(Lean {
        causes: Vec::new(),
        because: format!(
            "the path beyond this host: its cloud's own connection tracking dropped {} packets since the card's driver \
             was loaded (conntrack_allowance_exceeded), which no table of this host shows",
            whole(dropped as f64)
        ),
        settle:
            "for i in 1 2; do ethtool -S eth0 | grep conntrack_allowance; sleep 10; done   # whether it rises"
                .to_string(),
    })
}

/// An empty table is a healthy one only where something tracks.
fn untold(evidence: &Evidence) -> Option<Lean> {
    evidence.tracking_unknown.then(|| Lean {
        causes: Vec::new(),
        because: "the table is empty, and whether any rule here tracks connections could not be told"
            .to_string(),
        settle:
            "sudo nft list ruleset; sudo iptables-save   # a rule with ct, conntrack, state or NAT tracks"
                .to_string(),
    })
}

/// The table itself was not seen: only a pasted or partial look.
fn unseen(evidence: &Evidence) -> Option<Lean> {
    if evidence.half_open.is_some() {
        return None;
    }
    let waiting = evidence.sockets.as_ref().and_then(|s| s.get("SYN_SENT")).copied();
    let sockets = match (waiting, &evidence.sockets) {
        (Some(n), _) => format!("{} sockets are in SYN_SENT", whole(n as f64)),
        (None, Some(_)) => "no socket is in SYN_SENT".to_string(),
        (None, None) => "neither were sockets".to_string(),
    };
    let unseen = format!("the table's entries were not seen; {sockets}");
    if !evidence.pasted {
        let piled = waiting.is_some_and(|n| n as f64 >= pile_from(evidence));
        return Some(Lean {
            causes: if piled {
                vec![Cause::SynSentHold]
            } else {
                Vec::new()
            },
            because: unseen,
            settle: "sudo ctlens diagnose".to_string(),
        });
    }
    let (causes, mut because) = trigger::signs(evidence);
    because.insert(0, unseen);
    Some(Lean {
        causes,
        because: because.join("; "),
        settle: "conntrack -L > conntrack.txt   # and put it beside the other files".to_string(),
    })
}
