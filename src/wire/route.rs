//! rtnetlink: this namespace's addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::Malformed;
use super::netlink::{attributes, frame};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFADDRMSG: usize = 8;
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
