//! Timeouts of conntrack: shorter than a live connection needs, so long that entries pile up, or none at all.

use super::idle::default_secs;
use super::numbers::grouped;
use super::{Context, Lint, Said, Severity};
use crate::evidence::floors;
use crate::model::Action;

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU015",
        title: "a timeout below what live connections need",
        severity: Severity::Warning,
        source: "Documentation/networking/nf_conntrack-sysctl.rst",
        dead: false,
        check: below_floor,
    },
    Lint {
        code: "AU016",
        title: "a timeout of no time at all",
        severity: Severity::Error,
        source: "include/net/netfilter/nf_conntrack.h, nf_ct_is_expired(): the time left is compared as a signed number \
                 (tried on Linux 6.18)",
        dead: false,
        check: none_at_all,
    },
    Lint {
        code: "AU030",
        title: "a timeout that lets entries pile up",
        severity: Severity::Note,
        source: "Little's law: entries held = entries a second x seconds that each stays",
        dead: false,
        check: above_ceiling,
    },
    Lint {
        code: "AU041",
        title: "five days for idle connections behind NAT",
        severity: Severity::Note,
        source: "RFC 5382 REQ-5: not less than 2 h 4 min; net/netfilter/nf_conntrack_proto_tcp.c: 5 days by default",
        dead: false,
        check: five_days,
    },
];

const CT: &str = "net.netfilter.nf_conntrack_";
pub const ESTABLISHED_FLOOR_SECS: i64 = floors::ESTABLISHED_SECS as i64;
/// What looks like minutes; the floor of ESTABLISHED is two hours in seconds.
pub const MOST_MINUTES: i64 = 300;

/// The least that a live connection needs.
struct Floor {
    rest: &'static str,
    secs: fn(&Context) -> i64,
    why: &'static str,
    source: &'static str,
}

const FLOORS: [Floor; 10] = [
    Floor {
        rest: "tcp_timeout_syn_sent",
        secs: |context| floors::silence_of_clients_secs(own(context, "tcp_syn_retries")).into(),
        why: "a live client may be silent for so long between two SYNs",
        source: "RFC 6298; Documentation/networking/ip-sysctl.rst, tcp_syn_retries",
    },
    Floor {
        rest: "tcp_timeout_syn_recv",
        secs: |context| floors::last_syn_ack_secs(own(context, "tcp_synack_retries")).into(),
        why: "a live server may send its last SYN/ACK only then",
        source: "Documentation/networking/ip-sysctl.rst, tcp_synack_retries: the last one comes after 31 s by default",
    },
    Floor {
        rest: "tcp_timeout_established",
        secs: established,
        why: "idle connections, kept alive every two hours by default, are cut",
        source: "RFC 5382 REQ-5: not less than 2 h 4 min behind NAT",
    },
    Floor {
        rest: "tcp_timeout_fin_wait",
        secs: |_| floors::HALF_CLOSED_SECS.into(),
        why: "peers wait so long in FIN_WAIT2",
        source: "Documentation/networking/ip-sysctl.rst, tcp_fin_timeout: 60 s",
    },
    Floor {
        rest: "tcp_timeout_close_wait",
        secs: |_| floors::HALF_CLOSED_SECS.into(),
        why: "a half-closed connection lives as long as its other end sends",
        source: "RFC 5382 REQ-5: 4 min for closing connections; Kubernetes sets 3,600 s",
    },
    Floor {
        rest: "tcp_timeout_time_wait",
        secs: |_| floors::TIME_WAIT_SECS.into(),
        why: "peers stay in TIME_WAIT for 60 s: a translated port comes back while they remember it",
        source: "include/net/tcp.h, TCP_TIMEWAIT_LEN: 60 s",
    },
    Floor {
        rest: "tcp_timeout_max_retrans",
        secs: |_| floors::LARGEST_RTO_SECS.into(),
        why: "a live connection that stalls repeats a segment after up to 120 s",
        source: "include/net/tcp.h, TCP_RTO_MAX: 120 s",
    },
    Floor {
        rest: "tcp_timeout_unacknowledged",
        secs: |_| floors::LARGEST_RTO_SECS.into(),
        why: "a live connection that stalls repeats a segment after up to 120 s",
        source: "include/net/tcp.h, TCP_RTO_MAX: 120 s",
    },
    Floor {
        rest: "udp_timeout_stream",
        secs: |_| floors::UDP_STREAM_SECS.into(),
        why: "behind NAT a UDP mapping must live for two minutes",
        source: "RFC 4787 REQ-5: not less than 2 min, 5 min recommended",
    },
    Floor {
        rest: "icmp_timeout",
        secs: |_| 30,
        why: "behind NAT an ICMP query must live for 60 s; the default is 30 s already",
        source: "RFC 5508 REQ-2: not less than 60 s",
    },
];

fn own(context: &Context, name: &str) -> Option<i64> {
    context.number(&format!("net.ipv4.{name}"))
}

/// Longer where this host's own keepalives are known to take longer to give a peer up.
fn established(context: &Context) -> i64 {
    let known = context.get("net.ipv4.tcp_keepalive_time").is_some();
    let end = floors::keepalives_end_secs(&|name| own(context, name));
    ESTABLISHED_FLOOR_SECS.max(if known { end } else { 0 })
}

fn below_floor(context: &Context, out: &mut Vec<Said>) {
    for floor in &FLOORS {
        let name = format!("{CT}{}", floor.rest);
        let (Some(index), Some(secs @ 1..)) = (context.index(&name), context.number(&name)) else {
            continue;
        };
        let least = (floor.secs)(context);
        let told_as_minutes = floor.rest.ends_with("established") && secs <= MOST_MINUTES;
        if secs >= least || told_as_minutes {
            continue;
        }
        let why = match floor.rest.ends_with("established") && secs >= ESTABLISHED_FLOOR_SECS {
            true => format!(
                "this host's own keepalives give a dead peer up only after {} s",
                grouped(least)
            ),
            false => format!(
                "{}: {} s are too few, {} the least",
                floor.why,
                grouped(secs),
                grouped(least)
            ),
        };
        out.push(
            Said::of(index, why)
                .by(floor.source)
                .write(format!("{name} = {least}")),
        );
    }
}

fn none_at_all(context: &Context, out: &mut Vec<Said>) {
    for (rest, index, secs) in context
        .beginning(CT)
        .filter(|(rest, ..)| rest.contains("timeout"))
    {
        let why = match secs {
            0 => "0 is no time at all: entries expire as they are made, and answers find none",
            ..0 if rest.starts_with("tcp_") => {
                "a negative time is none: what entries get instead is an accident (300 s in SYN_SENT of Linux 6.18)"
            }
            ..0 => "a time before now: entries expire as they are made, and answers find none",
            _ => continue,
        };
        let said = Said::of(index, why);
        out.push(match default_secs(rest) {
            Some(secs) => said.write(format!("{CT}{rest} = {secs}")),
            None => said.delete(),
        });
    }
}

/// From so many seconds on entries of dead connections pile up, and what they are.
const CEILINGS: [(&str, i64, &str); 8] = [
    ("tcp_timeout_syn_sent", 121, "SYNs that nobody answered"),
    ("tcp_timeout_syn_recv", 121, "handshakes that nobody finished"),
    ("tcp_timeout_fin_wait", 601, "connections whose peer never closed"),
    (
        "tcp_timeout_close_wait",
        3_600,
        "connections whose program never closed",
    ),
    ("tcp_timeout_last_ack", 241, "connections that are over"),
    ("tcp_timeout_time_wait", 241, "connections that are over"),
    ("udp_timeout", 301, "datagrams that nobody answered"),
    ("icmp_timeout", 121, "pings that nobody answered"),
];

fn above_ceiling(context: &Context, out: &mut Vec<Said>) {
    let max = context.number(&format!("{CT}max")).filter(|max| *max > 0);
    for (rest, secs, what) in CEILINGS {
        let name = format!("{CT}{rest}");
        let (Some(index), Some(set)) = (context.index(&name), context.number(&name)) else {
            continue;
        };
        if set < secs {
            continue;
        }
        let fills = match max {
            Some(max) => format!(
                "{} a second fill nf_conntrack_max = {}",
                grouped((max / set).max(1)),
                grouped(max)
            ),
            None => format!("the table holds {} for each that comes in a second", grouped(set)),
        };
        out.push(Said::of(
            index,
            format!("entries of {what} stay for {} s: {fills}", grouped(set)),
        ));
    }
}

/// Only where the rules show that it translates.
fn five_days(context: &Context, out: &mut Vec<Said>) {
    let name = format!("{CT}tcp_timeout_established");
    let (Some(index), Some(secs @ 432_000..)) = (context.index(&name), context.number(&name)) else {
        return;
    };
    let translates = |action: &Action| matches!(action, Action::Snat(_) | Action::Masquerade(_));
    let rules = context.around.rules.map_or(&[][..], |rules| &rules.rules);
    if rules.iter().any(|rule| translates(&rule.then)) {
        let why = format!(
            "this host translates addresses, and keeps the port of a client that vanished for {:.0} days; RFC 5382 asks \
             for 2 h 4 min at least. Before you lower it, see for how long live connections are idle (ctlens list)",
            secs as f64 / 86_400.0
        );
        out.push(Said::of(index, why));
    }
}
