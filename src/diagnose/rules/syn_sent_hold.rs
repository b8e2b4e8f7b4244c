//! SYN_SENT entries that outlive their connection attempts.

use super::hold::{Held, held};
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{listed, places};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Rule, Verdict, count, fix};
use crate::evidence::{Direction, Evidence, Pile, longest_gap_secs};
use crate::model::TcpState;

pub const RULE: Rule = Rule {
    cause: Cause::SynSentHold,
    explain: "\
What: the firewall holds SYN_SENT entries whose originator has given up. A conntrack entry is not a connection
attempt: it stays for nf_conntrack_tcp_timeout_syn_sent (120 s by default), however soon the client gave up.
Why it matters: 300 failing attempts a second that give up after 0.3 s are 90 sockets and 36,000 entries; they fill
the table, and under source NAT each blocks a port.
How it is told apart: the entries are joined with the sockets of the host (or, when forwarding, with repeated SYNs on
the wire). Entries without an originator are held. Where nearly all entries have one, nothing is held: the side that
does not answer is the bottleneck.
What to do: mend who leaves the SYNs unanswered, delete the held entries, shorten the timeout for new ones.",
    refutes: "sockets in SYN_SENT, or repeated SYNs on the wire, for most of the entries",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let (sum, direction, pile, items) = match held(evidence, TcpState::SynSent, "the originator") {
        Held::Answer(verdict) => return verdict,
        Held::Yes {
            sum,
            direction,
            pile,
            evidence,
        } => (sum, direction, pile, evidence),
    };
    let place = places(pile);
    let towards = if place.is_empty() {
        String::new()
    } else {
        format!(" towards {}", listed(&place))
    };
    let whose = match direction {
        Direction::Out => "this host's programs have given up",
        Direction::In | Direction::Forward => "the clients have given up",
        Direction::Unknown => "no socket of this host waits for them",
    };
    let headline = format!(
        "The firewall holds {} of {} SYN_SENT entries{towards}: {whose}, the entries stay{}.",
        count(sum.held),
        count(sum.entries),
        evidence
            .timeouts
            .of_tcp(TcpState::SynSent)
            .map_or(String::new(), |s| format!(" for {s} s")),
    );
    Verdict::Found(Box::new(Finding {
        headline,
        place,
        entries: Some(sum.held),
        evidence: items,
        fixes: fixes(evidence, pile),
    }))
}

fn fixes(evidence: &Evidence, pile: &Pile) -> Vec<Fix> {
    let timeout = evidence.timeouts.of_tcp(TcpState::SynSent);
    let target = pile
        .destinations
        .first()
        .filter(|d| d.entries.value >= pile.entries.value * 0.5);
    let filter = target.map_or(String::new(), |d| {
        let family = if d.addr.is_ipv6() { "-f ipv6 " } else { "" };
        format!("{family}--reply-src {} --reply-port-src {} ", d.addr, d.port)
    });
    let mut out = vec![fix(
        "Delete the held entries now (a live client's next SYN makes a new one)",
        Some(format!("conntrack -D -p tcp --state SYN_SENT {filter}>/dev/null")),
        "frees them at once; a sysctl does not shorten entries already there",
    )];
    let gap = longest_gap_secs(evidence.settings.number("net.ipv4.tcp_syn_retries").unwrap_or(6)) as u32;
    // Just above the longest silence of a live client, so that none loses its entry between two SYNs.
    let shorter = gap + 3;
    if timeout.is_none_or(|t| t > shorter) {
        let now = timeout.map_or("the timeout in force".into(), |t| format!("{t} s"));
        out.push(fix(
            "Shorten the timeout for new entries",
            Some(format!(
                "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_syn_sent={shorter}"
            )),
            format!("new entries only: those present drain over {now}"),
        ));
    }
    out
}
