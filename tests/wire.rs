//! What a real kernel said, byte by byte, and what it means.
#![cfg(target_endian = "little")]

mod hex;

use std::net::IpAddr;

use ctlens::model::{
    Flow, Segment, SegmentKind, Socket, SocketState, Status, TcpFlags, TcpState, Timeouts, Tuple,
};
use ctlens::wire::{ctnetlink, ctnetlink_stats, cttimeout, inet_diag, nf_tables, packet, route};

const C: &str = "10.66.1.2";
const S: &str = "10.66.2.2";
const C6: &str = "fd66:1::2";
const S6: &str = "fd66:2::2";
/// CONFIRMED, and both NAT decisions made.
const UNREPLIED: u32 = 0x188;
const REPLIED: u32 = 0x18a;
const ASSURED: u32 = 0x18e;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tuple(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple {
        src: ip(src),
        dst: ip(dst),
        sport,
        dport,
    }
}

/// An entry from C to S without translation, in the default zone.
fn entry(proto: u8, sport: u16, dport: u16, status: u32, timeout_secs: u32, id: u32) -> Flow {
    let orig = tuple(C, sport, S, dport);
    Flow {
        orig,
        reply: orig.inverted(),
        proto,
        status: Status(status),
        timeout_secs: Some(timeout_secs),
        mark: Some(0),
        id: Some(id),
        ..Flow::default()
    }
}

fn tcp(state: TcpState, sport: u16, dport: u16, status: u32, timeout_secs: u32, id: u32) -> Flow {
    Flow {
        tcp_state: Some(state),
        ..entry(6, sport, dport, status, timeout_secs, id)
    }
}

/// With nf_conntrack_acct and nf_conntrack_timestamp on.
fn counted(flow: Flow, packets: [u64; 2], bytes: [u64; 2], start_ns: u64) -> Flow {
    Flow {
        packets: Some(packets),
        bytes: Some(bytes),
        start_ns: Some(start_ns),
        ..flow
    }
}

fn flow(name: &str) -> Flow {
    let message = hex::message(name);
    assert!(ctnetlink::is_flow(message.kind), "{name}");
    ctnetlink::decode_flow(&message.payload).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn tcp_entries_of_every_state() {
    use TcpState::*;
    let s = |name: &str| format!("ct_tcp_{name}");
    let expected = [
        (
            s("syn_sent"),
            tcp(SynSent, 41001, 80, UNREPLIED, 118, 0x20d8_e6b4),
        ),
        (
            s("syn_sent_challenged"),
            tcp(SynSent, 41009, 80, REPLIED, 119, 0x7878_bf61),
        ),
        (
            s("syn_sent2"),
            tcp(SynSent2, 41010, 80, REPLIED, 119, 0x7957_59e8),
        ),
        (
            s("syn_recv"),
            counted(
                tcp(SynRecv, 41102, 80, REPLIED, 59, 0xe067_3936),
                [1, 1],
                [48, 48],
                1_795_591_074_834_749_524,
            ),
        ),
        (
            s("established"),
            counted(
                tcp(Established, 41103, 80, ASSURED, 431_999, 0xc02c_45a8),
                [2, 1],
                [88, 48],
                1_795_591_074_937_439_485,
            ),
        ),
        (
            s("fin_wait"),
            counted(
                tcp(FinWait, 41104, 80, ASSURED, 119, 0x4d96_a6da),
                [3, 1],
                [128, 48],
                1_795_591_075_040_948_718,
            ),
        ),
        (
            s("close_wait"),
            counted(
                tcp(CloseWait, 41105, 80, ASSURED, 59, 0xc113_9bb4),
                [3, 2],
                [128, 88],
                1_795_591_075_145_002_123,
            ),
        ),
        (
            s("last_ack"),
            counted(
                tcp(LastAck, 41106, 80, ASSURED, 29, 0x132b_f102),
                [3, 3],
                [128, 128],
                1_795_591_075_251_036_121,
            ),
        ),
        (
            s("time_wait"),
            counted(
                tcp(TimeWait, 41107, 80, ASSURED, 119, 0xefd1_1ed9),
                [4, 3],
                [168, 128],
                1_795_591_075_359_889_304,
            ),
        ),
        (
            s("close"),
            counted(
                tcp(Close, 41110, 80, ASSURED, 9, 0xc1e2_b32c),
                [3, 1],
                [128, 48],
                1_795_591_075_470_623_743,
            ),
        ),
        (
            s("helper"),
            tcp(Established, 41015, 21, ASSURED | 1 << 13, 431_999, 0x6879_212b),
        ),
    ];
    for (name, want) in expected {
        assert_eq!(flow(&name), want, "{name}");
    }
}

#[test]
fn tcp_entries_with_zones_marks_and_translation() {
    let zoned = Flow {
        zone: Some(5),
        mark: Some(0x42),
        ..tcp(TcpState::SynSent, 41011, 7005, UNREPLIED, 119, 0x56c8_8ebf)
    };
    assert_eq!(flow("ct_tcp_zone_mark"), zoned);
    // The zone stands in the original tuple alone.
    let one_way = Flow {
        zone: Some(6),
        ..tcp(TcpState::SynSent, 41012, 7006, UNREPLIED, 119, 0x2fb7_96d7)
    };
    assert_eq!(flow("ct_tcp_zone_orig"), one_way);
    let dnat = Flow {
        orig: tuple(C, 41013, "10.66.1.1", 7007),
        reply: tuple(S, 80, C, 41013),
        ..tcp(
            TcpState::SynSent,
            0,
            0,
            UNREPLIED | Status::DST_NAT,
            119,
            0x85a7_5cc9,
        )
    };
    assert_eq!(flow("ct_tcp_dnat"), dnat);
    let masquerade = Flow {
        reply: tuple(S, 7008, "10.66.2.1", 5162),
        ..tcp(
            TcpState::SynSent,
            41014,
            7008,
            UNREPLIED | Status::SRC_NAT,
            119,
            0xa4eb_c425,
        )
    };
    assert_eq!(flow("ct_tcp_masquerade"), masquerade);
}

#[test]
fn ipv6_entries() {
    let orig = tuple(C6, 41201, S6, 443);
    let want = Flow {
        orig,
        reply: orig.inverted(),
        ..tcp(TcpState::Established, 0, 0, ASSURED, 431_999, 0xc4d5_99ee)
    };
    assert_eq!(
        flow("ct_tcp6_established"),
        counted(want, [2, 1], [120, 60], 1_795_591_075_604_327_461)
    );
    let want = Flow {
        orig: tuple(C6, 0x4321, S6, 128 << 8),
        reply: tuple(S6, 0x4321, C6, 129 << 8),
        ..entry(58, 0, 0, REPLIED, 29, 0x315d_6537)
    };
    assert_eq!(
        flow("ct_icmpv6_echo"),
        counted(want, [1, 1], [56, 56], 1_795_591_078_061_201_550)
    );
}

#[test]
fn entries_of_other_protocols() {
    let icmp = Flow {
        reply: tuple(S, 0x1234, C, 0),
        ..entry(1, 0x1234, 8 << 8, UNREPLIED, 29, 0x2166_bc3f)
    };
    let expected = [
        (
            "ct_udp_unreplied",
            entry(17, 41301, 53, UNREPLIED, 29, 0x34a2_1680),
            [1, 0],
            [33, 0],
            75_688_088_429,
        ),
        (
            "ct_udp_assured",
            entry(17, 41302, 53, ASSURED, 119, 0xa0dd_12cd),
            [2, 2],
            [66, 66],
            75_720_919_547,
        ),
        ("ct_icmp_echo", icmp, [1, 0], [36, 0], 78_016_683_572),
        (
            "ct_gre",
            entry(47, 0, 0, UNREPLIED, 29, 0x8024_bf8f),
            [1, 0],
            [57, 0],
            78_105_872_086,
        ),
        (
            "ct_sctp",
            entry(132, 41501, 38412, UNREPLIED, 9, 0x7159_3254),
            [1, 0],
            [52, 0],
            78_150_603_802,
        ),
        (
            "ct_generic",
            entry(99, 0, 0, UNREPLIED, 599, 0xc344_e3ec),
            [1, 0],
            [28, 0],
            78_195_430_671,
        ),
    ];
    for (name, want, packets, bytes, ns) in expected {
        assert_eq!(
            flow(name),
            counted(want, packets, bytes, 1_795_591_000_000_000_000 + ns),
            "{name}"
        );
    }
}

#[test]
fn offloaded_entries_have_neither_timeout_nor_state() {
    for (name, bits) in [
        ("ct_tcp_offload", Status::OFFLOAD),
        ("ct_tcp_hw_offload", Status::OFFLOAD | Status::HW_OFFLOAD),
    ] {
        let want = Flow {
            timeout_secs: None,
            ..entry(6, 41103, 80, ASSURED | bits, 0, 0xc02c_45a8)
        };
        assert_eq!(
            flow(name),
            counted(want, [2, 1], [88, 48], 1_795_591_074_937_439_485),
            "{name}"
        );
    }
}

#[test]
fn events() {
    // NEW and UPDATE have neither counters nor mark; their timeout is the policy in force.
    let new = Flow {
        mark: None,
        ..tcp(TcpState::SynSent, 41601, 80, UNREPLIED, 120, 0x0aff_1be9)
    };
    assert_eq!(flow("ct_event_new"), new);
    let update = Flow {
        mark: None,
        ..tcp(TcpState::SynRecv, 41601, 80, REPLIED, 60, 0x0aff_1be9)
    };
    assert_eq!(flow("ct_event_update"), update);
    // A refused connection: CLOSE with a timeout left, and no SEEN_REPLY.
    let message = hex::message("ct_event_destroy");
    assert!(!ctnetlink::is_flow(message.kind));
    let destroyed = Flow {
        mark: None,
        ..tcp(
            TcpState::Close,
            41602,
            81,
            UNREPLIED | Status::DYING,
            120,
            0xd403_c146,
        )
    };
    assert_eq!(
        ctnetlink::decode_flow(&message.payload),
        Ok(counted(destroyed, [1, 1], [40, 40], 1_795_591_078_239_930_582))
    );
}

#[test]
fn every_entry_captured_is_expected_above() {
    // A new capture without an expectation would prove nothing.
    assert_eq!(hex::names("ct_").len(), 28);
    assert_eq!(
        hex::names("nft_").len() + hex::names("packet_").len() + hex::names("diag_").len(),
        19 + 11 + 9
    );
}

#[test]
fn statistics() {
    let message = hex::message("stats");
    assert!(ctnetlink_stats::is_stats(message.kind));
    assert_eq!(
        ctnetlink_stats::decode_stats(&message.payload),
        Ok((Some(24), Some(262_144)))
    );
    let invalid: Vec<_> = hex::messages("stats_cpu")
        .iter()
        .map(|message| {
            assert!(ctnetlink_stats::is_stats_cpu(message.kind));
            let stats = ctnetlink_stats::decode_stats_cpu(&message.payload).unwrap();
            let zeroes = [
                stats.found,
                stats.insert,
                stats.insert_failed,
                stats.drop,
                stats.early_drop,
                stats.error,
                stats.search_restart,
                stats.clash_resolve,
                stats.chaintoolong,
            ];
            assert_eq!((zeroes, stats.cpus), ([Some(0); 9], 1));
            stats.invalid
        })
        .collect();
    assert_eq!(invalid, [Some(0), Some(1)]);
}

#[test]
fn timeout_defaults() {
    let mut timeouts = Timeouts::default();
    for name in ["timeout_tcp", "timeout_udp", "timeout_icmp"] {
        let message = hex::message(name);
        assert!(cttimeout::is_timeout(message.kind));
        cttimeout::decode_defaults(&message.payload, &mut timeouts).unwrap();
    }
    let tcp = [120, 60, 432_000, 120, 60, 30, 120, 10, 120].map(Some);
    let want = Timeouts {
        tcp_max_retrans: Some(300),
        tcp_unacknowledged: Some(300),
        udp: Some(30),
        udp_stream: Some(120),
        ..Timeouts::default()
    };
    assert_eq!(timeouts.tcp[0], None);
    assert_eq!(timeouts.tcp[1..], tcp);
    assert_eq!(
        Timeouts {
            tcp: [None; 10],
            ..timeouts
        },
        want
    );
}

#[test]
fn sockets() {
    let plain = |state, tuple, inode| Socket {
        state,
        tuple,
        uid: 0,
        inode,
        recv_queue: 0,
        send_queue: 0,
        timer_ms: None,
    };
    let expected = [
        (
            "diag_listen4",
            Socket {
                recv_queue: 1,
                send_queue: 7,
                ..plain(SocketState::Listen, tuple("0.0.0.0", 8080, "0.0.0.0", 0), 348_640)
            },
        ),
        (
            "diag_listen6",
            Socket {
                send_queue: 9,
                ..plain(SocketState::Listen, tuple("::", 8081, "::", 0), 348_641)
            },
        ),
        (
            "diag_established4",
            plain(
                SocketState::Established,
                tuple("127.0.0.1", 40704, "127.0.0.1", 8080),
                348_642,
            ),
        ),
        (
            "diag_established6",
            plain(
                SocketState::Established,
                tuple("::1", 43286, "::1", 8081),
                348_647,
            ),
        ),
        // An IPv4 connection of an IPv6 socket is IPv4, as conntrack has it.
        (
            "diag_mapped",
            plain(
                SocketState::Established,
                tuple("127.0.0.1", 8081, "127.0.0.1", 44928),
                348_646,
            ),
        ),
        (
            "diag_syn_sent",
            Socket {
                send_queue: 1,
                timer_ms: Some(796),
                ..plain(SocketState::SynSent, tuple(S, 60880, "10.66.2.99", 81), 348_649)
            },
        ),
        (
            "diag_syn_recv",
            Socket {
                timer_ms: Some(796),
                ..plain(SocketState::SynRecv, tuple(S, 8080, C, 42001), 0)
            },
        ),
        (
            "diag_syn_recv6",
            Socket {
                timer_ms: Some(800),
                ..plain(SocketState::SynRecv, tuple(S6, 8081, C6, 42002), 0)
            },
        ),
        (
            "diag_time_wait",
            Socket {
                timer_ms: Some(59_796),
                ..plain(
                    SocketState::TimeWait,
                    tuple("127.0.0.1", 44930, "127.0.0.1", 8081),
                    0,
                )
            },
        ),
    ];
    for (name, want) in expected {
        let message = hex::message(name);
        assert!(inet_diag::is_socket(message.kind), "{name}");
        assert_eq!(inet_diag::decode_socket(&message.payload), Ok(want), "{name}");
    }
}

#[test]
fn addresses() {
    for (name, want) in [
        ("address4", S),
        ("address6", S6),
        // This end of the link, not the other.
        ("address_peer", "10.99.0.1"),
    ] {
        let message = hex::message(name);
        assert!(route::is_address(message.kind), "{name}");
        assert_eq!(
            route::decode_address(&message.payload),
            Ok(Some(ip(want))),
            "{name}"
        );
    }
}

#[test]
fn rules_that_track() {
    let track = [
        "nft_connlimit",
        "nft_connlimit_in_set",
        "nft_ct_mark_set",
        "nft_ct_state",
        "nft_masquerade",
        "nft_redirect",
        "nft_snat",
        "nft_synproxy",
        "nft_xt_conntrack",
        "nft_xt_masquerade",
        "nft_xt_netmap",
        "nft_xt_zone",
    ];
    // nft_timeout_set names an object, which the list of objects tells.
    let not = [
        "nft_counter",
        "nft_notrack",
        "nft_timeout_set",
        "nft_xt_notrack",
        "nft_xt_socket",
    ];
    for (names, want) in [(&track[..], true), (&not[..], false)] {
        for name in names {
            let message = hex::message(name);
            assert!(nf_tables::is_rule(message.kind), "{name}");
            assert_eq!(nf_tables::rule_tracks(&message.payload), Ok(want), "{name}");
        }
    }
    for (name, want) in [("nft_object_timeout", true), ("nft_object_counter", false)] {
        let message = hex::message(name);
        assert!(nf_tables::is_object(message.kind), "{name}");
        assert_eq!(nf_tables::object_tracks(&message.payload), Ok(want), "{name}");
    }
}

#[test]
fn tapped_packets() {
    let syn = |tuple, seq| Segment {
        kind: SegmentKind::Syn,
        tuple,
        seq,
        flags: TcpFlags(TcpFlags::SYN),
        ifindex: 2,
        outgoing: false,
    };
    let unreachable = |tuple, seq, icmp_type, icmp_code| Segment {
        kind: SegmentKind::Unreachable { icmp_type, icmp_code },
        flags: TcpFlags(0),
        ..syn(tuple, seq)
    };
    let expected = [
        ("packet_syn4", Some(syn(tuple(C, 43001, S, 9999), 1111))),
        ("packet_syn4_options", Some(syn(tuple(C, 43002, S, 9999), 2222))),
        ("packet_syn6", Some(syn(tuple(C6, 43003, S6, 9999), 3333))),
        (
            "packet_syn6_extensions",
            Some(syn(tuple(C6, 43004, S6, 9999), 4444)),
        ),
        ("packet_fragment4", None),
        ("packet_udp4", None),
        (
            "packet_rst4",
            Some(Segment {
                kind: SegmentKind::Rst,
                flags: TcpFlags(TcpFlags::RST | TcpFlags::ACK),
                ..syn(tuple(S, 9999, C, 43006), 0)
            }),
        ),
        (
            "packet_outgoing",
            Some(Segment {
                outgoing: true,
                ..syn(tuple(C, 43010, S, 9999), 9999)
            }),
        ),
        (
            "packet_unreachable4",
            Some(unreachable(tuple(C, 43008, "10.77.7.7", 80), 7777, 3, 0)),
        ),
        (
            "packet_unreachable6",
            Some(unreachable(tuple(C6, 43009, "fd77::7", 80), 8888, 1, 0)),
        ),
    ];
    for (name, want) in expected {
        assert_eq!(packet::decode_segment(&hex::bytes(name)), Ok(want), "{name}");
    }
    let answer = packet::decode_segment(&hex::bytes("packet_syn_ack4"))
        .unwrap()
        .unwrap();
    assert_eq!(
        (answer.kind, answer.tuple),
        (SegmentKind::SynAck, tuple(S, 9998, C, 43007))
    );
}
