//! SYN_RECV entries that outlive the server's half-open connection.

use super::hold::{Held, deletes, held, looked};
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{listed, places};
use crate::diagnose::rule::{Finding, Rule, Verdict, count, fact, fix};
use crate::evidence::{Direction, Evidence};
use crate::model::TcpState;

/// Linux' own default for nf_conntrack_tcp_timeout_syn_recv.
const DEFAULT_SECS: u32 = 60;
/// SYN/ACKs come again at 1, 3, 7, 15 and 31 s: a client that answers the last one needs the entry until then.
const FLOOR_SECS: u32 = 31;

pub const RULE: Rule = Rule {
    cause: Cause::SynRecvHold,
    explain: "\
What: the firewall holds SYN_RECV entries (the server answered, the client never completed) whose half-open connection
is gone: the server sent a SYN cookie and kept nothing, or gave up.
Why it matters: each stays for nf_conntrack_tcp_timeout_syn_recv (60 s by default); a flood fills the table although
the server itself is protected by cookies.
Example:
  $ nstat -az TcpExtSyncookiesSent
rises by the thousand while `ss -Htn state syn-recv | wc -l` stays at the size of the SYN queue.
How it is told apart: on the server, entries are joined with request sockets; when forwarding, a half-open server
repeats its SYN/ACK, and silence on the wire means it is gone. Who sets it off is syn-flood, or ruleset-drop,
rp-filter-drop or asymmetric-routing that eats what would complete it.
What to do: stop or filter the sources, delete the held entries, shorten the timeout, or put synproxy in front.",
    refutes: "request sockets for most of the entries, or repeated SYN/ACKs on the wire",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let (sum, direction, pile, mut items) = match held(evidence, TcpState::SynRecv, "either side") {
        Held::Answer(verdict) => return verdict,
        Held::Yes {
            sum,
            direction,
            pile,
            evidence,
        } => (sum, direction, pile, evidence),
    };
    let cookies = evidence
        .net
        .as_ref()
        .and_then(|n| n.get("TcpExt.SyncookiesSent").copied())
        .unwrap_or(0);
    if cookies > 0 && evidence.window_secs > 0.0 && direction == Direction::In {
        let text = format!("{cookies} SYN cookies sent in the window: the server keeps nothing for them");
        items.push(fact("cookies-sent", 0.5, text, cookies as f64, "cookies"));
    }
    let place = places(pile);
    let towards = if place.is_empty() {
        String::new()
    } else {
        format!(" towards {}", listed(&place))
    };
    let timeout = evidence.timeouts.of_tcp(TcpState::SynRecv);
    let headline = format!(
        "The firewall holds {} of {} SYN_RECV entries{towards}: no half-open connection is left behind them{}.",
        count(sum.held),
        count(sum.entries),
        timeout.map_or(String::new(), |s| format!(", they stay for {s} s")),
    );
    let caution = "handshakes under way there go too: their clients must connect again";
    let mut fixes = deletes(TcpState::SynRecv, pile, caution);
    if timeout.is_none_or(|t| t > FLOOR_SECS + 1) {
        fixes.push(fix(
            "Shorten the timeout for new entries",
            Some(format!(
                "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_syn_recv={}",
                FLOOR_SECS + 1
            )),
            format!(
                "new entries only: those present drain over {} s",
                timeout.unwrap_or(DEFAULT_SECS)
            ),
        ));
    }
    Verdict::Found(Box::new(Finding {
        headline,
        place,
        entries: Some(sum.held),
        evidence: items,
        fixes,
        looked: looked(evidence, &sum, pile),
    }))
}
