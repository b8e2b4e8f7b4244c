//! Entries put into a test's own namespace over ctnetlink.

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Status as NlStatus,
    Tuple as NlTuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage};

use ctlens::model::{Flow, Status, Tuple, proto};

const CTA_ZONE: u16 = 18;
const CTA_TUPLE_ZONE: u16 = 3;

/// In which directions an entry's zone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneOf {
    Both,
    Orig,
    Reply,
}

/// What the typed encoder makes of the fields of `flow` that a program may set.
pub fn attributes(flow: &Flow, zone_of: ZoneOf) -> Vec<ConntrackAttribute> {
    let part = |direction| flow.zone.filter(|_| zone_of == direction);
    let mut out = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(&flow.orig, flow.proto, part(ZoneOf::Orig))),
        ConntrackAttribute::CtaTupleReply(tuple(&flow.reply, flow.proto, part(ZoneOf::Reply))),
        ConntrackAttribute::CtaStatus(NlStatus::from_bits_retain(flow.status.0)),
    ];
    out.extend(flow.timeout_secs.map(ConntrackAttribute::CtaTimeout));
    out.extend(flow.mark.map(ConntrackAttribute::CtaMark));
    if let Some(state) = flow.tcp_state {
        let tcp = ProtoInfo::TCP(vec![ProtoInfoTCP::State(state as u8)]);
        out.push(ConntrackAttribute::CtaProtoInfo(vec![tcp]));
    }
    if let Some(zone) = part(ZoneOf::Both) {
        let zone = DefaultNla::new(CTA_ZONE, zone.to_be_bytes().to_vec());
        out.push(ConntrackAttribute::Other(zone));
    }
    out
}

fn tuple(tuple: &Tuple, number: u8, zone: Option<u16>) -> Vec<NlTuple> {
    let mut out = vec![
        NlTuple::Ip(vec![
            IPTuple::SourceAddress(tuple.src),
            IPTuple::DestinationAddress(tuple.dst),
        ]),
        NlTuple::Proto(ports(tuple, number)),
    ];
    out.extend(zone.map(|zone| NlTuple::Other(DefaultNla::new(CTA_TUPLE_ZONE, zone.to_be_bytes().to_vec()))));
    out
}

fn ports(tuple: &Tuple, number: u8) -> Vec<ProtoTuple> {
    let other = |kind: u16, value: &[u8]| ProtoTuple::Other(DefaultNla::new(kind, value.to_vec()));
    let [kind, code] = tuple.dport.to_be_bytes();
    let icmp = |id, first: u16| {
        vec![
            other(first, &u16::to_be_bytes(id)),
            other(first + 1, &[kind]),
            other(first + 2, &[code]),
        ]
    };
    let mut out = vec![ProtoTuple::Protocol(number.into())];
    out.extend(match number {
        proto::ICMP => icmp(tuple.sport, 4),
        proto::ICMPV6 => icmp(tuple.sport, 7),
        _ => vec![
            ProtoTuple::SourcePort(tuple.sport),
            ProtoTuple::DestinationPort(tuple.dport),
        ],
    });
    out
}

/// A whole message with these attributes.
pub fn encode(message: ConntrackMessage, family: u8, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (flags, 1);
    let payload = NetfilterMessage::new(NetfilterHeader::new(family.into(), 0, 0), message);
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let mut out = vec![0; message.buffer_len()];
    message.serialize(&mut out);
    out
}

/// AF_INET or AF_INET6.
pub fn family(flow: &Flow) -> u8 {
    if flow.orig.src.is_ipv4() { 2 } else { 10 }
}

/// Creates the entry in this thread's namespace; a refusal as its error number.
pub fn create(flow: &Flow, zone_of: ZoneOf) -> Result<(), i32> {
    let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    // The kernel confirms it before it looks at the status, and refuses to take that back.
    let mut flow = *flow;
    flow.status.0 |= Status::CONFIRMED;
    let flow = &flow;
    let message = ConntrackMessage::New(attributes(flow, zone_of));
    super::ask(encode(message, family(flow), flags)).map(|_| ())
}
