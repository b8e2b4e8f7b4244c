//! Netlink framing: messages of a datagram, attributes of a payload, and how an answer ends.

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

use super::{Malformed, ne16, ne32};

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER (include/uapi/linux/netlink.h).
const TYPE_MASK: u16 = 0x3fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub port: u32,
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// What is dumped changed meanwhile: something may be missing (nl_dump_check_consistent). ctnetlink and inet_diag
    /// never say so, rtnetlink and nf_tables do.
    pub fn interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }
}

/// The messages of one datagram; stops after the first malformed one.
pub struct Messages<'a> {
    rest: &'a [u8],
}

pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some(length) = ne32(rest, 0).map(|n| n as usize) else {
            return Some(Err(Malformed("a netlink header is cut")));
        };
        if length < HEADER || length > rest.len() {
            return Some(Err(Malformed("a netlink message is longer than its datagram")));
        }
        self.rest = rest.get(align(length)..).unwrap_or(&[]);
        Some(Ok(Message {
            kind: ne16(rest, 4).unwrap_or(0),
            flags: ne16(rest, 6).unwrap_or(0),
            seq: ne32(rest, 8).unwrap_or(0),
            port: ne32(rest, 12).unwrap_or(0),
            payload: &rest[HEADER..length],
        }))
    }
}

/// The attributes of a payload: (type without flag bits, value); stops after the first malformed one.
pub struct Attributes<'a> {
    rest: &'a [u8],
}

pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some(&[l0, l1, k0, k1]) = rest.first_chunk() else {
            return Some(Err(Malformed("an attribute header is cut")));
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = rest.get(ATTRIBUTE_HEADER..length) else {
            return Some(Err(Malformed("an attribute is longer than what holds it")));
        };
        self.rest = rest.get(align(length)..).unwrap_or(&[]);
        Some(Ok((u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value)))
    }
}

fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    Acked,
    /// A positive error number.
    Refused(i32),
    /// An error without its number: neither yes nor no.
    Cut,
}

pub fn ending(message: &Message<'_>) -> Option<Ending> {
    let code = ne32(message.payload, 0).map(|n| n as i32);
    let refused = |code: i32| Some(Ending::Refused(code.saturating_abs()));
    match (message.kind, code) {
        (NLMSG_DONE, Some(code)) if code < 0 => refused(code),
        (NLMSG_DONE, _) => Some(Ending::Done),
        (NLMSG_ERROR, None) => Some(Ending::Cut),
        (NLMSG_ERROR, Some(0)) => Some(Ending::Acked),
        (NLMSG_ERROR, Some(code)) => refused(code),
        _ => None,
    }
}

/// `nlmsghdr` and payload as one request: sequence 1, port 0.
pub(super) fn frame(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&1u32.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_messages_and_stops_at_a_lie() {
        let mut datagram = frame(256, 2, &[1, 2, 3, 4]);
        datagram.extend(frame(NLMSG_DONE, 2, &0i32.to_ne_bytes()));
        let got: Vec<_> = messages(&datagram).map(|m| m.unwrap()).collect();
        assert_eq!((got[0].kind, got[0].payload), (256, &[1u8, 2, 3, 4][..]));
        assert_eq!(ending(&got[0]), None);
        assert_eq!(ending(&got[1]), Some(Ending::Done));
        datagram[0] = 200;
        assert!(messages(&datagram).next().unwrap().is_err());
        assert!(messages(&datagram[..3]).next().unwrap().is_err());
    }

    #[test]
    fn attributes_lose_their_flag_bits() {
        let bytes = [8, 0, 1, 0x80, 9, 9, 9, 9, 5, 0, 2, 0, 7];
        let got: Vec<_> = attributes(&bytes).map(|a| a.unwrap()).collect();
        assert_eq!(got, [(1, &[9u8, 9, 9, 9][..]), (2, &[7u8][..])]);
        assert!(attributes(&[2, 0, 1, 0]).next().unwrap().is_err());
    }

    #[test]
    fn refusals_carry_a_positive_errno() {
        let datagram = frame(NLMSG_ERROR, 0, &(-1i32).to_ne_bytes());
        let message = messages(&datagram).next().unwrap().unwrap();
        assert_eq!(ending(&message), Some(Ending::Refused(1)));
    }

    #[test]
    fn an_error_without_its_number_is_no_acknowledgement() {
        let datagram = frame(NLMSG_ERROR, 0, &[]);
        let message = messages(&datagram).next().unwrap().unwrap();
        assert_eq!(ending(&message), Some(Ending::Cut));
        let datagram = frame(NLMSG_ERROR, 0, &i32::MIN.to_ne_bytes());
        let message = messages(&datagram).next().unwrap().unwrap();
        assert_eq!(ending(&message), Some(Ending::Refused(i32::MAX)));
    }
}
