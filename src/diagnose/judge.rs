//! The rules' answers become one verdict: who holds the pile-up or, where nothing is held, who fails.

use super::cause::{Cause, Side};
use super::half_open::{PILE_SHARE, listed, pile_from, sum};
use super::lean;
use super::report::{Judgement, Lean, RuledOut, Trigger};
use super::rule::{Finding, Verdict, Weighed, confidence, count, fact, remark, whole};
use super::trigger::{self, Outcomes};
use crate::evidence::{Direction, Evidence};
use crate::model::{Estimate, TcpState};

pub fn judge(evidence: &Evidence, outcomes: &Outcomes) -> Judgement {
    let mut verdict = match strongest(evidence, outcomes) {
        Some((cause, finding)) if confidence(&finding.evidence) < EVEN_ODDS => {
            undecided(evidence, unlikely(evidence, cause, finding), None)
        }
        Some((cause, finding)) => match lean::hold_in_question(evidence, outcomes, cause) {
            Some(lean) => undecided(evidence, lean, Some((cause, finding))),
            None => accuse(evidence, outcomes, cause, finding),
        },
        None => match leaning(evidence, outcomes) {
            Some(lean) => undecided(evidence, lean, None),
            None => match nothing(evidence, outcomes) {
                verdict if verdict.confidence < EVEN_ODDS || may_hide_a_pile(evidence) => {
                    undecided(evidence, too_little(evidence), None)
                }
                verdict => verdict,
            },
        },
    };
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

/// Below this a verdict is more likely wrong than right: it is none.
const EVEN_ODDS: f64 = 0.5;

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

/// By damage: what fails for everybody, what fails at once, what is held, what only waits.
const RANK: [&[Cause]; 5] = [
    &[Cause::TableFull],
    &[Cause::EphemeralPortsExhausted],
    &[Cause::SynSentHold, Cause::SynRecvHold],
    &[Cause::ListenerOverflow],
    &[Cause::BackendUnresponsive, Cause::SynFlood],
];

fn strongest<'a>(evidence: &Evidence, outcomes: &Outcomes<'a>) -> Option<(Cause, &'a Finding)> {
    // A flood overflows the SYN queue too: the program is not slow where its accept queue has room.
    let flooded = of(outcomes, Cause::SynFlood).is_some() && trigger::accept_queues_fine(evidence);
    RANK.iter().find_map(|equals| {
        let found = outcomes.iter().filter_map(|(cause, verdict)| match verdict {
            Verdict::Found(_) if flooded && *cause == Cause::ListenerOverflow => None,
            Verdict::Found(finding) if equals.contains(cause) => Some((*cause, finding.as_ref())),
            _ => None,
        });
        found.max_by(|a, b| explained(a.1).total_cmp(&explained(b.1)))
    })
}

fn explained(finding: &Finding) -> f64 {
    finding.entries.map_or(0.0, |e| e.value)
}

fn accuse(evidence: &Evidence, outcomes: &Outcomes, cause: Cause, finding: &Finding) -> Judgement {
    let trigger = trigger_of(evidence, outcomes, cause);
    let held = matches!(cause, Cause::SynSentHold | Cause::SynRecvHold);
    let mut fixes = finding.fixes.clone();
    if let Some(filler) = Some(cause)
        .filter(|c| *c == Cause::TableFull)
        .and_then(|_| largest_hold(outcomes))
    {
        fixes.extend(filler.1.fixes.clone());
    }
    if let Some(own) = trigger
        .as_ref()
        .filter(|t| t.side == Side::Proxy)
        .and_then(|t| of(outcomes, t.cause))
    {
        fixes.splice(0..0, own.fixes.clone());
    } else if let Some(other) = trigger.as_ref().and_then(|t| of(outcomes, t.cause)) {
        fixes.extend(other.fixes.clone());
    }
    let unseen = unseen_sources(evidence);
    let mut items: Vec<&Weighed> = finding.evidence.iter().chain(&unseen).collect();
    let sure = confidence(items.iter().copied());
    if let Some(trigger) = &trigger
        && let Some(other) = of(outcomes, trigger.cause)
    {
        items.extend(other.evidence.iter().filter(|w| items_lack(&finding.evidence, w)));
    }
    Judgement {
        bottleneck: cause.side(),
        cause,
        confidence: sure,
        headline: finding.headline.clone(),
        amplification: held.then(|| amplification(evidence, cause)).flatten(),
        trigger,
        evidence: items.into_iter().map(|w| w.item.clone()).collect(),
        ruled_out: Vec::new(),
        fix_first: fixes,
        leans_to: None,
    }
}

fn items_lack(items: &[Weighed], wanted: &Weighed) -> bool {
    items.iter().all(|w| w.item.id != wanted.item.id)
}

fn of<'a>(outcomes: &Outcomes<'a>, wanted: Cause) -> Option<&'a Finding> {
    outcomes.iter().find_map(|(cause, verdict)| match verdict {
        Verdict::Found(finding) if *cause == wanted => Some(finding.as_ref()),
        _ => None,
    })
}

fn trigger_of(evidence: &Evidence, outcomes: &Outcomes, cause: Cause) -> Option<Trigger> {
    match cause {
        Cause::SynSentHold => trigger::of_syn_sent(evidence, outcomes),
        Cause::SynRecvHold => trigger::of_syn_recv(evidence, outcomes),
        // What fills the table may itself have been set off by somebody.
        Cause::TableFull => trigger_of(evidence, outcomes, largest_hold(outcomes)?.0),
        // Sockets that wait for a silent backend use the ports up.
        Cause::EphemeralPortsExhausted => {
            let fullest = evidence.ports.as_ref()?.first()?;
            let waiting = fullest.by_state.get("SYN_SENT").copied().unwrap_or(0);
            let finding = of(outcomes, Cause::BackendUnresponsive).filter(|_| waiting * 2 > fullest.used)?;
            Some(trigger::named(
                Cause::BackendUnresponsive,
                finding,
                confidence(&finding.evidence),
            ))
        }
        _ => None,
    }
}

fn largest_hold<'a>(outcomes: &Outcomes<'a>) -> Option<(Cause, &'a Finding)> {
    [Cause::SynSentHold, Cause::SynRecvHold]
        .into_iter()
        .filter_map(|cause| Some((cause, of(outcomes, cause)?)))
        .max_by(|a, b| explained(a.1).total_cmp(&explained(b.1)))
}

/// What could not be seen lowers the confidence, whatever it might have shown.
fn unseen_sources(evidence: &Evidence) -> Option<Weighed> {
    let sources: Vec<String> = evidence.gaps.iter().map(|gap| gap.source.clone()).collect();
    let nats = -(NATS_PER_GAP * sources.len() as f64).min(MOST_NATS_OF_GAPS);
    let text = format!("not seen: {}", listed(&sources));
    (!sources.is_empty()).then(|| fact("not-seen", nats, text, sources.len() as f64, "sources"))
}

const NATS_PER_GAP: f64 = 0.5;
const MOST_NATS_OF_GAPS: f64 = 1.5;

fn amplification(evidence: &Evidence, cause: Cause) -> Option<f64> {
    let state = if cause == Cause::SynRecvHold {
        TcpState::SynRecv
    } else {
        TcpState::SynSent
    };
    sum(evidence.half_open.as_ref()?.of(state).values()).amplification()
}

fn leaning(evidence: &Evidence, outcomes: &Outcomes) -> Option<Lean> {
    outcomes
        .iter()
        .find_map(|(cause, verdict)| lean::of_rule(*cause, verdict))
        .or_else(|| sockets_without_entries(evidence))
        .or_else(|| lean::unexplained(evidence, outcomes))
        .or_else(|| lean::damaged(evidence))
        .or_else(|| unseen(evidence))
        .or_else(|| untold(evidence))
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

/// Sockets wait, but their SYNs have no entry: the own ruleset dropped them, or did not track them.
fn sockets_without_entries(evidence: &Evidence) -> Option<Lean> {
    let half_open = evidence.half_open.as_ref()?;
    let waiting = half_open.sockets_without_entry? as f64;
    let entries = half_open
        .syn_sent
        .get(&Direction::Out)
        .map_or(0.0, |p| p.entries.value);
    (waiting >= pile_from(evidence) && waiting > entries * 4.0).then(|| Lean {
        causes: vec![Cause::RulesetDrop],
        because: format!(
            "{} sockets wait in SYN_SENT, but the table has {} entries for them: their SYNs never left this host, \
             or are not tracked",
            whole(waiting),
            whole(entries)
        ),
        settle: "nft list ruleset | grep -E 'hook output|drop|reject|notrack'".to_string(),
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

/// `failing`: who was found to fail, while it is open whether the firewall holds what he sets off.
fn undecided(evidence: &Evidence, lean: Lean, failing: Option<(Cause, &Finding)>) -> Judgement {
    let names: Vec<&str> = lean.causes.iter().map(|c| c.name()).collect();
    let mut blank = blank(Cause::Undecided);
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

fn nothing(evidence: &Evidence, outcomes: &Outcomes) -> Judgement {
    let mut items = seen(evidence);
    items.extend(unseen_sources(evidence));
    for (cause, verdict) in outcomes {
        if let Verdict::Unknown { because, .. } = verdict {
            items.push(remark(
                "not-examined",
                -0.4,
                format!("{}: {because}", cause.name()),
            ));
        }
    }
    let piled = piled(evidence);
    let entries = evidence.table.as_ref().and_then(|t| t.count);
    let mut blank = blank(Cause::None);
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
    let met = sum(half_open.syn_sent.values().chain(half_open.syn_recv.values())).entries;
    let table = evidence.table.as_ref();
    match table.and_then(|t| t.dumped.zip(t.sampled_of)) {
        Some((dumped, of)) if met.high <= 0.0 => Some(Estimate::of_sample(0, dumped, of)),
        _ => Some(met),
    }
}

/// A sample that met no half-open entry, and is too small to say that they are few.
fn may_hide_a_pile(evidence: &Evidence) -> bool {
    let sampled_of = evidence.table.as_ref().and_then(|t| t.sampled_of);
    let few = |of: u64| pile_from(evidence).max(of as f64 * PILE_SHARE);
    let met = piled(evidence).zip(sampled_of);
    met.is_some_and(|(piled, of)| piled.value <= 0.0 && piled.high >= few(of))
}

/// The plain facts behind a verdict that accuses nobody.
fn seen(evidence: &Evidence) -> Vec<Weighed> {
    let mut out = Vec::new();
    if let Some(piled) = piled(evidence) {
        let from = whole(pile_from(evidence));
        let text = format!("{} half-open entries; a pile-up starts at {from}", count(piled));
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

fn blank(cause: Cause) -> Judgement {
    Judgement {
        bottleneck: cause.side(),
        cause,
        confidence: 0.5,
        headline: String::new(),
        amplification: None,
        trigger: None,
        evidence: Vec::new(),
        ruled_out: Vec::new(),
        fix_first: Vec::new(),
        leans_to: None,
    }
}
