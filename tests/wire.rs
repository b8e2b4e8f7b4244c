//! Statistics, timeouts, sockets, addresses, rules and packets as a real kernel wrote them, and what they mean.
#![cfg(target_endian = "little")]

mod hex;

use std::net::IpAddr;

use ctlens::model::{Segment, SegmentKind, Socket, SocketState, TcpFlags, Timeouts, Timer, Tuple};
use ctlens::wire::{ctnetlink_stats, cttimeout, inet_diag, nf_tables, packet, route};

const C: &str = "10.66.1.2";
const S: &str = "10.66.2.2";
const ROUTER: &str = "10.66.1.1";
const ROUTER6: &str = "fd66:1::1";
const C6: &str = "fd66:1::2";
const S6: &str = "fd66:2::2";
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

#[test]
fn every_capture_is_expected_here() {
    // A new capture without an expectation would prove nothing.
    for (prefix, count) in [
        ("nft_", 19),
        ("packet_", 11),
        ("diag_", 9),
        ("stats", 2),
        ("timeout_", 3),
        ("address", 3),
    ] {
        assert_eq!(hex::names(prefix).len(), count, "{prefix}");
    }
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
    let want: Vec<u32> = vec![120, 60, 432_000, 120, 60, 30, 120, 10, 120, 300, 300, 30, 120];
    assert_eq!(timeouts.known().map(|(_, secs)| secs).collect::<Vec<_>>(), want);
    assert!(
        timeouts
            .known()
            .map(|(timer, _)| timer)
            .eq(Timer::ALL.into_iter().take(13))
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
        send_queue: Some(0),
        repeats: 0,
    };
    let expected = [
        (
            "diag_listen4",
            Socket {
                recv_queue: 1,
                send_queue: Some(7),
                ..plain(SocketState::Listen, tuple("0.0.0.0", 8080, "0.0.0.0", 0), 348_640)
            },
        ),
        (
            "diag_listen6",
            Socket {
                send_queue: Some(9),
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
                send_queue: Some(1),
                repeats: 0,
                ..plain(SocketState::SynSent, tuple(S, 60880, "10.66.2.99", 81), 348_649)
            },
        ),
        (
            "diag_syn_recv",
            Socket {
                repeats: 0,
                ..plain(SocketState::SynRecv, tuple(S, 8080, C, 42001), 0)
            },
        ),
        (
            "diag_syn_recv6",
            Socket {
                repeats: 0,
                ..plain(SocketState::SynRecv, tuple(S6, 8081, C6, 42002), 0)
            },
        ),
        (
            "diag_time_wait",
            Socket {
                repeats: 0,
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
        sender: tuple.src,
        seq,
        flags: TcpFlags(TcpFlags::SYN),
        ifindex: 2,
        outgoing: false,
    };
    let unreachable = |tuple, seq, icmp_type, icmp_code| Segment {
        kind: SegmentKind::Unreachable { icmp_type, icmp_code },
        sender: if icmp_type == 3 { ROUTER } else { ROUTER6 }.parse().unwrap(),
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
