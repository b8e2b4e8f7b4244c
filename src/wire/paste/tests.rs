//! Real output of the tools (iproute2 6.1, net-tools 2.10, conntrack-tools 1.4.7, Linux 6.18), and text that is none.

use proptest::prelude::*;

use super::*;
use crate::model::{Process, Socket};

const SS: &str = "\
State      Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
LISTEN     0      7            0.0.0.0:8080       0.0.0.0:*    users:((\"python3\",pid=15426,fd=3))
SYN-SENT   0      1           10.9.1.1:60230     10.9.1.3:81   users:((\"python3\",pid=15426,fd=6))
ESTAB      0      0           10.9.1.1:56064     10.9.1.3:80
FIN-WAIT-2 0      0           10.9.1.1:56066     10.9.1.3:80
LISTEN     0      7               [::]:8080          [::]:*
SYN-SENT   0      1          [fd09::1]:50798    [fd09::3]:81
";
const SS_ALL: &str = "\
Netid State      Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
nl    UNCONN     4352   0                  4:15503             *
udp   UNCONN     0      0            0.0.0.0:42809      0.0.0.0:*    users:((\"python3\",pid=15426,fd=13))
tcp   LISTEN     0      7            0.0.0.0:8080       0.0.0.0:*    users:((\"python3\",pid=15426,fd=3))
tcp   SYN-SENT   0      1           10.9.1.1:60230     10.9.1.3:81   users:((\"python3\",pid=15426,fd=6))
";
const SS_INFO: &str = "\
State      Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
SYN-SENT   0      1           10.9.1.1:60230     10.9.1.3:81   timer:(on,064ms,1) ino:39168 sk:3 <->
\t bbr rto:1000 mss:524 pmtu:1500 rcvmss:88 advmss:1460 cwnd:1 segs_out:2 unacked:1 retrans:1/1 lost:1
ESTAB      0      0           10.9.1.1:56064     10.9.1.3:80   ino:39167 sk:5 <->
\t ts sack bbr wscale:10,10 rto:204 rtt:0.069/0.034 mss:1448 pmtu:1500 rcvmss:536 advmss:1448 cwnd:10
";
const NETSTAT: &str = "\
Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       User       Inode      PID/Program name    
tcp        0      0 0.0.0.0:8080            0.0.0.0:*               LISTEN      0          39165      15426/python3       
tcp        0      1 10.9.1.1:60230          10.9.1.3:81             SYN_SENT    1000       39168      15426/python3       
tcp        0      0 10.9.1.1:56066          10.9.1.3:80             FIN_WAIT2   0          39173      15426/python3       
tcp6       0      1 fd09::1:50798           fd09::3:81              SYN_SENT    0          39171      15426/python3       
udp        0      0 0.0.0.0:42809           0.0.0.0:*                           0          39174      15426/python3       
Active UNIX domain sockets (servers and established)
Proto RefCnt Flags       Type       State         I-Node   Path
unix  2      [ ACC ]     STREAM     LISTENING     18210    /run/dbus/system_bus_socket
";
const PROC_TCP: &str = "
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 39165 1 000000003b8a 100 0 0 10 0
   1: 0101090A:EB46 0301090A:0051 02 00000001:00000000 01:00000056 00000002     0        0 39168 2 00000000d50a 100 0 0 1 -1
";
const CONNTRACK: &str = "\
conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.
udp      17 28 src=10.9.1.1 dst=10.9.1.3 sport=42809 dport=53 [UNREPLIED] src=10.9.1.3 dst=10.9.1.1 sport=53 dport=42809 mark=0 use=1
tcp      6 117 SYN_SENT src=10.9.1.1 dst=10.9.1.3 sport=60234 dport=81 [UNREPLIED] src=10.9.1.3 dst=10.9.1.1 sport=81 dport=60234 mark=0 use=1
ipv6     10 tcp      6 117 SYN_SENT src=fd09::1 dst=fd09::3 sport=50804 dport=81 [UNREPLIED] src=fd09::3 dst=fd09::1 sport=81 dport=50804 mark=0 use=1 id=4215240087
ipv4     2 tcp      6 431997 ESTABLISHED src=10.9.1.1 dst=10.9.1.3 sport=56064 dport=80 src=10.9.1.3 dst=10.9.1.1 sport=80 dport=56064 [ASSURED] mark=0 zone=0 use=2
";
const STATS: &str = "\
cpu=0   \tfound=3 invalid=2 insert=0 insert_failed=7 drop=7 early_drop=0 error=0 search_restart=0 clash_resolve=0 chaintoolong=0 
cpu=1   \tfound=1 invalid=0 insert=0 insert_failed=0 drop=1 early_drop=5 error=0 search_restart=0 clash_resolve=0 chaintoolong=0 
";
const SYSCTL: &str = "\
fs.dentry-state = 104028\t102701\t45\t0\t12876\t0
kernel.osrelease = 6.18.5
net.ipv4.ip_local_port_range = 32768\t60999
net.netfilter.nf_conntrack_count = 9
net.netfilter.nf_conntrack_max = 262144
sysctl: permission denied on key 'net.ipv4.tcp_fastopen_key'
";
const SUMMARY: &str = "\
Total: 51700 (kernel 51900)
TCP:   51582 (estab 2866, closed 48611, orphaned 2, synrecv 0, timewait 48611/0), ports 35279

Transport Total     IP        IPv6
*\t  51900     -         -
RAW\t  0         0         0
TCP\t  2971      2900      71
";
const ADDR: &str = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host 
       valid_lft forever preferred_lft forever
2: v0@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default qlen 1000
    link/ether 9a:6c:5f:00:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 10.9.1.1/24 scope global v0
       valid_lft forever preferred_lft forever
";

fn one(text: &str, name: &str) -> Part {
    let mut parts = parse(text, name).unwrap();
    assert_eq!(parts.len(), 1, "{parts:?}");
    parts.remove(0)
}

fn listing(text: &str) -> Listing {
    match one(text, "x.txt") {
        Part::Sockets(listing) => listing,
        other => panic!("{other:?}"),
    }
}

fn socket_at(listing: &Listing, local: &str) -> Socket {
    let wanted: std::net::SocketAddr = local.parse().unwrap();
    let found = listing
        .sockets
        .iter()
        .find(|s| (s.tuple.src, s.tuple.sport) == (wanted.ip(), wanted.port()));
    *found.unwrap_or_else(|| panic!("no socket at {local}: {listing:?}"))
}

#[test]
fn sockets_by_ss_and_netstat() {
    let got = listing(SS);
    assert_eq!(
        (
            got.states[&SocketState::SynSent],
            got.states[&SocketState::Listen]
        ),
        (2, 2)
    );
    assert_eq!((got.sockets.len(), got.unread), (6, 0));
    let waiting = socket_at(&got, "[fd09::1]:50798");
    assert_eq!((waiting.state, waiting.tuple.dport), (SocketState::SynSent, 81));
    let listener = socket_at(&got, "0.0.0.0:8080");
    assert_eq!((listener.recv_queue, listener.send_queue), (0, Some(7)));
    let python = Process {
        pid: 15426,
        name: "python3".into(),
    };
    assert_eq!(got.processes[&listener.tuple], python);

    let all = listing(SS_ALL);
    assert_eq!(all.states.values().sum::<u64>(), 2, "only TCP counts: {all:?}");
    assert_eq!(socket_at(&all, "10.9.1.1:60230").state, SocketState::SynSent);
    assert_eq!(listing(SS_INFO).sockets.len(), 2);

    let got = listing(NETSTAT);
    assert_eq!((got.states[&SocketState::SynSent], got.sockets.len()), (2, 4));
    let waiting = socket_at(&got, "10.9.1.1:60230");
    assert_eq!(
        (waiting.uid, waiting.inode, waiting.send_queue),
        (1000, 39168, Some(1))
    );
    assert_eq!(socket_at(&got, "0.0.0.0:8080").send_queue, None);
    assert_eq!(got.processes[&socket_at(&got, "0.0.0.0:8080").tuple], python);

    let got = listing(PROC_TCP);
    assert_eq!(
        (got.states[&SocketState::SynSent], got.sockets[1].inode),
        (1, 39168)
    );
}

#[test]
fn rows_without_their_header_and_with_names() {
    let headless = SS.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert_eq!(listing(&headless).sockets, listing(SS).sockets);
    let headless = NETSTAT.lines().skip(2).take(4).collect::<Vec<_>>().join("\n");
    assert_eq!(listing(&headless).sockets.len(), 4);
    let named = listing("tcp   0   1 proxy.example:60230   10.9.1.3:http   SYN_SENT\n");
    assert_eq!((named.unread, named.first_unread), (1, Some(1)));
    assert_eq!((named.states[&SocketState::SynSent], named.sockets.len()), (1, 0));
    // netstat cuts long IPv6 addresses: what is left may be a valid address of somebody else.
    let cut = "tcp6       0      1 2001:db8:1::abcd:5:50798 2001:db8::3:81   SYN_SENT\n";
    let column = cut.split_whitespace().nth(3).unwrap();
    assert_eq!(listing(&cut.replace(column, &column[1..])).unread, 1);
    assert_eq!(listing(cut).unread, 0, "wider than netstat cuts");
}

#[test]
fn entries_are_handed_on_as_they_come() {
    let mut seen = Vec::new();
    let mut each = |flow: &crate::model::Flow| {
        seen.push(*flow);
        std::ops::ControlFlow::Continue(())
    };
    assert_eq!(walk(CONNTRACK, &mut each), (4, 0));
    let parts = parse(CONNTRACK, "x.txt").unwrap();
    let entries = Entries {
        good: 4,
        shown: Some(4),
        ..Entries::default()
    };
    assert_eq!(parts, [Part::Entries(entries)]);
    assert_eq!(seen[2].id, Some(4215240087));
    assert_eq!(
        (seen[1].tcp_state, seen[1].timeout_secs),
        (Some(TcpState::SynSent), Some(117))
    );
    // Cut in the middle of the last line, wherever that is.
    for end in CONNTRACK.len() - 160..CONNTRACK.len() - 1 {
        let parts = parse(&CONNTRACK[..end], "x.txt").unwrap();
        let Part::Entries(entries) = &parts[0] else {
            panic!("{parts:?}")
        };
        assert!(parts.len() == 1 && entries.good >= 3, "{end}: {parts:?}");
    }
    let redacted = CONNTRACK.replace("10.9.1.", "10.x.x.");
    let error = parse(&redacted, "x.txt").unwrap_err();
    assert_eq!(error.line, 2, "{error}");
}

#[test]
fn counters_of_all_formats() {
    let Part::Stats { entries, stats } = one(STATS, "x.txt") else {
        panic!()
    };
    assert_eq!(
        (entries, stats.cpus, stats.drop, stats.early_drop),
        (None, 2, Some(8), Some(5))
    );
    // A second reading is a second piece, not more CPUs.
    assert_eq!(parse(&STATS.repeat(2), "x.txt").unwrap().len(), 2);
    let old = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n\
        0000000a  000000ff 00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009 0000000a 0000000b 0000000c  00000000 00000000 00000000 0000000d\n";
    let Part::Stats { entries, stats } = one(old, "x.txt") else {
        panic!()
    };
    assert_eq!(
        (entries, stats.drop, stats.clash_resolve),
        (Some(10), Some(10), None)
    );
    let by_name = "entries             \t25\nsearched            \t9\ninsert_failed       \t3\ndrop                \t4\n";
    let Part::Stats { entries, stats } = one(by_name, "x.txt") else {
        panic!()
    };
    assert_eq!(
        (entries, stats.insert_failed, stats.drop),
        (Some(25), Some(3), Some(4))
    );
    let groups = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 7 9\nIp: InReceives\nIp: 4\n";
    let Part::Counters(net) = one(groups, "x.txt") else {
        panic!()
    };
    assert_eq!(
        (net.get("TcpExt.ListenDrops"), net.get("Ip.InReceives")),
        (Some(9), Some(4))
    );
    let Part::Counters(net) = one("sockets: used 12\nTCP: inuse 5 orphan 3 tw 1\n", "x.txt") else {
        panic!()
    };
    assert_eq!(net.get("sockstat.TCP.tw"), Some(1));
    let Part::Counters(net) = one(SUMMARY, "x.txt") else {
        panic!()
    };
    assert_eq!(
        (net.get("sockstat.TCP.tw"), net.get("Tcp.CurrEstab")),
        (Some(48611), Some(2866))
    );
}

#[test]
fn settings_of_files_and_of_kernels() {
    let Part::Settings(got) = one(SYSCTL, "x.txt") else {
        panic!()
    };
    assert!(got.in_force);
    assert_eq!(got.lines[2].value, "32768 60999");
    let conf =
        "# tuning\n; more\nnet.ipv4.tcp_rmem=4096 87380 16777216\n-net/ipv4/conf/eth0.1/rp_filter = 0\n";
    let Part::Settings(got) = one(conf, "x.txt") else {
        panic!()
    };
    assert!(!got.in_force);
    assert_eq!(
        (got.lines[0].line, got.lines[0].name.as_str()),
        (3, "net.ipv4.tcp_rmem")
    );
    assert_eq!(got.lines[1].name, "net.ipv4.conf.eth0/1.rp_filter");
    let Part::Settings(got) = one("/proc/sys/net/netfilter/nf_conntrack_max:262144\n", "x.txt") else {
        panic!()
    };
    assert_eq!(got.lines[0].name, "net.netfilter.nf_conntrack_max");
}

#[test]
fn addresses_of_ip() {
    let four =
        |parts: &Part| matches!(parts, Part::Addresses(all) if all.contains(&"10.9.1.1".parse().unwrap()));
    assert!(four(&one(ADDR, "x.txt")));
    assert!(four(&one(
        "lo UNKNOWN 127.0.0.1/8 ::1/128 \nv0@if3 UP 10.9.1.1/24 \n",
        "x.txt"
    )));
    assert!(four(&one(
        "2: v0    inet 10.9.1.1/24 scope global v0\\       valid_lft forever\n",
        "x.txt"
    )));
}

#[test]
fn a_histogram_is_told_by_its_states_then_by_its_name() {
    let sockets = |text: &str, name: &str| matches!(one(text, name), Part::SocketStates(_));
    assert!(sockets("     11 ESTABLISHED\n      3 SYN_SENT\n", "states.txt"));
    assert!(!sockets(
        "     11 ESTABLISHED\n      3 SYN_SENT\n",
        "Conntrack-states.txt"
    ));
    assert!(sockets(
        "      1 established)\n      1 Foreign\n     11 ESTABLISHED\n",
        "conntrack.txt"
    ));
    assert!(sockets("LISTEN 3\nCLOSE: 11\n", "conntrack.txt"));
    assert!(sockets("     11 ESTAB\n      3 SYN-SENT\n", "conntrack.txt"));
    assert!(!sockets("      1 FIN_WAIT\n      3 SYN_SENT\n", "netstat.txt"));
    assert!(!sockets(
        "      4 ESTABLISHED\n      9 src=10.9.1.1\n",
        "netstat.txt"
    ));
    let Part::SocketStates(got) = one("     12 \n     39 FIN_WAIT1\n    256 SYN_RECV\n", "netstat.txt")
    else {
        panic!()
    };
    assert_eq!(got[&SocketState::SynRecv], 256);
    for (text, line) in [
        ("      3 FIN_WAIT1\n      4 FIN_WAIT\n", 2),
        ("      3 SYN_SENT\n      4 SYN_SEEN\n", 2),
        ("      1 Foreign\n", 1),
        ("      3 SYN_SENT\n 4294967296 ESTABLISHED\n", 2),
    ] {
        let error = parse(text, "netstat.txt").unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
    }
}

#[test]
fn one_file_may_hold_several_pieces() {
    let all = format!(
        "$ conntrack -C\n9\n\nroot@fw:~# conntrack -S\n{STATS}\n{CONNTRACK}\n{SS}{CONNTRACK}{NETSTAT}{SYSCTL}{ADDR}      3 SYN_SENT\n"
    );
    let parts = parse(&all, "all.txt").unwrap();
    assert_eq!(parts.len(), 9, "{parts:?}");
    assert_eq!(parts[0], Part::Count(9));
    assert!(matches!(parts[8], Part::SocketStates(_)));
}

#[test]
fn what_nothing_recognises_is_an_error_with_its_line() {
    for (text, line, words) in [
        ("", 1, "nothing but"),
        ("# only a comment\n", 1, "nothing but"),
        ("Dear all, the proxy is slow.\n", 1, "not recognised"),
        ("     11 CLOSE_WAIT\nand so on\n", 2, "not recognised"),
        ("#kernel\nTcpExtListenDrops    4    x\n", 2, "not recognised"),
        ("<?xml version=\"1.0\"?>\n", 1, "without -o xml"),
        (
            "Recv-Q Send-Q Local Address:Port  Peer Address:Port\n0 1 10.9.1.1:1 10.9.1.3:81\n",
            1,
            "State column",
        ),
        (
            "ESTAB 0 0 10.9.1.1:56064\tx\nWAITING 0 0 a b\n",
            2,
            "not recognised",
        ),
        (
            "tcp   0   0 10.9.1.1:22   10.9.1.3:80   BLOOMING\n",
            1,
            "no socket state",
        ),
        ("cpu=0 \tfound=3 invalid=x\n", 1, "no number"),
        ("TcpExt: A B C\nTcpExt: 1 2\n", 2, "cut"),
        ("entries found\n", 1, "without rows"),
        ("entries found\n0000000a 1 2\n", 2, "header"),
        ("MZ\0\u{1}\n", 1, "no text"),
        ("99999999999\n", 1, "too large"),
    ] {
        let error = parse(text, "x.txt").unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.reason.contains(words), "{text:?}: {error}");
    }
    assert!(parse("262144\n", "nf_conntrack_max").is_err());
}

proptest! {
    #[test]
    fn any_text_gives_a_value_or_an_error(text in "\\PC*", name in "[a-z]{0,9}") {
        let _ = parse(&text, &name);
    }

    #[test]
    fn broken_text_of_the_tools_never_panics(cut in 0usize..1000, at in 0usize..1000, byte in any::<u8>(), which in 0usize..11) {
        let all = [SS, SS_ALL, SS_INFO, NETSTAT, PROC_TCP, CONNTRACK, STATS, SYSCTL, SUMMARY, ADDR, "11 SYN_SENT\n9 LISTEN\n"];
        let mut bytes = all[which].as_bytes().to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        let _ = parse(&String::from_utf8_lossy(&bytes), "x");
    }

    #[test]
    fn words_of_the_tools_in_any_order_never_panic(words in prop::collection::vec(
        prop::sample::select(vec!["tcp", "6", "SYN_SENT", "src=::1", "dst=1.1.1.1", "\n", "cpu=0", "found=18446744073709551615",
            "entries", "ffffffffffffffff", "State", "Recv-Q", "Send-Q", "Local", "Peer", "0:", "TcpExt:", "inet", "UP", "net.a=b",
            "18446744073709551615", "ESTAB", "[::]:1", "*:*", "users:((\"", "Proto", "Foreign", "sl", "TCP:", "(", "inuse"]), 0..60))
    {
        let _ = parse(&words.join(" "), "x");
    }
}
