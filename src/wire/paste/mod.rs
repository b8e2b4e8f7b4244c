//! Pasted text of tools and of /proc, told apart by its content. It never makes a row up: a line that nothing here
//! recognises is an error with its number.
//!
//! One file may hold several pieces, one after the other, with blank lines, comments (`#`, `;`) and shell prompts
//! between them. Two things have no content to be told by, so the file's name decides: a histogram of TCP states is
//! the table's where the name contains `conntrack`, and the sockets' otherwise, unless it has states that only one of
//! the two has; and a bare number is `conntrack -C`, unless the name says that it is a limit.

mod addresses;
mod bsd;
mod counters;
mod entries;
mod lines;
mod listing;
mod log;
mod settings;
mod states;
mod totals;

use std::collections::BTreeMap;
use std::net::IpAddr;

use lines::Lines;

use crate::model::{ConntrackStats, LogFacts, NetCounters, SocketState, TcpState};

pub use entries::{Entries, walk};
pub use listing::Listing;
pub use settings::{SettingLine, Settings, SettingsFile, settings_file};

/// Pieces in one file; more is no paste.
const MAX_PARTS: usize = 1_000;

/// One piece of a paste.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// `netstat -ant | awk '{print $6}' | sort | uniq -c`, and the like of ss.
    SocketStates(BTreeMap<SocketState, u64>),
    /// The same of `conntrack -L`: TCP entries by state.
    TableStates(BTreeMap<TcpState, u64>),
    /// netstat, ss or /proc/net/tcp.
    Sockets(Listing),
    /// `conntrack -L` or /proc/net/nf_conntrack.
    Entries(Entries),
    /// `conntrack -S` or /proc/net/stat/nf_conntrack.
    Stats {
        entries: Option<u64>,
        stats: ConntrackStats,
    },
    /// `conntrack -C`.
    Count(u64),
    /// sysctl.conf or `sysctl -a`.
    Settings(Settings),
    /// /proc/net/{netstat,snmp,sockstat}, `ss -s`, `netstat -s`, nstat, `ethtool -S`.
    Counters(NetCounters),
    /// Kernel messages, and programs that could not connect.
    Log(LogFacts),
    /// `ip addr`.
    Addresses(Vec<IpAddr>),
}

/// Where and why a text is not what it claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Unread {
    pub line: usize,
    pub reason: String,
}

fn unread(line: usize, reason: impl Into<String>) -> Unread {
    let reason = reason.into();
    Unread { line, reason }
}

/// `name`: the file's name without its path. The table's entries are only counted: [`walk`] hands them on.
pub fn parse(text: &str, name: &str) -> Result<Vec<Part>, Unread> {
    let mut lines = Lines::new(text);
    let mut parts: Vec<Part> = Vec::new();
    while let Some((number, line)) = lines.peek() {
        if line.contains('\0') {
            return Err(unread(number, "this is no text"));
        }
        if parts.len() == MAX_PARTS {
            return Err(unread(
                number,
                format!("more than {MAX_PARTS} pieces in one file"),
            ));
        }
        if let Some(part) = part(&mut lines, name)? {
            parts.push(part);
            continue;
        }
        match parts.last_mut() {
            // A listing of the table that was cut in the middle of its last line.
            Some(Part::Entries(entries)) if lines.ends_cut() => {
                entries.bad(number, "the line is cut");
                lines.next();
            }
            _ => return Err(unread(number, hint(line))),
        }
    }
    if parts.is_empty() {
        return Err(unread(1, "nothing but blank lines and comments"));
    }
    Ok(parts)
}

/// The piece that begins here; `None` where nothing recognises the line.
fn part(lines: &mut Lines, name: &str) -> Result<Option<Part>, Unread> {
    let mut ahead = lines.clone();
    let Some((_, line)) = ahead.next() else {
        return Ok(None);
    };
    let following = ahead.next().map_or("", |(_, line)| line);
    let read = if entries::opens(line) {
        Part::Entries(entries::read(lines)?)
    } else if let Some(format) = counters::opens(line, following) {
        counters::read(lines, format)?
    } else if log::opens(line) {
        Part::Log(log::read(lines)?)
    } else if bsd::opens(line) {
        Part::Sockets(bsd::read(lines)?)
    } else if listing::opens(line) {
        Part::Sockets(listing::read(lines)?)
    } else if settings::opens(line) {
        Part::Settings(settings::read(lines))
    } else if addresses::opens(line) {
        Part::Addresses(addresses::read(lines)?)
    } else if states::opens(line, following) {
        states::read(lines, name)?
    } else if is_number(line) {
        count(lines, name)?
    } else {
        return Ok(None);
    };
    Ok(Some(read))
}

fn is_number(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit())
}

/// Names that a number would have that is not the count of entries.
const LIMITS: [&str; 3] = ["max", "bucket", "hashsize"];

fn count(lines: &mut Lines, name: &str) -> Result<Part, Unread> {
    let (number, line) = lines.next().unwrap_or_default();
    let name = name.to_lowercase();
    if LIMITS.iter().any(|word| name.contains(word)) {
        let reason = "a number alone is read as conntrack -C, but the file's name says that it is a limit: \
                      paste the output of `sysctl net.netfilter` instead";
        return Err(unread(number, reason));
    }
    // nf_conntrack_count is an unsigned int.
    match line.trim().parse::<u32>() {
        Ok(count) => Ok(Part::Count(count.into())),
        Err(_) => Err(unread(number, "this number is too large for conntrack -C")),
    }
}

/// What to paste in place of a text that is known but not read.
fn hint(line: &str) -> String {
    let trimmed = line.trim();
    let starts = |text: &str| trimmed.starts_with(text);
    if starts("<?xml") || starts("<conntrack") {
        return "this is the XML of conntrack: paste `conntrack -L` without -o xml".to_string();
    }
    if starts("-A -t") {
        return "this is `conntrack -L -o save`: paste `conntrack -L` without -o save".to_string();
    }
    format!("not recognised: {:?}", shown(trimmed))
}

/// The beginning of a line, for messages.
fn shown(line: &str) -> &str {
    line.char_indices().nth(60).map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests;
