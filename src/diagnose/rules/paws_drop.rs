//! This host's TCP rejects packets because of their timestamp.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{largest, places};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, fact, fix, whole};
use crate::evidence::{Direction, Evidence};
use crate::model::TcpState;

/// Fewer rejections, or each second fewer, are stray duplicates.
const LEAST: f64 = 3.0;
const LEAST_PER_S: f64 = 1.0;

/// What each counter counts, and how surely it means new connections: PAWSEstab also counts old duplicates of live ones,
/// and, before 6.14 gave them PAWSTimewait, SYNs that meet a TIME_WAIT socket.
const COUNTERS: [(&str, &str, f64); 4] = [
    (
        "TcpExt.PAWSPassive",
        "SYNs of clients whose address was seen with a later timestamp",
        3.0,
    ),
    (
        "TcpExt.PAWSTimewait",
        "SYNs that met a TIME_WAIT socket with a later timestamp",
        2.5,
    ),
    (
        "TcpExt.PAWSActive",
        "SYN/ACKs whose echoed timestamp this host never sent",
        2.5,
    ),
    (
        "TcpExt.PAWSEstab",
        "segments with an older timestamp than their connection's",
        0.3,
    ),
];

pub const RULE: Rule = Rule {
    cause: Cause::PawsDrop,
    explain: "\
What: TCP's protection against wrapped sequence numbers (PAWS) takes new connections for old duplicates, because clients
that share one address (behind NAT or a load balancer) have different timestamp clocks.
Why it matters: only some clients fail, now and then, and only through that address; the SYN arrives and is not answered as
it should be.
Example:
  $ nstat -az | grep -E 'PAWS|TSEcr'
shows PAWSPassive (tcp_tw_recycle=1, kernels before 4.12) or PAWSTimewait (6.14 and later) rising.
How it is told apart: the counters rise over the window, while the listen queues have room (listener-overflow) and no rule
drops anything (ruleset-drop). tcp_tw_recycle remembers one timestamp for each address and is gone since 4.12; what is left
is a client that gets a port again which the server still has in TIME_WAIT, as nat-ports-exhausted gateways do all day.
What to do: turn tcp_tw_recycle off; let the gateway use more ports or addresses, so that none comes back within 60 s.
Turning TCP timestamps off costs every connection and is no cure.
  $ sysctl -w net.ipv4.tcp_tw_recycle=0",
    refutes: "PAWSPassive, PAWSTimewait and PAWSActive flat",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(net) = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0) else {
        return Verdict::unknown("the PAWS counters were not watched over a window");
    };
    let rise = |name: &str| net.get(name).copied();
    if rise("TcpExt.PAWSActive").is_none() && rise("TcpExt.PAWSEstab").is_none() {
        return Verdict::unknown("this kernel's PAWS counters could not be read");
    }
    let least = (evidence.window_secs * LEAST_PER_S).max(LEAST);
    let surest = COUNTERS
        .iter()
        .filter_map(|(name, what, nats)| Some((*name, *what, *nats, rise(name)?)))
        .find(|(_, _, _, rise)| *rise as f64 >= least);
    let Some((name, what, nats, rise)) = surest else {
        return Verdict::clear("the PAWS counters did not rise");
    };
    let text = format!("{} rose by {}: {what}", short(name), whole(rise as f64));
    if name == "TcpExt.PAWSEstab" && !splits_time_wait(evidence) {
        return Verdict::clear(format!("{text}, as duplicates on any network do"));
    }
    Verdict::Found(Box::new(finding(evidence, (name, nats, rise), text)))
}

/// Whether PAWSEstab may be about new connections: kernels without PAWSTimewait, and a pile of SYNs that came in.
fn splits_time_wait(evidence: &Evidence) -> bool {
    let own = evidence
        .net
        .as_ref()
        .is_some_and(|net| net.contains_key("TcpExt.PAWSTimewait"));
    let inbound =
        largest(evidence, TcpState::SynSent).is_some_and(|(direction, _)| direction == Direction::In);
    !own && inbound
}

fn short(name: &str) -> &str {
    name.strip_prefix("TcpExt.").unwrap_or(name)
}

fn finding(evidence: &Evidence, (name, nats, rise): (&str, f64, i64), text: String) -> Finding {
    let mut items: Vec<Weighed> = vec![fact("paws-rejects", nats, text, rise as f64, "segments")];
    let recycle = evidence.settings.number("net.ipv4.tcp_tw_recycle") == Some(1);
    if recycle {
        items.push(fact("tw-recycle", 1.5, "tcp_tw_recycle is 1", 1.0, ""));
    }
    let pile = largest(evidence, TcpState::SynSent).filter(|(direction, _)| *direction == Direction::In);
    if let Some((_, pile)) = pile.filter(|(_, pile)| pile.sources > 0 && pile.sources <= FEW_SOURCES) {
        let text = format!("unanswered SYNs come from {} addresses only", pile.sources);
        items.push(fact("few-sources", 0.7, text, pile.sources as f64, "sources"));
    }
    let of = match name {
        "TcpExt.PAWSActive" => "answers of its servers",
        _ => "new connections of clients that share an address",
    };
    Finding {
        headline: format!(
            "This host rejects {of} by their TCP timestamp: {} in {:.1} s.",
            whole(rise as f64),
            evidence.window_secs
        ),
        place: pile.map(|(_, pile)| places(pile)).unwrap_or_default(),
        entries: pile.map(|(_, pile)| pile.settled()),
        evidence: items,
        fixes: fixes(name, recycle),
        looked: Looked::For(format!("{} rose by {}", short(name), whole(rise as f64))),
    }
}

/// So few sources are gateways.
const FEW_SOURCES: u64 = 16;

fn fixes(name: &str, recycle: bool) -> Vec<Fix> {
    let mut out = Vec::new();
    if recycle || name == "TcpExt.PAWSPassive" {
        out.push(fix(
            "Turn tcp_tw_recycle off",
            Some("sysctl -w net.ipv4.tcp_tw_recycle=0".to_string()),
            "at once",
        ));
    }
    if name == "TcpExt.PAWSActive" {
        out.push(fix(
            "See whose answers they are",
            Some(
                "tcpdump -nni any -c 20 'tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)'".to_string(),
            ),
            "a SYN proxy or load balancer on the way that echoes another timestamp",
        ));
    } else {
        out.push(fix(
            "See which addresses they share",
            Some("ss -Htan state time-wait | awk '{print $4}' | sed 's/:[0-9]*$//' | sort | uniq -c | sort -rn | head".to_string()),
            "the gateway in front of the clients is the one with the most",
        ));
        out.push(fix(
            "Give that gateway more ports or addresses",
            None,
            "then none of its ports comes back within the 60 s of TIME_WAIT",
        ));
    }
    out
}
