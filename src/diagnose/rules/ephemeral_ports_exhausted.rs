//! connect() finds no free local port towards one destination.

use crate::diagnose::cause::Cause;
use crate::diagnose::logged;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, fact, fix, remark, whole};
use crate::evidence::{Evidence, PortUse};

/// Of the range; connect() searches all of it, so it fails only at the very end.
const EXHAUSTED: f64 = 0.98;
/// A range that leaves the usual ports of servers alone.
const WIDE: (u64, u64) = (10_240, 65_000);

pub const RULE: Rule = Rule {
    cause: Cause::EphemeralPortsExhausted,
    explain: "\
What: all ports of ip_local_port_range are in use towards one destination address and port.
Why it matters: connect() fails with EADDRNOTAVAIL at once: no SYN is sent, no entry is made, and no counter rises.
Example:
  $ ss -Htan dst 10.9.1.3:80 | wc -l
gives about 28,232, the size of 32768-60999, and programs log `Cannot assign requested address`.
How it is told apart: distinct local ports per (source address, destination, port) against the range less
ip_local_reserved_ports. TIME_WAIT ports count only where tcp_tw_reuse does not let connect() take them. Ports that a
gateway translates to are nat-ports-exhausted.
What to do: reuse connections (keep-alive pools), widen the range, add source or destination addresses.",
    refutes: "free ports left in ip_local_port_range towards every destination",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(ports) = &evidence.ports else {
        if let Some(logged) = logged::ports(evidence) {
            return logged;
        }
        return Verdict::unknown("sockets or ip_local_port_range were not read");
    };
    let Some(fullest) = ports.first() else {
        return Verdict::clear("no local port is in use towards any destination");
    };
    let share = fullest.used as f64 / fullest.range.max(1) as f64;
    if share < EXHAUSTED {
        return Verdict::clear(format!(
            "at most {} of {} local ports are in use towards one destination",
            whole(fullest.used as f64),
            whole(fullest.range as f64)
        ));
    }
    Verdict::Found(Box::new(finding(evidence, fullest, share)))
}

fn finding(evidence: &Evidence, fullest: &PortUse, share: f64) -> Finding {
    let place = std::net::SocketAddr::new(fullest.dst, fullest.dport).to_string();
    let (used, range) = (whole(fullest.used as f64), whole(fullest.range as f64));
    let text = format!(
        "{used} of {range} local ports in use from {} to {place}",
        fullest.src
    );
    let mut items = vec![fact("ports-in-use", 3.0, text, share, "of the range")];
    let states: Vec<String> = fullest
        .by_state
        .iter()
        .map(|(state, n)| format!("{} {state}", whole(*n as f64)))
        .collect();
    items.push(remark(
        "ports-by-state",
        0.3,
        format!("they are {}", states.join(", ")),
    ));
    if fullest.used >= fullest.range {
        items.push(remark("none-left", 0.7, "not one is left"));
    }
    let time_wait = fullest.by_state.get("TIME_WAIT").copied().unwrap_or(0);
    let mut fixes = Vec::new();
    if time_wait * 2 > fullest.used {
        fixes.push(fix(
            "Let connect() take ports in TIME_WAIT",
            Some("sysctl -w net.ipv4.tcp_tw_reuse=1".to_string()),
            "at once, for outgoing connections; needs TCP timestamps on both ends",
        ));
    }
    if let Some((low, high)) = evidence.settings.pair("net.ipv4.ip_local_port_range")
        && (low > WIDE.0 || high < WIDE.1)
    {
        let (low, high) = (low.min(WIDE.0), high.max(WIDE.1));
        fixes.push(fix(
            "Widen the range",
            Some(format!("sysctl -w net.ipv4.ip_local_port_range=\"{low} {high}\"")),
            "at once; reserve ports of local listeners with ip_local_reserved_ports",
        ));
    }
    fixes.push(fix(
        "Reuse connections to it (keep-alive pool), or add an address on either side",
        None,
        "each further source or destination address brings the whole range again",
    ));
    Finding {
        headline: format!(
            "This host has used up its local ports towards {place}: {used} of {range}. connect() fails."
        ),
        place: vec![place],
        entries: None,
        evidence: items,
        fixes,
        looked: Looked::For(format!(
            "{} of {range} are left",
            whole(fullest.range.saturating_sub(fullest.used) as f64)
        )),
    }
}
