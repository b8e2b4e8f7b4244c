//! Whether a namespace tracks connections: what collect says, against what a real kernel does.

mod fake;
mod netns;

use std::net::UdpSocket;

use ctlens::collect::{self, Presence, Tracking};
use ctlens::kernel::{Channel, Errno, Live};
use ctlens::wire::ctnetlink::{DumpFilter, encode_dump};

use fake::{DUMP_INTR, Datagram, Fake, MULTI, attribute, done, message, refused};

/// A host whose files let everything be asked.
fn host(
    answer: impl FnMut(Channel, &[u8]) -> Vec<Datagram>,
) -> Fake<impl FnMut(Channel, &[u8]) -> Vec<Datagram>> {
    Fake::new(answer)
        .file(
            "/proc/self/status",
            "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
        )
        .file("/proc/sys/net/netfilter/nf_conntrack_max", "262144\n")
}

/// Rules, objects, names of legacy tables where they are loaded, and what follows.
type Case = (Vec<Datagram>, Vec<Datagram>, Option<&'static str>, Tracking);

#[test]
fn tracking_is_claimed_only_where_it_is_known() {
    const GETRULE: u8 = 7;
    const GETOBJ: u8 = 19;
    let expression = |name: &str| {
        let name = attribute(1, &[name.as_bytes(), b"\0"].concat());
        let rule = attribute(4, &attribute(1, &name));
        message(0xa06, MULTI, &[vec![2, 0, 0, 0], rule].concat())
    };
    let object = |kind: u32| {
        let body = attribute(3, &kind.to_be_bytes());
        message(0xa12, MULTI, &[vec![2, 0, 0, 0], body].concat())
    };
    let interrupted = message(fake::NLMSG_DONE, MULTI | DUMP_INTR, &[0; 4]);
    let none = || vec![Ok(done())];
    let einval = || vec![Ok(refused(Errno::EINVAL))];
    let cases: Vec<Case> = vec![
        (none(), none(), None, Tracking::No),
        (none(), none(), Some(""), Tracking::No),
        (
            vec![Ok(expression("counter")), Ok(done())],
            none(),
            None,
            Tracking::No,
        ),
        (
            vec![Ok(expression("counter")), Ok(expression("ct")), Ok(done())],
            none(),
            None,
            Tracking::Yes,
        ),
        (
            vec![Ok(expression("counter")), Ok(interrupted.clone())],
            none(),
            None,
            Tracking::Unknown,
        ),
        (
            vec![Ok(expression("ct")), Ok(interrupted)],
            none(),
            None,
            Tracking::Yes,
        ),
        (none(), vec![Ok(object(7)), Ok(done())], None, Tracking::Yes),
        (none(), vec![Ok(object(1)), Ok(done())], None, Tracking::No),
        // Legacy iptables may track or not; only its own tool can tell.
        (none(), none(), Some("filter\n"), Tracking::Unknown),
        (
            vec![Ok(expression("masq")), Ok(done())],
            none(),
            Some("filter\n"),
            Tracking::Yes,
        ),
        // No nf_tables in this kernel; no objects before 4.10.
        (einval(), einval(), None, Tracking::No),
        (none(), einval(), None, Tracking::No),
        (vec![Ok(refused(Errno::EPERM))], none(), None, Tracking::Unknown),
        (none(), vec![Err(Errno::ETIMEDOUT)], None, Tracking::Unknown),
    ];
    for (index, (rules, objects, legacy, want)) in cases.into_iter().enumerate() {
        let mut kernel = host(move |_, request| match request[4] {
            GETRULE => rules.clone(),
            GETOBJ => objects.clone(),
            other => panic!("asked {other}"),
        });
        if let Some(names) = legacy {
            kernel = kernel.file("/proc/net/ip6_tables_names", names);
        }
        let presence = Presence::read(&mut kernel);
        assert_eq!(collect::tracking(&mut kernel, &presence), want, "case {index}");
    }
    // The names of legacy tables are root's to read.
    let mut kernel = host(|_, _| vec![Ok(done())]);
    kernel
        .files
        .insert("/proc/net/ip_tables_names".into(), Err(Errno::EACCES));
    let presence = Presence::read(&mut kernel);
    assert_eq!(collect::tracking(&mut kernel, &presence), Tracking::Unknown);
}

/// Rules, and whether loading them makes the namespace track.
const RULES: [&str; 22] = [
    "table inet t { chain c { type filter hook input priority 0; ct state new counter; }; }",
    "table ip t { chain c { type filter hook input priority 0; ct state new counter; }; }",
    "table ip6 t { chain c { type filter hook input priority 0; ct state new counter; }; }",
    "table inet t { chain c { ct state new counter; }; }",
    "table inet t { chain c { type filter hook output priority 0; ct mark set 1; }; }",
    "table inet t { chain c { type filter hook input priority 0; meta mark set ct mark; }; }",
    "table inet t { chain c { type filter hook input priority 0; ct count over 20 drop; }; }",
    "table inet t { set s { type ipv4_addr; flags dynamic; }; chain c { type filter hook input priority 0; add @s { ip saddr ct count over 20 } drop; }; }",
    "table ip t { chain c { type nat hook postrouting priority 100; tcp dport 1 masquerade; }; }",
    "table ip t { chain c { type nat hook postrouting priority 100; tcp dport 1 snat to 10.0.0.9; }; }",
    "table ip t { chain c { type nat hook prerouting priority -100; tcp dport 1 redirect to :2; }; }",
    "table ip t { chain c { type filter hook input priority 0; tcp dport 1 synproxy mss 1460 wscale 7; }; }",
    "table ip t { synproxy o { mss 1460; wscale 7; }; }",
    "table ip t { ct timeout o { protocol tcp; policy = { established: 100 }; }; }",
    "table ip t { ct expectation o { protocol tcp; dport 9; timeout 1m; size 1; l3proto ip; }; }",
    "table ip t { chain c { type nat hook postrouting priority 100; }; }",
    "table inet t { chain c { type filter hook input priority 0; counter; }; }",
    "table ip t { chain c { type filter hook prerouting priority -300; notrack; }; }",
    "table inet t { chain c { type filter hook prerouting priority 0; fib saddr . iif oif eq 0 drop; }; }",
    "table inet t { chain c { type filter hook input priority 0; limit rate 5/second accept; }; }",
    "table inet t { counter o { }; chain c { type filter hook input priority 0; counter name \"o\"; }; }",
    "table inet t { chain c { type filter hook input priority 0; tcp dport 1 reject; }; }",
];

#[test]
fn a_real_kernel_tracks_where_collect_says_so() {
    for rules in RULES {
        netns::inside(|| {
            if let Err(why) = netns::run("nft", &[rules]) {
                println!("skipped: {rules}: {why}");
                return;
            }
            netns::run("ip", &["link", "set", "lo", "up"]).expect("iproute2 is there");
            let mut live = Live::open(None).expect("no namespace is entered");
            let presence = Presence::read(&mut live);
            if legacy_tables_of_the_host() || !presence.has("nf_tables") {
                println!("skipped: this host's legacy tables or modules hide the answer");
                return;
            }
            let said = collect::tracking(&mut live, &presence);
            let want = if tracks() { Tracking::Yes } else { Tracking::No };
            assert_eq!(said, want, "{rules}");
        });
    }
}

/// /proc/net shows the main thread's namespace, not this one's.
fn legacy_tables_of_the_host() -> bool {
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .any(|path| std::fs::read(path).is_ok_and(|names| !names.is_empty()))
}

/// Sends a datagram over loopback in both families and looks for its entry.
fn tracks() -> bool {
    for (local, discard) in [("127.0.0.1:0", "127.0.0.1:9"), ("[::1]:0", "[::1]:9")] {
        if let Ok(socket) = UdpSocket::bind(local) {
            let _ = socket.send_to(b"x", discard);
        }
    }
    let entries = netns::ask(encode_dump(&DumpFilter::default())).expect("a dump of an own namespace");
    !entries.is_empty()
}

#[test]
fn timeouts_of_single_flows_make_a_gap() {
    const PLAIN: &str = "add table ip t; add chain ip t c { type filter hook output priority 0; }; \
                         add rule ip t c ct state new accept";
    const POLICY: &str = "add table ip t; \
                          add ct timeout ip t fast { protocol tcp; l3proto ip; policy = { syn_sent : 20 }; }";
    for (rules, wanted) in [(PLAIN, false), (POLICY, true)] {
        netns::inside(|| {
            if let Err(why) = netns::run("nft", &[rules]) {
                println!("skipped: {rules}: {why}");
                return;
            }
            let mut live = Live::open(None).expect("no namespace is entered");
            let presence = Presence::read(&mut live);
            let ruleset = collect::ruleset(&mut live, &presence, true).expect("this host may read it");
            let gap = collect::flow_policies(&mut live, &presence, Some(&ruleset));
            assert_eq!(gap.is_some(), wanted, "{rules}: {gap:?}");
        });
    }
}
