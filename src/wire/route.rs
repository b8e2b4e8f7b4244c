//! rtnetlink: this namespace's addresses, the names of its interfaces, and a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::inet_diag::{AF_INET, AF_INET6};
use super::netlink::{attributes, frame};
use super::{Malformed, ne32};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const IFADDRMSG: usize = 8;
const IFINFOMSG: usize = 16;
const RTMSG: usize = 12;
const IFLA_IFNAME: u16 = 3;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// A request for the addresses of both families.
pub fn encode_addresses() -> Vec<u8> {
    frame(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &[0; IFADDRMSG])
}

pub fn is_address(kind: u16) -> bool {
    kind == RTM_NEWADDR
}

/// IFA_LOCAL is this end of a point-to-point link, where IFA_ADDRESS is the other one.
pub fn decode_address(payload: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let mut address = None;
    for attribute in attributes(payload.get(IFADDRMSG..).ok_or(Malformed("ifaddrmsg is cut"))?) {
        let (kind, value) = attribute?;
        if kind == IFA_LOCAL || kind == IFA_ADDRESS && address.is_none() {
            address = match value.len() {
                4 => <[u8; 4]>::try_from(value).ok().map(|b| Ipv4Addr::from(b).into()),
                16 => <[u8; 16]>::try_from(value).ok().map(|b| Ipv6Addr::from(b).into()),
                _ => return Err(Malformed("an address of no known length")),
            };
        }
    }
    Ok(address)
}

/// A request for all interfaces.
pub fn encode_links() -> Vec<u8> {
    frame(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, &[0; IFINFOMSG])
}

pub fn is_link(kind: u16) -> bool {
    kind == RTM_NEWLINK
}

/// An interface's index and name.
pub fn decode_link(payload: &[u8]) -> Result<(u32, String), Malformed> {
    let cut = Malformed("ifinfomsg is cut");
    let index = ne32(payload, 4).ok_or(cut)?;
    for attribute in attributes(payload.get(IFINFOMSG..).ok_or(cut)?) {
        let (kind, value) = attribute?;
        if kind == IFLA_IFNAME {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            return Ok((index, String::from_utf8_lossy(&value[..end]).into_owned()));
        }
    }
    Err(Malformed("an interface without its name"))
}

/// A request for the route that a packet to this address would take.
pub fn encode_route(to: IpAddr) -> Vec<u8> {
    let (family, bytes) = match to {
        IpAddr::V4(four) => (AF_INET, four.octets().to_vec()),
        IpAddr::V6(six) => (AF_INET6, six.octets().to_vec()),
    };
    let mut payload = vec![0; RTMSG];
    // rtm_family, rtm_dst_len
    payload[0] = family;
    payload[1] = (bytes.len() * 8) as u8;
    payload.extend_from_slice(&((4 + bytes.len()) as u16).to_ne_bytes());
    payload.extend_from_slice(&RTA_DST.to_ne_bytes());
    payload.extend_from_slice(&bytes);
    frame(RTM_GETROUTE, NLM_F_REQUEST, &payload)
}

pub fn is_route(kind: u16) -> bool {
    kind == RTM_NEWROUTE
}

/// The index of the interface that the route leaves by.
pub fn decode_route(payload: &[u8]) -> Result<Option<u32>, Malformed> {
    for attribute in attributes(payload.get(RTMSG..).ok_or(Malformed("rtmsg is cut"))?) {
        let (kind, value) = attribute?;
        if kind == RTA_OIF {
            return Ok(ne32(value, 0));
        }
    }
    Ok(None)
}
