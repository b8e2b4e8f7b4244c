//! The namespace's surroundings: sizes, timeouts, settings, counters, addresses.

use std::net::IpAddr;
use std::ops::ControlFlow;

use super::ask::{ADMIN_REMEDY, Refusal, ask};
use super::presence::{Presence, text};
use super::sockets::sockets;
use crate::kernel::{Channel, Kernel};
use crate::model::{
    ConntrackStats, Gap, Host, Limits, Moment, NetCounters, Settings, Snapshot, Socket, SocketState,
    TcpState, Timeouts, Timer, proto,
};
use crate::wire::{ctnetlink_stats, cttimeout, procfs, route};

/// Sysctls that rules or advice read.
const SETTINGS: [&str; 28] = [
    "net.core.somaxconn",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_recycle",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv6.conf.all.forwarding",
    "net.netfilter.nf_conntrack_acct",
    "net.netfilter.nf_conntrack_events",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_tcp_max_retrans",
    "net.netfilter.nf_conntrack_timestamp",
    "net.netfilter.nf_conntrack_log_invalid",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_expect_max",
];

/// Of x86-64, and of most others.
const PAGE_BYTES: u64 = 4096;
/// Readings of an address list that keeps changing.
const ADDRESS_TRIES: usize = 3;

/// What a command wants to know beside sizes, timeouts and settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    pub sockets: bool,
    pub addresses: bool,
}

/// One reading of everything but the entries.
pub fn snapshot(kernel: &mut dyn Kernel, presence: &Presence, needs: Needs) -> Snapshot {
    let mut out = Snapshot {
        taken: kernel.now(),
        ..Snapshot::default()
    };
    out.host = host(kernel, presence);
    out.settings = settings(kernel);
    out.timeouts = timeouts(kernel, presence, &mut out.gaps);
    out.limits = limits(kernel, presence, &mut out.gaps);
    let (_, stats, net, gaps) = counters(kernel, presence);
    out.stats = stats;
    out.net = net;
    out.gaps.extend(gaps);
    if needs.addresses {
        match addresses(kernel) {
            Ok(found) => out.addresses = Some(found),
            Err(refusal) => out.gaps.push(Gap::new(
                "addresses",
                refusal.reason(),
                "entries' directions stay unknown: run as root on the host itself",
            )),
        }
    }
    if needs.sockets {
        socket_lists(kernel, presence, &mut out);
    }
    out
}

/// The counters alone, for either end of a window.
pub fn counters(
    kernel: &mut dyn Kernel,
    presence: &Presence,
) -> (Moment, Option<ConntrackStats>, Option<NetCounters>, Vec<Gap>) {
    let mut gaps = Vec::new();
    let stats = stats(kernel, presence, &mut gaps);
    let net = net_counters(kernel, &mut gaps);
    (kernel.now(), stats, net, gaps)
}

fn host(kernel: &mut dyn Kernel, presence: &Presence) -> Host {
    let links = kernel.read_dir("/proc/self/ns", "net -> ").ok();
    let links = links
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let netns = links
        .lines()
        .find_map(|line| line.strip_prefix("net -> "))
        .map(str::to_string);
    Host {
        kernel: presence.release.clone(),
        netns,
    }
}

fn settings(kernel: &mut dyn Kernel) -> Settings {
    let mut out = Settings::default();
    for name in SETTINGS {
        if let Some(value) = text(kernel, &format!("/proc/sys/{}", name.replace('.', "/"))) {
            out.0.insert(
                name.to_string(),
                value.split_whitespace().collect::<Vec<_>>().join(" "),
            );
        }
    }
    out
}

pub(super) fn number(kernel: &mut dyn Kernel, path: &str) -> Option<u64> {
    text(kernel, path)?.trim().parse().ok()
}

fn timeouts(kernel: &mut dyn Kernel, presence: &Presence, gaps: &mut Vec<Gap>) -> Timeouts {
    let mut out =
        timeouts_by(&mut |name| number(kernel, &format!("/proc/sys/net/netfilter/nf_conntrack_{name}")));
    if out.of_tcp(TcpState::SynSent).is_none() {
        gaps.push(Gap::new(
            "timeouts",
            "the nf_conntrack_tcp_timeout sysctls could not be read",
            "ages stay unknown: run on the host itself",
        ));
    }
    if presence.net_admin && presence.has_nfnetlink("nfnetlink_cttimeout") {
        let request = cttimeout::encode_default_get(2, proto::TCP);
        // The sysctls have said it all but SYN_SENT2's: no gap where this is refused.
        let _ = ask(
            kernel,
            Channel::Netfilter,
            request,
            Vec::new(),
            false,
            &mut |message| {
                if cttimeout::is_timeout(message.kind) {
                    let mut defaults = Timeouts::default();
                    if cttimeout::decode_defaults(message.payload, &mut defaults).is_ok() {
                        out.set(Timer::SynSent2, defaults.get(Timer::SynSent2));
                    }
                }
                ControlFlow::Break(())
            },
        );
    }
    out
}

/// By the sysctls' names without `nf_conntrack_`.
pub fn timeouts_by(read: &mut dyn FnMut(&str) -> Option<u64>) -> Timeouts {
    let mut out = Timeouts::default();
    for timer in Timer::ALL {
        // SYN_SENT2 has no sysctl: only cttimeout knows it.
        let secs = timer.sysctl().and_then(&mut *read);
        out.set(timer, secs.and_then(|secs| u32::try_from(secs).ok()));
    }
    out
}

fn limits(kernel: &mut dyn Kernel, presence: &Presence, gaps: &mut Vec<Gap>) -> Limits {
    let mut read = |name: &str| number(kernel, &format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    let mut out = Limits {
        count: read("count"),
        max: read("max"),
        buckets: read("buckets"),
        host_entries: None,
        entry_bytes: None,
    };
    if let Some(slabs) = text(kernel, "/proc/slabinfo") {
        out.host_entries = procfs::slab_objects(&slabs, "nf_conntrack");
        out.entry_bytes = procfs::slab_object_bytes(&slabs, "nf_conntrack", PAGE_BYTES);
    }
    if presence.ctnetlink() {
        // The sysctls have said it all: no gap where this is refused.
        let _ = ask(
            kernel,
            Channel::Netfilter,
            ctnetlink_stats::encode_stats(),
            Vec::new(),
            false,
            &mut |message| {
                if ctnetlink_stats::is_stats(message.kind)
                    && let Ok((count, max)) = ctnetlink_stats::decode_stats(message.payload)
                {
                    out.count = count.or(out.count);
                    out.max = max.or(out.max);
                }
                ControlFlow::Break(())
            },
        );
    }
    for (name, value) in [("count", out.count), ("max", out.max), ("buckets", out.buckets)] {
        if presence.conntrack && value.is_none() {
            gaps.push(Gap::new(
                format!("nf_conntrack_{name}"),
                "it could not be read",
                "run on the host itself, as root",
            ));
        }
    }
    out
}

fn stats(kernel: &mut dyn Kernel, presence: &Presence, gaps: &mut Vec<Gap>) -> Option<ConntrackStats> {
    if !presence.conntrack {
        return None;
    }
    if presence.ctnetlink() {
        let (mut sum, mut malformed) = (ConntrackStats::default(), false);
        let request = ctnetlink_stats::encode_stats_cpu();
        let asked = ask(
            kernel,
            Channel::Netfilter,
            request,
            Vec::new(),
            true,
            &mut |message| {
                if ctnetlink_stats::is_stats_cpu(message.kind) {
                    match ctnetlink_stats::decode_stats_cpu(message.payload) {
                        Ok(one) => sum = summed(&sum, &one),
                        Err(_) => malformed = true,
                    }
                }
                ControlFlow::Continue(())
            },
        );
        // A sum that lacks a CPU would be a wrong difference later.
        if asked.is_ok() && !malformed && sum.cpus > 0 {
            return Some(sum);
        }
    }
    let path = "/proc/net/stat/nf_conntrack";
    let parsed = match kernel.read_file(path) {
        Ok(bytes) => procfs::nf_conntrack_stat(&String::from_utf8_lossy(&bytes)).map_err(|e| e.to_string()),
        Err(errno) => Err(errno.to_string()),
    };
    match parsed {
        Ok((_, stats)) => Some(stats),
        Err(reason) => {
            gaps.push(Gap::new(path, reason, ADMIN_REMEDY));
            None
        }
    }
}

/// Field by field; a counter that one CPU does not give stays as it is.
fn summed(a: &ConntrackStats, b: &ConntrackStats) -> ConntrackStats {
    let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    ConntrackStats {
        found: add(a.found, b.found),
        invalid: add(a.invalid, b.invalid),
        insert: add(a.insert, b.insert),
        insert_failed: add(a.insert_failed, b.insert_failed),
        drop: add(a.drop, b.drop),
        early_drop: add(a.early_drop, b.early_drop),
        error: add(a.error, b.error),
        search_restart: add(a.search_restart, b.search_restart),
        clash_resolve: add(a.clash_resolve, b.clash_resolve),
        chaintoolong: add(a.chaintoolong, b.chaintoolong),
        cpus: a.cpus + b.cpus,
    }
}

fn net_counters(kernel: &mut dyn Kernel, gaps: &mut Vec<Gap>) -> Option<NetCounters> {
    let mut out = NetCounters::default();
    for path in ["/proc/net/netstat", "/proc/net/snmp"] {
        match kernel.read_file(path) {
            Ok(bytes) => out
                .0
                .extend(procfs::group_counters(&String::from_utf8_lossy(&bytes)).0),
            Err(errno) => gaps.push(Gap::new(path, errno.to_string(), "is /proc mounted?")),
        }
    }
    if let Some(stat) = text(kernel, "/proc/net/sockstat") {
        out.0.extend(procfs::sockstat(&stat).0);
    }
    (!out.0.is_empty()).then_some(out)
}

/// An address that is added or removed meanwhile makes the kernel say so, and the list is read again.
fn addresses(kernel: &mut dyn Kernel) -> Result<Vec<IpAddr>, Refusal> {
    for _ in 0..ADDRESS_TRIES {
        match addresses_once(kernel) {
            Err(Refusal::Interrupted) => {}
            other => return other,
        }
    }
    Err(Refusal::Interrupted)
}

fn addresses_once(kernel: &mut dyn Kernel) -> Result<Vec<IpAddr>, Refusal> {
    let (mut found, mut malformed) = (Vec::new(), false);
    ask(
        kernel,
        Channel::Route,
        route::encode_addresses(),
        Vec::new(),
        true,
        &mut |message| {
            if route::is_address(message.kind) {
                match route::decode_address(message.payload) {
                    Ok(address) => found.extend(address),
                    Err(_) => malformed = true,
                }
            }
            ControlFlow::Continue(())
        },
    )?;
    if malformed {
        return Err(Refusal::Malformed);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn socket_lists(kernel: &mut dyn Kernel, presence: &Presence, out: &mut Snapshot) {
    let mut half_open: Vec<Socket> = Vec::new();
    let mut listeners: Vec<Socket> = Vec::new();
    let states = [SocketState::SynSent, SocketState::SynRecv, SocketState::Listen];
    let read = sockets(kernel, presence, &states, &mut |socket| match socket.state {
        SocketState::Listen => listeners.push(*socket),
        _ => half_open.push(*socket),
    });
    match read {
        Ok(()) => {
            listeners.sort_by_key(|l| (l.tuple.sport, l.tuple.src));
            out.half_open = Some(half_open);
            out.listeners = Some(listeners);
        }
        Err(gap) => out.gaps.push(gap),
    }
}
