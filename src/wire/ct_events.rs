//! ctnetlink events, and the filter that keeps the unwanted ones out of the socket's buffer.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::ctnetlink::{CTA_TIMESTAMP, fill};
use super::netlink::{Message, attributes};
use super::{Malformed, be64};
use crate::model::{BpfInstruction, Event, EventKind, Flow};

/// `NFNL_SUBSYS_CTNETLINK << 8` with IPCTNL_MSG_CT_NEW and _DELETE
const CT_NEW: u16 = 1 << 8;
const CT_DELETE: u16 = 1 << 8 | 2;
const CTA_TIMESTAMP_EVENT: u16 = 27;
const CTA_TIMESTAMP_STOP: u16 = 2;

/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE`, `_DESTROY` (include/uapi/linux/netfilter/nfnetlink_compat.h).
pub fn group(kind: EventKind) -> u32 {
    match kind {
        EventKind::New => 1,
        EventKind::Update => 2,
        EventKind::Destroy => 3,
    }
}

/// `None`: the message is no event of conntrack.
pub fn decode_event(message: &Message<'_>) -> Result<Option<Event>, Malformed> {
    let created = message.flags & (NLM_F_CREATE | NLM_F_EXCL) != 0;
    let kind = match message.kind {
        CT_NEW if created => EventKind::New,
        CT_NEW => EventKind::Update,
        CT_DELETE => EventKind::Destroy,
        _ => return Ok(None),
    };
    let mut event = Event {
        kind,
        flow: Flow::default(),
        port: message.port,
        at_ns: None,
        stop_ns: None,
    };
    let (mut at_ns, mut stop_ns) = (None, None);
    fill(message.payload, &mut event.flow, &mut |kind, value| {
        match kind {
            CTA_TIMESTAMP_EVENT => {
                at_ns = Some(be64(value, 0).ok_or(Malformed("CTA_TIMESTAMP_EVENT is short"))?)
            }
            CTA_TIMESTAMP => {
                for attribute in attributes(value) {
                    let (kind, value) = attribute?;
                    if kind == CTA_TIMESTAMP_STOP {
                        stop_ns = Some(be64(value, 0).ok_or(Malformed("CTA_TIMESTAMP_STOP is short"))?);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    (event.at_ns, event.stop_ns) = (at_ns, stop_ns);
    Ok(Some(event))
}

/// What of it the kernel may leave out. Tuple fields are the original direction's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub proto: Option<u8>,
    /// An address and its prefix length.
    pub src: Option<(IpAddr, u8)>,
    pub dst: Option<(IpAddr, u8)>,
    pub sport: Option<u16>,
    pub dport: Option<u16>,
}

// include/uapi/linux/filter.h: class, size, mode of each instruction used.
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LD_W_ABS: u16 = 0x20;
const LD_W_IND: u16 = 0x40;
const LD_H_IND: u16 = 0x48;
const LD_B_IND: u16 = 0x50;
const TAX: u16 = 0x07;
const AND: u16 = 0x54;
const JEQ: u16 = 0x15;
const RET: u16 = 0x06;
/// SKF_AD_OFF + SKF_AD_NLATTR and + SKF_AD_NLATTR_NEST: A = where attributes, or the one that holds them, begin; X = the
/// type that is looked for; A becomes its place, or 0.
const NLATTR: u32 = 0xffff_f000 + 12;
const NLATTR_NEST: u32 = 0xffff_f000 + 16;
/// Behind nlmsghdr and nfgenmsg.
const ATTRIBUTES: u32 = 20;
const ATTRIBUTE_HEADER: u32 = 4;

/// A program for the socket that lets through what the filter may want; empty where it wants all. What it cannot tell
/// it lets through: what comes is filtered again.
pub fn encode_filter(filter: &EventFilter) -> Vec<BpfInstruction> {
    let mut out = Vec::new();
    // CTA_TUPLE_PROTO, CTA_PROTO_NUM, _SRC_PORT, _DST_PORT
    let numbers = [
        (1, LD_B_IND, filter.proto.map(u32::from)),
        (2, LD_H_IND, filter.sport.map(u32::from)),
        (3, LD_H_IND, filter.dport.map(u32::from)),
    ];
    for (attribute, load, wanted) in numbers {
        if let Some(wanted) = wanted {
            place(&mut out, 2, attribute);
            out.extend([op(load, ATTRIBUTE_HEADER), op(JEQ, wanted)]);
        }
    }
    // CTA_TUPLE_IP, CTA_IP_V4_SRC, _V4_DST, _V6_SRC, _V6_DST
    for (v4, v6, prefix) in [(1, 3, filter.src), (2, 4, filter.dst)] {
        match prefix {
            Some((IpAddr::V4(addr), bits)) => words(&mut out, v4, &addr.octets(), bits),
            Some((IpAddr::V6(addr), bits)) => words(&mut out, v6, &addr.octets(), bits),
            None => {}
        }
    }
    if out.is_empty() {
        return out;
    }
    // Every comparison that fails, and every attribute that is not there, goes to the last instruction.
    let (end, reject) = (out.len(), (out.len() + 1) as u8);
    for (at, op) in out.iter_mut().enumerate().filter(|(_, op)| op.code == JEQ) {
        let away = reject.saturating_sub(at as u8 + 1);
        match op.jt {
            MISSING => (op.jt, op.jf) = (away, 0),
            _ => (op.jt, op.jf) = (0, away),
        }
    }
    debug_assert!(end + 2 <= usize::from(u8::MAX));
    out.extend([op(RET, u32::MAX), op(RET, 0)]);
    out
}

/// A comparison that fails where it holds.
const MISSING: u8 = 1;

fn op(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Puts the place of an attribute of the original tuple's part into X.
fn place(out: &mut Vec<BpfInstruction>, part: u32, attribute: u32) {
    out.extend([op(LD_IMM, ATTRIBUTES), op(LDX_IMM, 1), op(LD_W_ABS, NLATTR)]);
    for kind in [part, attribute] {
        out.extend([
            BpfInstruction {
                jt: MISSING,
                ..op(JEQ, 0)
            },
            op(LDX_IMM, kind),
            op(LD_W_ABS, NLATTR_NEST),
        ]);
    }
    out.extend([
        BpfInstruction {
            jt: MISSING,
            ..op(JEQ, 0)
        },
        op(TAX, 0),
    ]);
}

/// Compares an address word by word, as far as its prefix goes.
fn words(out: &mut Vec<BpfInstruction>, attribute: u32, addr: &[u8], bits: u8) {
    place(out, 1, attribute);
    for (index, word) in addr.chunks_exact(4).enumerate() {
        let asked = u32::from(bits).saturating_sub(index as u32 * 32).min(32);
        if asked == 0 {
            break;
        }
        let mask = u32::MAX << (32 - asked);
        let value = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        out.extend([
            op(LD_W_IND, ATTRIBUTE_HEADER + index as u32 * 4),
            op(AND, mask),
            op(JEQ, value & mask),
        ]);
    }
}
