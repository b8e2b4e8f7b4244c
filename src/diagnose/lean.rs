//! What the facts lean to where no rule may decide.

use super::cause::Cause;
use super::half_open::{PileUp, Sure, answers_here, background, completed, largest, pile_up};
use super::report::Lean;
use super::rule::Verdict;
use super::trigger::{self, Outcomes};
use crate::evidence::Evidence;
use crate::model::TcpState;

/// Who fails is not the bottleneck before it is known that his pile-up is not held.
pub fn hold_in_question(evidence: &Evidence, outcomes: &Outcomes, failing: Cause) -> Option<Lean> {
    let (hold, state) = match failing {
        Cause::SynFlood => (Cause::SynRecvHold, TcpState::SynRecv),
        Cause::BackendUnresponsive => (Cause::SynSentHold, TcpState::SynSent),
        // Its overflows are a fault of their own; what piles up may be somebody else's.
        Cause::ListenerOverflow
            if largest(evidence, TcpState::SynSent).is_some_and(|(d, p)| answers_here(d, p)) =>
        {
            (Cause::SynSentHold, TcpState::SynSent)
        }
        _ => return None,
    };
    let lean = outcomes
        .iter()
        .find_map(|(cause, verdict)| of_rule(*cause, verdict).filter(|_| *cause == hold))?;
    largest(evidence, state).map(|_| Lean {
        causes: vec![hold, failing],
        ..lean
    })
}

/// What a rule leans to that could not answer.
pub fn of_rule(cause: Cause, verdict: &Verdict) -> Option<Lean> {
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
pub fn unexplained(evidence: &Evidence, outcomes: &Outcomes) -> Option<Lean> {
    let piled = |state: TcpState| {
        let (_, pile) = largest(evidence, state)?;
        let innocent = match state {
            TcpState::SynRecv => completed(pile).0 == Sure::Yes,
            _ => background(evidence, pile).0 == Sure::Yes,
        };
        (pile_up(evidence, pile.settled()) == PileUp::Yes && !innocent).then_some(pile)
    };
    if piled(TcpState::SynSent).is_some() {
        return trigger::of_syn_sent(evidence, outcomes)?.leans_to;
    }
    piled(TcpState::SynRecv).and_then(|_| trigger::of_syn_recv(evidence, outcomes)?.leans_to)
}

/// Fewer losses a second are a hiccup, not a fault.
const LEAST_DAMAGE_PER_S: f64 = 1.0;

/// Conntrack loses packets, and the table is not full.
pub fn damaged(evidence: &Evidence) -> Option<Lean> {
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
