//! How conntrack looks at packets, and who may watch it.

use super::numbers::grouped;
use super::{Context, Lint, Said, Severity};

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU014",
        title: "a small buffer for events",
        severity: Severity::Note,
        source: "net/core/sock.c, sk_setsockopt(): SO_RCVBUF is capped by rmem_max and doubled; an event takes about 1,283 \
                 bytes of it (measured on Linux 6.18)",
        dead: false,
        check: small_buffer,
    },
    Lint {
        code: "AU019",
        title: "checksums are not checked",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_checksum",
        dead: false,
        check: unchecked,
    },
    Lint {
        code: "AU020",
        title: "invalid packets are logged",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_log_invalid",
        dead: false,
        check: logs_invalid,
    },
    Lint {
        code: "AU027",
        title: "packets out of the window pass",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_tcp_be_liberal",
        dead: false,
        check: liberal,
    },
    Lint {
        code: "AU028",
        title: "running connections are not picked up",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_tcp_loose",
        dead: false,
        check: strict,
    },
    Lint {
        code: "AU029",
        title: "nobody can watch the table",
        severity: Severity::Note,
        source: "Documentation/networking/nf_conntrack-sysctl.rst, nf_conntrack_events",
        dead: false,
        check: no_events,
    },
];

const EVENT_BYTES: i64 = 1_283;
/// The default of recent kernels: room for about 6,500 events.
const EVENT_BUFFER: i64 = 4 << 20;

fn small_buffer(context: &Context, out: &mut Vec<Said>) {
    let name = "net.core.rmem_max";
    let (Some(index), Some(bytes)) = (context.index(name), context.number(name)) else {
        return;
    };
    if bytes < EVENT_BUFFER {
        let why = format!(
            "a program without CAP_NET_ADMIN gets room for {} conntrack events, and loses the rest of a burst",
            grouped(bytes * 2 / EVENT_BYTES)
        );
        out.push(Said::of(index, why).write(format!("{name} = {EVENT_BUFFER}")));
    }
}

fn unchecked(context: &Context, out: &mut Vec<Said>) {
    let why = "packets with a wrong checksum make entries and close connections";
    context.where_it_is(out, "net.netfilter.nf_conntrack_checksum", |n| n == 0, why, 1);
}

fn logs_invalid(context: &Context, out: &mut Vec<Said>) {
    let why = "any scan fills the kernel's log: for a look, not for good";
    context.where_it_is(out, "net.netfilter.nf_conntrack_log_invalid", |n| n > 0, why, 0);
}

fn liberal(context: &Context, out: &mut Vec<Said>) {
    let why = "packets out of the window are not INVALID, but for RSTs: right where packets take two ways, else a forged \
               one passes";
    context.where_it_is(
        out,
        "net.netfilter.nf_conntrack_tcp_be_liberal",
        |n| n != 0,
        why,
        0,
    );
}

fn strict(context: &Context, out: &mut Vec<Said>) {
    let why = "after a restart of the firewall, a flush or a failover all running connections are INVALID";
    context.where_it_is(out, "net.netfilter.nf_conntrack_tcp_loose", |n| n == 0, why, 1);
}

fn no_events(context: &Context, out: &mut Vec<Said>) {
    let why = "conntrackd, conntrack -E and the like get nothing of new connections";
    context.where_it_is(out, "net.netfilter.nf_conntrack_events", |n| n == 0, why, 1);
}
