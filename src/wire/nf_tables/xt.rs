//! Extensions of iptables inside nf_tables rules (`iptables-nft`): the few that decide over tracked connections.

use std::net::IpAddr;

use super::expressions::Parts;
use super::nat::FULLY_RANDOM;
use crate::model::{Action, Condition, Mapping, Match, proto};
use crate::wire::{be16, ne16, ne32};

/// XT_CONNTRACK_STATE
const CONNTRACK_STATE: u16 = 1;
/// NF_NAT_RANGE_MAP_IPS and NF_NAT_RANGE_PROTO_SPECIFIED
const MAP_IPS: u32 = 1;
const PROTO_SPECIFIED: u32 = 1 << 1;

/// NFTA_MATCH_NAME, _REV, _INFO
pub fn conditions(parts: &Parts) -> Vec<Condition> {
    let name = parts.text(1).unwrap_or("");
    let info = parts.bytes(3).unwrap_or(&[]);
    let known = match name {
        "comment" => Some(Vec::new()),
        "limit" => Some(vec![is(Match::Limit)]),
        "tcp" => ports(info, proto::TCP, info.get(11).copied().unwrap_or(0)),
        "udp" => ports(info, proto::UDP, info.get(8).copied().unwrap_or(0)),
        "multiport" => multiport(info),
        "conntrack" => conntrack(info, parts.number(2)),
        "state" => ne32(info, 0).map(|bits| vec![is(Match::State(bits))]),
        _ => None,
    };
    known.unwrap_or_else(|| vec![is(Match::Other(name.to_string()))])
}

fn is(what: Match) -> Condition {
    Condition { not: false, what }
}

/// `struct xt_tcp` and `struct xt_udp` begin alike: two ranges of ports, in this machine's order.
fn ports(info: &[u8], number: u8, inverted: u8) -> Option<Vec<Condition>> {
    let range = |at: usize| Some((ne16(info, at)?, ne16(info, at + 2)?));
    let (source, destination) = (range(0)?, range(4)?);
    let mut out = vec![is(Match::Protocol(number))];
    if source != (0, u16::MAX) {
        out.push(Condition {
            not: inverted & 1 != 0,
            what: Match::SourcePorts(source.0, source.1),
        });
    }
    if destination != (0, u16::MAX) {
        out.push(Condition {
            not: inverted & 2 != 0,
            what: Match::DestinationPorts(destination.0, destination.1),
        });
    }
    // xt_tcp's option, flg_mask and flg_cmp
    if number == proto::TCP && info.get(9).is_some_and(|mask| *mask != 0) {
        out.push(is(Match::Other("tcp flags".to_string())));
    }
    Some(out)
}

/// `struct xt_multiport_v1`: flags, how many, fifteen ports, whether each begins a range, whether all is inverted.
fn multiport(info: &[u8]) -> Option<Vec<Condition>> {
    let (flags, count) = (*info.first()?, usize::from(*info.get(1)?));
    let not = *info.get(47)? != 0;
    let what = match flags {
        0 => Match::SourcePorts,
        1 => Match::DestinationPorts,
        _ => return None,
    };
    let port = |index: usize| (index < 15).then(|| ne16(info, 2 + index * 2)).flatten();
    let (mut list, mut at) = (Vec::new(), 0);
    while at < count {
        let low = port(at)?;
        at += usize::from(*info.get(32 + at)? != 0);
        list.push(what(low, port(at)?));
        at += 1;
    }
    Match::any_of(list).map(|what| vec![Condition { not, what }])
}

/// `struct xt_conntrack_mtinfo3` (and 2): where nothing but the state is asked.
fn conntrack(info: &[u8], revision: Option<u32>) -> Option<Vec<Condition>> {
    let (asked, inverted, state) = (ne16(info, 146)?, ne16(info, 148)?, ne16(info, 150)?);
    (matches!(revision, Some(2 | 3)) && asked == CONNTRACK_STATE).then(|| {
        vec![Condition {
            not: inverted & CONNTRACK_STATE != 0,
            what: Match::State(state.into()),
        }]
    })
}

/// NFTA_TARGET_NAME, _REV, _INFO
pub fn action(parts: &Parts) -> Action {
    let name = parts.text(1).unwrap_or("");
    let info = parts.bytes(3).unwrap_or(&[]);
    let mapping = || mapping(info, parts.number(2).unwrap_or(0));
    match name {
        "REJECT" => Action::Reject,
        "SNAT" => Action::Snat(mapping()),
        "DNAT" => Action::Dnat(mapping()),
        "MASQUERADE" => Action::Masquerade(mapping()),
        "REDIRECT" => Action::Redirect(mapping()),
        "SYNPROXY" => Action::Synproxy,
        // XT_CT_NOTRACK
        "CT" if ne16(info, 0).is_some_and(|flags| flags & 1 != 0) => Action::Notrack,
        other => Action::Other(other.to_string()),
    }
}

/// Revision 0 is `struct nf_nat_ipv4_multi_range_compat`, later ones begin as `struct nf_nat_range`.
fn mapping(info: &[u8], revision: u32) -> Mapping {
    let read = if revision == 0 {
        old_range(info)
    } else {
        range(info)
    };
    read.unwrap_or(Mapping {
        unknown: true,
        ..Mapping::default()
    })
}

fn old_range(info: &[u8]) -> Option<Mapping> {
    let flags = ne32(info, 4)?;
    let addr = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(info.get(at..at + 4)?).ok()?));
    build(flags, (addr(8)?, addr(12)?), (be16(info, 16)?, be16(info, 18)?))
}

fn range(info: &[u8]) -> Option<Mapping> {
    let flags = ne32(info, 0)?;
    let six = |at: usize| <[u8; 16]>::try_from(info.get(at..at + 16)?).ok();
    let (low, high) = (six(4)?, six(20)?);
    // An IPv4 address is the first word of the union, and the rest is zero.
    let addr = |bytes: [u8; 16]| match bytes[4..].iter().all(|byte| *byte == 0) {
        true => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        false => IpAddr::from(bytes),
    };
    build(flags, (addr(low), addr(high)), (be16(info, 36)?, be16(info, 38)?))
}

fn build(flags: u32, addresses: (IpAddr, IpAddr), ports: (u16, u16)) -> Option<Mapping> {
    Some(Mapping {
        addresses: (flags & MAP_IPS != 0).then_some(addresses),
        ports: (flags & PROTO_SPECIFIED != 0).then_some(ports),
        fully_random: flags & FULLY_RANDOM != 0,
        unknown: false,
    })
}
