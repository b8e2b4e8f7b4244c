//! `conntrack -L`, /proc/net/nf_conntrack and the older /proc/net/ip_conntrack.

use std::ops::ControlFlow;

use super::lines::Lines;
use super::{Unread, unread};
use crate::model::{Flow, proto};
use crate::wire::procfs::flow_line;

/// What is known of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    pub good: u64,
    pub bad: u64,
    /// The first line that is no entry, and why.
    pub first_bad: Option<(usize, &'static str)>,
    /// Entries that `conntrack` says it has shown.
    pub shown: Option<u64>,
}

impl Entries {
    pub fn bad(&mut self, line: usize, reason: &'static str) {
        self.bad += 1;
        self.first_bad.get_or_insert((line, reason));
    }
}

pub fn opens(line: &str) -> bool {
    is_entry(line) || shown(line).is_some()
}

/// Single lines may be broken, as long as most are whole.
pub fn read(lines: &mut Lines) -> Result<Entries, Unread> {
    let mut out = Entries::default();
    while let Some((number, line)) = lines.peek().filter(|(_, line)| opens(line)) {
        lines.next();
        if let Some(entries) = shown(line) {
            out.shown = Some(out.shown.unwrap_or(0).saturating_add(entries));
            continue;
        }
        match flow_line(line) {
            Ok(_) => out.good += 1,
            Err(malformed) => out.bad(number, malformed.0),
        }
    }
    match out.first_bad {
        Some((line, reason)) if out.bad > out.good => Err(unread(line, format!("no entry: {reason}"))),
        _ => Ok(out),
    }
}

/// Hands on the entries of a text that [`super::parse`] has found to hold some. Returns how many, and how many lines
/// were broken.
pub fn walk(text: &str, each: &mut dyn FnMut(&Flow) -> ControlFlow<()>) -> (u64, u64) {
    let (mut good, mut bad) = (0, 0);
    for (_, line) in Lines::new(text).filter(|(_, line)| is_entry(line)) {
        let Ok(flow) = flow_line(line) else {
            bad += 1;
            continue;
        };
        good += 1;
        if each(&flow).is_break() {
            break;
        }
    }
    (good, bad)
}

/// `tcp 6 …`, `ipv4 2 tcp 6 …`, and whatever else has a tuple. A row of netstat begins with `tcp 0`.
fn is_entry(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let number = second.parse::<u8>().ok();
    line.contains(" src=")
        || matches!((first, number), ("ipv4", Some(2)) | ("ipv6", Some(10)))
        || number.and_then(proto::name) == Some(first)
}

/// `conntrack v1.4.7 (conntrack-tools): 9 flow entries have been shown.`
fn shown(line: &str) -> Option<u64> {
    let (_, rest) = line.trim().strip_prefix("conntrack v")?.split_once("): ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("flow entries").then(|| number.parse().ok())?
}
