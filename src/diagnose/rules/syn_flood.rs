//! Thousands of sources open connections that none of them completes.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{listed, pile_from, places};
use crate::diagnose::rule::{Finding, Rule, Verdict, count, fact, fix, whole};
use crate::evidence::{Direction, Evidence, Pile};

/// So many distinct sources …
const MANY_SOURCES: u64 = 200;
/// … of which this share has one entry each.
const ONE_SHOT: f64 = 0.8;

pub const RULE: Rule = Rule {
    cause: Cause::SynFlood,
    explain: "\
What: SYNs from very many, mostly spoofed sources; the server answers, nobody completes.
Why it matters: SYN_RECV entries fill the firewall's table, and the server's SYN queue unless it sends cookies.
How it is told apart: SYN_RECV (the server does answer) from hundreds of sources with one entry each. Few sources with
many entries each are clients that do not hear the answer: a path, not a flood.
What to do: filter or rate-limit the sources, use synproxy, keep SYN cookies on.",
    refutes: "sources that come again and complete; few sources with many entries each",
    check,
};

/// Very many sources with one entry each.
pub fn looks_spoofed(pile: &Pile) -> bool {
    pile.sources >= MANY_SOURCES && pile.one_shot.is_some_and(|share| share >= ONE_SHOT)
}

fn check(evidence: &Evidence) -> Verdict {
    let Some(half_open) = &evidence.half_open else {
        return Verdict::unknown("the table's SYN_RECV entries were not seen");
    };
    let inward = [Direction::In, Direction::Forward];
    let piles = inward.iter().filter_map(|d| half_open.syn_recv.get(d));
    let Some(pile) = piles.max_by(|a, b| a.entries.value.total_cmp(&b.entries.value)) else {
        return match half_open.syn_recv.get(&Direction::Unknown) {
            Some(pile) if pile.entries.value >= pile_from(evidence) => {
                Verdict::unknown("the SYN_RECV entries' sources are not known")
            }
            _ => Verdict::clear("no SYN_RECV entry comes in"),
        };
    };
    let from = pile_from(evidence);
    if pile.entries.value < from {
        let text = format!(
            "{} SYN_RECV entries; a pile-up starts at {}",
            count(pile.entries),
            whole(from)
        );
        return Verdict::clear(text);
    }
    if !looks_spoofed(pile) {
        let text = format!(
            "{} SYN_RECV entries from {} sources, {:.0} % of them with one entry",
            count(pile.entries),
            whole(pile.sources as f64),
            pile.one_shot.unwrap_or(0.0) * 100.0
        );
        return Verdict::clear(text);
    }
    Verdict::Found(Box::new(finding(evidence, pile)))
}

fn finding(evidence: &Evidence, pile: &Pile) -> Finding {
    let place = places(pile);
    let more = if pile.sources_capped { "at least " } else { "" };
    let one_shot = pile.one_shot.unwrap_or(0.0);
    let text = format!(
        "{more}{} sources, {:.0} % of them with a single entry",
        whole(pile.sources as f64),
        one_shot * 100.0
    );
    let mut items = vec![fact(
        "one-shot-sources",
        2.5,
        text,
        pile.sources as f64,
        "sources",
    )];
    let net = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0);
    if let Some(cookies) = net
        .and_then(|n| n.get("TcpExt.SyncookiesSent"))
        .filter(|n| **n > 0)
    {
        let text = format!(
            "{} SYN cookies sent in {:.1} s",
            whole(*cookies as f64),
            evidence.window_secs
        );
        items.push(fact("cookies-sent", 0.7, text, *cookies as f64, "cookies"));
    }
    let at = if place.is_empty() {
        "a server behind this host".into()
    } else {
        listed(&place)
    };
    let port = pile.destinations.first().map_or(80, |d| d.port);
    Finding {
        headline: format!(
            "{more}{} sources flood {at} with SYNs that nobody completes.",
            whole(pile.sources as f64)
        ),
        place,
        entries: Some(pile.entries),
        evidence: items,
        fixes: vec![
            fix(
                "Limit new SYNs in front of conntrack",
                Some(format!(
                    "nft 'add table inet guard; add chain inet guard pre {{ type filter hook prerouting priority raw; }}; \
                     add rule inet guard pre tcp dport {port} tcp flags syn limit rate over 1000/second drop'"
                )),
                "at once, legitimate SYNs above the limit included; undo: nft delete table inet guard",
            ),
            fix(
                "Keep SYN cookies on at the server",
                Some("sysctl -w net.ipv4.tcp_syncookies=1".to_string()),
                "the server needs no memory for half-open connections",
            ),
        ],
    }
}
