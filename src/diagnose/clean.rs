//! The verdict that accuses nobody, and the plain facts behind it.

use super::cause::Cause;
use super::half_open::{PILE_SHARE, listed, pile_from, sum, young};
use super::outcomes::Outcomes;
use super::report::Judgement;
use super::rule::{Verdict, Weighed, confidence, count, fact, remark, whole};
use crate::evidence::Evidence;
use crate::model::Estimate;

/// A cause that could not be examined takes so much, …
const NATS_PER_UNKNOWN: f64 = 0.4;
/// … and all of them together no more than this: many lack the same source.
const MOST_NATS_OF_UNKNOWN: f64 = 1.0;

pub fn nothing(evidence: &Evidence, outcomes: &Outcomes) -> Judgement {
    let mut items = seen(evidence);
    items.extend(unseen_sources(evidence));
    let mut left: f64 = MOST_NATS_OF_UNKNOWN;
    for (cause, verdict) in outcomes {
        if let Verdict::Unknown { because, .. } = verdict {
            let nats = NATS_PER_UNKNOWN.min(left);
            left -= nats;
            items.push(remark(
                "not-examined",
                -nats,
                format!("{}: {because}", cause.name()),
            ));
        }
    }
    let piled = piled(evidence);
    let entries = evidence.table.as_ref().and_then(|t| t.count);
    let mut blank = Judgement::blank(Cause::None);
    blank.headline = match (piled, entries) {
        (Some(piled), Some(all)) => format!(
            "Nothing found: {} half-open of {} entries, no pile-up and no pressure. {} of {} causes were looked for.",
            count(piled),
            whole(all as f64),
            outcomes.len(),
            Cause::ALL.len()
        ),
        _ => "Nothing found in what could be seen.".to_string(),
    };
    blank.confidence = confidence(&items);
    blank.evidence = items.into_iter().map(|w| w.item).collect();
    blank
}

/// All half-open entries. A sample that met none has an upper bound all the same.
fn piled(evidence: &Evidence) -> Option<Estimate> {
    let half_open = evidence.half_open.as_ref()?;
    let met = sum(half_open.piles()).entries;
    let table = evidence.table.as_ref();
    match table.and_then(|t| t.dumped.zip(t.sampled_of)) {
        Some((dumped, of)) if met.high <= 0.0 => Some(Estimate::of_sample(0, dumped, of)),
        _ => Some(met),
    }
}

/// Of so many that they would be a pile-up, the ones that are too young for it.
fn under_way(evidence: &Evidence, piled: Estimate) -> String {
    match &evidence.half_open {
        Some(half_open) if piled.value >= pile_from(evidence) => {
            let sum = sum(half_open.piles());
            young(sum.entries, sum.settled)
        }
        _ => String::new(),
    }
}

/// A sample that met no half-open entry, and is too small to say that they are few.
pub fn may_hide_a_pile(evidence: &Evidence) -> bool {
    let sampled_of = evidence.table.as_ref().and_then(|t| t.sampled_of);
    let few = |of: u64| pile_from(evidence).max(of as f64 * PILE_SHARE);
    let met = piled(evidence).zip(sampled_of);
    met.is_some_and(|(piled, of)| piled.value <= 0.0 && piled.high >= few(of))
}

/// The plain facts behind a verdict that accuses nobody.
pub fn seen(evidence: &Evidence) -> Vec<Weighed> {
    let mut out = Vec::new();
    if let Some(piled) = piled(evidence) {
        let from = whole(pile_from(evidence));
        let text = format!(
            "{} half-open entries{}; a pile-up starts at {from}",
            count(piled),
            under_way(evidence, piled)
        );
        out.push(super::rule::estimate("half-open", 2.0, text, piled, "entries"));
    }
    if let Some(fill) = evidence.table.as_ref().and_then(|t| t.fill) {
        out.push(fact(
            "fill",
            0.7,
            format!("the table is {:.1} % full", fill * 100.0),
            fill,
            "of max",
        ));
    }
    if let Some(waiting) = evidence.half_open.as_ref().and_then(|h| h.syn_sent_sockets) {
        let text = format!("{} local sockets are in SYN_SENT", whole(waiting as f64));
        out.push(fact("live-sockets", 0.5, text, waiting as f64, "sockets"));
    }
    if let Some(counters) = evidence.conntrack.as_ref().filter(|_| evidence.window_secs > 0.0) {
        let harm = ["drop", "early_drop", "insert_failed"];
        let rise: u64 = harm.iter().filter_map(|name| counters.get(name)).sum();
        let nats = if rise == 0 { 0.7 } else { -1.0 };
        let text = format!(
            "drop, early_drop and insert_failed rose by {rise} in {:.1} s",
            evidence.window_secs
        );
        out.push(fact("damage-counters", nats, text, rise as f64, "events"));
    }
    out
}

/// What could not be seen lowers the confidence, whatever it might have shown.
pub fn unseen_sources(evidence: &Evidence) -> Option<Weighed> {
    let sources: Vec<String> = evidence.gaps.iter().map(|gap| gap.source.clone()).collect();
    let nats = -(NATS_PER_GAP * sources.len() as f64).min(MOST_NATS_OF_GAPS);
    let text = format!("not seen: {}", listed(&sources));
    (!sources.is_empty()).then(|| fact("not-seen", nats, text, sources.len() as f64, "sources"))
}

const NATS_PER_GAP: f64 = 0.5;
const MOST_NATS_OF_GAPS: f64 = 1.5;
