//! CLOSE_WAIT entries whose connection is half closed for good.

use super::hold::deletes;
use super::lasting::{behind, entries_in, placed};
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{listed, places};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact};
use crate::diagnose::share::{OWN_SHARE, Share, little, more_room, pressing, shorter, unseen};
use crate::evidence::{Evidence, Stay};
use crate::model::{Estimate, TcpState};

pub const RULE: Rule = Rule {
    cause: Cause::CloseWaitHold,
    explain: "\
What: connections of which one end has closed and the other has not fill the table. The firewall keeps each for
nf_conntrack_tcp_timeout_close_wait: 60 s by default, 3,600 s where Kubernetes raised it.
Why it matters: the entries are ASSURED, so a full table cannot evict them, and new connections are dropped instead.
Example:
$ ss -Htn state close-wait | wc -l
counts 40 sockets, while `ctlens status` shows 160,000 entries: those are held. 160,000 of both are a program that does
not close.
How it is told apart: entries with an end on this host are joined with its sockets. Without a socket the entry is
held; with a socket in CLOSE_WAIT the peer has closed and the program here has not: that is the program's leak, and no
timeout mends it. The number is arrivals x timeout, and a fault only from a large share of the limit on. A table that
is full is table-full, and this is what fills it.
What to do: bring the timeout back down (not below 60 s: half-closed clients need some), delete what is held, and mend
the program that does not close.",
    refutes: "sockets of this host behind them, or less than half of the limit and less than 80 % fill",
    check,
};

/// Linux' own default, which is enough for most half-closed connections.
const DEFAULT_SECS: u32 = 60;
const NAME: &str = "CLOSE_WAIT entries";
const MOST: f64 = 0.8;

fn check(evidence: &Evidence) -> Verdict {
    let (Some(entries), Some(stay)) = (
        entries_in(evidence, TcpState::CloseWait),
        evidence.lasting.as_ref().map(|lasting| &lasting.close_wait),
    ) else {
        return unseen(
            evidence,
            OWN_SHARE,
            "the table's CLOSE_WAIT entries were not seen",
        );
    };
    let share = match pressing(evidence, entries, NAME) {
        Err(answer) => return answer,
        Ok(share) => share,
    };
    let held = behind(stay);
    match pressing(evidence, held.held, NAME) {
        Ok(_) => Verdict::Found(Box::new(finding(evidence, stay, share, held.held))),
        // The pile presses, but is not held.
        Err(_) => leak(stay, share),
    }
}

/// Sockets stand behind the entries.
fn leak(stay: &Stay, share: Share) -> Verdict {
    let joined = stay.joined.unwrap_or_default();
    let whose = if joined.unclosed * 2 >= joined.found {
        "a program of this host does not close what its peers have closed"
    } else {
        "the peers do not close what this host has closed"
    };
    let text = format!(
        "{} {NAME} take {:.0} % of the limit, but sockets stand behind {} of {} looked for: {whose}",
        count(share.entries),
        share.of_max.value * 100.0,
        joined.found,
        joined.looked_for
    );
    Verdict::leaning(text, "ss -tnp state close-wait | head   # names the program")
}

fn finding(evidence: &Evidence, stay: &Stay, share: Share, held: Estimate) -> Finding {
    let timeout = evidence.timeouts.of_tcp(TcpState::CloseWait);
    let place = places(&stay.pile);
    let towards = if place.is_empty() {
        String::new()
    } else {
        format!(" to {}", listed(&place))
    };
    Finding {
        headline: format!(
            "The firewall holds {} half-closed connections{towards} in CLOSE_WAIT, {:.0} % of its limit{}.",
            count(held),
            share.of_max.value * 100.0,
            timeout.map_or(String::new(), |s| format!(": they stay for {s} s")),
        ),
        place,
        entries: Some(held),
        evidence: items(stay, share, timeout),
        fixes: fixes(evidence, stay, &share, timeout),
        looked: looked(stay, share),
    }
}

fn items(stay: &Stay, share: Share, timeout: Option<u32>) -> Vec<Weighed> {
    let mut out = vec![share.weighed(2.0, NAME)];
    if let Some(without) = behind(stay).without {
        let joined = stay.joined.unwrap_or_default();
        let text = format!(
            "of {} of them that have an end on this host, taken at random, {} have no socket",
            joined.looked_for,
            joined.looked_for - joined.found
        );
        let nats = if without.value >= MOST { 2.0 } else { -0.5 };
        out.push(estimate(
            "half-closed-without-socket",
            nats,
            text,
            without,
            "of those",
        ));
    }
    if let Some(secs) = timeout.filter(|secs| *secs > DEFAULT_SECS) {
        let text = format!("nf_conntrack_tcp_timeout_close_wait is {secs} s, {DEFAULT_SECS} by default");
        out.push(fact("timeout-raised", 0.7, text, f64::from(secs), "s"));
    }
    out.extend(little(share.entries, stay.pile.new_per_s, timeout));
    out
}

fn looked(stay: &Stay, share: Share) -> Looked {
    let filled = format!("they take {:.2} of the limit", share.of_max.value);
    match stay.joined {
        Some(joined) if joined.looked_for > 0 => Looked::For(format!(
            "sockets stand behind {} of {} with an end on this host; {filled}",
            joined.found, joined.looked_for
        )),
        Some(joined) if placed(stay, &joined) => {
            Looked::For(format!("none has an end on this host; {filled}"))
        }
        _ => Looked::Not(format!(
            "this host's sockets or addresses were not read; {filled}"
        )),
    }
}

fn fixes(evidence: &Evidence, stay: &Stay, share: &Share, timeout: Option<u32>) -> Vec<Fix> {
    let mut out = Vec::new();
    if let Some(now) = timeout.filter(|secs| *secs > DEFAULT_SECS) {
        // What leaves half of the room that a fault begins at.
        let fits = f64::from(now) * (OWN_SHARE / 2.0) / share.of_max.value.max(OWN_SHARE / 2.0);
        let target = ((fits / 60.0).floor() as u32 * 60).clamp(DEFAULT_SECS, now);
        out.push(shorter(
            "tcp_timeout_close_wait",
            timeout,
            target,
            "a half-closed connection that is silent for longer loses its entry",
        ));
    }
    let caution = "half-closed ones that still send go too";
    out.extend(deletes(TcpState::CloseWait, &stay.pile, caution));
    out.extend(evidence.table.as_ref().map_or(Vec::new(), more_room));
    out
}
