//! nf_tables: which rules need conntrack. Rule messages only, expressions by name.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::Malformed;
use super::netlink::{attributes, frame};

/// `NFNL_SUBSYS_NFTABLES << 8`
const SUBSYSTEM: u16 = 10 << 8;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;

/// A request for all rules of all families.
pub fn encode_rules() -> Vec<u8> {
    frame(GETRULE, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4])
}

pub fn is_rule(kind: u16) -> bool {
    kind == NEWRULE
}

/// Whether a rule's mere presence makes its namespace track connections: each of these expressions takes
/// nf_ct_netns_get() when it is loaded.
pub fn tracks(payload: &[u8]) -> Result<bool, Malformed> {
    for attribute in attributes(payload.get(4..).ok_or(Malformed("nfgenmsg is cut"))?) {
        let (kind, value) = attribute?;
        if kind != NFTA_RULE_EXPRESSIONS {
            continue;
        }
        for element in attributes(value) {
            if expression_tracks(element?.1)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn expression_tracks(expression: &[u8]) -> Result<bool, Malformed> {
    let (mut name, mut inner) = ("", "");
    for attribute in attributes(expression) {
        let (kind, value) = attribute?;
        match kind {
            NFTA_EXPR_NAME => name = text(value),
            // iptables' own extensions: xt "match" and "target" carry their name first.
            NFTA_EXPR_DATA => {
                inner = attributes(value)
                    .flatten()
                    .find(|(kind, _)| *kind == 1)
                    .map_or("", |(_, v)| text(v))
            }
            _ => {}
        }
    }
    const NATIVE: [&str; 8] = [
        "ct",
        "nat",
        "masq",
        "redir",
        "synproxy",
        "flow_offload",
        "connlimit",
        "ct_helper",
    ];
    const XT: [&str; 14] = [
        "conntrack",
        "state",
        "connmark",
        "connlabel",
        "connbytes",
        "connlimit",
        "helper",
        "CT",
        "SNAT",
        "DNAT",
        "MASQUERADE",
        "REDIRECT",
        "CONNMARK",
        "SYNPROXY",
    ];
    Ok(NATIVE.contains(&name) || matches!(name, "match" | "target") && XT.contains(&inner))
}

fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or("")
}
