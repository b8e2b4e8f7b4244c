//! IPCTNL_MSG_CT_GET_STATS (count and limit) and _STATS_CPU (conntrack's counters).

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use super::ctnetlink::serialized;
use super::netlink::attributes;
use super::{Malformed, be32};
use crate::model::ConntrackStats;

const GET_STATS_CPU: u8 = 4;
const GET_STATS: u8 = 5;
const SUBSYSTEM: u16 = 1 << 8;

pub fn encode_stats() -> Vec<u8> {
    request(GET_STATS, NLM_F_REQUEST)
}

pub fn is_stats(kind: u16) -> bool {
    kind == SUBSYSTEM | u16::from(GET_STATS)
}

/// (entries of this namespace, nf_conntrack_max; the latter since 4.18).
pub fn decode_stats(payload: &[u8]) -> Result<(Option<u64>, Option<u64>), Malformed> {
    let (mut count, mut max) = (None, None);
    for attribute in attributes(payload.get(4..).ok_or(Malformed("nfgenmsg is cut"))?) {
        let (kind, value) = attribute?;
        let number = || {
            be32(value, 0)
                .map(u64::from)
                .ok_or(Malformed("a statistic is short"))
        };
        match kind {
            1 => count = Some(number()?),
            2 => max = Some(number()?),
            _ => {}
        }
    }
    Ok((count, max))
}

pub fn encode_stats_cpu() -> Vec<u8> {
    request(GET_STATS_CPU, NLM_F_REQUEST | NLM_F_DUMP)
}

pub fn is_stats_cpu(kind: u16) -> bool {
    kind == SUBSYSTEM | u16::from(GET_STATS_CPU)
}

/// One CPU's counters (enum ctattr_stats_cpu).
pub fn decode_stats_cpu(payload: &[u8]) -> Result<ConntrackStats, Malformed> {
    let mut stats = ConntrackStats {
        cpus: 1,
        ..Default::default()
    };
    for attribute in attributes(payload.get(4..).ok_or(Malformed("nfgenmsg is cut"))?) {
        let (kind, value) = attribute?;
        let slot = match kind {
            2 => &mut stats.found,
            4 => &mut stats.invalid,
            8 => &mut stats.insert,
            9 => &mut stats.insert_failed,
            10 => &mut stats.drop,
            11 => &mut stats.early_drop,
            12 => &mut stats.error,
            13 => &mut stats.search_restart,
            14 => &mut stats.clash_resolve,
            15 => &mut stats.chaintoolong,
            _ => continue,
        };
        *slot = Some(u64::from(be32(value, 0).ok_or(Malformed("a counter is short"))?));
    }
    Ok(stats)
}

fn request(message_type: u8, flags: u16) -> Vec<u8> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let inner = ConntrackMessage::Other {
        message_type,
        attributes: Vec::new(),
    };
    serialized(NetfilterMessage::new(header, inner), flags)
}
