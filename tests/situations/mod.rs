//! Hand-made evidence of six situations in which somebody reads a report.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ctlens::evidence::{
    Basis, DeadSetting, Destination, Direction, Evidence, HalfOpen, Lasting, ListenQueue, Pile, PortUse,
    Sample, StateRow, Table,
};
use ctlens::model::{Estimate, Gap, Host, Process, Settings, TcpState, Timeouts, Timer};

pub type Situation = (&'static str, fn() -> Evidence);

pub const ALL: [Situation; 6] = [
    ("hold with trigger", hold),
    ("none", none),
    ("undecided from paste", paste),
    ("table full", table_full),
    ("sample", sample),
    ("unprivileged", unprivileged),
];

fn host() -> Host {
    Host {
        kernel: Some("6.18.5-cloud-amd64".into()),
        netns: Some("net:[4026531833]".into()),
    }
}

fn timeouts() -> Timeouts {
    Timeouts::from_iter([
        (Timer::Udp, 30),
        (Timer::SynSent, 120),
        (Timer::SynRecv, 60),
        (Timer::Established, 432_000),
        (Timer::TimeWait, 120),
    ])
}

fn table(count: u64, max: u64) -> Table {
    Table {
        count: Some(count),
        max: Some(max),
        buckets: Some(max),
        fill: Some(count as f64 / max as f64),
        mean_chain: Some(2.0 * count as f64 / max as f64),
        dumped: Some(count),
        source: Some("ctnetlink"),
        duplicates: Some(0),
        malformed: Some(0),
        ..Table::default()
    }
}

fn row(state: Option<&str>, entries: u64, all: u64) -> StateRow {
    let known = state.and_then(TcpState::from_name);
    StateRow {
        proto: if state.is_some() { "tcp" } else { "udp" }.into(),
        state: state.map(Into::into),
        entries: Estimate::exact(entries as f64),
        share: entries as f64 / all as f64,
        timeout_s: known.map_or(Some(30), |state| timeouts().of_tcp(state)),
        new_per_s: (known == Some(TcpState::SynSent)).then(|| Estimate::exact(301.4)),
        oldest_s: Some(24),
        median_s: Some(11),
        oldest_at_least: false,
        evictable: Estimate::exact(if known == Some(TcpState::Established) {
            0.0
        } else {
            entries as f64
        }),
    }
}

fn counters(rises: &[(&'static str, u64)]) -> Option<BTreeMap<&'static str, u64>> {
    let names = [
        "found",
        "invalid",
        "insert",
        "insert_failed",
        "drop",
        "early_drop",
        "error",
        "search_restart",
        "clash_resolve",
        "chaintoolong",
    ];
    let mut out: BTreeMap<_, _> = names.into_iter().map(|name| (name, 0)).collect();
    out.extend(rises.iter().copied());
    Some(out)
}

fn net() -> Option<BTreeMap<String, i64>> {
    let names = [
        "TcpExt.ListenOverflows",
        "TcpExt.ListenDrops",
        "TcpExt.TCPReqQFullDrop",
    ];
    Some(names.into_iter().map(|name| (name.to_string(), 0)).collect())
}

fn pile(held: Estimate, live: Estimate, unclear: f64, to: &str) -> Pile {
    let entries = Estimate::sum([held, live, Estimate::exact(unclear)]);
    Pile {
        entries,
        held,
        live,
        unclear: Estimate::exact(unclear),
        basis: Basis::Sockets,
        new_per_s: Some(Estimate::exact(301.4)),
        median_age_s: Some(11),
        destinations: vec![Destination {
            addr: to.parse::<IpAddr>().unwrap(),
            port: 80,
            entries,
            answered: 0,
        }],
        sources: 1,
        one_shot: Some(0.0),
        ..Pile::default()
    }
}

fn watched() -> Evidence {
    Evidence {
        host: host(),
        window_secs: 5.0,
        lasting: Some(Lasting::default()),
        host_entries: Some(431),
        conntrack: counters(&[("found", 96_212)]),
        net: net(),
        listeners: Some(vec![ListenQueue {
            addr: "0.0.0.0".parse().unwrap(),
            port: 80,
            queued: 0,
            backlog: Some(511),
            process: Some("varnishd".into()),
        }]),
        ports: Some(vec![PortUse {
            src: "10.9.0.1".parse().unwrap(),
            dst: "10.9.1.3".parse().unwrap(),
            dport: 80,
            used: 92,
            reusable: 0,
            range: 28_232,
            by_state: [("SYN_SENT".to_string(), 92)].into(),
        }]),
        settings: Settings([("net.ipv4.tcp_syn_retries".to_string(), "6".to_string())].into()),
        timeouts: timeouts(),
        ..Evidence::default()
    }
}

/// A proxy gives up after 0.3 s, its backend swallows SYNs.
pub fn hold() -> Evidence {
    let mut out = watched();
    let exact = Estimate::exact;
    out.table = Some(Table {
        dumped: Some(6_412),
        ..table(6_422, 262_144)
    });
    out.states = Some(vec![
        row(Some("SYN_SENT"), 6_248, 6_412),
        row(Some("ESTABLISHED"), 131, 6_412),
        row(Some("TIME_WAIT"), 21, 6_412),
        row(None, 12, 6_412),
    ]);
    out.half_open = Some(HalfOpen {
        syn_sent: [(Direction::Out, pile(exact(6_152.0), exact(92.0), 4.0, "10.9.1.3"))].into(),
        syn_sent_sockets: Some(92),
        sockets_without_entry: Some(0),
        syn_recv_sockets: Some(0),
        owners: vec![(
            Some(Process {
                pid: 811,
                name: "varnishd".into(),
            }),
            104,
            92,
        )],
        ..HalfOpen::default()
    });
    out
}

pub fn none() -> Evidence {
    let mut out = watched();
    out.table = Some(table(431, 262_144));
    out.states = Some(vec![
        row(Some("ESTABLISHED"), 419, 431),
        row(Some("SYN_SENT"), 12, 431),
    ]);
    out.half_open = Some(HalfOpen {
        syn_sent: [(
            Direction::Out,
            pile(Estimate::exact(0.0), Estimate::exact(12.0), 0.0, "10.9.1.3"),
        )]
        .into(),
        syn_sent_sockets: Some(12),
        sockets_without_entry: Some(0),
        ..HalfOpen::default()
    });
    seen_in_full(&mut out);
    out
}

/// What else a look as root brings home of a quiet host.
fn seen_in_full(out: &mut Evidence) {
    out.ruleset = Some(Default::default());
    out.nat = Some(Vec::new());
    out.stale_nat = Some(None);
    out.lasting = Some(Default::default());
    out.host_entries = Some(431);
    out.one_way = Some(Default::default());
    if let Some(net) = &mut out.net {
        net.insert("Tcp.AttemptFails".to_string(), 0);
        for name in ["IPReversePathFilter", "PAWSActive", "PAWSEstab"] {
            net.insert(format!("TcpExt.{name}"), 0);
        }
    }
}

/// What an operator pasted: a histogram of sockets and a sysctl.conf, the table itself not.
pub fn paste() -> Evidence {
    let dead = |name: &str, value: &str, why: &str| DeadSetting {
        file: "sysctl.conf".into(),
        name: name.into(),
        value: value.into(),
        why: why.into(),
    };
    Evidence {
        table: Some(Table {
            max: Some(262_144),
            ..Table::default()
        }),
        sockets: Some([("SYN_RECV".to_string(), 256), ("TIME_WAIT".to_string(), 6_124)].into()),
        settings: Settings([("net.ipv4.tcp_tw_recycle".to_string(), "1".to_string())].into()),
        dead_settings: vec![
            dead(
                "net.ipv4.ip_local_port_range",
                "1024 65536",
                "the kernel rejects it: ports end at 65535; the range stays what it was",
            ),
            dead(
                "net.ipv4.tcp_tw_recycle",
                "1",
                "drops clients that share an address behind NAT; gone since Linux 4.12",
            ),
        ],
        pasted: true,
        gaps: vec![
            Gap::new(
                "conntrack",
                "no conntrack -L among the files",
                "add: conntrack -L > conntrack.txt",
            ),
            Gap::new(
                "counters",
                "a paste has no window",
                "run ctlens diagnose on the host, or paste conntrack -S twice, some seconds apart",
            ),
        ],
        ..Evidence::default()
    }
}

/// 30,000 SYN_SENT of a graph, without sockets behind them: the founding incident.
pub fn pasted_hold() -> Evidence {
    let mut out = paste();
    out.table = Some(Table {
        count: Some(36_380),
        dumped: Some(36_380),
        source: Some("pasted"),
        ..table(36_380, 262_144)
    });
    let mut pile = pile(Estimate::exact(30_000.0), Estimate::exact(0.0), 0.0, "0.0.0.0");
    pile.destinations.clear();
    out.half_open = Some(HalfOpen {
        syn_sent: [(Direction::Unknown, pile)].into(),
        syn_sent_sockets: Some(0),
        ..HalfOpen::default()
    });
    out.states = Some(vec![row(Some("SYN_SENT"), 30_000, 36_380)]);
    out
}

pub fn table_full() -> Evidence {
    let mut out = hold();
    let exact = Estimate::exact;
    out.conntrack = counters(&[
        ("found", 1_196_212),
        ("drop", 4_211),
        ("early_drop", 18_204),
        ("invalid", 311),
        ("search_restart", 4),
        ("insert_failed", 12),
    ]);
    out.table = Some(table(262_144, 262_144));
    out.states = Some(vec![
        row(Some("SYN_SENT"), 81_204, 262_144),
        row(Some("ESTABLISHED"), 180_802, 262_144),
        row(None, 138, 262_144),
    ]);
    out.half_open.as_mut().unwrap().syn_sent = [(
        Direction::Out,
        pile(exact(81_000.0), exact(92.0), 112.0, "2001:db8:12:34::1:80"),
    )]
    .into();
    out
}

/// A million entries, of which 20,000 were read.
pub fn sample() -> Evidence {
    let mut out = hold();
    let sample = Sample::fresh(20_000, 1_000_000);
    out.table = Some(Table {
        dumped: Some(20_000),
        sampled_of: Some(1_000_000),
        ..table(1_000_000, 2_097_152)
    });
    let sampled = |state: Option<&str>, hits: u64| StateRow {
        entries: sample.estimate(hits),
        evictable: sample.estimate(if state == Some("ESTABLISHED") { 0 } else { hits }),
        new_per_s: (state == Some("SYN_SENT")).then_some(Estimate {
            value: 3_321.4,
            low: 3_104.0,
            high: 3_544.0,
        }),
        oldest_at_least: true,
        oldest_s: Some(if state == Some("ESTABLISHED") {
            431_211
        } else {
            119
        }),
        ..row(state, hits, 20_000)
    };
    out.states = Some(vec![
        sampled(Some("SYN_SENT"), 7_982),
        sampled(Some("SYN_RECV"), 3),
        sampled(Some("ESTABLISHED"), 9_971),
        sampled(Some("TIME_WAIT"), 2_004),
        sampled(None, 40),
    ]);
    let pile = pile(sample.estimate(7_950), sample.estimate(32), 0.0, "10.9.1.3");
    let half_open = out.half_open.as_mut().unwrap();
    half_open.syn_sent = [(Direction::Out, pile)].into();
    half_open.sockets_without_entry = None;
    out
}

/// No CAP_NET_ADMIN: sizes, sysctls and sockets only.
pub fn unprivileged() -> Evidence {
    const ADMIN: &str =
        "run as root, or: setcap cap_net_admin,cap_net_raw,cap_dac_read_search+ep $(command -v ctlens)";
    let mut out = hold();
    out.half_open = None;
    out.states = None;
    out.table = Some(Table {
        dumped: None,
        source: None,
        duplicates: None,
        malformed: None,
        mean_chain: None,
        ..table(6_422, 262_144)
    });
    out.sockets = Some([("SYN_SENT".to_string(), 92)].into());
    out.gaps = vec![
        Gap::new("ctnetlink", "ctnetlink needs CAP_NET_ADMIN", ADMIN),
        Gap::new("tap", "not permitted: it needs CAP_NET_RAW", ADMIN),
        Gap::new("cttimeout", "not permitted: it needs CAP_NET_ADMIN", ADMIN),
        Gap::new("/proc/slabinfo", "Permission denied", "run as root"),
        Gap::new(
            "/proc/811/fd",
            "Permission denied: whose sockets they are stays unknown",
            "run as root",
        ),
    ];
    out
}
