//! Thousands of sources open connections that none of them completes.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{EXACT, PileUp, Sure, completed, listed, pile_up, places, too_few};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, count, estimate, fact, fix, whole};
use crate::evidence::{Crowd, Direction, Evidence, Pile};
use crate::model::Estimate;

/// SYNs per second that the advised guard lets through at least.
const LEAST_LIMIT: f64 = 10.0;
/// So many distinct sources …
const MANY_SOURCES: f64 = 200.0;
/// … of which this share has one entry each.
const ONE_SHOT: f64 = 0.8;

pub const RULE: Rule = Rule {
    cause: Cause::SynFlood,
    explain: "\
What: SYNs from very many, mostly spoofed sources; the server answers, nobody completes.
Why it matters: SYN_RECV entries fill the firewall's table, and the server's SYN queue unless it sends cookies.
Example:
  $ ctlens list --state SYN_RECV --top src --limit 5
shows thousands of sources with one entry each.
How it is told apart: SYN_RECV (the server does answer) from hundreds of sources with one entry each. Few sources with
many entries each are clients that do not hear the answer: a path, not a flood. Held entries of a flood are
syn-recv-hold.
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
    let inward = [Direction::In, Direction::Forward, Direction::Unknown];
    let piles = inward
        .iter()
        .filter_map(|d| Some((*d, half_open.syn_recv.get(d)?)));
    let Some((direction, pile)) = piles.max_by(|a, b| a.1.settled().value.total_cmp(&b.1.settled().value))
    else {
        return Verdict::clear("no SYN_RECV entry comes in");
    };
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
    let whence = format!(
        "{} SYN_RECV entries from {} sources, {:.0} % of them with one entry",
        count(pile.settled()),
        count(crowd.sources),
        crowd.one_shot.value * 100.0
    );
    let spoofed = looks_spoofed(pile);
    if spoofed == Sure::No {
        return Verdict::clear(whence);
    }
    let (completes, completed) = match completed(pile) {
        _ if cookies(evidence) > 0 => (Sure::No, 0.0),
        told => told,
    };
    if completes == Sure::Yes {
        return Verdict::clear(format!(
            "{whence}, beside {} connections to the same place that were completed",
            whole(completed)
        ));
    }
    if piled == PileUp::Perhaps || spoofed == Sure::Perhaps || completes == Sure::Perhaps {
        return Verdict::leaning(whence, EXACT);
    }
    Verdict::Found(Box::new(finding(evidence, direction, pile, crowd)))
}

/// SYN cookies sent in the window; 0 where none was watched.
fn cookies(evidence: &Evidence) -> i64 {
    let net = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0);
    net.and_then(|n| n.get("TcpExt.SyncookiesSent"))
        .copied()
        .unwrap_or(0)
}

fn finding(evidence: &Evidence, direction: Direction, pile: &Pile, crowd: Crowd) -> Finding {
    let place = places(pile);
    let more = if pile.sources_capped || pile.crowd.is_some() {
        "at least "
    } else {
        ""
    };
    let sources = whole(crowd.sources.low);
    let text = format!(
        "{more}{sources} sources, {:.0} % of them with a single entry",
        crowd.one_shot.value * 100.0
    );
    let mut items = vec![estimate("one-shot-sources", 2.5, text, crowd.sources, "sources")];
    let cookies = cookies(evidence);
    if cookies > 0 {
        let text = format!(
            "{} SYN cookies sent in {:.1} s",
            whole(cookies as f64),
            evidence.window_secs
        );
        items.push(fact("cookies-sent", 0.7, text, cookies as f64, "cookies"));
    }
    let at = if place.is_empty() {
        "a server behind this host".into()
    } else {
        listed(&place)
    };
    Finding {
        headline: format!("{more}{sources} sources flood {at} with SYNs that nobody completes."),
        place,
        entries: Some(pile.settled()),
        evidence: items,
        fixes: fixes(evidence, direction, pile),
        looked: Looked::For(format!(
            "{:.0} % of the sources have more than one entry; {} connections to the same place were completed",
            (1.0 - crowd.one_shot.value) * 100.0,
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
