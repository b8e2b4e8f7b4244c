//! SYN_SENT entries that outlive their connection attempts.

use super::asymmetric_routing::answered_elsewhere;
use super::hold::{Held, deletes, held, looked};
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{
    EXACT, Sure, background, below_share_of_max, largest, listed, pile_from, places, sum,
};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Rule, Verdict, count, fix, whole};
use crate::evidence::{Basis, Direction, Evidence, Pile, longest_gap_secs};
use crate::model::{Estimate, TcpState};

pub const RULE: Rule = Rule {
    cause: Cause::SynSentHold,
    explain: "\
What: the firewall holds SYN_SENT entries whose originator has given up. A conntrack entry is not a connection
attempt: it stays for nf_conntrack_tcp_timeout_syn_sent (120 s by default), however soon the client gave up.
Why it matters: 300 failing attempts a second that give up after 0.3 s are 90 sockets and 36,000 entries; they fill
the table, and under source NAT each blocks a port.
Example:
  $ ctlens list --state SYN_SENT --top dst:dport
shows 36,000 entries to one backend, while `ss -Htn state syn-sent | wc -l` counts 90 sockets.
How it is told apart: the entries are joined with the sockets of the host (or, when forwarding, with repeated SYNs on
the wire). Entries without an originator are held. Where nearly all entries have one, nothing is held: the side that
does not answer is the bottleneck. Handshakes under way (entries of less than 2 s) are no pile-up, nor are a gateway's
few SYNs to dead addresses everywhere beside twenty times as many answered connections. Who sets a held pile off is
named beside it: backend-unresponsive, backend-refusing, listener-overflow, ruleset-drop or asymmetric-routing.
What to do: mend who leaves the SYNs unanswered, delete the held entries, shorten the timeout for new ones.",
    refutes: "sockets in SYN_SENT, or repeated SYNs on the wire, for most of the entries",
    check,
};

/// Linux' own default for tcp_syn_retries.
const DEFAULT_RETRIES: u64 = 6;

fn check(evidence: &Evidence) -> Verdict {
    let noise = noise(evidence);
    if let Some((Sure::Yes, noise)) = noise {
        return Verdict::clear(noise);
    }
    let (sum, direction, pile, items) = match held(evidence, TcpState::SynSent, "the originator") {
        Held::Answer(verdict) => return verdict,
        Held::Yes {
            sum,
            direction,
            pile,
            evidence,
        } => (sum, direction, pile, evidence),
    };
    let elsewhere = answered_elsewhere(evidence, direction, pile);
    let elsewhere = Estimate::sum(elsewhere.iter().map(|d| d.entries));
    if elsewhere.value > 0.0 && sum.settled.value - elsewhere.value < pile_from(evidence) {
        return Verdict::clear(format!(
            "{} SYN_SENT entries look held, but their connections go on: the answers take another way",
            count(elsewhere)
        ));
    }
    if let Some((_, perhaps)) = noise {
        return Verdict::leaning(format!("perhaps no more than noise: {perhaps}"), EXACT);
    }
    let place = places(pile);
    let towards = if place.is_empty() {
        String::new()
    } else {
        format!(" towards {}", listed(&place))
    };
    let whose = match direction {
        _ if pile.basis == Basis::Ages => "most are older than clients wait, which is all that tells",
        Direction::Out => "this host's programs have given up",
        Direction::In | Direction::Forward => "the clients have given up",
        Direction::Unknown => "no socket of this host waits for them",
    };
    let holds = if pile.basis == Basis::Ages {
        "probably holds"
    } else {
        "holds"
    };
    let headline = format!(
        "The firewall {holds} {} of {} SYN_SENT entries{towards}: {whose}, the entries stay{}.",
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
        fixes: fixes(evidence, direction, pile),
        looked: looked(evidence, &sum, pile),
    }))
}

/// Any gateway to the Internet holds some SYNs to dead addresses: no pile-up while they are everywhere, few beside the
/// connections that were answered, and few beside the limit.
fn noise(evidence: &Evidence) -> Option<(Sure, String)> {
    let (_, pile) = largest(evidence, TcpState::SynSent)?;
    let all = sum(evidence.half_open.as_ref()?.syn_sent.values()).entries;
    let (few, answered) = background(evidence, pile);
    let sure = few.min(below_share_of_max(evidence, all));
    let text = format!(
        "{} SYN_SENT entries to everywhere, beside {} connections that were answered",
        count(all),
        whole(answered)
    );
    (sure > Sure::No).then_some((sure, text))
}

fn fixes(evidence: &Evidence, direction: Direction, pile: &Pile) -> Vec<Fix> {
    let timeout = evidence.timeouts.of_tcp(TcpState::SynSent);
    let caution = "live ones there go too: such a client's next SYN makes a new entry";
    let mut out = deletes(TcpState::SynSent, pile, caution);
    // Remote clients follow their own settings, of which the default is all that is known.
    let own = evidence.settings.number("net.ipv4.tcp_syn_retries");
    let forwards = evidence.settings.number("net.ipv4.ip_forward") == Some(1);
    let retries = own
        .filter(|_| direction == Direction::Out && !forwards)
        .unwrap_or(DEFAULT_RETRIES);
    let gap = longest_gap_secs(retries) as u32;
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
