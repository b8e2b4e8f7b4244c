//! UDP entries that nobody answered.

use super::hold::deletes_of;
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{EXACT, Sure, answers_here, everywhere, listed, named, places, sum};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{
    Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact, fix, remark, whole,
};
use crate::diagnose::share::{Share, little, more_room, pressing, shorter, unseen};
use crate::evidence::{Destination, Direction, Evidence, Pile};
use crate::model::{Estimate, Timer};

pub const RULE: Rule = Rule {
    cause: Cause::UdpHold,
    explain: "\
What: datagrams that nobody answers fill the table: each leaves an entry for nf_conntrack_udp_timeout (30 s by
default), however soon the client gave up.
Why it matters: a resolver asks again and again, each time from a new port. A dead DNS server and 1,000 queries a
second are 30,000 entries, which come and go with it.
Example:
$ ctlens list --proto udp --unreplied --top dst:dport
shows 30,000 entries to port 53 of one resolver, and none to the other.
How it is told apart: the entries never saw a packet in reply; where one or few destinations take them, that answer
nobody, these set it off (backend-unresponsive). Some protocols are never answered (syslog, statsd, NetFlow): of them
only the share of the limit is a fault. A client that repeats on one port renews its entry, so ages say when it last
sent, not when it began.
What to do: take the silent server out of use, then give datagrams to it a shorter timeout of their own.",
    refutes: "replies seen from the same destinations; a small share of the limit",
    check,
};

const NAME: &str = "unanswered UDP entries";
/// Where all go to few places that must answer and answer nobody, this share of the limit is enough: at it a server of
/// the size that is usual has been silent for a whole timeout.
const SILENT_SHARE: f64 = 0.05;
/// Protocols whose clients wait for an answer: DNS, Kerberos, NTP, SNMP, LDAP, QUIC, IKE, RADIUS, SIP.
const ASKING: [u16; 12] = [53, 88, 123, 161, 389, 443, 500, 853, 1812, 1813, 4500, 5060];
/// Below the default nothing but a policy for these flows alone is worth its price.
const DEFAULT_SECS: u32 = 30;
/// A resolver repeats its question after five seconds (resolv.conf(5), timeout).
const REPEATS_SECS: u32 = 10;

fn check(evidence: &Evidence) -> Verdict {
    let Some(piles) = evidence.lasting.as_ref().map(|lasting| &lasting.udp) else {
        return unseen(evidence, SILENT_SHARE, "the table's UDP entries were not seen");
    };
    if evidence.table.as_ref().and_then(|t| t.max).is_none() {
        return Verdict::unknown("nf_conntrack_max was not read");
    }
    let sum = sum(piles.values());
    let largest = piles
        .iter()
        .max_by(|a, b| a.1.settled().value.total_cmp(&b.1.settled().value));
    let Some((direction, pile)) = largest else {
        return Verdict::clear("no UDP entry is unanswered");
    };
    match pressing(evidence, sum.settled, NAME) {
        Ok(share) => Verdict::Found(Box::new(finding(evidence, *direction, pile, share))),
        Err(Verdict::Clear { because }) => match silent_share(evidence, *direction, pile) {
            Sure::Yes => {
                let share = of_limit(evidence, to_silent(*direction, pile));
                share.map_or(Verdict::clear(because), |share| {
                    Verdict::Found(Box::new(finding(evidence, *direction, pile, share)))
                })
            }
            Sure::Perhaps => Verdict::leaning(because, EXACT),
            Sure::No => Verdict::clear(because),
        },
        Err(other) => other,
    }
}

/// Whether those to few places that must answer, and answer nobody, are enough.
fn silent_share(evidence: &Evidence, direction: Direction, pile: &Pile) -> Sure {
    let max = evidence.table.as_ref().and_then(|t| t.max).unwrap_or(0) as f64;
    let to = to_silent(direction, pile);
    let enough = |n: f64| max > 0.0 && n >= max * SILENT_SHARE;
    Sure::of(enough(to.low), enough(to.high))
}

/// The named destinations that must answer and answer nobody, where it is not this host that should.
fn silent(direction: Direction, pile: &Pile) -> Vec<&Destination> {
    if answers_here(direction, pile) || direction == Direction::Unknown {
        return Vec::new();
    }
    let mut out = named(pile);
    out.retain(|d| d.answered == 0 && ASKING.contains(&d.port));
    out
}

fn to_silent(direction: Direction, pile: &Pile) -> Estimate {
    Estimate::sum(silent(direction, pile).iter().map(|d| d.entries))
}

fn of_limit(evidence: &Evidence, entries: Estimate) -> Option<Share> {
    let table = evidence.table.as_ref()?;
    let max = table.max.filter(|max| *max > 0)? as f64;
    Some(Share {
        entries,
        of_max: Estimate {
            value: entries.value / max,
            low: entries.low / max,
            high: entries.high / max,
        },
        max,
        fill: table.fill.unwrap_or(entries.value / max),
    })
}

fn finding(evidence: &Evidence, direction: Direction, pile: &Pile, share: Share) -> Finding {
    let place: Vec<String> = silent(direction, pile).iter().map(|d| d.label()).collect();
    let timeout = evidence.timeouts.get(Timer::Udp);
    let whom = match (place.len(), places(pile)) {
        (0, others) if others.is_empty() => " that nobody answered".to_string(),
        (0, others) => format!(" to {} that nobody answered", listed(&others)),
        (1, _) => format!(" to {}, which answers nobody", listed(&place)),
        (_, _) => format!(" to {}, which answer nobody", listed(&place)),
    };
    Finding {
        headline: format!(
            "The firewall holds {} UDP entries{whom}, {:.0} % of its limit{}.",
            count(share.entries),
            share.of_max.value * 100.0,
            timeout.map_or(String::new(), |s| format!(
                ": they stay for {s} s after the last datagram"
            )),
        ),
        evidence: items(evidence, direction, pile, share),
        entries: Some(share.entries),
        fixes: fixes(evidence, direction, pile),
        looked: Looked::For(format!(
            "of the destinations named, other entries have {} answers; the share of the limit is {:.2}",
            whole(named(pile).iter().map(|d| d.answered as f64).sum()),
            share.of_max.value
        )),
        place,
    }
}

fn items(evidence: &Evidence, direction: Direction, pile: &Pile, share: Share) -> Vec<Weighed> {
    let mut out = vec![share.weighed(1.5, NAME)];
    let silent = silent(direction, pile);
    if silent.is_empty() {
        let text = "nobody is named: they go to many, to this host itself, to those who answer others, or to ports whose \
                    protocol may never answer (syslog, statsd)";
        out.push(remark("nobody-named", 0.0, text));
    } else {
        let to = to_silent(direction, pile);
        let text = format!(
            "{} of them go to {} destinations that answer nobody",
            count(to),
            silent.len()
        );
        out.push(estimate("answers-nobody", 1.5, text, to, "entries"));
    }
    let answered: f64 = named(pile).iter().map(|d| d.answered as f64).sum();
    if answered > 0.0 {
        let text = format!("the destinations answer others ({} entries)", whole(answered));
        out.push(fact("answers-others", -0.7, text, answered, "entries"));
    }
    if everywhere(pile) == Sure::Yes {
        out.push(remark("spread", -0.5, "they go to everywhere"));
    }
    out.extend(little(
        pile.entries,
        pile.new_per_s,
        evidence.timeouts.get(Timer::Udp),
    ));
    out
}

fn fixes(evidence: &Evidence, direction: Direction, pile: &Pile) -> Vec<Fix> {
    let timeout = evidence.timeouts.get(Timer::Udp);
    let mut out = Vec::new();
    if let Some(first) = silent(direction, pile).first() {
        out.push(fix(
            format!("Take {} out of use until it answers", first.label()),
            None,
            "in resolv.conf or the load balancer: clients stop waiting, and nothing is held any more",
        ));
    }
    out.extend(deletes_there(pile));
    if timeout.is_none_or(|secs| secs > DEFAULT_SECS) {
        out.push(shorter(
            "udp_timeout",
            timeout,
            DEFAULT_SECS,
            "Linux' default; RFC 4787 asks 120 s behind NAT, less for well-known ports",
        ));
    }
    if let Some(first) = silent(direction, pile).first() {
        out.push(own_timeout(first));
    }
    out.extend(evidence.table.as_ref().map_or(Vec::new(), more_room));
    out
}

/// Never all of UDP: what lives behind NAT would lose its port.
fn deletes_there(pile: &Pile) -> Vec<Fix> {
    let caution = "answered ones there go too: the next datagram makes a new one";
    let mut out = deletes_of("-p udp", "UDP", pile, caution);
    out.retain(|fix| fix.command.as_ref().is_some_and(|c| c.contains("--reply-src")));
    out
}

/// Leaves every other flow's timeout alone.
fn own_timeout(to: &Destination) -> Fix {
    let family = if to.addr.is_ipv6() { "ip6" } else { "ip" };
    let (addr, port) = (to.addr, to.port);
    let policy = format!(
        "ct timeout short {{ protocol udp; l3proto {family}; policy = {{ unreplied : {REPEATS_SECS}, replied : 120 }}; }};"
    );
    let chain = |name: &str, hook: &str| {
        format!(
            "chain {name} {{ type filter hook {hook} priority -150; {family} daddr {addr} udp dport {port} ct timeout \
             set \"short\"; }};"
        )
    };
    fix(
        format!("Give datagrams to {} a timeout of their own", to.label()),
        Some(format!(
            "nft 'table {family} ctlens_udp {{ {policy} {} {} }}'",
            chain("forwarded", "prerouting"),
            chain("own", "output")
        )),
        format!("new entries to it stay for {REPEATS_SECS} s; undo: nft delete table {family} ctlens_udp"),
    )
}
