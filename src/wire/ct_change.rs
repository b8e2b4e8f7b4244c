//! Requests about one entry, named by its whole original tuple: look at it, delete it, shorten what it has left.
//!
//! Never by a filter: a kernel that does not know a filter's attribute ignores it, and deletes every entry.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};

use super::inet_diag::{AF_INET, AF_INET6};
use super::netlink::frame;
use crate::model::Flow;

/// `NFNL_SUBSYS_CTNETLINK << 8` and IPCTNL_MSG_CT_NEW, _GET, _DELETE
const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = CT_NEW | 1;
const CT_DELETE: u16 = CT_NEW | 2;
const NESTED: u16 = 0x8000;

// enum ctattr_type
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TIMEOUT: u16 = 7;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;

/// Asks for the entry.
pub fn encode_get(flow: &Flow) -> Vec<u8> {
    request(CT_GET, flow, &[])
}

/// Deletes the entry, and no other that came by the same tuple since: the kernel compares the id (ENOENT).
pub fn encode_delete(flow: &Flow) -> Vec<u8> {
    let id = flow.id.map(|id| attribute(CTA_ID, &id.to_be_bytes()));
    request(CT_DELETE, flow, &id.unwrap_or_default())
}

/// Sets the seconds that the entry has left. Without NLM_F_CREATE no entry is made where there is none.
pub fn encode_timeout(flow: &Flow, secs: u32) -> Vec<u8> {
    request(CT_NEW, flow, &attribute(CTA_TIMEOUT, &secs.to_be_bytes()))
}

fn request(kind: u16, flow: &Flow, more: &[u8]) -> Vec<u8> {
    // struct nfgenmsg: family, version, resource id.
    let family = match flow.orig.src {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    let mut payload = vec![family, 0, 0, 0];
    payload.extend(tuple(flow));
    if let Some(zone) = flow.zone.filter(|zone| *zone != 0) {
        payload.extend(attribute(CTA_ZONE, &zone.to_be_bytes()));
    }
    payload.extend_from_slice(more);
    frame(kind, NLM_F_REQUEST | NLM_F_ACK, &payload)
}

fn tuple(flow: &Flow) -> Vec<u8> {
    let orig = &flow.orig;
    let ip = match (orig.src, orig.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            [attribute(1, &src.octets()), attribute(2, &dst.octets())].concat()
        }
        (src, dst) => [attribute(3, &sixteen(src)), attribute(4, &sixteen(dst))].concat(),
    };
    let ports = [
        attribute(1, &[flow.proto]),
        attribute(2, &orig.sport.to_be_bytes()),
        attribute(3, &orig.dport.to_be_bytes()),
    ];
    let inner = [attribute(1 | NESTED, &ip), attribute(2 | NESTED, &ports.concat())];
    attribute(CTA_TUPLE_ORIG | NESTED, &inner.concat())
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut out = Vec::with_capacity(length.next_multiple_of(4));
    out.extend_from_slice(&(length as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(length.next_multiple_of(4), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TcpState, proto};
    use crate::wire::ctnetlink::fill_flow;
    use crate::wire::netlink::messages;

    #[test]
    fn what_is_asked_for_is_the_entry_itself() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let mut flow = Flow {
                proto: proto::TCP,
                zone: Some(7),
                id: Some(0x0102_0304),
                ..Flow::default()
            };
            flow.orig.src = src.parse().expect("an address");
            flow.orig.dst = dst.parse().expect("an address");
            (flow.orig.sport, flow.orig.dport) = (40_000, 80);
            let datagram = encode_delete(&flow);
            let message = messages(&datagram).next().expect("one").expect("whole");
            assert_eq!((message.kind, message.flags), (0x102, NLM_F_REQUEST | NLM_F_ACK));
            let mut got = Flow {
                tcp_state: Some(TcpState::None),
                ..Flow::default()
            };
            // The kernel's own messages have a reply tuple too, which a request has not.
            let _ = fill_flow(message.payload, &mut got);
            assert_eq!((got.orig, got.zone, got.id), (flow.orig, flow.zone, flow.id));
            let shorter = encode_timeout(&flow, 3);
            assert!(shorter.ends_with(&[8, 0, 7, 0, 0, 0, 0, 3]));
        }
    }
}
