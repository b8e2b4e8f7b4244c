//! Thousands of sources open connections that none of them completes.

use std::collections::BTreeMap;

use super::overflows;
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{
    EXACT, PileUp, Sure, completed, everywhere, listed, only_slow, pile_up, places, too_few,
};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact, fix, whole};
use crate::evidence::{Basis, Crowd, Direction, Evidence, Pile};
use crate::model::Estimate;

/// SYNs per second that the advised guard lets through at least.
const LEAST_LIMIT: f64 = 10.0;
/// So many distinct sources …
const MANY_SOURCES: f64 = 200.0;
/// … of which this share has one entry each.
const ONE_SHOT: f64 = 0.8;
/// Of SYNs that nobody answers, at most this share comes again where nobody waits for the answer.
const STILL_TRY: f64 = 0.1;
/// Where this share of the sources sends its SYN again, they are clients, and wait.
const INSIST: f64 = 0.5;
/// Cookies of which this share comes back are those of clients.
const COOKIES_BACK: f64 = 0.5;
/// A place with so many entries of later states for each half-open one is not dead.
const ANSWERS: f64 = 1.0;

pub const RULE: Rule = Rule {
    cause: Cause::SynFlood,
    explain: "\
What: SYNs from very many, mostly spoofed sources; the server answers and nobody completes, or the place is dead and
nobody tries again.
Why it matters: SYN_RECV entries (60 s) or SYN_SENT ones (120 s) fill the firewall's table, and the server's SYN queue
unless it sends cookies.
Example:
  $ ctlens list --state SYN_RECV --top src --limit 20
shows hundreds of sources with one entry each.
How it is told apart: SYN_RECV (the server does answer) from hundreds of sources with one entry each, and few connections
completed beside them; SYN cookies that do not come back. Slow clients complete, and those that hear nothing send their
SYN again: they are no flood. SYN_SENT towards one place, where the wire shows that none of
so many sources sends its SYN again: clients of a dead backend do, and that is backend-unresponsive. Few sources with
many entries each are clients that do not hear the answer: a path, not a flood. At a closed port nothing remains but the
RSTs that answer: then it is undecided against backend-refusing.
Held entries of a flood are syn-recv-hold.
What to do: filter or rate-limit the sources, use synproxy, keep SYN cookies on.",
    refutes: "sources that come again and complete; few sources with many entries each",
    check,
};

/// Whether they come from very many sources with one entry each.
pub fn looks_spoofed(pile: &Pile) -> Sure {
    let Some(Crowd { sources, one_shot }) = crowd(pile) else {
        return Sure::No;
    };
    Sure::of(
        sources.low >= MANY_SOURCES && one_shot.low >= ONE_SHOT,
        sources.high >= MANY_SOURCES && one_shot.high >= ONE_SHOT,
    )
}

fn crowd(pile: &Pile) -> Option<Crowd> {
    let looked_at = pile.one_shot.map(|one_shot| Crowd {
        sources: Estimate::exact(pile.sources as f64),
        one_shot: Estimate::exact(one_shot),
    });
    pile.crowd.or(looked_at)
}

fn check(evidence: &Evidence) -> Verdict {
    let Some(half_open) = &evidence.half_open else {
        return Verdict::unknown("the table's SYN_RECV entries were not seen");
    };
    let unfinished = match largest(&half_open.syn_recv) {
        Some((direction, pile)) => unfinished(evidence, direction, pile),
        None => Verdict::clear("no SYN_RECV entry comes in"),
    };
    if let Verdict::Found(_) = unfinished {
        return unfinished;
    }
    let unanswered =
        largest(&half_open.syn_sent).map(|(direction, pile)| unanswered(evidence, direction, pile));
    match unanswered {
        Some(Verdict::Clear { .. }) | None => unfinished,
        Some(verdict) => verdict,
    }
}

fn largest(piles: &BTreeMap<Direction, Pile>) -> Option<(Direction, &Pile)> {
    let inward = [Direction::In, Direction::Forward, Direction::Unknown];
    let piles = inward.iter().filter_map(|d| Some((*d, piles.get(d)?)));
    piles.max_by(|a, b| a.1.settled().value.total_cmp(&b.1.settled().value))
}

fn whence(pile: &Pile, crowd: Crowd, state: &str) -> String {
    format!(
        "{} {state} entries from {} sources, {:.0} % of them with one entry",
        count(pile.settled()),
        count(crowd.sources),
        crowd.one_shot.value * 100.0
    )
}

/// The server answers, and nobody completes.
fn unfinished(evidence: &Evidence, direction: Direction, pile: &Pile) -> Verdict {
    let piled = pile_up(evidence, pile.settled());
    if piled == PileUp::No {
        return Verdict::clear(too_few(
            evidence,
            pile.entries,
            pile.settled(),
            "SYN_RECV entries",
        ));
    }
    let Some(crowd) = crowd(pile).filter(|_| direction != Direction::Unknown) else {
        return Verdict::unknown("the SYN_RECV entries' sources are not known");
    };
    let whence = whence(pile, crowd, "SYN_RECV");
    let spoofed = looks_spoofed(pile);
    if spoofed == Sure::No {
        return Verdict::clear(whence);
    }
    let (completes, completed) = completes(evidence, pile);
    if completes == Sure::Yes {
        return Verdict::clear(format!(
            "{whence}, beside {} connections to the same place that were completed",
            whole(completed)
        ));
    }
    if let Some(insist) = insisting(pile) {
        return Verdict::clear(format!(
            "{whence}, and on the wire {} send their SYN again, as a client does",
            count(insist)
        ));
    }
    if piled == PileUp::Perhaps || spoofed == Sure::Perhaps || completes == Sure::Perhaps {
        return Verdict::leaning(whence, EXACT);
    }
    let mut items = vec![one_shot(pile, crowd, 2.5)];
    items.extend(cookie_items(evidence));
    Verdict::Found(Box::new(finding(evidence, direction, pile, items)))
}

/// Entries whose SYN came again, where they are too many for spoofed ones.
fn insisting(pile: &Pile) -> Option<Estimate> {
    pile.insist
        .filter(|insist| insist.low >= pile.settled().high * INSIST)
}

/// Nobody answers, and nobody tries again: spoofed SYNs to a dead place, or to a SYN queue that is full.
fn unanswered(evidence: &Evidence, direction: Direction, pile: &Pile) -> Verdict {
    let told = pile.of_settled();
    let silent = told.live.high + told.unclear.high <= pile.settled().value * STILL_TRY;
    // A listener's full accept queue drops real clients; a flood fills the SYN queue alone.
    let queue = overflows(evidence).is_some_and(|o| o.accept == 0 && o.syn > 0);
    let here = direction == Direction::In;
    let known = direction != Direction::Unknown && pile.basis == Basis::Tap && (queue || !here);
    let certain = pile_up(evidence, pile.settled()) == PileUp::Yes
        && looks_spoofed(pile) == Sure::Yes
        && everywhere(pile) == Sure::No
        && completed(pile).0 == Sure::No;
    let Some(crowd) = crowd(pile).filter(|_| known && silent && certain) else {
        return Verdict::clear("no SYN_SENT entries of a crowd that tries once and never again");
    };
    let mut items = vec![one_shot(pile, crowd, 2.0)];
    let text = format!(
        "on the wire {} of {} SYNs without an answer come again, as a client's do",
        count(told.live),
        count(pile.settled())
    );
    items.push(estimate("nobody-tries-again", 0.7, text, told.live, "entries"));
    let first = pile.destinations.first();
    if let Some(first) = first.filter(|d| d.answered as f64 > d.entries.value * ANSWERS) {
        let text = format!(
            "{} answers others ({} entries)",
            first.label(),
            whole(first.answered as f64)
        );
        items.push(fact(
            "answers-others",
            -0.7,
            text,
            first.answered as f64,
            "entries",
        ));
    }
    Verdict::Found(Box::new(finding(evidence, direction, pile, items)))
}

/// Whether the sources complete: by cookies that come back, or by entries of later states.
fn completes(evidence: &Evidence, pile: &Pile) -> (Sure, f64) {
    match cookies(evidence) {
        Some((sent, back)) if back >= sent * COOKIES_BACK => (Sure::Yes, back),
        Some(_) => (Sure::No, 0.0),
        None => {
            let (sure, all) = completed(pile);
            (sure.max(only_slow(pile)), all)
        }
    }
}

/// SYN cookies sent in the window, and those that came back; `None` where none was sent, or none was watched.
fn cookies(evidence: &Evidence) -> Option<(f64, f64)> {
    let net = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0)?;
    let rise = |name: &str| net.get(name).copied().unwrap_or(0) as f64;
    let sent = rise("TcpExt.SyncookiesSent");
    (sent > 0.0).then(|| (sent, rise("TcpExt.SyncookiesRecv")))
}

fn cookie_items(evidence: &Evidence) -> Option<Weighed> {
    let (sent, back) = cookies(evidence)?;
    let text = format!(
        "{} SYN cookies sent in {:.1} s, {} came back",
        whole(sent),
        evidence.window_secs,
        whole(back)
    );
    let nats = if back >= sent * 0.1 { 0.0 } else { 0.7 };
    Some(fact("cookies-sent", nats, text, sent, "cookies"))
}

fn at_least(pile: &Pile) -> &'static str {
    if pile.sources_capped || pile.crowd.is_some() {
        "at least "
    } else {
        ""
    }
}

fn one_shot(pile: &Pile, crowd: Crowd, nats: f64) -> Weighed {
    let text = format!(
        "{}{} sources, {:.0} % of them with a single entry",
        at_least(pile),
        whole(crowd.sources.low),
        crowd.one_shot.value * 100.0
    );
    estimate("one-shot-sources", nats, text, crowd.sources, "sources")
}

fn finding(evidence: &Evidence, direction: Direction, pile: &Pile, items: Vec<Weighed>) -> Finding {
    let place = places(pile);
    let crowd = crowd(pile);
    let sources = crowd.map_or(0.0, |crowd| crowd.sources.low);
    let at = if place.is_empty() {
        "a server behind this host".into()
    } else {
        listed(&place)
    };
    Finding {
        headline: format!(
            "{}{} sources flood {at} with SYNs that nobody completes.",
            at_least(pile),
            whole(sources)
        ),
        place,
        entries: Some(pile.settled()),
        evidence: items,
        fixes: fixes(evidence, direction, pile),
        looked: Looked::For(format!(
            "{:.0} % of the sources have more than one entry; {} connections to the same place were completed",
            (1.0 - crowd.map_or(1.0, |crowd| crowd.one_shot.value)) * 100.0,
            whole(completed(pile).1)
        )),
    }
}

fn fixes(evidence: &Evidence, direction: Direction, pile: &Pile) -> Vec<Fix> {
    let mut out = Vec::new();
    if let Some(first) = pile.destinations.first() {
        // After DNAT (-100), since the destination is who answers; an entry that is not confirmed is never in the table.
        let family = if first.addr.is_ipv6() { "ip6" } else { "ip" };
        // Well below what comes now, or it would change nothing.
        let rate = pile.new_per_s.map_or(LEAST_LIMIT, |rate| rate.value / 4.0);
        let limit = rate.max(LEAST_LIMIT) as u64;
        let command = format!(
            "nft 'add table inet ctlens_guard; \
             add chain inet ctlens_guard pre {{ type filter hook prerouting priority -99; }}; \
             add rule inet ctlens_guard pre {family} daddr {} tcp dport {} tcp flags & (fin|syn|rst|ack) == syn \
             limit rate over {limit}/second drop'",
            first.addr, first.port
        );
        out.push(fix(
            format!("Limit new SYNs to {} before they enter the table", first.label()),
            Some(command),
            "at once, legitimate SYNs above the limit included; undo: delete table inet ctlens_guard in the same way",
        ));
    }
    let command = "sysctl -w net.ipv4.tcp_syncookies=1";
    let effect = "the server needs no memory for half-open connections";
    match (direction, evidence.settings.number("net.ipv4.tcp_syncookies")) {
        (Direction::In, Some(1..)) => {}
        (Direction::In, _) => out.push(fix("Turn SYN cookies on", Some(command.to_string()), effect)),
        // The server is another host: a command to run here would do nothing.
        _ => out.push(fix(
            format!("On the server itself, keep SYN cookies on ({command})"),
            None,
            effect,
        )),
    }
    out
}
