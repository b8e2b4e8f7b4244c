//! TCP's own settings: queues of listeners, cookies, timestamps, TIME_WAIT.

use super::numbers::grouped;
use super::{Context, Lint, Said, Severity};

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU009",
        title: "somaxconn caps the queue of SYNs",
        severity: Severity::Warning,
        source: "net/socket.c, __sys_listen(): a backlog is capped by somaxconn; include/net/inet_connection_sock.h, \
                 inet_csk_reqsk_queue_is_full(): and the queue of SYNs by that backlog",
        dead: false,
        check: backlogs,
    },
    Lint {
        code: "AU010",
        title: "no SYN cookies",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, tcp_syncookies",
        dead: false,
        check: no_cookies,
    },
    Lint {
        code: "AU032",
        title: "SYN cookies for every connection",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, tcp_syncookies: 2 is for testing",
        dead: false,
        check: always_cookies,
    },
    Lint {
        code: "AU011",
        title: "a full accept queue resets clients",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, tcp_abort_on_overflow",
        dead: false,
        check: aborts,
    },
    Lint {
        code: "AU012",
        title: "tcp_tw_reuse without timestamps",
        severity: Severity::Error,
        source: "net/ipv4/tcp_ipv4.c, tcp_twsk_unique(): it asks for the timestamp of the last segment",
        dead: false,
        check: reuse_without_timestamps,
    },
    Lint {
        code: "AU033",
        title: "a low limit of TIME_WAIT sockets",
        severity: Severity::Warning,
        source: "Documentation/networking/ip-sysctl.rst, tcp_max_tw_buckets: you must not lower the limit artificially",
        dead: false,
        check: few_time_wait,
    },
    Lint {
        code: "AU034",
        title: "TCP without large windows",
        severity: Severity::Warning,
        source: "RFC 7323, section 2: without window scaling 65,535 bytes are in flight at most",
        dead: false,
        check: no_scaling,
    },
    Lint {
        code: "AU022",
        title: "TIME_WAIT ignores RSTs",
        severity: Severity::Note,
        source: "Documentation/networking/ip-sysctl.rst, tcp_rfc1337; net/ipv4/tcp_minisocks.c, \
                 tcp_timewait_state_process()",
        dead: false,
        check: rfc1337,
    },
];

/// somaxconn's default since Linux 5.4; 128 before.
const DEFAULT_SOMAXCONN: i64 = 4_096;

fn backlogs(context: &Context, out: &mut Vec<Said>) {
    let (cap, syns) = ("net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog");
    let Some(backlog) = context.number(syns) else {
        return;
    };
    match (context.index(cap), context.number(cap)) {
        (Some(index), Some(somaxconn)) if somaxconn < backlog => {
            let why = format!(
                "a listener's backlog is capped at {}, and its queue of SYNs with it: {} is never reached",
                grouped(somaxconn),
                grouped(backlog)
            );
            out.push(Said::of(index, why).write(format!("{cap} = {backlog}")));
        }
        (None, _) if backlog > DEFAULT_SOMAXCONN => {
            let Some(index) = context.index(syns) else { return };
            let why = format!(
                "somaxconn is not raised with it, and caps a listener's queue of SYNs (at {} by default since Linux 5.4, \
                 128 before); write also {cap} = {backlog}",
                grouped(DEFAULT_SOMAXCONN)
            );
            out.push(Said::of(index, why));
        }
        _ => {}
    }
}

fn no_cookies(context: &Context, out: &mut Vec<Said>) {
    let why = "a full queue of SYNs drops new ones instead of answering them: a small flood stops a listener";
    context.where_it_is(out, "net.ipv4.tcp_syncookies", |n| n == 0, why, 1);
}

fn always_cookies(context: &Context, out: &mut Vec<Said>) {
    let why = "each connection is made by a cookie, and loses what a cookie cannot carry; 1 does so only when the queue is \
               full";
    context.where_it_is(out, "net.ipv4.tcp_syncookies", |n| n == 2, why, 1);
}

fn aborts(context: &Context, out: &mut Vec<Said>) {
    let why = "a burst that a listener would have taken a moment later is reset";
    context.where_it_is(out, "net.ipv4.tcp_abort_on_overflow", |n| n != 0, why, 0);
}

/// 2, for loopback alone, is the default: only who asked for 1 is told.
fn reuse_without_timestamps(context: &Context, out: &mut Vec<Said>) {
    let (reuse, stamps) = ("net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_timestamps");
    if let (Some(1), Some(index), Some(0)) = (
        context.number(reuse),
        context.index(stamps),
        context.number(stamps),
    ) {
        let why = "without TCP timestamps tcp_tw_reuse = 1 never reuses a port";
        out.push(Said::of(index, why).write(format!("{stamps} = 1")));
    }
}

/// What blogs ask for is 5,000 to 6,000.
const FEW_TIME_WAIT: i64 = 8_192;

fn few_time_wait(context: &Context, out: &mut Vec<Said>) {
    let name = "net.ipv4.tcp_max_tw_buckets";
    if let (Some(index), Some(limit)) = (context.index(name), context.number(name))
        && limit < FEW_TIME_WAIT
    {
        let why = format!(
            "beyond {} a socket skips TIME_WAIT, and a late segment of it reaches the next connection",
            grouped(limit)
        );
        out.push(Said::of(index, why).delete());
    }
}

fn no_scaling(context: &Context, out: &mut Vec<Said>) {
    let why = "at most 64 KiB are in flight: 5 Mbit/s over 100 ms";
    context.where_it_is(out, "net.ipv4.tcp_window_scaling", |n| n == 0, why, 1);
}

fn rfc1337(context: &Context, out: &mut Vec<Said>) {
    let why = "a client that gets a port again too early cannot reset the old connection, and waits for its TIME_WAIT";
    context.where_it_is(out, "net.ipv4.tcp_rfc1337", |n| n != 0, why, 0);
}
