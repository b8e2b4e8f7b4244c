//! The order of faults by the damage they do, and which of several is the bottleneck.

use super::cause::Cause;
use super::outcomes::{self, Outcomes};
use super::report::Other;
use super::rule::{EVEN_ODDS, Finding, Verdict, confidence};
use crate::evidence::Evidence;

/// Gravest first; among equals the one that explains more entries.
const BY_DAMAGE: [&[Cause]; 5] = [
    // New connections fail, for everybody …
    &[Cause::TableFull],
    // … or towards one place, at once.
    &[Cause::NatPortsExhausted, Cause::EphemeralPortsExhausted],
    // Entries outlive their connections, and take room from others.
    &[
        Cause::SynSentHold,
        Cause::SynRecvHold,
        Cause::EstablishedHold,
        Cause::CloseWaitHold,
        Cause::TimeWaitHold,
        Cause::UdpHold,
        Cause::HashUndersized,
    ],
    // This host, or the way to it, loses packets of some connections.
    &[
        Cause::RulesetDrop,
        Cause::StaleNatEntry,
        Cause::WindowInvalid,
        Cause::InsertClash,
        Cause::ListenerOverflow,
        Cause::PawsDrop,
        Cause::AsymmetricRouting,
        Cause::RpFilterDrop,
    ],
    // Somebody else fails.
    &[
        Cause::BackendUnresponsive,
        Cause::BackendRefusing,
        Cause::SynFlood,
    ],
];

/// What was found, gravest first.
pub fn found<'a>(outcomes: &Outcomes<'a>) -> Vec<(Cause, &'a Finding)> {
    let mut all: Vec<(Cause, &Finding)> = outcomes
        .iter()
        .filter_map(|(cause, verdict)| match verdict {
            Verdict::Found(finding) => Some((*cause, finding.as_ref())),
            _ => None,
        })
        .collect();
    // Stable: ties stay in the order of the codes.
    all.sort_by(|a, b| {
        rank(a.0)
            .cmp(&rank(b.0))
            .then(explained(b.1).total_cmp(&explained(a.1)))
    });
    all
}

/// The bottleneck. One whose own evidence speaks against it is none as long as another one is likely.
pub fn gravest<'a>(evidence: &Evidence, outcomes: &Outcomes<'a>) -> Option<(Cause, &'a Finding)> {
    // A flood overflows the SYN queue too: the program is not slow where its accept queue has room.
    let flooded =
        outcomes::found(outcomes, Cause::SynFlood).is_some() && outcomes::accept_queues_fine(evidence);
    let mut all = found(outcomes);
    all.retain(|(cause, _)| !(flooded && *cause == Cause::ListenerOverflow));
    let likely = all
        .iter()
        .find(|(_, finding)| confidence(&finding.evidence) >= EVEN_ODDS);
    likely.or(all.first()).copied()
}

/// The largest of the holds: what fills a table.
pub fn largest_hold<'a>(outcomes: &Outcomes<'a>) -> Option<(Cause, &'a Finding)> {
    let holds = found(outcomes).into_iter().filter(|(cause, _)| cause.holds());
    holds.max_by(|a, b| explained(a.1).total_cmp(&explained(b.1)))
}

/// What was found beside the bottleneck and its trigger, gravest first.
pub fn others(outcomes: &Outcomes, told: &[Cause]) -> Vec<Other> {
    let beside = found(outcomes)
        .into_iter()
        .filter(|(cause, _)| !told.contains(cause));
    beside
        .map(|(cause, finding)| Other {
            side: cause.side(),
            cause,
            place: finding.place.clone(),
            confidence: confidence(&finding.evidence),
            headline: finding.headline.clone(),
            entries_explained: finding.entries.map(|entries| entries.value),
            fix_first: finding.fixes.clone(),
        })
        .collect()
}

/// Where a cause is in [`BY_DAMAGE`].
pub fn rank(cause: Cause) -> usize {
    let at = BY_DAMAGE.iter().position(|equals| equals.contains(&cause));
    at.unwrap_or(BY_DAMAGE.len())
}

pub fn explained(finding: &Finding) -> f64 {
    finding.entries.map_or(0.0, |entries| entries.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_does_damage_once() {
        for cause in Cause::ALL {
            let places = BY_DAMAGE.iter().flat_map(|equals| equals.iter());
            assert_eq!(places.filter(|c| **c == cause).count(), 1, "{}", cause.name());
        }
    }
}
