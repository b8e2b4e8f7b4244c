//! What the rules said, each of its cause.

use super::cause::Cause;
use super::rule::{Finding, Verdict};
use super::rules::overflows;
use crate::evidence::Evidence;

/// What the other rules found, by cause.
pub type Outcomes<'a> = [(Cause, &'a Verdict)];

pub fn found<'a>(outcomes: &Outcomes<'a>, wanted: Cause) -> Option<&'a Finding> {
    outcomes.iter().find_map(|(cause, verdict)| match verdict {
        Verdict::Found(finding) if *cause == wanted => Some(finding.as_ref()),
        _ => None,
    })
}

/// Only the SYN queue is full, as a flood does it.
pub fn accept_queues_fine(evidence: &Evidence) -> bool {
    overflows(evidence).is_some_and(|o| o.accept == 0)
}
