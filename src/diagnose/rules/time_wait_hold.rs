//! TIME_WAIT entries that take the table's room.

use super::hold::deletes;
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{listed, places};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, count, fix};
use crate::diagnose::share::{OWN_SHARE, Share, little, more_room, pressing, shorter, unseen};
use crate::evidence::{Evidence, Pile};
use crate::model::TcpState;

pub const RULE: Rule = Rule {
    cause: Cause::TimeWaitHold,
    explain: "\
What: closed connections fill the table: each leaves an entry in TIME_WAIT for nf_conntrack_tcp_timeout_time_wait (120
s by default), and they have come to take half of nf_conntrack_max, or most of a table that is 80 % full.
Why it matters: the next spike meets a full table, and new connections are dropped for closed ones.
Example:
$ ctlens status
shows tcp TIME_WAIT with 157,000 of 262,144 entries at 1,310 new ones a second: 1,310 x 120.
How it is told apart: the number is arrivals x timeout, and is healthy however large it looks, as long as the table
has room: 400 closed connections a second are 48,000 entries. It is a fault only from the share of the limit on. A
table that is full already is table-full, and this is what fills it.
What to do: keep connections open between the busiest pair (keep-alive, pools), shorten the timeout (not below the
peers' own TIME_WAIT, 60 s on Linux), or raise the limit.",
    refutes: "less than half of the limit, and less than 80 % fill: then it is arithmetic",
    check,
};

/// A peer that is Linux refuses the same ports for so long (TCP_TIMEWAIT_LEN, include/net/tcp.h).
const PEERS_SECS: u32 = 60;
const NAME: &str = "TIME_WAIT entries";

fn check(evidence: &Evidence) -> Verdict {
    let Some(entries) = super::lasting::entries_in(evidence, TcpState::TimeWait) else {
        return unseen(evidence, OWN_SHARE, "the table's TIME_WAIT entries were not seen");
    };
    match pressing(evidence, entries, NAME) {
        Err(answer) => answer,
        Ok(share) => Verdict::Found(Box::new(finding(evidence, share))),
    }
}

fn finding(evidence: &Evidence, share: Share) -> Finding {
    let timeout = evidence.timeouts.of_tcp(TcpState::TimeWait);
    let pile = evidence.lasting.as_ref().map(|l| &l.time_wait.pile);
    let place = pile.map_or(Vec::new(), places);
    let mut items = vec![share.weighed(2.5, NAME)];
    items.extend(little(share.entries, pile.and_then(|p| p.new_per_s), timeout));
    let towards = if place.is_empty() {
        String::new()
    } else {
        format!(" to {}", listed(&place))
    };
    Finding {
        headline: format!(
            "The firewall keeps {} closed connections{towards} in TIME_WAIT, {:.0} % of its limit{}.",
            count(share.entries),
            share.of_max.value * 100.0,
            timeout.map_or(String::new(), |s| format!(": they stay for {s} s")),
        ),
        place,
        entries: Some(share.entries),
        fixes: fixes(evidence, pile, timeout),
        looked: Looked::For(format!(
            "they take {:.2} of the limit; all entries take {:.2}",
            share.of_max.value, share.fill
        )),
        evidence: items,
    }
}

fn fixes(evidence: &Evidence, pile: Option<&Pile>, timeout: Option<u32>) -> Vec<Fix> {
    let mut out = Vec::new();
    if timeout.is_none_or(|secs| secs > PEERS_SECS) {
        out.push(shorter(
            "tcp_timeout_time_wait",
            timeout,
            PEERS_SECS,
            "as long as a Linux peer's own TIME_WAIT; RFC 7857 asks 240 s behind NAT",
        ));
    }
    if let Some(pile) = pile {
        let caution = "the connections are closed; a segment that comes late finds no entry";
        out.extend(deletes(TcpState::TimeWait, pile, caution));
        if let Some(first) = pile.destinations.first() {
            out.push(fix(
                format!("Keep connections to {} open between requests", first.label()),
                None,
                "keep-alive or a pool: the rate of closing is what makes the entries",
            ));
        }
    }
    out.extend(evidence.table.as_ref().map_or(Vec::new(), more_room));
    out
}
