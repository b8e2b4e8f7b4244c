//! Names that kernels no longer have, do not have yet, or have without effect.

use super::{Context, Lint, Said, Severity, idle};
use crate::model::current_name;

pub const LINTS: &[Lint] = &[
    Lint {
        code: "AU002",
        title: "tcp_tw_recycle breaks clients behind NAT",
        severity: Severity::Error,
        source: "commit 4396e46187ca (tcp: remove tcp_tw_recycle), Linux 4.12",
        dead: true,
        check: recycle,
    },
    Lint {
        code: "AU003",
        title: "a name of conntrack from before Linux 4.9",
        severity: Severity::Error,
        source: "net/ipv4/netfilter/nf_conntrack_l3proto_ipv4.c, commit adf0516845bc (Linux 4.9)",
        dead: true,
        check: legacy,
    },
    Lint {
        code: "AU024",
        title: "the kernel has no such setting",
        severity: Severity::Error,
        source: "net/ipv4/sysctl_net_ipv4.c, ipv4_net_table",
        dead: true,
        check: gone,
    },
    Lint {
        code: "AU025",
        title: "the setting has no effect any more",
        severity: Severity::Note,
        source: "Documentation/networking/ip-sysctl.rst",
        dead: true,
        check: without_effect,
    },
    Lint {
        code: "AU018",
        title: "helpers for every connection",
        severity: Severity::Error,
        source: "commit b118509076b3 (netfilter: remove nf_conntrack_helper sysctl and modparam toggles), Linux 6.0",
        dead: false,
        check: helper,
    },
    Lint {
        code: "AU036",
        title: "the kernel does not have it yet",
        severity: Severity::Error,
        source: "net/netfilter/nf_conntrack_standalone.c, nf_ct_sysctl_table",
        dead: false,
        check: not_yet,
    },
];

fn recycle(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.all() {
        if setting.name != "net.ipv4.tcp_tw_recycle" {
            continue;
        }
        if setting.value.trim() != "0" {
            let why = "it drops the SYNs of clients that share one address, behind NAT for example; gone since Linux 4.12";
            let said = Said::of(index, why);
            // Where it is in force, that it is written nowhere changes nothing.
            out.push(match setting.in_force {
                true => said.write("net.ipv4.tcp_tw_recycle = 0"),
                false => said.delete(),
            });
        }
    }
}

fn legacy(context: &Context, out: &mut Vec<Said>) {
    const OLD: [&str; 2] = ["net.ipv4.netfilter.ip_conntrack_", "net.ipv4.ip_conntrack_"];
    if !context.may_be_from((4, 9)) {
        return;
    }
    for (index, setting) in context.asked() {
        if !OLD.iter().any(|old| setting.name.starts_with(old)) {
            continue;
        }
        let heir = current_name(&setting.name);
        let why = format!("no kernel since Linux 4.9 has this name: it is {heir} now");
        let said = Said::of(index, why);
        out.push(if idle::is_default_timeout(setting) {
            said.delete()
        } else {
            said.write(format!("{heir} = {}", setting.value))
        });
    }
}

/// A name, the first release that is known not to have it, and where that was seen.
struct Gone {
    name: &'static str,
    by: (u32, u32),
    source: &'static str,
}

const fn gone_by(name: &'static str, by: (u32, u32), source: &'static str) -> Gone {
    Gone { name, by, source }
}

const UNTIL_3_10: &str = "net/ipv4/sysctl_net_ipv4.c: not in it as of commit 1a2c6181c4a1 (Linux 3.10)";
const UNTIL_4_12: &str = "net/ipv4/sysctl_net_ipv4.c: not in it as of commit 4396e46187ca (Linux 4.12)";
const UNTIL_6_18: &str = "/proc/sys/net/netfilter of Linux 6.18: not in it";

/// Names that end in `*` begin so.
const GONE: [Gone; 15] = [
    gone_by("net.ipv4.tcp_abc", (3, 10), UNTIL_3_10),
    gone_by("net.ipv4.tcp_cookie_size", (3, 10), UNTIL_3_10),
    gone_by("net.ipv4.rt_cache_rebuild_count", (3, 10), UNTIL_3_10),
    gone_by("net.ipv4.inet_peer_gc_mintime", (3, 10), UNTIL_3_10),
    gone_by("net.ipv4.inet_peer_gc_maxtime", (3, 10), UNTIL_3_10),
    gone_by("net.ipv4.tcp_frto_response", (4, 12), UNTIL_4_12),
    gone_by("net.ipv4.tcp_max_ssthresh", (4, 12), UNTIL_4_12),
    gone_by(
        "net.ipv4.tcp_dma_copybreak",
        (4, 12),
        "commit 7bced397510a (net_dma: simple removal)",
    ),
    gone_by(
        "net.ipv4.tcp_thin_dupack",
        (4, 12),
        "commit 4a7f60094411 (tcp: remove thin_dupack feature)",
    ),
    gone_by(
        "net.netfilter.nf_conntrack_helper",
        (6, 0),
        "commit b118509076b3 (netfilter: remove nf_conntrack_helper sysctl and modparam toggles), Linux 6.0",
    ),
    gone_by("net.netfilter.nf_conntrack_dccp_*", (6, 18), UNTIL_6_18),
    gone_by(
        "net.netfilter.nf_conntrack_events_retry_timeout",
        (6, 18),
        UNTIL_6_18,
    ),
    gone_by(
        "net.netfilter.nf_conntrack_sctp_timeout_heartbeat_acked",
        (6, 18),
        UNTIL_6_18,
    ),
    gone_by("net.netfilter.nf_conntrack_udplite_*", (6, 18), UNTIL_6_18),
    // A patch of OpenWrt: no mainline kernel ever had it.
    gone_by(
        "net.netfilter.nf_conntrack_tcp_no_window_check",
        (2, 6),
        "a patch of OpenWrt; mainline has nf_conntrack_tcp_be_liberal",
    ),
];

fn is(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn gone(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.asked() {
        let Some(entry) = GONE.iter().find(|entry| is(entry.name, &setting.name)) else {
            continue;
        };
        if !context.may_be_from(entry.by) {
            continue;
        }
        let why = match entry.by {
            (2, 6) => "no kernel but OpenWrt's has this name: sysctl cannot set it".to_string(),
            (major, minor) => {
                format!("Linux {major}.{minor} and later have no such name: sysctl cannot set it")
            }
        };
        out.push(Said::of(index, why).by(entry.source).delete());
    }
}

/// Still there, read by nothing; the release by which that was so.
const NO_EFFECT: [(&str, (u32, u32), &str); 4] = [
    ("net.ipv4.tcp_low_latency", (5, 3), "a legacy option"),
    ("net.ipv4.tcp_fack", (6, 1), "a legacy option"),
    (
        "net.ipv4.route.max_size",
        (3, 6),
        "IPv4 has no route cache since Linux 3.6",
    ),
    ("net.ipv4.ipfrag_low_thresh", (4, 17), "obsolete since Linux 4.17"),
];

fn without_effect(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.asked() {
        let found = NO_EFFECT.iter().find(|(name, ..)| *name == setting.name);
        if let Some((_, by, why)) = found
            && context.may_be_from(*by)
        {
            out.push(Said::of(index, format!("it has no effect any more: {why}")).delete());
        }
    }
}

fn helper(context: &Context, out: &mut Vec<Said>) {
    for (index, setting) in context.all() {
        if setting.name == "net.netfilter.nf_conntrack_helper" && setting.value.trim() == "1" {
            let why = "it lets any client open ports through the firewall by what it says in FTP, SIP and the like; \
                       assign helpers by rules (ct helper set, -j CT --helper)";
            out.push(Said::of(index, why).delete());
        }
    }
}

/// Only where the kernel is known.
fn not_yet(context: &Context, out: &mut Vec<Said>) {
    let Some(kernel) = context.around.kernel else {
        return;
    };
    for (index, setting) in context.asked() {
        let (since, what, source) = match (setting.name.as_str(), setting.value.trim()) {
            ("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", _) => {
                ((5, 11), "this name: it came after Linux 5.10", None)
            }
            ("net.netfilter.nf_conntrack_events", "2") => (
                (5, 19),
                "the value 2 (auto): it came with Linux 5.19",
                Some("commit 90d1daa45849 (netfilter: conntrack: add nf_conntrack_events autodetect mode)"),
            ),
            _ => continue,
        };
        if kernel < since {
            let why = format!("Linux {}.{} does not know {what}", kernel.0, kernel.1);
            let said = Said::of(index, why).delete();
            out.push(match source {
                Some(source) => said.by(source),
                None => said,
            });
        }
    }
}
