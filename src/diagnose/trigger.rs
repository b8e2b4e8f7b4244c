//! Who sets a pile-up off, once it is known that the firewall holds it.

use super::cause::{Cause, Side};
use super::damage;
use super::half_open::{Sure, answers_here, both_ways, largest, one_way, pile_from, places};
use super::logged;
use super::outcomes::{Outcomes, accept_queues_fine, found};
use super::report::{Lean, Trigger};
use super::rule::{Finding, Verdict, confidence};
use super::rules::{looks_spoofed, overflows};
use crate::evidence::{Direction, Evidence, Pile};
use crate::model::TcpState;

/// A less certain finding is no trigger yet.
const SURE_ENOUGH: f64 = 0.6;
/// A fault sets a pile off where it explains this share of it.
const MOST: f64 = 0.5;

/// The holds that a cause may set off, with the state that piles up.
pub fn sets_off(cause: Cause) -> &'static [(Cause, TcpState)] {
    const SYN_SENT: (Cause, TcpState) = (Cause::SynSentHold, TcpState::SynSent);
    const SYN_RECV: (Cause, TcpState) = (Cause::SynRecvHold, TcpState::SynRecv);
    match cause {
        Cause::ListenerOverflow | Cause::BackendUnresponsive | Cause::BackendRefusing => &[SYN_SENT],
        Cause::SynFlood | Cause::RulesetDrop | Cause::RpFilterDrop | Cause::PawsDrop => &[SYN_RECV, SYN_SENT],
        Cause::AsymmetricRouting => &[SYN_SENT, SYN_RECV],
        _ => &[],
    }
}

/// Who did it, most specific first: what a counter or a packet proves comes before what is left when nothing answers.
const OUTWARD: [Cause; 7] = [
    Cause::RulesetDrop,
    Cause::RpFilterDrop,
    Cause::PawsDrop,
    Cause::AsymmetricRouting,
    Cause::BackendRefusing,
    Cause::SynFlood,
    Cause::BackendUnresponsive,
];
const INWARD: [Cause; 6] = [
    Cause::RulesetDrop,
    Cause::RpFilterDrop,
    Cause::PawsDrop,
    Cause::AsymmetricRouting,
    Cause::ListenerOverflow,
    Cause::SynFlood,
];
const UNFINISHED: [Cause; 5] = [
    Cause::RulesetDrop,
    Cause::RpFilterDrop,
    Cause::PawsDrop,
    Cause::SynFlood,
    Cause::AsymmetricRouting,
];

/// What set the bottleneck off; `None` where nothing had to.
pub fn of(evidence: &Evidence, outcomes: &Outcomes, cause: Cause, finding: &Finding) -> Option<Trigger> {
    match cause {
        Cause::SynSentHold => of_syn_sent(evidence, outcomes),
        Cause::SynRecvHold => of_syn_recv(evidence, outcomes),
        Cause::UdpHold => silent(finding),
        // What fills the table may itself have been set off by somebody.
        Cause::TableFull => {
            let (hold, finding) = damage::largest_hold(outcomes)?;
            of(evidence, outcomes, hold, finding)
        }
        Cause::EphemeralPortsExhausted | Cause::NatPortsExhausted => {
            of_ports(evidence, outcomes, cause, finding)
        }
        _ => None,
    }
}

/// Datagrams to few places that nobody answers.
fn silent(finding: &Finding) -> Option<Trigger> {
    let named = named(Cause::BackendUnresponsive, finding, confidence(&finding.evidence));
    let because = format!(
        "no datagram to {} is answered",
        super::half_open::listed(&finding.place)
    );
    (!finding.place.is_empty()).then_some(Trigger { because, ..named })
}

/// Attempts that wait for a backend use the ports up.
fn of_ports(evidence: &Evidence, outcomes: &Outcomes, cause: Cause, finding: &Finding) -> Option<Trigger> {
    if cause == Cause::EphemeralPortsExhausted {
        let fullest = evidence.ports.as_ref()?.first()?;
        let waiting = fullest.by_state.get("SYN_SENT").copied().unwrap_or(0);
        if waiting * 2 <= fullest.used {
            return None;
        }
    }
    let silent = [Cause::BackendRefusing, Cause::BackendUnresponsive];
    silent.into_iter().find_map(|cause| {
        let other = found(outcomes, cause)?;
        let same = finding.place.iter().any(|place| other.place.contains(place));
        same.then(|| named(cause, other, confidence(&other.evidence)))
    })
}

fn of_syn_sent(evidence: &Evidence, outcomes: &Outcomes) -> Option<Trigger> {
    let (direction, pile) = largest(evidence, TcpState::SynSent)?;
    if answers_here(direction, pile) {
        let spoofed = looks_spoofed(pile) == Sure::Yes && accept_queues_fine(evidence);
        let inward = INWARD
            .into_iter()
            .filter(|cause| !(spoofed && *cause == Cause::ListenerOverflow));
        return Some(first(outcomes, inward, pile).unwrap_or_else(|| in_question(evidence, pile)));
    }
    if direction == Direction::Unknown {
        return Some(from_paste(evidence, pile));
    }
    if let Some(trigger) = first(outcomes, OUTWARD.into_iter(), pile) {
        return Some(trigger);
    }
    if let Some((towards, because, settle)) = leaning(outcomes, Cause::BackendUnresponsive) {
        return Some(undecided(places(pile), towards.to_vec(), because, settle));
    }
    Some(undecided(
        places(pile),
        vec![
            Cause::BackendUnresponsive,
            Cause::AsymmetricRouting,
            Cause::RulesetDrop,
        ],
        "the SYNs went out, but who fails to answer is spread or contradicted",
        "ctlens list --state SYN_SENT --top dst:dport --limit 20",
    ))
}

/// The first of them that was found, for certain enough, and stands behind this pile. Two that are proven of the same
/// entries contradict each other: then it is neither yet.
fn first(outcomes: &Outcomes, causes: impl Iterator<Item = Cause>, pile: &Pile) -> Option<Trigger> {
    let sure = |finding: &Finding| confidence(&finding.evidence);
    let mut behind = causes
        .filter_map(|cause| Some((cause, found(outcomes, cause)?)))
        .filter(|(_, finding)| sure(finding) >= SURE_ENOUGH && explains(finding, pile));
    let (cause, finding) = behind.next()?;
    let rival = behind.find(|(rival, other)| is_proven(*rival) && claims_most(other, pile));
    match rival.filter(|_| is_proven(cause) && claims_most(finding, pile)) {
        Some((rival, other)) => Some(contradicted(pile, (cause, finding), (rival, other))),
        None => Some(named(cause, finding, sure(finding))),
    }
}

/// Whether a counter or a packet of its own proves it. Silence and a crowd are what any of the others brings too.
fn is_proven(cause: Cause) -> bool {
    !matches!(cause, Cause::BackendUnresponsive | Cause::SynFlood)
}

fn claims_most(finding: &Finding, pile: &Pile) -> bool {
    finding
        .entries
        .is_some_and(|entries| entries.value >= pile.settled().value * MOST)
}

fn contradicted(pile: &Pile, one: (Cause, &Finding), other: (Cause, &Finding)) -> Trigger {
    let lean = both(pile, one, other);
    undecided(places(pile), lean.causes, lean.because, lean.settle)
}

fn both(pile: &Pile, one: (Cause, &Finding), other: (Cause, &Finding)) -> Lean {
    Lean {
        causes: vec![one.0, other.0],
        because: format!(
            "two faults explain the same entries: {} And: {}",
            one.1.headline, other.1.headline
        ),
        settle: both_ways(pile),
    }
}

/// A fault of the same damage that explains the same pile, where nothing is held: then it is neither yet.
pub fn rival(evidence: &Evidence, outcomes: &Outcomes, cause: Cause, finding: &Finding) -> Option<Lean> {
    let states = sets_off(cause).iter().map(|(_, state)| *state);
    let of = |state: TcpState| {
        let (_, pile) = largest(evidence, state)?;
        let claims = |cause: Cause, finding: &Finding| is_proven(cause) && claims_most(finding, pile);
        let (rival, other) = damage::found(outcomes).into_iter().find(|(rival, other)| {
            let same_pile = sets_off(*rival).iter().any(|(_, of)| *of == state);
            *rival != cause
                && damage::rank(*rival) == damage::rank(cause)
                && same_pile
                && claims(*rival, other)
        })?;
        claims(cause, finding).then(|| both(pile, (cause, finding), (rival, other)))
    };
    states.into_iter().find_map(of)
}

/// Whether a fault stands behind most of a pile: by its place, or by the entries that it explains.
fn explains(finding: &Finding, pile: &Pile) -> bool {
    let same = places(pile).iter().any(|place| finding.place.contains(place));
    same || claims_most(finding, pile)
}

/// SYNs came in, and no listener of this host is known to drop them.
fn in_question(evidence: &Evidence, pile: &Pile) -> Trigger {
    if one_way(evidence, Direction::In, pile).is_some() {
        return undecided(
            places(pile),
            vec![Cause::AsymmetricRouting, Cause::ListenerOverflow],
            "several invalid packets come for each new SYN: the answers may take another way",
            both_ways(pile),
        );
    }
    let (causes, because) = match overflows(evidence) {
        Some(o) if looks_spoofed(pile) == Sure::Yes && o.syn > 0 => (
            vec![Cause::SynFlood, Cause::ListenerOverflow],
            "SYNs from very many sources, one each, fill the SYN queue while the accept queue has room",
        ),
        Some(_) => (
            vec![Cause::ListenerOverflow, Cause::SynFlood, Cause::RulesetDrop],
            "SYNs came in and this host did not answer, but no listen queue overflowed in the window",
        ),
        None => (
            vec![Cause::ListenerOverflow, Cause::SynFlood, Cause::RulesetDrop],
            "SYNs came in and this host did not answer; listen queue counters were not watched",
        ),
    };
    let settle = if causes[0] == Cause::SynFlood {
        "ctlens list --state SYN_SENT --top src --limit 20"
    } else {
        "ctlens diagnose --window 10s"
    };
    undecided(places(pile), causes, because, settle)
}

/// What a rule leans to that could not answer: causes, why, and what would settle it.
fn leaning<'a>(outcomes: &Outcomes<'a>, wanted: Cause) -> Option<(&'a [Cause], &'a str, &'a str)> {
    outcomes.iter().find_map(|(cause, verdict)| match verdict {
        Verdict::Unknown {
            because,
            settle: Some(settle),
            towards,
        } if *cause == wanted && !towards.is_empty() => {
            Some((towards.as_slice(), because.as_str(), settle.as_str()))
        }
        _ => None,
    })
}

fn of_syn_recv(evidence: &Evidence, outcomes: &Outcomes) -> Option<Trigger> {
    let (direction, pile) = largest(evidence, TcpState::SynRecv)?;
    if let Some(trigger) = first(outcomes, UNFINISHED.into_iter(), pile) {
        return Some(trigger);
    }
    let (causes, because) = match direction {
        Direction::Out => (
            vec![Cause::RulesetDrop, Cause::RpFilterDrop],
            "the SYN/ACKs reached conntrack, but this host's sockets never took them",
        ),
        Direction::Unknown => (
            vec![Cause::SynFlood, Cause::AsymmetricRouting],
            "the sources are not known",
        ),
        _ if looks_spoofed(pile) == Sure::No => (
            vec![Cause::AsymmetricRouting, Cause::RulesetDrop],
            "few clients, many entries each: their last ACK, or the SYN/ACK to them, is lost",
        ),
        _ => (
            vec![Cause::AsymmetricRouting, Cause::RulesetDrop],
            "very many clients, and none that floods: their last ACK, or the SYN/ACK to them, is late or lost",
        ),
    };
    let settle = if direction == Direction::Out {
        "nft list ruleset | grep -E 'hook input|drop|reject'"
    } else {
        "ctlens list --state SYN_RECV --top src --limit 20"
    };
    Some(undecided(places(pile), causes, because, settle))
}

/// Of a pile-up that no rule explains: what it leans to.
pub fn unexplained(evidence: &Evidence, outcomes: &Outcomes, state: TcpState) -> Option<Lean> {
    let trigger = match state {
        TcpState::SynRecv => of_syn_recv(evidence, outcomes),
        _ => of_syn_sent(evidence, outcomes),
    };
    trigger?.leans_to
}

/// SYN_RECV sockets exactly at one of these are a full SYN queue: 256 on old kernels with a backlog of 128, backlog + 1
/// on new ones, and the usual other backlogs.
const QUEUE_CAPS: [u64; 6] = [128, 129, 256, 512, 1024, 4097];

/// What sockets and settings point to where the entries do not: causes, the likeliest first, and why.
pub fn signs(evidence: &Evidence) -> (Vec<Cause>, Vec<String>) {
    let (mut causes, mut because) = (Vec::new(), Vec::new());
    let sockets = |state: &str| evidence.sockets.as_ref().and_then(|s| s.get(state)).copied();
    if let Some(waiting) = sockets("SYN_SENT").filter(|n| *n as f64 >= pile_from(evidence)) {
        causes.push(Cause::BackendUnresponsive);
        because.push(format!("{waiting} sockets wait for the answer to a SYN"));
    }
    if let Some(waiting) = sockets("SYN_RECV").filter(|n| QUEUE_CAPS.contains(n)) {
        causes.push(Cause::ListenerOverflow);
        because.push(format!(
            "SYN_RECV sockets stand exactly at {waiting}, the cap of a full SYN queue"
        ));
    }
    if evidence.settings.number("net.ipv4.tcp_tw_recycle") == Some(1) {
        causes.push(Cause::PawsDrop);
        because.push("tcp_tw_recycle=1 drops clients that share an address".to_string());
    }
    if let Some((cause, why)) = logged::refused(evidence) {
        causes.push(cause);
        because.push(why);
    }
    (causes, because)
}

fn from_paste(evidence: &Evidence, pile: &Pile) -> Trigger {
    let (mut causes, mut because) = signs(evidence);
    if !causes.contains(&Cause::BackendUnresponsive) {
        causes.push(Cause::BackendUnresponsive);
    }
    because.push("without the entries' direction nobody can be named".to_string());
    undecided(
        places(pile),
        causes,
        because.join("; "),
        "(ip addr; conntrack -L -p tcp --state SYN_SENT | head -n 50) > conntrack.txt   # src= its own address: outbound",
    )
}

pub fn named(cause: Cause, finding: &Finding, sure: f64) -> Trigger {
    Trigger {
        side: cause.side(),
        cause,
        place: finding.place.clone(),
        confidence: sure,
        because: finding.headline.clone(),
        leans_to: None,
    }
}

fn undecided(
    place: Vec<String>,
    causes: Vec<Cause>,
    because: impl Into<String>,
    settle: impl Into<String>,
) -> Trigger {
    let because = because.into();
    Trigger {
        side: Side::Undecided,
        cause: Cause::Undecided,
        place,
        confidence: 0.5,
        because: because.clone(),
        leans_to: Some(Lean {
            causes,
            because,
            settle: settle.into(),
        }),
    }
}
