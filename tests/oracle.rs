//! Our decode of entries against the typed one of netlink-packet-netfilter: they must see the same.

#[cfg(target_endian = "little")]
mod hex;
mod netns;

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple as NlTuple,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use proptest::prelude::*;

use ctlens::model::{Flow, Status, TcpState, Tuple};
use ctlens::wire::ctnetlink::{DumpFilter, decode_flow, encode_dump};

use netns::loader::{self, ZoneOf};

/// A message as the typed decode has it, put into our noun; what it leaves as bytes is read from them here.
fn typed(message: &[u8]) -> Option<Flow> {
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(message).ok()?;
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        return None;
    };
    let NetfilterMessageInner::Conntrack(
        ConntrackMessage::New(attributes) | ConntrackMessage::Delete(attributes),
    ) = message.inner
    else {
        return None;
    };
    let mut flow = Flow::default();
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(parts) => {
                let mut zone = flow.zone;
                flow.proto = tuple(parts, &mut flow.orig, &mut zone);
                flow.zone = zone;
            }
            ConntrackAttribute::CtaTupleReply(parts) => {
                tuple(parts, &mut flow.reply, &mut flow.zone);
            }
            ConntrackAttribute::CtaStatus(status) => flow.status = Status(status.bits()),
            ConntrackAttribute::CtaTimeout(secs) => flow.timeout_secs = Some(secs),
            ConntrackAttribute::CtaMark(mark) => flow.mark = Some(mark),
            ConntrackAttribute::CtaProtoInfo(infos) => flow.tcp_state = state(infos),
            ConntrackAttribute::Other(other) => untyped(&other, &mut flow),
            other => panic!("a new attribute of the oracle: {other:?}"),
        }
    }
    Some(flow)
}

/// Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
fn kind(nla: &DefaultNla) -> u16 {
    nla.kind() & 0x3fff
}

fn value(nla: &DefaultNla) -> Vec<u8> {
    let mut out = vec![0; nla.value_len()];
    nla.emit_value(&mut out);
    out
}

/// The number in the first bytes, big-endian.
fn number<const N: usize>(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(N)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn tuple(parts: Vec<NlTuple>, out: &mut Tuple, zone: &mut Option<u16>) -> u8 {
    let mut protocol = 0;
    for part in parts {
        match part {
            NlTuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(src) => out.src = src,
                        IPTuple::DestinationAddress(dst) => out.dst = dst,
                        _ => {}
                    }
                }
            }
            NlTuple::Proto(fields) => {
                for field in fields {
                    match field {
                        ProtoTuple::Protocol(known) => protocol = known.into(),
                        ProtoTuple::SourcePort(port) => out.sport = port,
                        ProtoTuple::DestinationPort(port) => out.dport = port,
                        ProtoTuple::Other(other) => icmp(&other, out),
                        other => panic!("a new field of the oracle: {other:?}"),
                    }
                }
            }
            NlTuple::Other(other) if kind(&other) == 3 => *zone = Some(number::<2>(&value(&other)) as u16),
            _ => {}
        }
    }
    protocol
}

/// CTA_PROTO_ICMP_ID, TYPE, CODE and those of ICMPv6.
fn icmp(field: &DefaultNla, out: &mut Tuple) {
    let bytes = value(field);
    let [high, low] = out.dport.to_be_bytes();
    match kind(field) {
        4 | 7 => out.sport = number::<2>(&bytes) as u16,
        5 | 8 => out.dport = u16::from_be_bytes([number::<1>(&bytes) as u8, low]),
        6 | 9 => out.dport = u16::from_be_bytes([high, number::<1>(&bytes) as u8]),
        _ => {}
    }
}

fn state(infos: Vec<ProtoInfo>) -> Option<TcpState> {
    let tcp = infos.into_iter().find_map(|info| match info {
        ProtoInfo::TCP(fields) => Some(fields),
        _ => None,
    })?;
    tcp.into_iter().find_map(|field| match field {
        ProtoInfoTCP::State(number) => TcpState::from_number(number),
        _ => None,
    })
}

fn untyped(attribute: &DefaultNla, flow: &mut Flow) {
    let bytes = value(attribute);
    // The last of a kind, as everywhere.
    let nested = |wanted: u16| {
        let (mut rest, mut found) = (&bytes[..], None);
        while let [l0, l1, k0, k1, ..] = rest {
            let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
            if u16::from_ne_bytes([*k0, *k1]) & 0x3fff == wanted {
                found = rest.get(4..length).map(number::<8>);
            }
            rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or(&[]);
        }
        found
    };
    match kind(attribute) {
        12 => flow.id = Some(number::<4>(&bytes) as u32),
        18 => flow.zone = Some(number::<2>(&bytes) as u16),
        20 => flow.start_ns = nested(1),
        9 | 10 => {
            let direction = usize::from(kind(attribute) == 10);
            for (kind, slot) in [(1, &mut flow.packets), (2, &mut flow.bytes)] {
                if let Some(count) = nested(kind) {
                    slot.get_or_insert([0; 2])[direction] = count;
                }
            }
        }
        _ => {}
    }
}

#[cfg(target_endian = "little")]
#[test]
fn the_captures() {
    for name in hex::names("ct_") {
        let message = hex::bytes(&name);
        let want = typed(&message).unwrap_or_else(|| panic!("{name}: the oracle knows it"));
        assert_eq!(decode_flow(&message[16..]), Ok(want), "{name}");
    }
}

fn flow() -> impl Strategy<Value = Flow> {
    let pair = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ];
    let protocol = prop_oneof![Just(6u8), Just(17), Just(1), Just(58), any::<u8>()];
    let optional = (
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<u16>>(),
        proptest::option::of(0usize..10),
    );
    (
        pair.clone(),
        pair,
        protocol,
        any::<[u16; 4]>(),
        any::<u32>(),
        optional,
    )
        .prop_map(
            |(orig, reply, proto, ports, status, (timeout_secs, mark, zone, state))| {
                let tuple = |(src, dst), sport, dport| Tuple {
                    src,
                    dst,
                    sport,
                    dport,
                };
                Flow {
                    orig: tuple(orig, ports[0], ports[1]),
                    reply: tuple(reply, ports[2], ports[3]),
                    proto,
                    tcp_state: state.map(|index| TcpState::ALL[index]),
                    status: Status(status),
                    timeout_secs,
                    mark,
                    zone,
                    ..Flow::default()
                }
            },
        )
}

fn zone_of() -> impl Strategy<Value = ZoneOf> {
    prop_oneof![Just(ZoneOf::Both), Just(ZoneOf::Orig), Just(ZoneOf::Reply)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_the_typed_encoder_writes(flow in flow(), zone_of in zone_of(), turn in any::<prop::sample::Index>()) {
        let mut attributes = loader::attributes(&flow, zone_of);
        // No order is promised.
        let turn = turn.index(attributes.len());
        attributes.rotate_left(turn);
        let message = loader::encode(ConntrackMessage::New(attributes), loader::family(&flow), 2);
        prop_assert_eq!(decode_flow(&message[16..]), Ok(flow));
        prop_assert_eq!(typed(&message), Some(flow));
    }
}

#[cfg(target_endian = "little")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..Default::default() })]

    /// Where both make sense of a bent entry, it is the same sense.
    #[test]
    fn bent_captures(
        name in prop::sample::select(hex::names("ct_")),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = hex::bytes(&name);
        for (at, flip) in flips {
            let at = 16 + at.index(message.len() - 16);
            message[at] ^= flip;
        }
        if let (Ok(ours), Some(typed)) = (decode_flow(&message[16..]), typed(&message)) {
            prop_assert_eq!(ours, typed);
        }
    }
}

const LIVE_ENTRIES: u16 = 3000;

#[test]
fn a_live_dump() {
    netns::inside(|| {
        let mut made = 0;
        for n in 0..LIVE_ENTRIES {
            made += usize::from(loader::create(&live_entry(n), ZoneOf::Both).is_ok());
        }
        if made < usize::from(LIVE_ENTRIES) {
            println!("skipped: only {made} entries could be made");
            return;
        }
        let dump = netns::ask(encode_dump(&DumpFilter::default())).expect("a dump of an own namespace");
        assert_eq!(dump.len(), made);
        for message in dump {
            let want = typed(&message.whole).expect("the oracle knows it");
            assert_eq!(decode_flow(&message.payload), Ok(want));
        }
    });
}

/// Protocols, families, states, zones and marks by turns.
fn live_entry(n: u16) -> Flow {
    let v6 = n.is_multiple_of(3);
    let proto = match n % 5 {
        0 => 17,
        1 if v6 => 58,
        1 => 1,
        _ => 6,
    };
    let end = |last: u16| -> IpAddr {
        if v6 {
            [0xfd00, 0, 0, 0, 0, 0, n, last].into()
        } else {
            [10, (n >> 8) as u8, n as u8, last as u8].into()
        }
    };
    let (sport, dport) = match proto {
        1 => (n, 8 << 8),
        58 => (n, 128 << 8),
        _ => (1000 + n, 80),
    };
    let orig = Tuple {
        src: end(1),
        dst: end(2),
        sport,
        dport,
    };
    let mut reply = orig.inverted();
    if matches!(proto, 1 | 58) {
        (reply.sport, reply.dport) = (sport, if v6 { 129 << 8 } else { 0 });
    }
    Flow {
        orig,
        reply,
        proto,
        tcp_state: (proto == 6).then(|| TcpState::ALL[usize::from(1 + n % 9)]),
        status: Status([0, Status::SEEN_REPLY, Status::SEEN_REPLY | Status::ASSURED][usize::from(n % 3)]),
        timeout_secs: Some(600 + u32::from(n)),
        mark: n.is_multiple_of(7).then_some(u32::from(n)),
        zone: n.is_multiple_of(11).then_some(n),
        ..Flow::default()
    }
}
