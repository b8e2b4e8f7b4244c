//! inet_diag: TCP sockets of this namespace, by the fixed structures of include/uapi/linux/inet_diag.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::netlink::frame;
use super::{Malformed, be16, ne32};
use crate::model::{Socket, SocketState, Tuple, proto};

/// SOCK_DIAG_BY_FAMILY
const BY_FAMILY: u16 = 20;
pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;
const REQUEST_BYTES: usize = 56;
const MESSAGE_BYTES: usize = 72;

/// A request for the sockets in `states`. SYN_RECV asks for request sockets too.
pub fn encode_dump(family: u8, states: &[SocketState]) -> Vec<u8> {
    let mut request = [0u8; REQUEST_BYTES];
    request[0] = family;
    request[1] = proto::TCP;
    let bits = states.iter().fold(0u32, |bits, state| bits | 1 << (*state as u8));
    request[4..8].copy_from_slice(&bits.to_ne_bytes());
    // INET_DIAG_NOCOOKIE
    request[48..56].fill(0xff);
    frame(BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &request)
}

pub fn is_socket(kind: u16) -> bool {
    kind == BY_FAMILY
}

/// `struct inet_diag_msg`
pub fn decode_socket(payload: &[u8]) -> Result<Socket, Malformed> {
    if payload.len() < MESSAGE_BYTES {
        return Err(Malformed("inet_diag_msg is cut"));
    }
    let state = SocketState::from_number(payload[1]).ok_or(Malformed("an unknown socket state"))?;
    let family = payload[0];
    let number = |at| ne32(payload, at).ok_or(Malformed("inet_diag_msg is cut"));
    let port = |at| be16(payload, at).ok_or(Malformed("inet_diag_msg is cut"));
    Ok(Socket {
        state,
        tuple: Tuple {
            src: address(family, &payload[8..24])?,
            dst: address(family, &payload[24..40])?,
            sport: port(4)?,
            dport: port(6)?,
        },
        repeats: payload[3],
        recv_queue: number(56)?,
        send_queue: Some(number(60)?),
        uid: number(64)?,
        inode: u64::from(number(68)?),
    })
}

fn address(family: u8, bytes: &[u8]) -> Result<IpAddr, Malformed> {
    match family {
        AF_INET => {
            let four: [u8; 4] = bytes[..4]
                .try_into()
                .map_err(|_| Malformed("an address is cut"))?;
            Ok(Ipv4Addr::from(four).into())
        }
        AF_INET6 => {
            let sixteen: [u8; 16] = bytes.try_into().map_err(|_| Malformed("an address is cut"))?;
            // A dual-stack socket's IPv4 peer.
            Ok(IpAddr::V6(Ipv6Addr::from(sixteen)).to_canonical())
        }
        _ => Err(Malformed("a socket of another family")),
    }
}
