//! The reverse path filter drops packets that come in by another interface than the route back uses.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{PileUp, largest, pile_up};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, fact, fix, whole};
use crate::evidence::{Direction, Evidence, Pile, Way};
use crate::model::{Estimate, TcpState};

const COUNTER: &str = "TcpExt.IPReversePathFilter";
/// Fewer drops, or each second fewer, are stray packets with made-up sources.
const LEAST: f64 = 5.0;
const LEAST_PER_S: f64 = 2.0;
/// Packets of one sender in a tap: fewer are strays.
const LEAST_SEEN: u64 = 5;

pub const RULE: Rule = Rule {
    cause: Cause::RpFilterDrop,
    explain: "\
What: packets come in by an interface that this host would not use to answer their sender, and rp_filter=1 (strict)
drops them.
Why it matters: the drop has no log line and no rule. Conntrack has seen the packet already: a SYN/ACK has made SYN_RECV of
its entry, and the program waits all the same.
Example:
  $ nstat -az TcpExtIPReversePathFilter
rises with each attempt; `ip route get 10.9.1.3` names eth0 while the SYN/ACKs come in on eth1.
How it is told apart: the counter rises over the window, and the wire shows SYN/ACKs (or SYNs of a pile-up) on an interface
that the route back to their sender does not use. A rule's counter that rises instead is ruleset-drop; answers that never
come by here are asymmetric-routing. Spoofed packets from the Internet make the counter rise too: without answers among
them it is no fault. IPv4 only: for IPv6 a rule with `fib saddr . iif` does the same, and is a rule.
What to do: make the routes agree, or let the interface accept it (2 is loose: any route back will do).
  $ sysctl -w net.ipv4.conf.eth1.rp_filter=2",
    refutes: "IPReversePathFilter flat, or packets that come in by the interface of the route back",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let watched = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0);
    let Some(rise) = watched.and_then(|net| net.get(COUNTER).copied()) else {
        return Verdict::unknown("IPReversePathFilter was not watched over a window");
    };
    if (rise as f64) < (evidence.window_secs * LEAST_PER_S).max(LEAST) {
        return Verdict::clear(format!("IPReversePathFilter rose by {rise}"));
    }
    let text = format!(
        "IPReversePathFilter rose by {} in {:.1} s",
        whole(rise as f64),
        evidence.window_secs
    );
    let pile = waiting(evidence);
    let Some(tap) = &evidence.tap else {
        return match pile {
            Some(_) => Verdict::leaning(
                format!("{text}, and connections wait, but nobody listened on the wire"),
                "ctlens diagnose --tap 3s",
            ),
            None => Verdict::clear(format!("{text}, and no connection waits: strays")),
        };
    };
    let wrong =
        |way: &&Way| way.route_by.as_deref() != Some(way.arrives_on.as_str()) && way.rp_filter == Some(1);
    let answers = |way: &&Way| way.syn_acks >= LEAST_SEEN || pile.is_some() && way.syns >= LEAST_SEEN;
    let found = tap.ways.iter().filter(wrong).find(answers);
    match found {
        Some(way) => Verdict::Found(Box::new(finding(evidence, way, rise, text, pile))),
        None => Verdict::clear(format!(
            "{text}, but no answer came in by another way than its route: strays"
        )),
    }
}

/// Half-open entries that a lost packet would explain.
fn waiting(evidence: &Evidence) -> Option<&Pile> {
    let piles = [TcpState::SynRecv, TcpState::SynSent]
        .into_iter()
        .filter_map(|state| largest(evidence, state));
    piles
        .filter(|(direction, pile)| {
            *direction != Direction::Unknown && pile_up(evidence, pile.settled()) == PileUp::Yes
        })
        .map(|(_, pile)| pile)
        .next()
}

fn finding(evidence: &Evidence, way: &Way, rise: i64, text: String, pile: Option<&Pile>) -> Finding {
    let source = way
        .source
        .map_or("a peer".to_string(), |source| source.to_string());
    let back = way.route_by.as_deref().unwrap_or("none");
    let mut items: Vec<Weighed> = vec![fact("rp-filter-drops", 2.0, text, rise as f64, "packets")];
    let seen = way.syn_acks.max(way.syns);
    let what = if way.syn_acks > 0 { "SYN/ACKs" } else { "SYNs" };
    items.push(fact(
        "wrong-interface",
        2.0,
        format!(
            "{} {what} of {source} came in on {}, where rp_filter is strict; the route back leaves by {back}",
            whole(seen as f64),
            way.arrives_on
        ),
        seen as f64,
        "packets",
    ));
    let entries: Option<Estimate> = pile
        .filter(|pile| pile.destinations.iter().any(|to| Some(to.addr) == way.source) || way.syns > 0)
        .map(Pile::settled);
    let place = pile.map(crate::diagnose::half_open::places).unwrap_or_default();
    Finding {
        headline: format!(
            "The reverse path filter of {} drops the packets of {source}: the route back leaves by {back}.",
            way.arrives_on
        ),
        place,
        entries,
        evidence: items,
        fixes: fixes(way, &source),
        looked: Looked::For(format!(
            "the counter rose by {} in {:.1} s, and {} of {} senders looked up came in by another way",
            whole(rise as f64),
            evidence.window_secs,
            evidence.tap.as_ref().map_or(0, |tap| tap
                .ways
                .iter()
                .filter(|way| way.route_by.as_deref() != Some(way.arrives_on.as_str()))
                .count()),
            evidence.tap.as_ref().map_or(0, |tap| tap.ways.len())
        )),
    }
}

fn fixes(way: &Way, source: &str) -> Vec<Fix> {
    vec![
        fix(
            format!(
                "Let {} accept packets that any route leads back to",
                way.arrives_on
            ),
            Some(format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", way.arrives_on)),
            "at once; the filter goes on dropping sources without any route",
        ),
        fix(
            "Or make the routes agree: see which one is meant",
            Some(format!("ip route get {source}")),
            "the route to the sender should leave by the interface its packets come in on",
        ),
    ]
}
