//! ctnetlink: dump requests with the filters that kernels know, and entries, decoded in one pass without allocation.

use std::net::Ipv4Addr;

use netlink_packet_core::{
    DefaultNla, NLA_F_NESTED, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, Nla,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple as NlTuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage};

use super::ct_tuple::tuple;
use super::netlink::attributes;
use super::{Malformed, be16, be32, be64};
use crate::model::{Flow, Status, TcpState, proto};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`
const CT_NEW: u16 = 1 << 8;
/// IPCTNL_MSG_CT_GET
const CT_GET: u8 = 1;
const NFGENMSG: usize = 4;
const AF_INET: u8 = 2;

// enum ctattr_type, include/uapi/linux/netfilter/nfnetlink_conntrack.h
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
pub(super) const CTA_TIMESTAMP: u16 = 20;
const CTA_MARK_MASK: u16 = 21;
const CTA_FILTER: u16 = 25;
const CTA_STATUS_MASK: u16 = 26;

/// What the kernel may leave out of a dump. It ignores what it does not know: filter again what it gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// 0 = both, `AF_INET` 2, `AF_INET6` 10.
    pub family: u8,
    /// (value, mask); since 5.15. Bits of the value outside the mask do not count.
    pub status: Option<(u32, u32)>,
    /// (value, mask)
    pub mark: Option<(u32, u32)>,
    /// Since 6.8.
    pub zone: Option<u16>,
    /// Fields of the original tuple, CTA_FILTER, since 5.8; IPv4 only, since the kernel's comparison of IPv6
    /// addresses is inverted up to 6.19.
    pub src: Option<Ipv4Addr>,
    pub dst: Option<Ipv4Addr>,
    pub proto: Option<u8>,
    pub sport: Option<u16>,
    pub dport: Option<u16>,
}

impl DumpFilter {
    pub fn is_empty(&self) -> bool {
        *self == DumpFilter::default()
    }

    /// Without what the kernel would refuse: tuple fields need a family, addresses that of IPv4, ports the protocol.
    fn askable(&self) -> DumpFilter {
        let mut out = self.clone();
        if out.family != AF_INET {
            (out.src, out.dst) = (None, None);
        }
        if out.family == 0 {
            out.proto = None;
        }
        if out.proto.is_none() {
            (out.sport, out.dport) = (None, None);
        }
        out
    }

    fn has_tuple(&self) -> bool {
        self.src.is_some()
            || self.dst.is_some()
            || self.proto.is_some()
            || self.sport.is_some()
            || self.dport.is_some()
    }
}

/// A request to dump the table, filtered as far as the kernel can be asked to.
pub fn encode_dump(filter: &DumpFilter) -> Vec<u8> {
    let filter = &filter.askable();
    let mut wanted = Vec::new();
    let mut want = |kind: u16, value: &[u8]| wanted.push(DefaultNla::new(kind, value.to_vec()));
    // The kernel compares `entry & mask` with the whole value, and rejects a status without a mask.
    if let Some((value, mask)) = filter.status.filter(|(_, mask)| *mask != 0) {
        want(CTA_STATUS, &(value & mask).to_be_bytes());
        want(CTA_STATUS_MASK, &mask.to_be_bytes());
    }
    if let Some((value, mask)) = filter.mark {
        want(CTA_MARK, &(value & mask).to_be_bytes());
        want(CTA_MARK_MASK, &mask.to_be_bytes());
    }
    if let Some(zone) = filter.zone {
        want(CTA_ZONE, &zone.to_be_bytes());
    }
    if filter.has_tuple() {
        let tuple = ConntrackAttribute::CtaTupleOrig(orig_tuple(filter));
        let mut value = vec![0; tuple.value_len()];
        tuple.emit_value(&mut value);
        want(CTA_TUPLE_ORIG | NLA_F_NESTED, &value);
        // The kernel refuses it without the flag, and ConntrackAttribute::Other would drop that.
        want(CTA_FILTER | NLA_F_NESTED, &filter_flags(filter));
    }
    let header = NetfilterHeader::new(filter.family.into(), 0, 0);
    let message = ConntrackMessage::Other {
        message_type: CT_GET,
        attributes: wanted,
    };
    serialized(NetfilterMessage::new(header, message), NLM_F_REQUEST | NLM_F_DUMP)
}

/// A complete request with sequence 1.
pub(super) fn serialized(payload: NetfilterMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let mut out = vec![0; message.buffer_len()];
    message.serialize(&mut out);
    out
}

fn orig_tuple(filter: &DumpFilter) -> Vec<NlTuple> {
    let mut ip = Vec::new();
    if let Some(src) = filter.src {
        ip.push(IPTuple::SourceAddress(src.into()));
    }
    if let Some(dst) = filter.dst {
        ip.push(IPTuple::DestinationAddress(dst.into()));
    }
    let mut ports = Vec::new();
    if let Some(proto) = filter.proto {
        ports.push(ProtoTuple::Protocol(Protocol::from(proto)));
    }
    if let Some(port) = filter.sport {
        ports.push(ProtoTuple::SourcePort(port));
    }
    if let Some(port) = filter.dport {
        ports.push(ProtoTuple::DestinationPort(port));
    }
    let mut parts = Vec::new();
    if !ip.is_empty() {
        parts.push(NlTuple::Ip(ip));
    }
    if !ports.is_empty() {
        parts.push(NlTuple::Proto(ports));
    }
    parts
}

/// CTA_FILTER { CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS }, bits of net/netfilter/nf_internals.h.
fn filter_flags(filter: &DumpFilter) -> Vec<u8> {
    let mut flags = 0u32;
    for (bit, on) in [
        (0, filter.src.is_some()),
        (1, filter.dst.is_some()),
        (3, filter.proto.is_some()),
        (4, filter.sport.is_some()),
        (5, filter.dport.is_some()),
    ] {
        flags |= u32::from(on) << bit;
    }
    let mut out = Vec::new();
    for (kind, value) in [(1u16, flags), (2, 0)] {
        out.extend_from_slice(&8u16.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&value.to_ne_bytes());
    }
    out
}

/// Whether a message of this type carries an entry (a dump's row, or a NEW or UPDATE event).
pub fn is_flow(kind: u16) -> bool {
    kind == CT_NEW
}

/// Whether the protocol has ports that a filter may name.
pub fn has_ports(number: u8) -> bool {
    matches!(number, proto::TCP | proto::UDP | proto::SCTP | 33 | 136)
}

/// Decodes the payload of an entry's message: nfgenmsg and attributes.
pub fn decode_flow(payload: &[u8]) -> Result<Flow, Malformed> {
    let mut flow = Flow::default();
    fill_flow(payload, &mut flow)?;
    Ok(flow)
}

/// The same, in place: where it fails, `flow` holds nothing of use. A dump's loop need not copy each entry about.
pub fn fill_flow(payload: &[u8], flow: &mut Flow) -> Result<(), Malformed> {
    fill(payload, flow, &mut |_, _| Ok(()))
}

/// Takes attributes by kind and value.
pub(super) type Attributes<'a> = dyn FnMut(u16, &[u8]) -> Result<(), Malformed> + 'a;

/// `more` gets the attributes that no entry of a dump has.
pub(super) fn fill(payload: &[u8], flow: &mut Flow, more: &mut Attributes<'_>) -> Result<(), Malformed> {
    let body = payload.get(NFGENMSG..).ok_or(Malformed("nfgenmsg is cut"))?;
    *flow = Flow::default();
    let (mut orig, mut reply) = (false, false);
    for attribute in attributes(body) {
        let (kind, value) = attribute?;
        match kind {
            CTA_TUPLE_ORIG => {
                flow.proto = tuple(value, &mut flow.orig, &mut flow.zone)?;
                orig = true;
            }
            CTA_TUPLE_REPLY => {
                tuple(value, &mut flow.reply, &mut flow.zone)?;
                reply = true;
            }
            CTA_STATUS => flow.status = Status(number(value, "CTA_STATUS is short")?),
            CTA_PROTOINFO => flow.tcp_state = tcp_state(value)?,
            CTA_TIMEOUT => flow.timeout_secs = Some(number(value, "CTA_TIMEOUT is short")?),
            CTA_MARK => flow.mark = Some(number(value, "CTA_MARK is short")?),
            CTA_ID => flow.id = Some(number(value, "CTA_ID is short")?),
            CTA_ZONE => flow.zone = Some(be16(value, 0).ok_or(Malformed("CTA_ZONE is short"))?),
            CTA_COUNTERS_ORIG => counters(value, flow, 0)?,
            CTA_COUNTERS_REPLY => counters(value, flow, 1)?,
            CTA_TIMESTAMP => {
                flow.start_ns = start(value)?;
                more(kind, value)?;
            }
            _ => more(kind, value)?,
        }
    }
    if !orig || !reply {
        return Err(Malformed("an entry without its tuples"));
    }
    Ok(())
}

fn number(value: &[u8], short: &'static str) -> Result<u32, Malformed> {
    be32(value, 0).ok_or(Malformed(short))
}

fn tcp_state(bytes: &[u8]) -> Result<Option<TcpState>, Malformed> {
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        if kind != 1 {
            continue; // CTA_PROTOINFO_TCP only
        }
        for inner in attributes(value) {
            let (kind, value) = inner?;
            if kind == 1 {
                let state = value.first().copied().ok_or(Malformed("a TCP state is short"))?;
                return TcpState::from_number(state)
                    .map(Some)
                    .ok_or(Malformed("an unknown TCP state"));
            }
        }
    }
    Ok(None)
}

fn counters(bytes: &[u8], flow: &mut Flow, direction: usize) -> Result<(), Malformed> {
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        let count = || be64(value, 0).ok_or(Malformed("a counter is short"));
        match kind {
            1 => flow.packets.get_or_insert([0; 2])[direction] = count()?,
            2 => flow.bytes.get_or_insert([0; 2])[direction] = count()?,
            _ => {}
        }
    }
    Ok(())
}

fn start(bytes: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        if kind == 1 {
            found = Some(be64(value, 0).ok_or(Malformed("CTA_TIMESTAMP_START is short"))?);
        }
    }
    Ok(found)
}
