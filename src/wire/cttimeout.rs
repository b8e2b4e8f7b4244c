//! nfnetlink_cttimeout: the timeouts in force per protocol, the only way to SYN_SENT2's. Messages by neli.

use std::io::Cursor;

use neli::consts::nl::NlmF;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::types::GenlBuffer;
use neli::{FromBytesWithInput, ToBytes};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::Malformed;
use super::netlink::frame;
use crate::model::{TcpState, Timeouts, Timer, proto};

/// `NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8`
const SUBSYSTEM: u16 = 8 << 8;
const TIMEOUT_GET: u16 = 1;
const DEFAULT_GET: u16 = 4;

// enum ctattr_timeout, include/uapi/linux/netfilter/nfnetlink_cttimeout.h
const CTA_TIMEOUT_L3PROTO: u16 = 2;
const CTA_TIMEOUT_L4PROTO: u16 = 3;
const CTA_TIMEOUT_DATA: u16 = 4;

/// Asks for one protocol's defaults (`IPCTNL_MSG_TIMEOUT_DEFAULT_GET`). neli's generic header has the shape of
/// nfgenmsg: family, version, resource id.
pub fn encode_default_get(l3: u16, l4: u8) -> Vec<u8> {
    build(l3, l4).expect("constant sizes fit netlink's length fields")
}

fn build(l3: u16, l4: u8) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut attrs = GenlBuffer::new();
    let kind = |kind: u16| AttrTypeBuilder::default().nla_type(kind).build();
    attrs.push(
        NlattrBuilder::default()
            .nla_type(kind(CTA_TIMEOUT_L3PROTO)?)
            .nla_payload(l3.to_be_bytes().as_slice())
            .build()?,
    );
    attrs.push(
        NlattrBuilder::default()
            .nla_type(kind(CTA_TIMEOUT_L4PROTO)?)
            .nla_payload([l4].as_slice())
            .build()?,
    );
    let body = GenlmsghdrBuilder::<u8, u16>::default()
        .cmd(0)
        .version(0)
        .attrs(attrs)
        .build()?;
    let message = NlmsghdrBuilder::default()
        .nl_type(SUBSYSTEM | DEFAULT_GET)
        .nl_flags(NlmF::REQUEST)
        .nl_seq(1)
        .nl_pid(0)
        .nl_payload(NlPayload::Payload(body))
        .build()?;
    let mut out = Cursor::new(Vec::new());
    message.to_bytes(&mut out)?;
    Ok(out.into_inner())
}

/// A request for all named policies (`IPCTNL_MSG_TIMEOUT_GET`).
pub fn encode_list() -> Vec<u8> {
    frame(SUBSYSTEM | TIMEOUT_GET, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4])
}

/// The answer comes as DEFAULT_SET on some kernels and as DEFAULT_GET on others.
pub fn is_timeout(kind: u16) -> bool {
    kind & 0xff00 == SUBSYSTEM
}

/// Writes what an answer's payload says into `timeouts`.
pub fn decode_defaults(payload: &[u8], timeouts: &mut Timeouts) -> Result<(), Malformed> {
    let body = Genlmsghdr::<u8, u16>::from_bytes_with_input(&mut Cursor::new(payload), payload.len())
        .map_err(|_| Malformed("a timeout message is cut"))?;
    let attrs = body.attrs().get_attr_handle();
    let l4 = attrs
        .get_attribute(CTA_TIMEOUT_L4PROTO)
        .and_then(|a| a.nla_payload().as_ref().first().copied())
        .ok_or(Malformed("a timeout message without its protocol"))?;
    let data = attrs
        .get_attribute(CTA_TIMEOUT_DATA)
        .ok_or(Malformed("a timeout message without data"))?;
    let inner = data
        .get_attr_handle::<u16>()
        .map_err(|_| Malformed("timeout data is cut"))?;
    for attribute in inner.iter() {
        let number = *attribute.nla_type().nla_type();
        let value = <[u8; 4]>::try_from(attribute.nla_payload().as_ref())
            .map_err(|_| Malformed("a timeout is not four bytes"))?;
        set(timeouts, l4, number, u32::from_be_bytes(value));
    }
    Ok(())
}

/// CTA_TIMEOUT_TCP_*: 1 to 9 are the states by number, then the two that override them; CTA_TIMEOUT_UDP_*.
fn set(timeouts: &mut Timeouts, l4: u8, number: u16, secs: u32) {
    let timer = match (l4, number) {
        (proto::TCP, 1..=9) => TcpState::from_number(number as u8).and_then(Timer::of_state),
        (proto::TCP, 10) => Some(Timer::MaxRetrans),
        (proto::TCP, 11) => Some(Timer::Unacknowledged),
        (proto::UDP, 1) => Some(Timer::Udp),
        (proto::UDP, 2) => Some(Timer::UdpStream),
        _ => None,
    };
    if let Some(timer) = timer {
        timeouts.set(timer, Some(secs));
    }
}
