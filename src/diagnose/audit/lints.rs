//! Settings that are right alone and wrong together, or wrong for what they are set on.

use super::timeouts::{below_floor, milliseconds, zero};
use super::{Context, Lint, Said};
use crate::evidence::Severity;
use crate::model::Action;

pub const CT: &str = "net.netfilter.nf_conntrack_";
/// An entry's memory, with its extensions, about.
const ENTRY_BYTES: u64 = 320;
/// A table that takes more than this when full is worth a thought.
const MUCH_BYTES: u64 = 1 << 30;
/// Mean chain of a full table beyond which packets cost more than they need: two nodes an entry.
const MOST_PER_BUCKET: u64 = 4;
/// Room for about 6,500 events of 1,283 bytes.
const EVENT_BUFFER: u64 = 8 << 20;

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU006",
        severity: Severity::Note,
        source: "sysctl.d(5): of several lines for one name the last one counts",
        check: overridden,
    },
    Lint {
        code: "AU007",
        severity: Severity::Warning,
        source: "net/netfilter/nf_conntrack_core.c, nf_conntrack_init_start(): max = buckets since Linux 5.15",
        check: few_buckets,
    },
    Lint {
        code: "AU008",
        severity: Severity::Note,
        source: "net/netfilter/nf_conntrack_core.c: the nf_conntrack slab, about 320 bytes an entry with its extensions",
        check: much_memory,
    },
    Lint {
        code: "AU009",
        severity: Severity::Warning,
        source: "net/ipv4/tcp_input.c, tcp_conn_request(), and net/socket.c, __sys_listen(): a backlog is capped by somaxconn",
        check: backlogs,
    },
    Lint {
        code: "AU010",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, tcp_syncookies",
        check: no_cookies,
    },
    Lint {
        code: "AU011",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, tcp_abort_on_overflow",
        check: aborts,
    },
    Lint {
        code: "AU012",
        severity: Severity::Error,
        source: "net/ipv4/tcp_ipv4.c, tcp_twsk_unique(): it asks for the timestamp of the last segment",
        check: reuse_without_timestamps,
    },
    Lint {
        code: "AU013",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, ip_local_port_range and ip_local_reserved_ports",
        check: low_ports,
    },
    Lint {
        code: "AU014",
        severity: Severity::Note,
        source: "net/core/sock.c, SO_RCVBUF is capped by rmem_max; an event takes about 1,283 bytes of it",
        check: small_buffer,
    },
    Lint {
        code: "AU015",
        severity: Severity::Warning,
        source: "RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2; include/net/tcp.h (TCP_TIMEWAIT_LEN, SYN/ACK repeats)",
        check: below_floor,
    },
    Lint {
        code: "AU016",
        severity: Severity::Error,
        source: "net/netfilter/nf_conntrack_standalone.c: 0 is accepted, and entries expire as they are made",
        check: zero,
    },
    Lint {
        code: "AU017",
        severity: Severity::Warning,
        source: "net/netfilter/nf_conntrack_standalone.c, proc_dointvec_jiffies: timeouts are in seconds",
        check: milliseconds,
    },
    Lint {
        code: "AU018",
        severity: Severity::Error,
        source: "commit b118509076b3 (Linux 6.0): helpers are assigned by rules only",
        check: helper,
    },
    Lint {
        code: "AU019",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_checksum",
        check: unchecked,
    },
    Lint {
        code: "AU020",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_log_invalid",
        check: logs_invalid,
    },
    Lint {
        code: "AU021",
        severity: Severity::Warning,
        source: "net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc(): 0 means no limit",
        check: unlimited,
    },
    Lint {
        code: "AU022",
        severity: Severity::Note,
        source: "Documentation/networking/ip-sysctl.rst, tcp_rfc1337; net/ipv4/tcp_minisocks.c",
        check: rfc1337,
    },
    Lint {
        code: "AU023",
        severity: Severity::Warning,
        source: "net/netfilter/nf_nat_core.c: a translated port may be one that a local socket uses",
        check: ports_meet,
    },
];

fn said(name: &str, why: impl Into<String>, instead: Option<String>) -> Vec<Said> {
    vec![Said {
        name: name.to_string(),
        why: why.into(),
        instead,
        severity: None,
    }]
}

fn overridden(context: &Context) -> Vec<Said> {
    let mut out = Vec::new();
    for (name, last) in context.beginning("") {
        let earlier = context.all().iter().find(|other| {
            other.name == last.name
                && (&other.file, other.line) != (&last.file, last.line)
                && other.value != last.value
        });
        if let Some(earlier) = earlier {
            out.push(Said {
                name: name.to_string(),
                why: format!(
                    "it is set before, to {} ({}:{}): this line wins",
                    earlier.value, earlier.file, earlier.line
                ),
                instead: Some(format!("{} = {}", last.name, last.value)),
                severity: None,
            });
        }
    }
    out
}

fn few_buckets(context: &Context) -> Vec<Said> {
    let name = format!("{CT}buckets");
    match (context.number(&format!("{CT}max")), context.number(&name)) {
        (Some(max), Some(buckets)) if buckets > 0 && max > buckets * MOST_PER_BUCKET => said(
            &name,
            format!(
                "a full table of {max} entries has chains of {} in {buckets} buckets: each packet walks them",
                max * 2 / buckets
            ),
            Some(format!("{name} = {max}")),
        ),
        _ => Vec::new(),
    }
}

fn much_memory(context: &Context) -> Vec<Said> {
    let name = format!("{CT}max");
    match context.number(&name) {
        Some(max) if max.saturating_mul(ENTRY_BYTES) > MUCH_BYTES => said(
            &name,
            format!(
                "a full table takes about {:.1} GiB of kernel memory; in a container the setting is read-only",
                max as f64 * ENTRY_BYTES as f64 / f64::from(1u32 << 30)
            ),
            Some(format!("{name} = {max}")),
        ),
        _ => Vec::new(),
    }
}

fn backlogs(context: &Context) -> Vec<Said> {
    let (cap, syns) = ("net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog");
    match (context.number(cap), context.number(syns)) {
        (Some(somaxconn), Some(backlog)) if somaxconn < backlog => said(
            cap,
            format!(
                "a program's backlog is capped at {somaxconn}, and the SYN queue with it: {backlog} is never reached"
            ),
            Some(format!("{cap} = {backlog}")),
        ),
        _ => Vec::new(),
    }
}

fn no_cookies(context: &Context) -> Vec<Said> {
    let name = "net.ipv4.tcp_syncookies";
    match context.number(name) {
        Some(0) => said(
            name,
            "a full SYN queue drops SYNs instead of answering them",
            Some(format!("{name} = 1")),
        ),
        _ => Vec::new(),
    }
}

fn aborts(context: &Context) -> Vec<Said> {
    let name = "net.ipv4.tcp_abort_on_overflow";
    match context.number(name) {
        Some(1) => said(
            name,
            "a burst that a listener would have taken a moment later is reset",
            Some(format!("{name} = 0")),
        ),
        _ => Vec::new(),
    }
}

fn reuse_without_timestamps(context: &Context) -> Vec<Said> {
    let name = "net.ipv4.tcp_tw_reuse";
    match (context.number(name), context.number("net.ipv4.tcp_timestamps")) {
        (Some(1..), Some(0)) => said(
            name,
            "without TCP timestamps no TIME_WAIT port is ever reused",
            Some("net.ipv4.tcp_timestamps = 1".to_string()),
        ),
        _ => Vec::new(),
    }
}

/// Ports below this are servers' own.
const SERVERS_BELOW: u64 = 10_000;

fn low_ports(context: &Context) -> Vec<Said> {
    let name = "net.ipv4.ip_local_port_range";
    let reserved = context
        .get("net.ipv4.ip_local_reserved_ports")
        .is_some_and(|set| !set.value.is_empty());
    match context.pair(name) {
        Some((low, high)) if low < SERVERS_BELOW && !reserved => said(
            name,
            format!("outgoing connections may take the ports of servers from {low} on before these start"),
            Some(format!("{name} = 10240 {high}")),
        ),
        _ => Vec::new(),
    }
}

fn small_buffer(context: &Context) -> Vec<Said> {
    let name = "net.core.rmem_max";
    match context.number(name) {
        Some(bytes) if bytes < EVENT_BUFFER => said(
            name,
            format!(
                "a program without CAP_NET_ADMIN gets room for {} conntrack events, and loses the others of a burst",
                bytes * 2 / 1_283
            ),
            Some(format!("{name} = {EVENT_BUFFER}")),
        ),
        _ => Vec::new(),
    }
}

fn helper(context: &Context) -> Vec<Said> {
    let name = format!("{CT}helper");
    match context.number(&name) {
        Some(1) => said(
            &name,
            "no kernel since Linux 6.0 has this name, and before it lets any client open ports through the firewall",
            None,
        ),
        _ => Vec::new(),
    }
}

fn unchecked(context: &Context) -> Vec<Said> {
    let name = format!("{CT}checksum");
    match context.number(&name) {
        Some(0) => said(
            &name,
            "packets with a wrong checksum make entries and close connections",
            Some(format!("{name} = 1")),
        ),
        _ => Vec::new(),
    }
}

fn logs_invalid(context: &Context) -> Vec<Said> {
    let name = format!("{CT}log_invalid");
    match context.number(&name) {
        Some(1..) => said(
            &name,
            "any scan fills the kernel's log: for a look, not for good",
            Some(format!("{name} = 0")),
        ),
        _ => Vec::new(),
    }
}

fn unlimited(context: &Context) -> Vec<Said> {
    let name = format!("{CT}max");
    match context.number(&name) {
        Some(0) => said(
            &name,
            "0 is no limit: a flood takes all of the kernel's memory",
            Some(format!("{name} = 262144")),
        ),
        _ => Vec::new(),
    }
}

fn rfc1337(context: &Context) -> Vec<Said> {
    let name = "net.ipv4.tcp_rfc1337";
    match context.number(name) {
        Some(1) => said(
            name,
            "a client that gets a port again too early cannot reset the old connection, and waits for its TIME_WAIT",
            Some(format!("{name} = 0")),
        ),
        _ => Vec::new(),
    }
}

fn ports_meet(context: &Context) -> Vec<Said> {
    let name = "net.ipv4.ip_local_port_range";
    let (Some((low, high)), Some(rules)) = (context.pair(name), context.rules()) else {
        return Vec::new();
    };
    let meeting = rules.rules.iter().find(|rule| {
        let (Action::Snat(mapping) | Action::Masquerade(mapping)) = &rule.then else {
            return false;
        };
        mapping
            .ports
            .is_some_and(|(from, to)| u64::from(from) <= high && u64::from(to) >= low)
    });
    match meeting {
        Some(rule) => said(
            name,
            format!(
                "`{}` translates to ports that this host's own connections take too: each side finds fewer",
                rule.text
            ),
            None,
        ),
        None => Vec::new(),
    }
}
