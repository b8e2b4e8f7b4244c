//! The rules' answers become one verdict: who holds the pile-up or, where nothing is held, who fails.

use super::cause::{Cause, Side};
use super::clean::{may_hide_a_pile, nothing, seen, unseen_sources};
use super::damage;
use super::half_open::sum;
use super::lean;
use super::outcomes::{self, Outcomes};
use super::report::{Judgement, Lean, RuledOut};
use super::rule::{EVEN_ODDS, Finding, Verdict, Weighed, confidence};
use super::trigger;
use crate::evidence::Evidence;
use crate::model::TcpState;

pub fn judge(evidence: &Evidence, outcomes: &Outcomes) -> Judgement {
    let mut verdict = match damage::gravest(evidence, outcomes) {
        Some((cause, finding)) if confidence(&finding.evidence) < EVEN_ODDS => {
            undecided(evidence, unlikely(evidence, cause, finding), None)
        }
        Some((cause, finding)) => match (
            lean::hold_in_question(evidence, outcomes, cause, finding),
            trigger::rival(evidence, outcomes, cause, finding),
        ) {
            (Some(lean), _) => undecided(evidence, lean, Some((cause, finding))),
            (None, Some(lean)) => undecided(evidence, lean, None),
            (None, None) => match accuse(evidence, outcomes, cause, finding) {
                // Likely by itself, but too little was seen beside it.
                verdict if verdict.confidence < EVEN_ODDS => {
                    undecided(evidence, unsure(evidence, cause, finding), None)
                }
                verdict => verdict,
            },
        },
        None => match lean::leaning(evidence, outcomes) {
            Some(lean) => undecided(evidence, lean, None),
            None => match nothing(evidence, outcomes) {
                verdict if verdict.confidence < EVEN_ODDS || may_hide_a_pile(evidence) => {
                    undecided(evidence, too_little(evidence), None)
                }
                verdict => verdict,
            },
        },
    };
    let trigger = verdict.trigger.as_ref().map(|trigger| trigger.cause);
    let told: Vec<Cause> = [Some(verdict.cause), trigger].into_iter().flatten().collect();
    verdict.others = damage::others(outcomes, &told);
    verdict.ruled_out = outcomes
        .iter()
        .filter_map(|(cause, answer)| match answer {
            Verdict::Clear { because } => Some(RuledOut {
                cause: *cause,
                because: because.clone(),
            }),
            _ => None,
        })
        .collect();
    verdict
}

/// A finding whose own evidence speaks against it.
fn unlikely(evidence: &Evidence, cause: Cause, finding: &Finding) -> Lean {
    Lean {
        causes: vec![cause],
        because: format!(
            "much speaks against it, though: {}",
            finding.headline.trim_end_matches('.')
        ),
        settle: look_again(evidence),
    }
}

/// A finding beside which too much was not seen.
fn unsure(evidence: &Evidence, cause: Cause, finding: &Finding) -> Lean {
    Lean {
        causes: vec![cause],
        because: format!(
            "much was not seen, but: {}",
            finding.headline.trim_end_matches('.')
        ),
        settle: look_again(evidence),
    }
}

/// Nothing was found in too little.
fn too_little(evidence: &Evidence) -> Lean {
    Lean {
        causes: Vec::new(),
        because: "nothing was found, but too little was seen to say that nothing is wrong".to_string(),
        settle: look_again(evidence),
    }
}

fn look_again(evidence: &Evidence) -> String {
    let command = if evidence.pasted {
        "sudo ctlens diagnose   # on that host"
    } else {
        "sudo ctlens diagnose --exact --window 5s"
    };
    command.to_string()
}

fn accuse(evidence: &Evidence, outcomes: &Outcomes, cause: Cause, finding: &Finding) -> Judgement {
    let trigger = trigger::of(evidence, outcomes, cause, finding);
    let mut fixes = finding.fixes.clone();
    if let Some((_, filler)) = damage::largest_hold(outcomes).filter(|_| cause == Cause::TableFull) {
        fixes.extend(filler.fixes.clone());
    }
    let other = trigger.as_ref().and_then(|t| outcomes::found(outcomes, t.cause));
    if let (Some(trigger), Some(other)) = (&trigger, other) {
        // What can be mended on this host comes first; what another one must mend, last.
        let at = if mended_here(trigger.cause) {
            0
        } else {
            fixes.len()
        };
        fixes.splice(at..at, other.fixes.clone());
    }
    let unseen = unseen_sources(evidence);
    let mut items: Vec<&Weighed> = finding.evidence.iter().chain(&unseen).collect();
    let sure = confidence(items.iter().copied());
    if let Some(other) = other {
        items.extend(other.evidence.iter().filter(|w| items_lack(&finding.evidence, w)));
    }
    Judgement {
        confidence: sure,
        headline: finding.headline.clone(),
        amplification: amplification(evidence, cause),
        trigger,
        evidence: items.into_iter().map(|w| w.item.clone()).collect(),
        fix_first: fixes,
        ..Judgement::blank(cause)
    }
}

/// Whether this host's own settings and rules end it.
fn mended_here(cause: Cause) -> bool {
    matches!(cause.side(), Side::Proxy | Side::Firewall) || cause == Cause::RpFilterDrop
}

fn items_lack(items: &[Weighed], wanted: &Weighed) -> bool {
    items.iter().all(|w| w.item.id != wanted.item.id)
}

fn amplification(evidence: &Evidence, cause: Cause) -> Option<f64> {
    let state = match cause {
        Cause::SynSentHold => TcpState::SynSent,
        Cause::SynRecvHold => TcpState::SynRecv,
        _ => return None,
    };
    sum(evidence.half_open.as_ref()?.of(state).values()).amplification()
}

/// `failing`: who was found to fail, while it is open whether the firewall holds what he sets off.
fn undecided(evidence: &Evidence, lean: Lean, failing: Option<(Cause, &Finding)>) -> Judgement {
    let names: Vec<&str> = lean.causes.iter().map(|c| c.name()).collect();
    let mut blank = Judgement::blank(Cause::Undecided);
    blank.headline = match names[..] {
        [] => format!("Not decided: {}.", lean.because),
        _ => format!(
            "Not decided, leaning to {}: {}.",
            names.join(" or "),
            lean.because
        ),
    };
    blank.confidence = 0.5;
    let mut items = seen(evidence);
    if let Some((cause, finding)) = failing {
        items.extend(finding.evidence.iter().cloned());
        blank.fix_first = finding.fixes.clone();
        blank.trigger = Some(trigger::named(cause, finding, confidence(&finding.evidence)));
    }
    blank.evidence = items.into_iter().map(|w| w.item).collect();
    blank.leans_to = Some(lean);
    blank
}
