//! Conntrack entries and events as a real kernel wrote them, byte by byte, and what they mean.
#![cfg(target_endian = "little")]

mod hex;

use std::net::IpAddr;

use ctlens::model::{Flow, Status, TcpState, Tuple};
use ctlens::wire::ctnetlink;

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
        // Made where no NAT is: its bits are not set.
        (
            s("syn_recv_assured"),
            tcp(SynRecv, 41016, 80, ASSURED & 0xf, 59, 0xd99e_8521),
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
    assert_eq!(hex::names("ct_").len(), 29);
}
