//! Entries as rows that stream: the line of `conntrack -L`, or one JSON object per line; no allocation per row.
//!
//! What [`Flow`] does not carry stands in neither: `use=`, `delta-time=`, `secctx=`, `zone-orig=`, `zone-reply=` and the
//! states of SCTP and DCCP. IPv6 is written as RFC 5952 has it, IPv4-compatible addresses (`::1.2.3.4`) in hexadecimal.

use std::io::Write;
use std::net::IpAddr;

use crate::model::{Flow, Status, Tuple, proto};

/// Stands in every row, so that a row still says what it is after grep, head or split.
pub const FLOW_SCHEMA: &str = "ctlens.flow/1";

/// Appends the line that `conntrack -L` prints (snprintf_default.c of libnetfilter_conntrack), its end included.
pub fn flow_text(flow: &Flow, out: &mut Vec<u8>) {
    let name = proto::name(flow.proto).unwrap_or("unknown");
    out.extend_from_slice(name.as_bytes());
    const NAME_WIDTH: usize = 8;
    out.resize(out.len() + NAME_WIDTH.saturating_sub(name.len()), b' ');
    out.push(b' ');
    number(out, flow.proto.into());
    out.push(b' ');
    if let Some(secs) = flow.timeout_secs {
        number(out, secs.into());
        out.push(b' ');
    }
    if let Some(state) = flow.tcp_state {
        out.extend_from_slice(state.name().as_bytes());
        out.push(b' ');
    }
    direction_text(flow, 0, out);
    if !flow.status.seen_reply() {
        out.extend_from_slice(b"[UNREPLIED] ");
    }
    direction_text(flow, 1, out);
    if flow.status.has(Status::HW_OFFLOAD) {
        out.extend_from_slice(b"[HW_OFFLOAD] ");
    } else if flow.status.has(Status::OFFLOAD) {
        out.extend_from_slice(b"[OFFLOAD] ");
    } else if flow.status.assured() {
        out.extend_from_slice(b"[ASSURED] ");
    }
    if let Some(mark) = flow.mark {
        field_text(out, "mark", mark.into());
    }
    if let Some(zone) = flow.zone.filter(named_zone) {
        field_text(out, "zone", zone.into());
    }
    if out.last() == Some(&b' ') {
        out.pop();
    }
    out.push(b'\n');
}

/// Appends one JSON object and a line end. A key whose value the kernel did not give is left out; jq reads it as null.
///
/// `{"schema":"ctlens.flow/1","proto":"tcp","protonum":6,"state":"SYN_SENT","timeout_s":118,
/// "orig":{"src":…,"dst":…,"sport":…,"dport":…,"packets":…,"bytes":…},"reply":{…},"status":["confirmed"],
/// "mark":0,"zone":7,"id":1,"start_s":1795408091.671835927}`; ICMP has `type`, `code` and `id` in place of ports,
/// GRE `srckey` and `dstkey`.
pub fn flow_json(flow: &Flow, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"schema\":\"");
    out.extend_from_slice(FLOW_SCHEMA.as_bytes());
    out.push(b'"');
    flow_fields(flow, out);
    out.extend_from_slice(b"}\n");
}

/// The entry's own keys, each with a comma before it.
pub(super) fn flow_fields(flow: &Flow, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"proto\":\"");
    out.extend_from_slice(proto::name(flow.proto).unwrap_or("unknown").as_bytes());
    out.push(b'"');
    field_json(out, "protonum", flow.proto.into());
    if let Some(state) = flow.tcp_state {
        key_json(out, "state");
        out.push(b'"');
        out.extend_from_slice(state.name().as_bytes());
        out.push(b'"');
    }
    if let Some(secs) = flow.timeout_secs {
        field_json(out, "timeout_s", secs.into());
    }
    direction_json(flow, 0, out);
    direction_json(flow, 1, out);
    status_json(flow.status, out);
    if let Some(mark) = flow.mark {
        field_json(out, "mark", mark.into());
    }
    if let Some(zone) = flow.zone.filter(named_zone) {
        field_json(out, "zone", zone.into());
    }
    if let Some(id) = flow.id {
        field_json(out, "id", id.into());
    }
    if let Some(ns) = flow.start_ns {
        // Seconds with a point: a 64-bit count of nanoseconds is more than a JSON number of jq holds.
        key_json(out, "start_s");
        number(out, ns / 1_000_000_000);
        out.push(b'.');
        padded(out, ns % 1_000_000_000, 9);
    }
}

/// ctnetlink leaves the default zone out (ctnetlink_dump_zone_id) where /proc writes `zone=0`: the same row from both.
fn named_zone(zone: &u16) -> bool {
    *zone != 0
}

/// The fields of a tuple after its addresses, in the words of `conntrack -L`.
fn ends(number: u8, tuple: &Tuple) -> ([Option<(&'static str, u16)>; 3], bool) {
    let (sport, dport) = (tuple.sport, tuple.dport);
    match number {
        proto::TCP | proto::UDP | proto::SCTP | 33 | 136 => {
            ([Some(("sport", sport)), Some(("dport", dport)), None], false)
        }
        proto::ICMP | proto::ICMPV6 => {
            let kind = [("type", dport >> 8), ("code", dport & 0xff), ("id", sport)];
            (kind.map(Some), false)
        }
        proto::GRE => ([Some(("srckey", sport)), Some(("dstkey", dport)), None], true),
        _ => ([None; 3], false),
    }
}

fn direction_text(flow: &Flow, index: usize, out: &mut Vec<u8>) {
    let tuple = [&flow.orig, &flow.reply][index];
    out.extend_from_slice(b"src=");
    address(out, tuple.src);
    out.extend_from_slice(b" dst=");
    address(out, tuple.dst);
    out.push(b' ');
    let (fields, hex) = ends(flow.proto, tuple);
    for (key, value) in fields.into_iter().flatten() {
        if hex {
            // Writing into a Vec cannot fail.
            let _ = write!(out, "{key}={value:#x} ");
        } else {
            field_text(out, key, value.into());
        }
    }
    if let Some(packets) = flow.packets {
        field_text(out, "packets", packets[index]);
    }
    if let Some(bytes) = flow.bytes {
        field_text(out, "bytes", bytes[index]);
    }
}

fn direction_json(flow: &Flow, index: usize, out: &mut Vec<u8>) {
    let tuple = [&flow.orig, &flow.reply][index];
    key_json(out, ["orig", "reply"][index]);
    out.extend_from_slice(b"{\"src\":\"");
    address(out, tuple.src);
    out.extend_from_slice(b"\",\"dst\":\"");
    address(out, tuple.dst);
    out.push(b'"');
    for (key, value) in ends(flow.proto, tuple).0.into_iter().flatten() {
        field_json(out, key, value.into());
    }
    if let Some(packets) = flow.packets {
        field_json(out, "packets", packets[index]);
    }
    if let Some(bytes) = flow.bytes {
        field_json(out, "bytes", bytes[index]);
    }
    out.push(b'}');
}

/// `enum ip_conntrack_status` of nf_conntrack_common.h, bit 0 first, without IPS_ and in lower case.
const STATUS_NAMES: [&str; 16] = [
    "expected",
    "seen_reply",
    "assured",
    "confirmed",
    "src_nat",
    "dst_nat",
    "seq_adjust",
    "src_nat_done",
    "dst_nat_done",
    "dying",
    "fixed_timeout",
    "template",
    "nat_clash",
    "helper",
    "offload",
    "hw_offload",
];

fn status_json(status: Status, out: &mut Vec<u8>) {
    key_json(out, "status");
    out.push(b'[');
    let mut first = true;
    for (bit, name) in STATUS_NAMES.iter().enumerate() {
        if status.has(1 << bit) {
            out.extend_from_slice(if first { b"\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            first = false;
        }
    }
    out.push(b']');
}

fn field_text(out: &mut Vec<u8>, key: &str, value: u64) {
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    number(out, value);
    out.push(b' ');
}

fn field_json(out: &mut Vec<u8>, key: &str, value: u64) {
    key_json(out, key);
    number(out, value);
}

fn key_json(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(four) => {
            for (index, octet) in four.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number(out, octet.into());
            }
        }
        // Writing into a Vec cannot fail.
        IpAddr::V6(six) => drop(write!(out, "{six}")),
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    padded(out, value, 1);
}

/// Decimal digits without the formatting machinery, at least so many: a million rows have twenty million numbers.
pub(super) fn padded(out: &mut Vec<u8>, mut value: u64, least: usize) {
    const MOST: usize = 20; // digits of u64::MAX
    let mut digits = [b'0'; MOST];
    let mut at = MOST;
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(MOST - least)..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits() {
        for value in [0, 9, 10, 65_535, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        let mut out = Vec::new();
        padded(&mut out, 42, 9);
        assert_eq!(out, b"000000042");
    }
}
