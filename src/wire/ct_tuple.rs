//! CTA_TUPLE_ORIG and CTA_TUPLE_REPLY: one direction of an entry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::attributes;
use super::{Malformed, be16};
use crate::model::Tuple;

/// Fills `out` and gives the protocol number. A zone that holds for one direction only stands in that tuple.
pub(super) fn tuple(bytes: &[u8], out: &mut Tuple, zone: &mut Option<u16>) -> Result<u8, Malformed> {
    usual_tuple::<4, 48>(bytes, 1, out)
        .or_else(|| usual_tuple::<16, 72>(bytes, 3, out))
        .map_or_else(|| any_tuple(bytes, out, zone), Ok)
}

/// The layout in which the kernel writes a tuple with ports and without a zone, told at a glance: walking its
/// attributes one by one is half of a dump's work. `A`: an address's length; `N`: the whole; `src`: CTA_IP_V4_SRC or
/// CTA_IP_V6_SRC.
fn usual_tuple<const A: usize, const N: usize>(bytes: &[u8], src: u16, out: &mut Tuple) -> Option<u8>
where
    IpAddr: From<[u8; A]>,
{
    const NESTED: u16 = 0x8000;
    let bytes: &[u8; N] = bytes.try_into().ok()?;
    let header = |at: usize, length: usize, kind: u16| {
        bytes[at..at + 2] == (length as u16).to_ne_bytes() && bytes[at + 2..at + 4] == kind.to_ne_bytes()
    };
    let proto = 12 + 2 * A;
    let usual = header(0, proto, NESTED | 1)
        & header(4, 4 + A, src)
        & header(8 + A, 4 + A, src + 1)
        & header(proto, 28, NESTED | 2)
        & header(proto + 4, 5, 1)
        & header(proto + 12, 6, 2)
        & header(proto + 20, 6, 3);
    if !usual {
        return None;
    }
    let address = |at: usize| <[u8; A]>::try_from(&bytes[at..at + A]).ok().map(IpAddr::from);
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    *out = Tuple {
        src: address(8)?,
        dst: address(12 + A)?,
        sport: port(proto + 16),
        dport: port(proto + 24),
    };
    Some(bytes[proto + 8])
}

fn any_tuple(bytes: &[u8], out: &mut Tuple, zone: &mut Option<u16>) -> Result<u8, Malformed> {
    let (mut number, mut placed) = (None, false);
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        // CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE
        match kind {
            1 => placed = addresses(value, out)?,
            2 => number = ports(value, out)?,
            3 => *zone = Some(be16(value, 0).ok_or(Malformed("CTA_TUPLE_ZONE is short"))?),
            _ => {}
        }
    }
    match (number, placed) {
        (Some(number), true) => Ok(number),
        _ => Err(Malformed("a tuple without its addresses and protocol")),
    }
}

/// Whether both ends were there.
fn addresses(bytes: &[u8], out: &mut Tuple) -> Result<bool, Malformed> {
    let (mut src, mut dst) = (None, None);
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        // CTA_IP_V4_SRC, V4_DST, V6_SRC, V6_DST
        match kind {
            1 | 3 => src = Some(address(value)?),
            2 | 4 => dst = Some(address(value)?),
            _ => {}
        }
    }
    let (Some(src), Some(dst)) = (src, dst) else {
        return Ok(false);
    };
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(Malformed("a tuple of two families"));
    }
    (out.src, out.dst) = (src, dst);
    Ok(true)
}

fn address(value: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Ok(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(value).map_err(|_| Malformed("an address of no known length"))?;
    Ok(Ipv6Addr::from(sixteen).into())
}

/// The protocol number, where it was there.
fn ports(bytes: &[u8], out: &mut Tuple) -> Result<Option<u8>, Malformed> {
    let mut number = None;
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        let byte = || {
            value
                .first()
                .copied()
                .ok_or(Malformed("a protocol field is short"))
        };
        let port = || be16(value, 0).ok_or(Malformed("a port is short"));
        // CTA_PROTO_NUM, SRC_PORT, DST_PORT, ICMP_ID/TYPE/CODE, ICMPV6_ID/TYPE/CODE
        match kind {
            1 => number = Some(byte()?),
            2 | 4 | 7 => out.sport = port()?,
            3 => out.dport = port()?,
            5 | 8 => out.dport = out.dport & 0x00ff | u16::from(byte()?) << 8,
            6 | 9 => out.dport = out.dport & 0xff00 | u16::from(byte()?),
            _ => {}
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = (4 + value.len() as u16).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn encoded(src: IpAddr, dst: IpAddr, number: u8, sport: u16, dport: u16) -> Vec<u8> {
        let octets = |address| match address {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        let first = if src.is_ipv4() { 1 } else { 3 };
        let ip = [attribute(first, &octets(src)), attribute(first + 1, &octets(dst))].concat();
        let proto = [
            attribute(1, &[number]),
            attribute(2, &sport.to_be_bytes()),
            attribute(3, &dport.to_be_bytes()),
        ]
        .concat();
        [attribute(0x8001, &ip), attribute(0x8002, &proto)].concat()
    }

    fn address() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (a.into(), b.into())),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (a.into(), b.into())),
        ]
    }

    proptest! {
        #[test]
        fn the_glance_and_the_walk_agree(
            (src, dst) in address(),
            (number, sport, dport) in any::<(u8, u16, u16)>(),
            at in 0usize..72,
            flip in any::<u8>(),
        ) {
            let whole = encoded(src, dst, number, sport, dport);
            let read = |bytes: &[u8], walk: bool| {
                let (mut out, mut zone) = (Tuple::default(), None);
                let got = if walk { any_tuple(bytes, &mut out, &mut zone) } else { tuple(bytes, &mut out, &mut zone) };
                got.map(|number| (number, out, zone))
            };
            let want = Tuple { src, dst, sport, dport };
            prop_assert_eq!(read(&whole, false), Ok((number, want, None)));
            let mut changed = whole.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= flip;
            }
            prop_assert_eq!(read(&changed, false), read(&changed, true));
        }
    }
}
