//! A destination, or the path to it, answers nothing.

use super::asymmetric_routing::answered_elsewhere;
use super::backend_refusing::refused_of;
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{
    EXACT, HELD_SHARE, PileUp, Sure, answers_here, background, both_ways, concentration, everywhere, listed,
    one_way, only_slow, pile_from, pile_up, places, too_few,
};
use crate::diagnose::rule::{
    Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact, fix, remark, whole,
};
use crate::evidence::{Basis, Destination, Direction, Evidence, Pile, SLOWEST_SECS};
use crate::model::Estimate;

pub const RULE: Rule = Rule {
    cause: Cause::BackendUnresponsive,
    explain: "\
What: SYNs leave this host, or pass through it, and nothing comes back from that address, or from the path beyond this
host.
Why it matters: every attempt waits for its timeout. The firewall is not at fault as long as its entries are live.
Example:
  $ tcpdump -ni any -c 20 src host 10.9.1.3 and tcp port 80
stays empty while attempts go on.
How it is told apart: a SYN_SENT entry proves that this host's ruleset let the SYN out and that no SYN/ACK and no RST
reached conntrack. A backend that refuses with a RST leaves no entry. Where no few destinations stand out it is a
scan, dead addresses or a path, and no backend is named. Entries are as many as live attempts; where they are many
more, the firewall holds the pile-up and the backend is only its trigger. A RST or an ICMP error is backend-refusing;
SYN/ACKs that reach this host and are eaten here are ruleset-drop or rp-filter-drop.
What to do: look at the named address; the tap shows whether its SYN/ACKs arrive and are eaten here.",
    refutes: "SYN/ACKs from it seen on this host's interfaces: then this host's raw rules or routes eat them",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(half_open) = &evidence.half_open else {
        return Verdict::unknown("the table's SYN_SENT entries were not seen");
    };
    let unknown = half_open.syn_sent.get(&Direction::Unknown);
    if unknown.is_some_and(|pile| pile_up(evidence, pile.settled()) != PileUp::No) {
        return Verdict::unknown("the SYN_SENT entries' directions are not known");
    }
    let outward = [Direction::Out, Direction::Forward];
    let piles = outward
        .iter()
        .filter_map(|d| Some((*d, half_open.syn_sent.get(d)?)));
    let Some((direction, pile)) = piles.max_by(|a, b| a.1.settled().value.total_cmp(&b.1.settled().value))
    else {
        return Verdict::clear("no SYN_SENT entry goes out");
    };
    if answers_here(direction, pile) {
        return Verdict::clear(format!(
            "{} SYN_SENT entries go to this host itself",
            count(pile.entries)
        ));
    }
    let piled = pile_up(evidence, pile.settled());
    if piled == PileUp::No {
        let name = "SYN_SENT entries go out";
        return Verdict::clear(too_few(evidence, pile.entries, pile.settled(), name));
    }
    if let Some(other) = answered_after_all(evidence, pile) {
        return other;
    }
    if only_slow(pile) == Sure::Yes {
        return Verdict::clear(format!(
            "{} SYN_SENT entries are slow handshakes: next to none is older than {SLOWEST_SECS} s, and more were answered",
            count(pile.settled())
        ));
    }
    let explained = explained(evidence, direction, pile);
    let theirs = Estimate::sum(explained.iter().map(|d| d.entries));
    if theirs.value > 0.0 && pile.settled().value - theirs.value < pile_from(evidence) {
        return Verdict::clear(format!(
            "{} of {} SYN_SENT entries are of attempts that are refused, or answered by another way",
            count(theirs),
            count(pile.settled())
        ));
    }
    let pile = &without(pile, &explained);
    // Where it is known whose answers take another way, those of the others do not.
    let known = theirs.value > 0.0;
    if let Some(invalid) = one_way(evidence, direction, pile).filter(|_| !known) {
        let text = format!(
            "{} packets were invalid in the window, several for each new SYN: the answers may take another way",
            whole(invalid)
        );
        let causes = vec![Cause::AsymmetricRouting, Cause::BackendUnresponsive];
        return Verdict::leaning_to(causes, text, both_ways(pile));
    }
    let spread_out = everywhere(pile);
    if spread_out == Sure::Yes {
        return spread(evidence, pile);
    }
    if piled == PileUp::Perhaps {
        let name = "SYN_SENT entries of a sample go out";
        return Verdict::leaning(too_few(evidence, pile.entries, pile.settled(), name), EXACT);
    }
    if spread_out == Sure::Perhaps {
        return too_few_met(pile);
    }
    Verdict::Found(Box::new(finding(evidence, pile)))
}

/// The tap saw answers that left the entries as they are: this host ate them.
fn answered_after_all(evidence: &Evidence, pile: &Pile) -> Option<Verdict> {
    let tap = evidence.tap.as_ref()?;
    let eaten = tap.syn_acks_unseen_by_conntrack as f64;
    if eaten > pile.entries.value * 0.05 {
        let text = format!(
            "{} SYN/ACKs arrive on the wire for entries that stay SYN_SENT: this host eats them",
            whole(eaten)
        );
        let settle = "nft list ruleset | grep -B3 -A12 'hook prerouting priority raw'";
        return Some(Verdict::leaning_to(vec![Cause::RulesetDrop], text, settle));
    }
    None
}

/// Of the pile, what somebody refuses by ICMP, or answers by another way.
fn explained<'a>(evidence: &Evidence, direction: Direction, pile: &'a Pile) -> Vec<&'a Destination> {
    let mut out = refused_of(evidence, pile);
    let elsewhere = answered_elsewhere(evidence, direction, pile);
    out.extend(
        elsewhere
            .into_iter()
            .filter(|d| !out.contains(d))
            .collect::<Vec<_>>(),
    );
    out
}

/// The pile without these places.
fn without(pile: &Pile, places: &[&Destination]) -> Pile {
    let mut rest = pile.clone();
    rest.destinations.retain(|d| !places.contains(&d));
    rest
}

/// No few destinations: dead addresses that any gateway's clients try, a scan, or a path that brings nothing back.
fn spread(evidence: &Evidence, pile: &Pile) -> Verdict {
    let text = format!(
        "{} SYN_SENT entries are spread: the largest {} destinations take {:.0} %",
        count(pile.settled()),
        pile.destinations.len(),
        concentration(pile).value * 100.0
    );
    if let (Sure::Yes, answered) = background(evidence, pile) {
        return Verdict::clear(format!(
            "{text}, beside {} connections that were answered",
            whole(answered)
        ));
    }
    let causes = vec![
        Cause::AsymmetricRouting,
        Cause::BackendUnresponsive,
        Cause::RulesetDrop,
    ];
    Verdict::leaning_to(
        causes,
        text,
        "ctlens list --state SYN_SENT --top dst:dport --limit 20",
    )
}

/// A sample met too few of them to say whether few destinations stand out.
fn too_few_met(pile: &Pile) -> Verdict {
    let top = concentration(pile);
    let text = format!(
        "{} SYN_SENT entries go out: the largest destinations may take {:.0} to {:.0} % of them",
        count(pile.settled()),
        top.low * 100.0,
        top.high * 100.0
    );
    let causes = vec![Cause::BackendUnresponsive, Cause::AsymmetricRouting];
    Verdict::leaning_to(causes, text, EXACT)
}

fn finding(evidence: &Evidence, pile: &Pile) -> Finding {
    let place = places(pile);
    let mut items: Vec<Weighed> = Vec::new();
    let settled = pile.settled();
    let young = (pile.entries.value - settled.value).max(0.0);
    let others = if young >= 1.0 {
        format!("; {} more are too young to tell", whole(young))
    } else {
        String::new()
    };
    let text = format!(
        "{} SYNs let out by this host have no answer{others}",
        count(settled)
    );
    items.push(estimate("no-answer", 2.0, text, settled, "entries"));
    items.push(whither(pile));
    if let Some(first) = pile
        .destinations
        .first()
        .filter(|d| d.answered as f64 > d.entries.value)
    {
        let text = format!(
            "{} answers other connections ({} entries)",
            first.label(),
            whole(first.answered as f64)
        );
        let mut item = fact("answers-others", -0.7, text, first.answered as f64, "entries");
        // In a sample it is scaled, and its bounds were not kept.
        if !settled.is_exact() {
            (item.item.low, item.item.high) = (None, None);
        }
        items.push(item);
    }
    match &evidence.tap {
        Some(tap) if tap.syn_acks_unseen_by_conntrack == 0 && tap.lost == 0 && pile.live.value > 0.0 => {
            let text = format!("in {:.1} s on the wire no SYN/ACK came for any of them", tap.secs);
            items.push(remark("no-syn-ack-on-wire", 0.5, text));
        }
        _ => {}
    }
    if pile.basis == Basis::Sockets {
        items.extend(owners(evidence, pile));
    }
    let waiting = pile.of_settled().live;
    let live = waiting.value >= settled.value * (1.0 - HELD_SHARE);
    items.extend(still_wait(pile, waiting).filter(|_| live));
    let at = if place.is_empty() {
        "The destinations".to_string()
    } else {
        listed(&place)
    };
    let verb = if place.len() == 1 { "does" } else { "do" };
    let wait = if live {
        format!(" {} attempts wait.", count(waiting))
    } else {
        String::new()
    };
    Finding {
        headline: format!(
            "{at} {verb} not answer, or the path beyond this host does not carry the answer.{wait}"
        ),
        entries: Some(if live { waiting } else { settled }),
        fixes: fixes(pile),
        looked: looked(evidence),
        evidence: items,
        place,
    }
}

fn looked(evidence: &Evidence) -> Looked {
    match &evidence.tap {
        Some(tap) => Looked::For(format!(
            "in {:.1} s on the wire {} SYN/ACKs came for entries that are still in SYN_SENT",
            tap.secs, tap.syn_acks_unseen_by_conntrack
        )),
        None => Looked::Not("nobody listened on the wire".to_string()),
    }
}

/// As many attempts as entries: they wait, and nobody holds anything.
fn still_wait(pile: &Pile, waiting: Estimate) -> Option<Weighed> {
    let text = format!(
        "{} sockets of this host still wait for those answers",
        count(waiting)
    );
    (pile.basis == Basis::Sockets).then(|| estimate("attempts-wait", 1.0, text, waiting, "sockets"))
}

/// A silent backend has few addresses; a histogram tells none.
fn whither(pile: &Pile) -> Weighed {
    let share = concentration(pile);
    if pile.destinations.is_empty() {
        return remark("no-destinations", -0.7, "where they go is not known");
    }
    let text = match pile.destinations.len() {
        1 => "all of them go to one destination".to_string(),
        n => format!("{:.0} % of them go to {n} destinations", share.value * 100.0),
    };
    estimate("few-destinations", 0.7, text, share, "of the entries")
}

fn owners(evidence: &Evidence, pile: &Pile) -> Option<Weighed> {
    let half_open = evidence.half_open.as_ref()?;
    let owners = &half_open.owners;
    // Processes are looked for up to a bound: where most sockets have none, the largest that has one is named.
    let (process, uid, sockets) = owners.iter().find(|o| o.0.is_some()).or(owners.first())?;
    let who = match process {
        Some(process) => format!("{} (pid {}, uid {uid})", process.name, process.pid),
        None => format!("uid {uid}"),
    };
    let all: u64 = owners.iter().map(|owner| owner.2).sum();
    let whose = if *sockets == all {
        format!("all of {who}")
    } else {
        format!("at least {} of them of {who}", whole(*sockets as f64))
    };
    let text = format!("{} live SYN_SENT sockets, {whose}", whole(all as f64));
    let nats = if pile.live.value > 0.0 { 0.3 } else { 0.0 };
    Some(fact("live-sockets", nats, text, all as f64, "sockets"))
}

fn fixes(pile: &Pile) -> Vec<crate::diagnose::report::Fix> {
    let Some(first) = pile.destinations.first() else {
        return Vec::new();
    };
    vec![
        fix(
            format!("Take {} out of rotation until it answers", first.label()),
            None,
            "in the load balancer: attempts stop waiting at once",
        ),
        fix(
            "See whether anything comes back from it",
            Some(format!(
                "tcpdump -ni any -c 20 src host {} and tcp port {}",
                first.addr, first.port
            )),
            "SYN/ACKs here would mean that this host eats them; silence is the backend or the path",
        ),
    ]
}
