//! nf_tables: chains, rules, objects and set elements. What is not understood says so; nothing is guessed.

mod elements;
mod expressions;
mod lookup;
mod nat;
mod rule;
mod tracks;
mod words;
mod xt;

pub use elements::{Element, ElementValue, decode_elements, encode_elements, is_elements};
pub use lookup::Lookup;
pub use rule::{RawRule, decode_rule};
pub use tracks::{object_tracks, rule_tracks};
pub use words::rule_words;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::netlink::{attributes, frame};
use super::{Malformed, be32, be64};
use crate::model::{At, Chain, Engine, Family, Hook, Tally};

/// `NFNL_SUBSYS_NFTABLES << 8`
const SUBSYSTEM: u16 = 10 << 8;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const NEWOBJ: u16 = SUBSYSTEM | 18;
const GETOBJ: u16 = SUBSYSTEM | 19;
const NEWFLOWTABLE: u16 = SUBSYSTEM | 22;
const GETFLOWTABLE: u16 = SUBSYSTEM | 23;

const OBJECT_COUNTER: u32 = 1;
const OBJECT_CT_TIMEOUT: u32 = 7;

/// A request for all chains of all families.
pub fn encode_chains() -> Vec<u8> {
    frame(GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4])
}

pub fn is_chain(kind: u16) -> bool {
    kind == NEWCHAIN
}

/// A request for all rules of all families. It reads counters and leaves them as they are.
pub fn encode_rules() -> Vec<u8> {
    frame(GETRULE, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4])
}

pub fn is_rule(kind: u16) -> bool {
    kind == NEWRULE
}

/// A request for all named objects of all families; since 4.10.
pub fn encode_objects() -> Vec<u8> {
    frame(GETOBJ, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4])
}

pub fn is_object(kind: u16) -> bool {
    kind == NEWOBJ
}

/// A request for all flowtables of all families; since 4.16.
pub fn encode_flowtables() -> Vec<u8> {
    frame(GETFLOWTABLE, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4])
}

pub fn is_flowtable(kind: u16) -> bool {
    kind == NEWFLOWTABLE
}

/// The name of a flowtable.
pub fn decode_flowtable(payload: &[u8]) -> Result<String, Malformed> {
    // NFTA_FLOWTABLE_NAME
    for attribute in attributes(after_header(payload)?) {
        let (kind, value) = attribute?;
        if kind == 2 {
            return Ok(text(value).to_string());
        }
    }
    Err(Malformed("a flowtable without its name"))
}

/// A named object, as far as rules refer to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub family: Family,
    pub table: String,
    pub name: String,
    pub kind: ObjectKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ObjectKind {
    Counter(Tally),
    /// A timeout policy that rules may give to flows.
    CtTimeout,
    Other,
}

pub fn decode_object(payload: &[u8]) -> Result<Object, Malformed> {
    let family = family(payload)?;
    let (mut table, mut name, mut number, mut data): (&str, &str, u32, &[u8]) = ("", "", 0, &[]);
    for attribute in attributes(after_header(payload)?) {
        let (kind, value) = attribute?;
        // NFTA_OBJ_TABLE, _NAME, _TYPE, _DATA
        match kind {
            1 => table = text(value),
            2 => name = text(value),
            3 => number = be32(value, 0).ok_or(Malformed("an object's type is short"))?,
            4 => data = value,
            _ => {}
        }
    }
    let kind = match number {
        OBJECT_COUNTER => ObjectKind::Counter(tally(data)?),
        OBJECT_CT_TIMEOUT => ObjectKind::CtTimeout,
        _ => ObjectKind::Other,
    };
    Ok(Object {
        family,
        table: table.to_string(),
        name: name.to_string(),
        kind,
    })
}

pub fn decode_chain(payload: &[u8]) -> Result<Chain, Malformed> {
    let family = family(payload)?;
    let mut chain = Chain {
        engine: Engine::NfTables,
        family,
        table: String::new(),
        name: String::new(),
        at: None,
        drops: false,
        counter: None,
    };
    for attribute in attributes(after_header(payload)?) {
        let (kind, value) = attribute?;
        // NFTA_CHAIN_TABLE, _NAME, _HOOK, _POLICY, _COUNTERS
        match kind {
            1 => chain.table = text(value).to_string(),
            3 => chain.name = text(value).to_string(),
            4 => chain.at = hook(family, value)?,
            // NF_DROP
            5 => chain.drops = be32(value, 0) == Some(0),
            8 => chain.counter = Some(tally(value)?),
            _ => {}
        }
    }
    Ok(chain)
}

/// NFTA_HOOK_HOOKNUM and NFTA_HOOK_PRIORITY.
fn hook(family: Family, nested: &[u8]) -> Result<Option<At>, Malformed> {
    let (mut number, mut priority) = (None, 0);
    for attribute in attributes(nested) {
        let (kind, value) = attribute?;
        match kind {
            1 => number = be32(value, 0),
            2 => priority = be32(value, 0).unwrap_or(0) as i32,
            _ => {}
        }
    }
    let hook = match (family, number) {
        (Family::Netdev, Some(0)) | (Family::Inet, Some(5)) => Hook::Ingress,
        (Family::Netdev, Some(1)) => Hook::Egress,
        (Family::Arp, _) | (Family::Netdev, _) => return Ok(None),
        (_, Some(0)) => Hook::Prerouting,
        (_, Some(1)) => Hook::Input,
        (_, Some(2)) => Hook::Forward,
        (_, Some(3)) => Hook::Output,
        (_, Some(4)) => Hook::Postrouting,
        _ => return Ok(None),
    };
    Ok(Some(At { hook, priority }))
}

/// NFTA_COUNTER_BYTES and NFTA_COUNTER_PACKETS.
fn tally(nested: &[u8]) -> Result<Tally, Malformed> {
    let mut out = Tally::default();
    for attribute in attributes(nested) {
        let (kind, value) = attribute?;
        let number = be64(value, 0);
        match kind {
            1 => out.bytes = number.ok_or(Malformed("a counter is short"))?,
            2 => out.packets = number.ok_or(Malformed("a counter is short"))?,
            _ => {}
        }
    }
    Ok(out)
}

fn family(payload: &[u8]) -> Result<Family, Malformed> {
    Ok(match payload.first() {
        Some(1) => Family::Inet,
        Some(2) => Family::Ip,
        Some(3) => Family::Arp,
        Some(5) => Family::Netdev,
        Some(7) => Family::Bridge,
        Some(10) => Family::Ip6,
        _ => return Err(Malformed("an unknown family of tables")),
    })
}

fn after_header(payload: &[u8]) -> Result<&[u8], Malformed> {
    payload.get(4..).ok_or(Malformed("nfgenmsg is cut"))
}

fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or("")
}
