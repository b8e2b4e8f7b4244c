//! Which rules and objects need conntrack: expressions by name, for a yes or no.

use super::{OBJECT_CT_TIMEOUT, text};
use crate::wire::netlink::attributes;
use crate::wire::{Malformed, be32, ne16};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DYNSET_EXPR: u16 = 7;
const NFTA_DYNSET_EXPRESSIONS: u16 = 10;
const NFTA_OBJ_TYPE: u16 = 3;

// Names of what takes nf_ct_netns_get() when it is loaded.
const NATIVE: [&str; 7] = [
    "connlimit",
    "ct",
    "flow_offload",
    "masq",
    "nat",
    "redir",
    "synproxy",
];
const XT_MATCHES: [&str; 8] = [
    "cluster",
    "connbytes",
    "connlabel",
    "connlimit",
    "connmark",
    "conntrack",
    "helper",
    "state",
];
const XT_TARGETS: [&str; 9] = [
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DNAT",
    "MASQUERADE",
    "NETMAP",
    "REDIRECT",
    "SNAT",
    "SYNPROXY",
];
/// NFT_OBJECT_CT_HELPER, CONNLIMIT, CT_TIMEOUT, CT_EXPECT, SYNPROXY
const OBJECTS: [u32; 5] = [3, 5, OBJECT_CT_TIMEOUT, 9, 10];
/// XT_CT_NOTRACK: the one use of the CT target that tracks nothing (xt_ct_tg_check).
const XT_CT_NOTRACK: u16 = 1;

/// Whether a rule's mere presence makes its namespace track connections.
pub fn rule_tracks(payload: &[u8]) -> Result<bool, Malformed> {
    for attribute in attributes(payload.get(4..).ok_or(Malformed("nfgenmsg is cut"))?) {
        let (kind, value) = attribute?;
        if kind == NFTA_RULE_EXPRESSIONS && any_tracks(value, true)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an object (`ct timeout`, `synproxy`, …) tracks, used by a rule or not.
pub fn object_tracks(payload: &[u8]) -> Result<bool, Malformed> {
    object_type(payload).map(|number| OBJECTS.contains(&number))
}

fn object_type(payload: &[u8]) -> Result<u32, Malformed> {
    for attribute in attributes(payload.get(4..).ok_or(Malformed("nfgenmsg is cut"))?) {
        let (kind, value) = attribute?;
        if kind == NFTA_OBJ_TYPE {
            return be32(value, 0).ok_or(Malformed("an object's type is short"));
        }
    }
    Err(Malformed("an object without its type"))
}

/// A list of expressions. `outer`: those of the rule itself, which may hold others.
fn any_tracks(list: &[u8], outer: bool) -> Result<bool, Malformed> {
    for element in attributes(list) {
        if expression_tracks(element?.1, outer)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn expression_tracks(expression: &[u8], outer: bool) -> Result<bool, Malformed> {
    let (mut name, mut data): (&str, &[u8]) = ("", &[]);
    for attribute in attributes(expression) {
        let (kind, value) = attribute?;
        match kind {
            NFTA_EXPR_NAME => name = text(value),
            NFTA_EXPR_DATA => data = value,
            _ => {}
        }
    }
    match name {
        "match" => Ok(XT_MATCHES.contains(&xt(data)?.0)),
        "target" => {
            let (name, flags) = xt(data)?;
            Ok(XT_TARGETS.contains(&name) && !(name == "CT" && flags & XT_CT_NOTRACK != 0))
        }
        // `add @set { … ct count over 20 }`
        "dynset" if outer => dynset_tracks(data),
        name => Ok(NATIVE.contains(&name)),
    }
}

fn dynset_tracks(data: &[u8]) -> Result<bool, Malformed> {
    for attribute in attributes(data) {
        let (kind, value) = attribute?;
        let tracks = match kind {
            NFTA_DYNSET_EXPR => expression_tracks(value, false)?,
            NFTA_DYNSET_EXPRESSIONS => any_tracks(value, false)?,
            _ => false,
        };
        if tracks {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An extension of iptables: its name, and the first number of its own structure (the CT target's flags).
fn xt(data: &[u8]) -> Result<(&str, u16), Malformed> {
    let (mut name, mut first) = ("", 0);
    for attribute in attributes(data) {
        let (kind, value) = attribute?;
        // NFTA_MATCH_NAME and NFTA_TARGET_NAME, _INFO
        match kind {
            1 => name = text(value),
            3 => first = ne16(value, 0).unwrap_or(0),
            _ => {}
        }
    }
    Ok((name, first))
}
