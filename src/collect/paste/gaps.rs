//! What was not pasted and matters, each with the command that would show it.

use crate::model::{Gap, Pasted, SocketState, TcpState};

pub fn missing(pasted: &Pasted) -> Vec<Gap> {
    let mut out = Vec::new();
    let mut gap = |source: &str, reason: &str, remedy: &str| out.push(Gap::new(source, reason, remedy));
    let listed = !pasted.entry_files.is_empty();
    let snapshot = &pasted.snapshot;
    if !listed && pasted.table_states.is_none() {
        gap(
            "conntrack",
            "the table's entries were not pasted: whether the firewall holds any is not known",
            "conntrack -L > conntrack.txt",
        );
    } else if !listed {
        gap(
            "conntrack",
            "of the table only a histogram was pasted: no direction, age or destination of an entry is known",
            "conntrack -L -p tcp --state SYN_SENT > conntrack.txt",
        );
    }
    if pasted.socket_states.is_none() {
        gap(
            "sockets",
            "no listing or histogram of sockets that would show one in SYN_SENT: held entries cannot be told from live ones",
            "ss -tan > ss.txt",
        );
    } else if snapshot.half_open.is_none() {
        gap(
            "sockets",
            "sockets are known by number only: entries cannot be joined with them",
            "ss -tan > ss.txt",
        );
    }
    if listed && pasted.socket_states.is_some() {
        gap(
            "moment",
            "the table and the sockets were pasted one after the other: what changed in between counts as held",
            "ctlens record incident.pcapng.zst   # both at once",
        );
    }
    if listed && !pasted.addresses_whole {
        gap(
            "addresses",
            "the host's own addresses are not all known: the direction of other entries stays unknown",
            "ip addr > addr.txt",
        );
    }
    if snapshot.limits.max.is_none() || snapshot.limits.count.is_none() {
        gap(
            "sizes",
            "nf_conntrack_count or nf_conntrack_max was not pasted: how full the table is is not known",
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max > sizes.txt",
        );
    }
    if snapshot.timeouts.of_tcp(TcpState::SynSent).is_none() {
        gap(
            "timeouts",
            "nf_conntrack_tcp_timeout_syn_sent was not pasted: how old entries are is not known (the kernel's default is 120 s)",
            "sysctl -a 2>/dev/null | grep conntrack > sysctl.txt",
        );
    }
    counters(pasted, &mut gap);
    gap(
        "tap",
        "a paste cannot show packets: whether remote clients still send their SYN again is not known",
        "ctlens diagnose --tap 3s   # on the host",
    );
    out
}

fn counters(pasted: &Pasted, gap: &mut dyn FnMut(&str, &str, &str)) {
    let snapshot = &pasted.snapshot;
    let listens = snapshot
        .net
        .as_ref()
        .is_some_and(|net| net.get("TcpExt.ListenOverflows").is_some());
    if snapshot.stats.is_none() {
        gap(
            "conntrack -S",
            "conntrack's own counters were not pasted",
            "conntrack -S > stats.txt",
        );
    }
    if !listens {
        gap(
            "/proc/net/netstat",
            "the counters of full listen queues were not pasted",
            "cat /proc/net/netstat /proc/net/snmp > net.txt",
        );
    }
    if snapshot.stats.is_some() || listens {
        gap(
            "window",
            "pasted counters are totals since boot: what rises now is not known",
            "ctlens diagnose --window 5s   # on the host",
        );
    }
    let waits =
        |states: &std::collections::BTreeMap<SocketState, u64>| states.contains_key(&SocketState::SynRecv);
    if snapshot.listeners.is_none() && pasted.socket_states.as_ref().is_some_and(waits) {
        gap(
            "listeners",
            "which listener the SYN_RECV sockets wait for, and its backlog, is not known",
            "ss -ltnp > listeners.txt",
        );
    }
}
