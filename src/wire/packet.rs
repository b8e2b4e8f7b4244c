//! A tapped packet: the SLL2 header, then IPv4 or IPv6, then TCP or an ICMP error about TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Malformed, be16, be32};
use crate::model::{Segment, SegmentKind, TcpFlags, Tuple, proto};

/// LINKTYPE_LINUX_SLL2
pub const SLL2_BYTES: usize = 20;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const PACKET_OUTGOING: u8 = 4;
/// Extension headers followed before giving up.
const MAX_EXTENSIONS: usize = 8;

/// `None` for packets that are no TCP and no error about TCP.
pub fn decode_segment(sll2: &[u8]) -> Result<Option<Segment>, Malformed> {
    let cut = Malformed("an SLL2 header is cut");
    let protocol = be16(sll2, 0).ok_or(cut)?;
    let ifindex = be32(sll2, 4).ok_or(cut)?;
    let outgoing = *sll2.get(10).ok_or(cut)? == PACKET_OUTGOING;
    let packet = sll2.get(SLL2_BYTES..).ok_or(cut)?;
    let found = match protocol {
        ETH_P_IP => ipv4(packet)?,
        ETH_P_IPV6 => ipv6(packet)?,
        _ => None,
    };
    Ok(found.map(|(sender, (kind, tuple, seq, flags))| Segment {
        kind,
        tuple,
        sender,
        seq,
        flags,
        ifindex,
        outgoing,
    }))
}

type Told = (SegmentKind, Tuple, u32, TcpFlags);
/// With the packet's own sender.
type Found = Option<(IpAddr, Told)>;

fn ipv4(packet: &[u8]) -> Result<Found, Malformed> {
    let Some((addresses, number, payload)) = ipv4_header(packet)? else {
        return Ok(None);
    };
    let told = match number {
        proto::TCP => tcp(addresses, payload).map(Some),
        proto::ICMP => icmp_error(payload, 3, ipv4_header),
        _ => Ok(None),
    };
    Ok(told?.map(|told| (addresses.src, told)))
}

fn ipv6(packet: &[u8]) -> Result<Found, Malformed> {
    let Some((addresses, number, payload)) = ipv6_header(packet)? else {
        return Ok(None);
    };
    let told = match number {
        proto::TCP => tcp(addresses, payload).map(Some),
        proto::ICMPV6 => icmp_error(payload, 1, ipv6_header),
        _ => Ok(None),
    };
    Ok(told?.map(|told| (addresses.src, told)))
}

type Header<'a> = Option<(Tuple, u8, &'a [u8])>;

/// `None` for later fragments, which have no ports.
fn ipv4_header(packet: &[u8]) -> Result<Header<'_>, Malformed> {
    let cut = Malformed("an IPv4 header is cut");
    let first = *packet.first().ok_or(cut)?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return Err(Malformed("not an IPv4 header"));
    }
    if be16(packet, 6).ok_or(cut)? & 0x1fff != 0 {
        return Ok(None);
    }
    let four =
        |at: usize| -> Option<Ipv4Addr> { Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into()) };
    let tuple = Tuple {
        src: four(12).ok_or(cut)?.into(),
        dst: four(16).ok_or(cut)?.into(),
        ..Tuple::default()
    };
    Ok(Some((tuple, packet[9], packet.get(length..).ok_or(cut)?)))
}

fn ipv6_header(packet: &[u8]) -> Result<Header<'_>, Malformed> {
    let cut = Malformed("an IPv6 header is cut");
    if packet.first().ok_or(cut)? >> 4 != 6 {
        return Err(Malformed("not an IPv6 header"));
    }
    let sixteen =
        |at: usize| -> Option<Ipv6Addr> { Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into()) };
    let tuple = Tuple {
        src: sixteen(8).ok_or(cut)?.into(),
        dst: sixteen(24).ok_or(cut)?.into(),
        ..Tuple::default()
    };
    let (mut next, mut rest) = (packet[6], packet.get(40..).ok_or(cut)?);
    for _ in 0..MAX_EXTENSIONS {
        match next {
            // Hop-by-hop, routing, destination options: length in units of 8 bytes, less one.
            0 | 43 | 60 => {
                let length = (usize::from(*rest.get(1).ok_or(cut)?) + 1) * 8;
                next = rest[0];
                rest = rest.get(length..).ok_or(cut)?;
            }
            44 => {
                if be16(rest, 2).ok_or(cut)? & 0xfff8 != 0 {
                    return Ok(None);
                }
                next = rest[0];
                rest = rest.get(8..).ok_or(cut)?;
            }
            _ => return Ok(Some((tuple, next, rest))),
        }
    }
    Ok(None)
}

fn tcp(mut tuple: Tuple, segment: &[u8]) -> Result<Told, Malformed> {
    let cut = Malformed("a TCP header is cut");
    tuple.sport = be16(segment, 0).ok_or(cut)?;
    tuple.dport = be16(segment, 2).ok_or(cut)?;
    let seq = be32(segment, 4).ok_or(cut)?;
    let flags = TcpFlags(*segment.get(13).ok_or(cut)?);
    let kind = if flags.has(TcpFlags::RST) {
        SegmentKind::Rst
    } else if flags.has(TcpFlags::SYN | TcpFlags::ACK) {
        SegmentKind::SynAck
    } else if flags.has(TcpFlags::SYN) {
        SegmentKind::Syn
    } else if flags.has(TcpFlags::FIN) {
        SegmentKind::Fin
    } else {
        SegmentKind::OtherTcp
    };
    Ok((kind, tuple, seq, flags))
}

/// An error of type `unreachable` quotes the packet it is about, at least 8 bytes past its IP header.
fn icmp_error<'a>(
    message: &'a [u8],
    unreachable: u8,
    header: impl Fn(&'a [u8]) -> Result<Header<'a>, Malformed>,
) -> Result<Option<Told>, Malformed> {
    let cut = Malformed("an ICMP error is cut");
    let (icmp_type, icmp_code) = (*message.first().ok_or(cut)?, *message.get(1).ok_or(cut)?);
    if icmp_type != unreachable {
        return Ok(None);
    }
    let Some((mut tuple, number, inner)) = header(message.get(8..).ok_or(cut)?)? else {
        return Ok(None);
    };
    if number != proto::TCP {
        return Ok(None);
    }
    tuple.sport = be16(inner, 0).ok_or(cut)?;
    tuple.dport = be16(inner, 2).ok_or(cut)?;
    let seq = be32(inner, 4).ok_or(cut)?;
    Ok(Some((
        SegmentKind::Unreachable { icmp_type, icmp_code },
        tuple,
        seq,
        TcpFlags(0),
    )))
}
