//! The elements of a set or map.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::expressions::{Parts, verdict};
use super::{SUBSYSTEM, after_header};
use crate::model::{Action, Family};
use crate::wire::Malformed;
use crate::wire::netlink::{attributes, frame};

const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
/// NFT_SET_ELEM_INTERVAL_END
const INTERVAL_END: u32 = 1;

/// One element as the kernel lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub key: Vec<u8>,
    /// Where the key is a range of a concatenation: its other end, included.
    pub last: Option<Vec<u8>>,
    /// It is the first value beyond an interval.
    pub ends: bool,
    pub value: ElementValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ElementValue {
    None,
    /// Of a verdict map.
    Verdict(Action),
    Bytes(Vec<u8>),
}

/// A request for all elements of one set.
pub fn encode_elements(family: Family, table: &str, set: &str) -> Vec<u8> {
    let number = match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Arp => 3,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    };
    let mut payload = vec![number, 0, 0, 0];
    // NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET
    for (kind, name) in [(1u16, table), (2, set)] {
        let length = 4 + name.len() + 1;
        payload.extend_from_slice(&(length as u16).to_ne_bytes());
        payload.extend_from_slice(&kind.to_ne_bytes());
        payload.extend_from_slice(name.as_bytes());
        payload.push(0);
        payload.resize(payload.len().next_multiple_of(4), 0);
    }
    frame(GETSETELEM, NLM_F_REQUEST | NLM_F_DUMP, &payload)
}

pub fn is_elements(kind: u16) -> bool {
    kind == NEWSETELEM
}

/// The elements of one message; a set of many comes in several.
pub fn decode_elements(payload: &[u8]) -> Result<Vec<Element>, Malformed> {
    let mut out = Vec::new();
    for attribute in attributes(after_header(payload)?) {
        let (kind, list) = attribute?;
        // NFTA_SET_ELEM_LIST_ELEMENTS
        if kind != 3 {
            continue;
        }
        for element in attributes(list) {
            let parts = Parts::of(element?.1)?;
            // NFTA_SET_ELEM_KEY, _DATA, _FLAGS, _KEY_END
            let Some(key) = parts.data(1) else { continue };
            let value = match (parts.data(2), parts.bytes(2)) {
                (Some(bytes), _) => ElementValue::Bytes(bytes.to_vec()),
                (None, Some(nested)) => verdict(nested)?.map_or(ElementValue::None, ElementValue::Verdict),
                (None, None) => ElementValue::None,
            };
            out.push(Element {
                key: key.to_vec(),
                last: parts.data(10).map(<[u8]>::to_vec),
                ends: parts.number(3).unwrap_or(0) & INTERVAL_END != 0,
                value,
            });
        }
    }
    Ok(out)
}
