//! Lines of a log: kernel messages with any prefix, and programs that could not connect.

use super::lines::Lines;
use crate::model::LogFacts;

/// Whether a log may begin here.
pub fn opens(line: &str) -> bool {
    kind(line).is_some() || is_stamped(line)
}

/// Lines that say nothing here are passed over as long as they are stamped like the others.
pub fn read(lines: &mut Lines) -> LogFacts {
    let mut out = LogFacts::default();
    while let Some((_, line)) = lines.peek().filter(|(_, line)| opens(line)) {
        lines.next();
        add(&mut out, line);
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    TableFull,
    Suppressed,
    SynQueue,
    AcceptQueue,
    NoPorts,
}

const WORDS: [(&str, Kind); 6] = [
    ("table full, dropping packet", Kind::TableFull),
    ("callbacks suppressed", Kind::Suppressed),
    ("ossible SYN flooding on port", Kind::SynQueue),
    ("Listen queue overflow:", Kind::AcceptQueue),
    ("Cannot assign requested address", Kind::NoPorts),
    ("EADDRNOTAVAIL", Kind::NoPorts),
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

/// `[  12.345678] …`, `Feb 17 18:58:04 …`, `2026-11-25T08:00:00 …`, `2026/11/25 08:00:00 …`
fn is_stamped(line: &str) -> bool {
    let line = line.trim_start();
    let clock = |word: &str| {
        let mut parts = word.split(':');
        let two = |part: Option<&str>| {
            part.is_some_and(|p| p.len() >= 2 && p.as_bytes()[..2].iter().all(u8::is_ascii_digit))
        };
        two(parts.next()) && two(parts.next()) && two(parts.next())
    };
    let mut words = line.split_whitespace();
    let (first, second, third) = (words.next(), words.next(), words.next());
    let kernel = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .is_some_and(|(stamp, _)| {
            let stamp = stamp.trim();
            stamp.contains('.') && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        });
    let syslog = first.is_some_and(|month| MONTHS.contains(&month)) && third.is_some_and(clock);
    let date = first.is_some_and(|date| date.len() >= 10 && date.bytes().take(4).all(|b| b.is_ascii_digit()));
    let iso = date
        && (first.is_some_and(|f| f.split_once('T').is_some_and(|(_, time)| clock(time)))
            || second.is_some_and(clock));
    kernel || syslog || iso
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn add(out: &mut LogFacts, line: &str) {
    match kind(line) {
        Some(Kind::TableFull) => out.table_full += 1,
        Some(Kind::Suppressed) => {
            let before = line.split("callbacks suppressed").next().unwrap_or("");
            let number = before
                .split_whitespace()
                .next_back()
                .and_then(|word| word.parse::<u64>().ok());
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
        None => {}
    }
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
";

    #[test]
    fn each_line_is_told_by_what_it_says() {
        let mut lines = Lines::new(TEXT);
        let got = read(&mut lines);
        assert!(lines.peek().is_none());
        assert_eq!(got.table_full, 1);
        assert_eq!(got.suppressed, 282);
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
}
