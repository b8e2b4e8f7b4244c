//! A closed list of rules over the evidence, and the verdict they add up to.

mod audit;
mod cause;
mod clean;
mod culprit;
mod damage;
mod half_open;
mod judge;
mod lean;
mod logged;
mod losses;
mod outcomes;
mod page;
mod report;
mod rule;
mod rules;
mod share;
mod source_nat;
mod trigger;

pub use audit::{AUDIT_SCHEMA, AuditReport, Remark, audit};
pub use cause::{Cause, Side};
pub use half_open::{either, listed};
pub use page::{CausePage, Part, Section, pages};
pub use report::{
    EvidenceItem, FindingDoc, FindingState, Fix, GapDoc, HostDoc, Judgement, Lean, Other, Report, RuledOut,
    SCHEMA, Trigger,
};

use crate::evidence::Evidence;
use crate::model::Moment;
use rule::{Looked, Verdict, confidence};
pub use rule::{count, whole};
use rules::RULES;

/// Runs every rule and weighs the answers.
pub fn diagnose(evidence: &Evidence) -> Report {
    let answers: Vec<(Cause, Verdict)> = RULES
        .iter()
        .map(|rule| (rule.cause, (rule.check)(evidence)))
        .collect();
    let outcomes: Vec<(Cause, &Verdict)> = answers.iter().map(|(cause, verdict)| (*cause, verdict)).collect();
    let gaps = evidence.gaps.iter().map(|gap| GapDoc {
        source: gap.source.clone(),
        reason: gap.reason.clone(),
        remedy: gap.remedy.clone(),
    });
    Report {
        schema: SCHEMA,
        host: HostDoc {
            kernel: evidence.host.kernel.clone(),
            netns: evidence.host.netns.clone(),
        },
        taken: evidence.taken.and_then(date),
        window_s: (evidence.window_secs * 1000.0).round() / 1000.0,
        table: evidence.table.clone(),
        states: evidence.states.clone(),
        counters: evidence.conntrack.clone(),
        verdict: judge::judge(evidence, &outcomes),
        findings: Cause::ALL
            .into_iter()
            .map(|cause| finding_doc(cause, &outcomes))
            .collect(),
        dead_settings: evidence.dead_settings.clone(),
        gaps: gaps.collect(),
    }
}

fn date(moment: Moment) -> Option<String> {
    let secs = i64::try_from(moment.real_ns / 1_000_000_000).ok()?;
    Some(jiff::Timestamp::from_second(secs).ok()?.to_string())
}

fn finding_doc(cause: Cause, outcomes: &[(Cause, &Verdict)]) -> FindingDoc {
    let mut doc = FindingDoc {
        code: cause.code().unwrap_or_default(),
        name: cause,
        state: FindingState::Unknown,
        because: "this version has no rule for it".to_string(),
        entries_explained: None,
        refutes: String::new(),
        refutes_looked_for: None,
        refutes_seen: None,
        confidence: None,
    };
    let Some((_, verdict)) = outcomes.iter().find(|(known, _)| *known == cause) else {
        return doc;
    };
    doc.refutes = RULES
        .iter()
        .find(|rule| rule.cause == cause)
        .map_or(String::new(), |rule| rule.refutes.to_string());
    match verdict {
        Verdict::Clear { because } => {
            doc.state = FindingState::Clear;
            doc.because = because.clone();
        }
        Verdict::Unknown { because, .. } => doc.because = because.clone(),
        Verdict::Found(finding) => {
            doc.state = FindingState::Found;
            doc.because = finding.headline.clone();
            doc.entries_explained = finding.entries.map(|e| e.value);
            doc.confidence = Some(confidence(&finding.evidence));
            let (looked_for, seen) = match &finding.looked {
                Looked::For(seen) => (true, seen),
                Looked::Not(why) => (false, why),
            };
            doc.refutes_looked_for = Some(looked_for);
            doc.refutes_seen = Some(seen.clone());
        }
    }
    doc
}
