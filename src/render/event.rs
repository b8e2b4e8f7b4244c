//! Events as rows that stream: the line of `conntrack -E` with the cause of an end behind it, or one JSON object per line.

use super::flow::{flow_fields, flow_text, padded};
use crate::model::{Event, Gone};

/// Stands in every row.
pub const EVENT_SCHEMA: &str = "ctlens.event/1";

/// Appends the line, its end included. `conntrack -E -o timestamp`'s time stands before it where the kernel gives one.
pub fn event_text(event: &Event, out: &mut Vec<u8>) {
    if let Some(at_ns) = event.at_ns {
        out.push(b'[');
        seconds(out, at_ns);
        out.extend_from_slice(b"] ");
    }
    tag(event.kind.name(), out);
    flow_text(&event.flow, out);
    if let Some(gone) = event.gone() {
        out.pop();
        out.extend_from_slice(b" gone=");
        out.extend_from_slice(gone.name().as_bytes());
        if let Gone::Deleted(port) = gone {
            out.extend_from_slice(b" by=");
            padded(out, port.into(), 1);
        }
        out.push(b'\n');
    }
}

/// Appends one JSON object and a line end: `event` (`new`, `update`, `destroy`), `at_s` (where the kernel gives it), for
/// an end `gone` and, where a program deleted it, its netlink port as `by`; then the keys of `ctlens.flow/1`.
pub fn event_json(event: &Event, out: &mut Vec<u8>) {
    open(event.kind.name().to_ascii_lowercase().as_bytes(), out);
    if let Some(at_ns) = event.at_ns {
        out.extend_from_slice(b",\"at_s\":");
        seconds(out, at_ns);
    }
    if let Some(gone) = event.gone() {
        out.extend_from_slice(b",\"gone\":\"");
        out.extend_from_slice(gone.name().as_bytes());
        out.push(b'"');
        if let Gone::Deleted(port) = gone {
            out.extend_from_slice(b",\"by\":");
            padded(out, port.into(), 1);
        }
    }
    if let Some(stop_ns) = event.stop_ns {
        out.extend_from_slice(b",\"stop_s\":");
        seconds(out, stop_ns);
    }
    flow_fields(&event.flow, out);
    out.extend_from_slice(b"}\n");
}

/// A row where events are missing.
pub fn lost_text(lost: u64, out: &mut Vec<u8>) {
    tag("LOST", out);
    padded(out, lost, 1);
    out.extend_from_slice(b" events found no room; --buffer makes more\n");
}

pub fn lost_json(lost: u64, out: &mut Vec<u8>) {
    open(b"lost", out);
    out.extend_from_slice(b",\"events\":");
    padded(out, lost, 1);
    out.extend_from_slice(b"}\n");
}

fn open(event: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"schema\":\"");
    out.extend_from_slice(EVENT_SCHEMA.as_bytes());
    out.extend_from_slice(b"\",\"event\":\"");
    out.extend_from_slice(event);
    out.push(b'"');
}

/// Right-aligned as conntrack(8) has it.
fn tag(name: &str, out: &mut Vec<u8>) {
    for _ in name.len()..TAG_WIDTH {
        out.push(b' ');
    }
    out.push(b'[');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"] ");
}

/// `DESTROY`
const TAG_WIDTH: usize = 7;

fn seconds(out: &mut Vec<u8>, ns: u64) {
    padded(out, ns / 1_000_000_000, 1);
    out.push(b'.');
    padded(out, ns % 1_000_000_000, 9);
}
