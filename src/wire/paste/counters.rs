//! Counters: `conntrack -S`, /proc/net/stat/nf_conntrack, /proc/net/{netstat,snmp,sockstat}, `ss -s`; those of
//! `netstat -s`, nstat and ethtool are read next door.

use std::collections::BTreeSet;

use super::lines::Lines;
use super::totals;
use super::{Part, Unread, unread};
use crate::model::{ConntrackStats, NetCounters};
use crate::wire::procfs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `conntrack -S`, a line per CPU.
    PerCpu,
    /// `conntrack -S` up to 1.0: a line per counter, CPUs summed.
    PerName,
    /// /proc/net/stat/nf_conntrack
    Proc,
    /// /proc/net/netstat, /proc/net/snmp
    Groups,
    Sockstat,
    /// `ss -s`
    Summary,
    /// `netstat -s`, nstat, `ethtool -S`
    Totals(totals::Tool),
}

pub fn opens(line: &str, following: &str) -> Option<Format> {
    let words: Vec<&str> = line.split_whitespace().take(3).collect();
    match words[..] {
        [first, ..] if first.starts_with("cpu=") => Some(Format::PerCpu),
        ["entries", number] if is_number(number) => Some(Format::PerName),
        ["entries", ..] => Some(Format::Proc),
        [_, "inuse" | "used", number] if is_sockstat(line) && is_number(number) => Some(Format::Sockstat),
        ["Total:", number, ..] if is_number(number) => Some(Format::Summary),
        ["TCP:", number, ..] if is_number(number) && line.contains('(') => Some(Format::Summary),
        [group, ..] if group.ends_with(':') && is_pair(line, following) => Some(Format::Groups),
        _ => totals::opens(line).map(Format::Totals),
    }
}

pub fn read(lines: &mut Lines, format: Format) -> Result<Part, Unread> {
    Ok(match format {
        Format::PerCpu => stats(None, per_cpu(lines)?),
        Format::PerName => per_name(lines),
        Format::Proc => proc_stat(lines)?,
        Format::Groups => Part::Counters(groups(lines)?),
        Format::Sockstat => Part::Counters(sockstat(lines)),
        Format::Summary => Part::Counters(summary(lines)),
        Format::Totals(tool) => Part::Counters(totals::read(lines, tool)),
    })
}

fn stats(entries: Option<u64>, stats: ConntrackStats) -> Part {
    Part::Stats { entries, stats }
}

fn is_number(word: &str) -> bool {
    word.parse::<u64>().is_ok()
}

/// A CPU that comes again begins another reading.
fn per_cpu(lines: &mut Lines) -> Result<ConntrackStats, Unread> {
    let mut text = String::new();
    let mut seen = BTreeSet::new();
    while let Some((number, line)) = lines.peek() {
        let cpu = line.split_whitespace().next().unwrap_or("");
        if !cpu.starts_with("cpu=") || !seen.insert(cpu) {
            break;
        }
        lines.next();
        procfs::conntrack_s(line).map_err(|malformed| unread(number, malformed.0))?;
        text.push_str(line);
        text.push('\n');
    }
    procfs::conntrack_s(&text).map_err(|malformed| unread(1, malformed.0))
}

fn per_name(lines: &mut Lines) -> Part {
    let mut out = ConntrackStats::default();
    let mut entries = None;
    while let Some((_, line)) = lines.peek() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, value] = words[..] else { break };
        let Some(value) = value.parse().ok().filter(|_| name.bytes().all(is_name)) else {
            break;
        };
        match name {
            "entries" if entries.is_some() => break,
            "entries" => entries = Some(value),
            name => procfs::add(&mut out, name, value),
        }
        lines.next();
    }
    stats(entries, out)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

fn proc_stat(lines: &mut Lines) -> Result<Part, Unread> {
    let (first, header) = lines.next().unwrap_or_default();
    let mut text = format!("{header}\n");
    let mut last = first;
    let is_row = |line: &str| {
        line.split_whitespace()
            .all(|word| u32::from_str_radix(word, 16).is_ok())
    };
    while let Some((number, line)) = lines.peek().filter(|(_, line)| is_row(line)) {
        lines.next();
        procfs::nf_conntrack_stat(&format!("{header}\n{line}"))
            .map_err(|malformed| unread(number, malformed.0))?;
        text.push_str(line);
        text.push('\n');
        last = number;
    }
    if last == first {
        return Err(unread(
            first,
            "a header of /proc/net/stat/nf_conntrack without rows",
        ));
    }
    let (entries, counted) =
        procfs::nf_conntrack_stat(&text).map_err(|malformed| unread(first, malformed.0))?;
    Ok(stats(entries, counted))
}

/// `TcpExt: SyncookiesSent …` and then `TcpExt: 0 …`
fn is_pair(names: &str, values: &str) -> bool {
    let second = |line: &str| {
        line.split_whitespace()
            .nth(1)
            .map(|word| word.parse::<i64>().is_ok())
    };
    let group = |line: &str| line.split_whitespace().next().map(str::to_string);
    group(names) == group(values) && second(names) == Some(false) && second(values) == Some(true)
}

fn groups(lines: &mut Lines) -> Result<NetCounters, Unread> {
    let mut out = NetCounters::default();
    loop {
        let mut ahead = lines.clone();
        let (Some((_, names)), Some((number, values))) = (ahead.next(), ahead.next()) else {
            return Ok(out);
        };
        if !is_pair(names, values) {
            return Ok(out);
        }
        *lines = ahead;
        if names.split_whitespace().count() != values.split_whitespace().count() {
            return Err(unread(
                number,
                "a row of counters does not match its names: the line is cut",
            ));
        }
        out.0
            .extend(procfs::group_counters(&format!("{names}\n{values}")).0);
    }
}

fn is_sockstat(line: &str) -> bool {
    let (group, rest) = line.split_once(':').unwrap_or(("", ""));
    let known = group == "sockets"
        || group
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    !group.is_empty() && known && rest.split_whitespace().count() % 2 == 0
}

fn sockstat(lines: &mut Lines) -> NetCounters {
    let mut out = NetCounters::default();
    while let Some((_, line)) = lines
        .peek()
        .filter(|(_, line)| opens(line, "") == Some(Format::Sockstat))
    {
        out.0.extend(procfs::sockstat(line).0);
        lines.next();
    }
    out
}

/// `TCP:   51582 (estab 2866, closed 48611, orphaned 2, synrecv 0, timewait 48611/0), ports 35279`: the figures that
/// /proc/net/sockstat and /proc/net/snmp have too, under their names. SYN_SENT is not among them.
fn summary(lines: &mut Lines) -> NetCounters {
    const ROWS: [&str; 9] = [
        "Total:",
        "TCP:",
        "Transport",
        "*",
        "RAW",
        "UDP",
        "TCP",
        "INET",
        "FRAG",
    ];
    let mut out = NetCounters::default();
    while let Some((_, line)) = lines.peek() {
        let first = line.split_whitespace().next().unwrap_or("");
        if !ROWS.contains(&first) {
            break;
        }
        lines.next();
        let figures = line
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .filter(|_| first == "TCP:");
        for figure in figures.map_or("", |(inside, _)| inside).split(',') {
            let mut words = figure.split_whitespace();
            let name = match words.next() {
                Some("estab") => "Tcp.CurrEstab",
                Some("orphaned") => "sockstat.TCP.orphan",
                Some("timewait") => "sockstat.TCP.tw",
                _ => continue,
            };
            let value = words.next().and_then(|w| w.split('/').next()?.parse().ok());
            out.0.extend(value.map(|value| (name.to_string(), value)));
        }
    }
    out
}
