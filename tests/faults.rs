//! What collect makes of a kernel that refuses, or answers with less than the whole: gaps, never made-up rows.

mod fake;

use std::ops::ControlFlow;

use ctlens::collect::{self, Closed, How, Needs, Presence, Tracking, Wish};
use ctlens::kernel::{Channel, Errno, Kernel};
use ctlens::model::{Gap, Limits, SocketState};

use fake::{DUMP_INTR, Datagram, Fake, MULTI, attribute, done, limits, message, plan, refused};

const ALL: Needs = Needs {
    sockets: true,
    addresses: true,
};
const ROOT: &str = "Name:\tctlens\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
const NOBODY: &str = "Name:\tctlens\nUid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000000000\n";
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

fn sources(gaps: &[Gap]) -> Vec<&str> {
    gaps.iter().map(|gap| gap.source.as_str()).collect()
}

/// A host whose files let everything be asked.
fn host(
    answer: impl FnMut(Channel, &[u8]) -> Vec<Datagram>,
) -> Fake<impl FnMut(Channel, &[u8]) -> Vec<Datagram>> {
    Fake::new(answer)
        .file("/proc/self/status", ROOT)
        .file(MAX, "262144\n")
}

const BY_FAMILY: u16 = 20;
const AF_INET6: u8 = 10;

/// Whom a request of sock_diag is for.
fn family(request: &[u8]) -> u8 {
    request[16]
}

fn socket(state: u8, sport: u16) -> Vec<u8> {
    let mut payload = vec![0; 72];
    payload[0] = 2;
    payload[1] = state;
    payload[4..6].copy_from_slice(&sport.to_be_bytes());
    payload
}

#[test]
fn nothing_permitted_gives_gaps_and_no_row() {
    let door = |_: Channel, _: &[u8]| vec![Err(Errno::EPERM)];
    let kernels_own = |_: Channel, _: &[u8]| vec![Ok(refused(Errno::EPERM))];
    for answer in [door as fn(Channel, &[u8]) -> Vec<Datagram>, kernels_own] {
        let mut kernel = Fake::new(answer);
        kernel.no_file = Errno::EPERM;
        kernel.tapped = vec![Err(Errno::EPERM)];
        let presence = Presence::read(&mut kernel);
        // Not being let in does not say that nothing is there.
        assert!(presence.conntrack && !presence.net_admin && !presence.root_files);
        let snapshot = collect::snapshot(&mut kernel, &presence, ALL);
        assert_eq!(
            (snapshot.stats, snapshot.net.as_ref(), snapshot.addresses.as_ref()),
            (None, None, None)
        );
        assert_eq!(
            (snapshot.half_open.as_ref(), snapshot.listeners.as_ref()),
            (None, None)
        );
        assert_eq!(snapshot.limits, Limits::default());
        assert_eq!(
            sources(&snapshot.gaps),
            [
                "timeouts",
                "nf_conntrack_count",
                "nf_conntrack_max",
                "nf_conntrack_buckets",
                "/proc/net/stat/nf_conntrack",
                "/proc/net/netstat",
                "/proc/net/snmp",
                "addresses",
                "/proc/net/tcp"
            ]
        );
        for gap in &snapshot.gaps {
            assert!(!gap.reason.is_empty() && !gap.remedy.is_empty(), "{gap:?}");
        }
        let planned = collect::plan(&snapshot.limits, &Default::default(), presence.doors());
        assert_eq!(planned.how, How::Refuse);
        for how in [How::Refuse, How::Full, How::Sample(10), How::Procfs] {
            let mut met = 0;
            let passed = collect::pass(&mut kernel, &plan(how.clone()), &limits(5), &mut |_| {
                met += 1;
                ControlFlow::Continue(())
            });
            assert!(passed.is_err() && met == 0, "{how:?}");
        }
        assert!(collect::tap(&mut kernel, 1.0, &mut |_| panic!("no packet")).is_err());
        assert_eq!(collect::tracking(&mut kernel, &presence), Tracking::Unknown);
    }
}

#[test]
fn a_capability_that_does_not_help_here_falls_back_to_proc() {
    // In a user namespace that does not own the network namespace, CapEff promises what netlink refuses.
    let mut kernel = Fake::new(|_, _: &[u8]| vec![Ok(refused(Errno::EPERM))])
        .file("/proc/self/status", ROOT)
        .file(MAX, "262144\n")
        .file("/proc/sys/net/netfilter/nf_conntrack_count", "7\n")
        .file("/proc/sys/net/netfilter/nf_conntrack_buckets", "65536\n")
        .file(
            "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
            "120\n",
        )
        .file(
            "/proc/net/stat/nf_conntrack",
            "entries found invalid\n7 1 2\n7 3 4\n",
        );
    let presence = Presence::read(&mut kernel);
    assert!(presence.net_admin);
    let snapshot = collect::snapshot(&mut kernel, &presence, ALL);
    assert_eq!(
        (snapshot.limits.count, snapshot.limits.max),
        (Some(7), Some(262_144))
    );
    let stats = snapshot.stats.expect("/proc has them");
    assert_eq!((stats.found, stats.invalid, stats.drop), (Some(4), Some(6), None));
    let refusal = collect::pass(&mut kernel, &plan(How::Full), &snapshot.limits, &mut |_| {
        panic!("no row")
    });
    let gap = refusal.unwrap_err();
    assert!(
        gap.reason.contains("CAP_NET_ADMIN") && gap.remedy.contains("root"),
        "{gap:?}"
    );
}

#[test]
fn a_socket_that_is_missed_makes_the_list_a_gap() {
    let list = |kernel: &mut dyn ctlens::kernel::Kernel| {
        let presence = Presence::read(kernel);
        let mut ports = Vec::new();
        let read = collect::sockets(kernel, &presence, &[SocketState::SynSent], &mut |s| {
            ports.push(s.tuple.sport)
        });
        (read.map_err(|gap| gap.source), ports)
    };
    // A host without IPv6 is whole without it.
    let mut v4_only = host(|_, request| match family(request) {
        AF_INET6 => vec![Ok(refused(Errno::ENOENT))],
        _ => vec![Ok(message(BY_FAMILY, MULTI, &socket(2, 5))), Ok(done())],
    });
    assert_eq!(list(&mut v4_only), (Ok(()), vec![5]));
    let mut cut = host(|_, _| vec![Ok(message(BY_FAMILY, MULTI, &socket(2, 5)[..71])), Ok(done())]);
    assert_eq!(list(&mut cut).0, Err("inet_diag".to_string()));
    let mut broken = host(|_, _| vec![Ok(message(BY_FAMILY, MULTI, &socket(2, 5))), Err(Errno::ENOBUFS)]);
    assert_eq!(list(&mut broken).0, Err("inet_diag".to_string()));
    // No tcp_diag and no modules: /proc/net/tcp has them.
    let line =
        "   0: 0100007F:0005 00000000:0050 02 00000001:00000000 01:00000064 00000000     0        0 12 1\n";
    let mut no_diag = host(|_, _| vec![Ok(refused(Errno::ENOENT))]).file("/proc/net/tcp", line);
    assert_eq!(list(&mut no_diag), (Ok(()), vec![5]));
    let mut no_diag = host(|_, _| vec![Ok(refused(Errno::ENOENT))]).file("/proc/net/tcp", &line[..40]);
    assert_eq!(list(&mut no_diag).0, Err("/proc/net/tcp".to_string()));
}

#[test]
fn addresses_that_change_are_read_again_a_bounded_number_of_times() {
    let address = |last: u8, flags| {
        let payload = [vec![2, 24, 0, 0, 1, 0, 0, 0], attribute(1, &[10, 0, 0, last])].concat();
        message(20, flags, &payload)
    };
    for (interruptions, whole) in [(0, true), (2, true), (3, false)] {
        let mut asked = 0;
        let mut kernel = host(move |channel, _| {
            if channel != Channel::Route {
                return Vec::new();
            }
            asked += 1;
            let flags = if asked <= interruptions {
                MULTI | DUMP_INTR
            } else {
                MULTI
            };
            vec![
                Ok(address(asked, flags)),
                Ok(message(fake::NLMSG_DONE, flags, &[0; 4])),
            ]
        });
        let presence = Presence::read(&mut kernel);
        let snapshot = collect::snapshot(&mut kernel, &presence, ALL);
        let routes = kernel
            .requests
            .iter()
            .filter(|(channel, _)| *channel == Channel::Route)
            .count();
        assert_eq!(routes, usize::from(interruptions).min(2) + 1);
        let last = std::net::Ipv4Addr::new(10, 0, 0, interruptions + 1).into();
        assert_eq!(snapshot.addresses, whole.then(|| vec![last]));
        assert_eq!(sources(&snapshot.gaps).contains(&"addresses"), !whole);
    }
}

#[test]
fn statistics_that_lack_a_cpu_are_read_from_proc() {
    let cpu = |value: &[u8]| message(0x104, MULTI, &[vec![0; 4], attribute(4, value)].concat());
    let (whole, cut) = (cpu(&9u32.to_be_bytes()), cpu(&[0, 9]));
    for (second, invalid) in [(whole.clone(), 18), (cut, 2)] {
        let datagram = [whole.clone(), second].concat();
        let mut kernel = host(move |_, request| {
            if request[4] == 4 {
                vec![Ok(datagram.clone()), Ok(done())]
            } else {
                vec![Ok(refused(Errno::EINVAL))]
            }
        })
        .file("/proc/net/stat/nf_conntrack", "entries invalid\n1 1\n1 1\n");
        let presence = Presence::read(&mut kernel);
        let (_, stats, ..) = collect::counters(&mut kernel, &presence);
        assert_eq!(stats.and_then(|s| s.invalid), Some(invalid));
    }
}

#[test]
fn a_module_that_is_not_loaded_is_never_asked() {
    const ENTRY: &str = "ipv4 2 tcp 6 118 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=80 [UNREPLIED] \
                         src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1 mark=0 zone=0 use=2\n";
    // By what is loaded: which subsystem of nfnetlink may be asked.
    let cases: [(&str, Option<u8>); 4] = [
        ("", None),
        ("nf_conntrack_netlink 1 0 - Live 0x0\n", None), // nfnetlink itself is not
        ("nfnetlink 1 0 - Live 0x0\ninet_diag 1 0 - Live 0x0\n", None),
        (
            "nfnetlink 1 0 - Live 0x0\nnf_conntrack_netlink 1 0 - Live 0x0\n",
            Some(1),
        ),
    ];
    for (loaded, may) in cases {
        let host = |builtin: Option<&str>| {
            let mut kernel = Fake::new(move |channel, request: &[u8]| {
                let subsystem = request[5];
                assert!(channel != Channel::SockDiag, "tcp_diag would be loaded");
                assert!(
                    channel != Channel::Netfilter || Some(subsystem) == may,
                    "{subsystem} would be loaded beside {loaded:?}"
                );
                vec![Ok(refused(Errno::EINVAL))]
            })
            .file("/proc/self/status", ROOT)
            .file("/proc/sys/kernel/osrelease", "6.1.0\n")
            .file(MAX, "262144\n")
            .file("/proc/modules", &format!("nf_conntrack 1 0 - Live 0x0\n{loaded}"))
            .file("/proc/net/nf_conntrack", ENTRY)
            .file("/proc/net/tcp", "  sl  local_address rem_address\n");
            if let Some(list) = builtin {
                kernel = kernel.file("/lib/modules/6.1.0/modules.builtin", list);
            }
            kernel
        };
        let mut kernel = host(Some("kernel/drivers/net/veth.ko\n"));
        let presence = Presence::read(&mut kernel);
        let snapshot = collect::snapshot(&mut kernel, &presence, ALL);
        assert_eq!(snapshot.half_open, Some(Vec::new()));
        assert_eq!(collect::tracking(&mut kernel, &presence), Tracking::No);
        let anyway = Wish {
            exact: true,
            dump_anyway: true,
            ..Wish::default()
        };
        let plan = collect::plan(&snapshot.limits, &anyway, presence.doors());
        if may.is_none() {
            assert_eq!((&plan.how, plan.closed), (&How::Procfs, Some(Closed::NotLoaded)));
            let passed = collect::pass(&mut kernel, &plan, &snapshot.limits, &mut |_| {
                ControlFlow::Continue(())
            });
            let (look, gap) = passed.expect("/proc has the table");
            let gap = gap.expect("what /proc does not show");
            assert_eq!(look.dumped, 1);
            assert!(gap.remedy.contains("modprobe nf_conntrack_netlink"), "{gap:?}");
        }
        // A container cannot see what is built in: nf_tables may be.
        let mut container = host(None);
        let presence = Presence::read(&mut container);
        assert_eq!(collect::tracking(&mut container, &presence), Tracking::Unknown);
    }
}

#[test]
fn without_the_capability_nobody_can_tell_whether_anything_tracks() {
    let mut kernel = Fake::new(|channel, _: &[u8]| panic!("asked {channel:?}"))
        .file(
            "/proc/self/status",
            "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n",
        )
        .file(MAX, "262144\n");
    let presence = Presence::read(&mut kernel);
    assert_eq!(collect::tracking(&mut kernel, &presence), Tracking::Unknown);
}

#[test]
fn nobody_is_not_root() {
    let nobody = || Fake::new(|_, _: &[u8]| Vec::new()).file("/proc/self/status", NOBODY);
    let presence = Presence::read(&mut nobody());
    assert!(!presence.net_admin && !presence.root_files);
    // Neither file is there: nf_conntrack is not loaded. One is enough.
    assert!(!presence.conntrack);
    for path in [MAX, "/proc/net/stat/nf_conntrack"] {
        assert!(Presence::read(&mut nobody().file(path, "")).conntrack, "{path}");
    }
}

#[test]
fn a_tap_that_has_seen_enough_says_when_and_that_later_clients_are_unseen() {
    // SLL2 of an incoming IPv4 packet, and a SYN in it.
    let mut packet = [0u8; 60];
    packet[..2].copy_from_slice(&[0x08, 0x00]);
    packet[20] = 0x45;
    packet[29] = 6;
    (packet[52], packet[53]) = (0x50, 0x02);
    let mut kernel = Fake::new(|_, _: &[u8]| Vec::new());
    kernel.tapped = vec![Ok(packet.to_vec()); 200_001];
    let mut seen = 0;
    let look = collect::tap(&mut kernel, 3.0, &mut |_| seen += 1).expect("it listens");
    assert_eq!((seen, sources(&look.gaps)), (200_000, vec!["tap"]));
    assert!(
        look.gaps[0].reason.contains("seen enough after 0.0 s"),
        "{look:?}"
    );
    assert_eq!(look.gaps[0].remedy, "ctlens diagnose --tap 1s");
    assert!(kernel.now() > look.ended && look.secs < 1.0);
    // One packet, and silence to the end.
    kernel.tapped = vec![Ok(packet.to_vec())];
    let look = collect::tap(&mut kernel, 3.0, &mut |_| ()).expect("it listens");
    assert_eq!(look.gaps, []);
}

#[test]
fn who_booted_first_is_found_on_a_busy_host_and_giving_up_is_a_gap() {
    let busy = |processes: u32| {
        let listing: String = (1..=processes).map(|pid| format!("{pid}\n")).collect();
        Fake::new(|_, _: &[u8]| Vec::new()).file("/proc", &listing)
    };
    let links = "3 -> /dev/null\n4 -> socket:[70]\n5 -> socket:[71]\n6 -> socket:[7]\n";
    let mut kernel = busy(20_000)
        .file("/proc/2/fd", links)
        .file("/proc/2/comm", "haproxy\n")
        .file("/proc/19990/fd", "9 -> socket:[72]\n");
    let (found, gap) = collect::owners(&mut kernel, &[70, 71, 72].into());
    let names: Vec<(u64, &str)> = found
        .iter()
        .map(|(inode, process)| (*inode, process.name.as_str()))
        .collect();
    assert_eq!(
        (names, gap),
        (vec![(70, "haproxy"), (71, "haproxy"), (72, "?")], None)
    );
    // All were looked at: one that nobody holds is no gap.
    assert_eq!(collect::owners(&mut kernel, &[70, 99].into()).1, None);
    let (found, gap) = collect::owners(&mut busy(40_000), &[99].into());
    assert!(found.is_empty());
    assert!(gap.is_some_and(|gap| gap.reason.contains("7232 of 40000")));
}
