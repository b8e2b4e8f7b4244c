//! Lines that change nothing: the default, and what a later line overrides.

use super::numbers::first;
use super::{Context, Lint, Said, Severity};
use crate::model::{Setting, Timer, current_name};

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU004",
        title: "a timeout at the kernel's default",
        severity: Severity::Note,
        source: "net/netfilter/nf_conntrack_proto_{tcp,udp,icmp,icmpv6,generic}.c; Documentation/networking/nf_conntrack-sysctl.rst",
        dead: true,
        check: default_timeout,
    },
    Lint {
        code: "AU037",
        title: "a value at the kernel's default",
        severity: Severity::Note,
        source: "Documentation/networking/ip-sysctl.rst and nf_conntrack-sysctl.rst",
        dead: false,
        check: default_value,
    },
    Lint {
        code: "AU006",
        title: "a later line wins",
        severity: Severity::Note,
        source: "sysctl.d(5) and sysctl(8): of several lines for one name the last one counts",
        dead: false,
        check: overridden,
    },
];

/// Defaults that depend neither on memory nor on the release.
const DEFAULTS: [(&str, i64); 17] = [
    ("net.ipv4.tcp_abort_on_overflow", 0),
    ("net.ipv4.tcp_fin_timeout", 60),
    ("net.ipv4.tcp_keepalive_intvl", 75),
    ("net.ipv4.tcp_keepalive_probes", 9),
    ("net.ipv4.tcp_keepalive_time", 7_200),
    ("net.ipv4.tcp_retries2", 15),
    ("net.ipv4.tcp_rfc1337", 0),
    ("net.ipv4.tcp_sack", 1),
    ("net.ipv4.tcp_synack_retries", 5),
    ("net.ipv4.tcp_timestamps", 1),
    ("net.ipv4.tcp_window_scaling", 1),
    ("net.netfilter.nf_conntrack_acct", 0),
    ("net.netfilter.nf_conntrack_checksum", 1),
    ("net.netfilter.nf_conntrack_log_invalid", 0),
    ("net.netfilter.nf_conntrack_tcp_be_liberal", 0),
    ("net.netfilter.nf_conntrack_tcp_loose", 1),
    ("net.netfilter.nf_conntrack_tcp_max_retrans", 3),
];

/// Of a timeout, by its name without `net.netfilter.nf_conntrack_`.
pub fn default_secs(rest: &str) -> Option<i64> {
    let mut timers = Timer::ALL.into_iter();
    let timer = timers.find(|timer| timer.sysctl() == Some(rest))?;
    Some(timer.default_secs().into())
}

pub fn is_default_timeout(setting: &Setting) -> bool {
    let name = current_name(&setting.name);
    let rest = name.strip_prefix("net.netfilter.nf_conntrack_");
    let default = rest.and_then(default_secs);
    default.is_some() && first(&setting.value) == default
}

fn default_timeout(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.asked().filter(|(_, setting)| is_default_timeout(setting)) {
        let why = format!(
            "{} s is the kernel's own default: it changes nothing",
            setting.value
        );
        out.push(Said::of(index, why).delete());
    }
}

fn default_value(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.asked() {
        let default = DEFAULTS.iter().find(|(name, _)| *name == setting.name);
        if default.is_some_and(|(_, default)| first(&setting.value) == Some(*default)) {
            let why = "it is the kernel's own default: it changes nothing, unless an earlier file sets another value";
            out.push(Said::of(index, why).delete());
        }
    }
}

/// The remark stands at the line that loses.
fn overridden(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.asked() {
        let Some(last) = context
            .index(&current_name(&setting.name))
            .filter(|last| *last > index)
        else {
            continue;
        };
        let Some((_, winner)) = context.asked().find(|(at, _)| *at == last) else {
            continue;
        };
        let place = format!("{}:{}", winner.file, winner.line);
        let why = if winner.value == setting.value {
            format!("{place} says the same again")
        } else {
            format!("{place} comes later and wins, with {}", winner.value)
        };
        out.push(Said::of(index, why).delete());
    }
}
