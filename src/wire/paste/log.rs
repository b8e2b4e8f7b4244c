//! Lines of a log: kernel messages with any prefix, and programs that could not connect.

use super::lines::Lines;
use super::{Unread, unread};
use crate::model::LogFacts;

/// Whether a log may begin here.
pub fn opens(line: &str) -> bool {
    kind(line).is_some() || is_stamped(line) || line.trim_start().starts_with("nf_ct_")
}

/// Lines that say nothing here are passed over as long as they are stamped like the others, and some line says
/// something.
pub fn read(lines: &mut Lines) -> Result<LogFacts, Unread> {
    let mut out = LogFacts::default();
    let first = lines.peek().map_or(1, |(number, _)| number);
    while let Some((_, line)) = lines.peek().filter(|(_, line)| opens(line)) {
        lines.next();
        add(&mut out, line);
    }
    if out == LogFacts::default() {
        let reason =
            "no line of this log speaks of the table, of listen queues, ports or refused connections";
        return Err(unread(first, reason));
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    TableFull,
    Suppressed,
    SynQueue,
    AcceptQueue,
    NoPorts,
    Refused,
    OutOfWindow,
}

const WORDS: [(&str, Kind); 13] = [
    ("table full, dropping packet", Kind::TableFull),
    ("callbacks suppressed", Kind::Suppressed),
    ("ossible SYN flooding on port", Kind::SynQueue),
    ("Listen queue overflow:", Kind::AcceptQueue),
    ("Cannot assign requested address", Kind::NoPorts),
    ("EADDRNOTAVAIL", Kind::NoPorts),
    // haproxy
    ("no free ports", Kind::NoPorts),
    (
        "(111: Connection refused) while connecting to upstream",
        Kind::Refused,
    ),
    ("messages suppressed", Kind::Suppressed),
    // nf_tcp_log_invalid(), and tcp_in_window() before 5.18
    ("over the window of the receiver", Kind::OutOfWindow),
    ("ACKed data not seen yet", Kind::OutOfWindow),
    ("possible overly delayed", Kind::OutOfWindow),
    ("already ACKed data retransmitted", Kind::OutOfWindow),
];

fn kind(line: &str) -> Option<Kind> {
    // `table full in netns 4026532315, dropping packet`
    if line.contains("table full in netns") {
        return Some(Kind::TableFull);
    }
    WORDS
        .iter()
        .find(|(words, _)| line.contains(words))
        .map(|(_, kind)| *kind)
}

/// `[  12.345678] …`, `[Tue Nov 25 08:00:00 2026] …`, `Feb 17 18:58:04 …`, `2026-11-25T08:00:00 …`,
/// `2026/11/25 08:00:00 …`, and `dmesg -x`, `kern  :warn  : [  12.345678] …`.
fn is_stamped(line: &str) -> bool {
    let line = line.trim_start();
    let line = line
        .split_once(" : [")
        .filter(|(facility, _)| facility.starts_with("kern ") || facility.starts_with("kern:"))
        .map_or(line, |_| &line[line.find('[').unwrap_or(0)..]);
    if let Some((stamp, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let stamp = stamp.trim();
        let uptime = stamp.contains('.') && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let mut words = stamp.split_whitespace().skip(1);
        let (month, _, time) = (words.next(), words.next(), words.next());
        return uptime || is_month(month) && time.is_some_and(is_clock);
    }
    let mut words = line.split_whitespace();
    let (first, second, third) = (words.next(), words.next(), words.next());
    let date = first.is_some_and(|date| date.len() >= 10 && date.bytes().take(4).all(|b| b.is_ascii_digit()));
    let iso = date
        && (first.is_some_and(|f| f.split_once('T').is_some_and(|(_, time)| is_clock(time)))
            || second.is_some_and(is_clock));
    iso || is_month(first) && third.is_some_and(is_clock)
}

/// `18:58:04`, with or without what is finer.
fn is_clock(word: &str) -> bool {
    let mut parts = word.split(':');
    let two = |part: Option<&str>| {
        part.is_some_and(|p| p.len() >= 2 && p.as_bytes()[..2].iter().all(u8::is_ascii_digit))
    };
    two(parts.next()) && two(parts.next()) && two(parts.next())
}

fn is_month(word: Option<&str>) -> bool {
    word.is_some_and(|word| MONTHS.contains(&word))
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn add(out: &mut LogFacts, line: &str) {
    match kind(line) {
        Some(Kind::TableFull) => out.table_full += 1,
        Some(Kind::Suppressed) => {
            let (before, _) = line.split_once(" suppressed").unwrap_or_default();
            let number = before.split_whitespace().rev().nth(1);
            let number = number.and_then(|word| word.parse::<u64>().ok());
            out.suppressed = out.suppressed.saturating_add(number.unwrap_or(0));
        }
        Some(Kind::SynQueue) => {
            let after = line.split("flooding on port").nth(1).unwrap_or("");
            if let Some(port) = port(after) {
                *out.syn_queue_full.entry(port).or_default() += 1;
            }
        }
        Some(Kind::AcceptQueue) => {
            let after = line.split("overflow:").nth(1).unwrap_or("");
            let queued = after
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0);
            let times = after
                .split_once('(')
                .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or(1u64);
            let (longest, all) = out.accept_queue_full.unwrap_or((0, 0));
            out.accept_queue_full = Some((longest.max(queued), all.saturating_add(times)));
        }
        Some(Kind::NoPorts) => {
            out.no_ports += 1;
            let after = line.split("connect() to ").nth(1);
            let place = after.and_then(|rest| rest.split_whitespace().next());
            out.no_ports_to = out.no_ports_to.take().or(place.map(str::to_string));
        }
        Some(Kind::Refused) => {
            let after = line.split("upstream: \"").nth(1).unwrap_or("");
            out.refuse(server(after).to_string(), 1);
        }
        Some(Kind::OutOfWindow) => out.out_of_window += 1,
        None => {}
    }
}

/// `http://10.0.0.5:80/path", host: …`; empty where none is named.
fn server(text: &str) -> &str {
    let place = text.split('"').next().unwrap_or("");
    let place = place.split_once("://").map_or(place, |(_, rest)| rest);
    place.split('/').next().unwrap_or("")
}

/// ` 80. Sending cookies.`, ` 0.0.0.0:80. Dropping request.`, ` [::]:443.`
fn port(text: &str) -> Option<u16> {
    let word = text.split_whitespace().next()?.trim_end_matches('.');
    let digits = word.rsplit(':').next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Feb 17 18:58:04 web kernel: possible SYN flooding on port 80. Sending cookies.
[ 1976.886339] TCP: request_sock_TCP: Possible SYN flooding on port 0.0.0.0:443. Dropping request.  Check SNMP counters.
[ 1976.9] nf_conntrack: nf_conntrack: table full in netns 4026532315, dropping packet
Feb 17 18:59:33 web kernel: net_ratelimit: 282 callbacks suppressed
Feb 17 18:59:33 web sshd[12]: Accepted publickey
sonewconn: pcb 0xf8: Listen queue overflow: 3073 already in queue awaiting acceptance (7033 occurrences)
2026/11/25 08:00:00 [crit] 1#0: *5 connect() to 127.0.0.1:80 failed (99: Cannot assign requested address) while
[Tue Nov 25 08:00:01 2026] eth0: link up
kern  :warn  : [  12.345678] eth0: link up
2026/11/25 08:00:02 [error] 1#0: *6 connect() failed (111: Connection refused) while connecting to upstream, client: 10.0.0.9, upstream: \"http://10.0.0.5:80/a\", host: \"x\"
nf_ct_proto_6: invalid packet ignored in state ESTABLISHED  IN= OUT= SRC=10.0.0.1 DST=10.0.0.2
[ 1977.0] nf_ct_tcp: SEQ is under the lower bound (already ACKed data retransmitted) IN= OUT= SRC=10.0.0.1 DST=10.0.0.2
printk: 18 messages suppressed.
";

    #[test]
    fn each_line_is_told_by_what_it_says() {
        let mut lines = Lines::new(TEXT);
        let got = read(&mut lines).unwrap();
        assert!(lines.peek().is_none());
        assert_eq!(got.table_full, 1);
        assert_eq!(got.suppressed, 300);
        assert_eq!(got.out_of_window, 1);
        assert_eq!(got.refused.get("10.0.0.5:80"), Some(&1));
        assert_eq!(
            got.syn_queue_full.into_iter().collect::<Vec<_>>(),
            [(80, 1), (443, 1)]
        );
        assert_eq!(got.accept_queue_full, Some((3073, 7033)));
        assert_eq!(
            (got.no_ports, got.no_ports_to.as_deref()),
            (1, Some("127.0.0.1:80"))
        );
    }

    #[test]
    fn a_log_that_says_nothing_is_no_log() {
        let text = "\n[Tue Nov 25 08:00:00 2026] eth0: link up\n";
        assert_eq!(read(&mut Lines::new(text)).unwrap_err().line, 2);
    }
}
