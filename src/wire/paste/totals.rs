//! Totals that tools print one to a line: `netstat -s`, whole or what grep left of it, nstat, `ethtool -S`.

use super::lines::Lines;
use super::states;
use crate::model::NetCounters;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `netstat -s`
    Netstat,
    /// `nstat -az`
    Nstat,
    /// `ethtool -S`
    Ethtool,
}

/// The groups of `netstat -s`.
const GROUPS: [&str; 9] = [
    "Ip:",
    "Icmp:",
    "IcmpMsg:",
    "Tcp:",
    "Udp:",
    "UdpLite:",
    "TcpExt:",
    "IpExt:",
    "MPTcpExt:",
];
/// How `netstat -s` (statistics.c of net-tools) words what rules read.
const SENTENCES: [(&str, &str); 9] = [
    (
        "passive connections rejected because of time stamp",
        "TcpExt.PAWSPassive",
    ),
    (
        "active connections rejected because of time stamp",
        "TcpExt.PAWSActive",
    ),
    (
        "packets rejected in established connections because of timestamp",
        "TcpExt.PAWSEstab",
    ),
    (
        "packets rejects in established connections because of timestamp",
        "TcpExt.PAWSEstab",
    ),
    (
        "times the listen queue of a socket overflowed",
        "TcpExt.ListenOverflows",
    ),
    ("SYNs to LISTEN sockets dropped", "TcpExt.ListenDrops"),
    ("SYNs to LISTEN sockets ignored", "TcpExt.ListenDrops"),
    ("SYN cookies sent", "TcpExt.SyncookiesSent"),
    ("failed connection attempts", "Tcp.AttemptFails"),
];
/// The groups that nstat puts before a name, those that begin like another one first.
const PREFIXES: [&str; 13] = [
    "MPTcpExt", "TcpExt", "IpExt", "IcmpMsg", "Icmp6", "UdpLite6", "UdpLite", "Udp6", "Ip6", "Icmp", "Tcp",
    "Udp", "Ip",
];
/// The only total of a network card that rules read: a cloud's own connection tracking.
const ALLOWANCE: &str = "conntrack_allowance_exceeded";

pub fn opens(line: &str) -> Option<Tool> {
    let trimmed = line.trim();
    if GROUPS.contains(&trimmed) || sentence(trimmed).is_some() {
        return Some(Tool::Netstat);
    }
    if nstat_row(trimmed).is_some() {
        return Some(Tool::Nstat);
    }
    let card = trimmed == "NIC statistics:" || named(trimmed).is_some_and(|(name, _)| name == ALLOWANCE);
    card.then_some(Tool::Ethtool)
}

pub fn read(lines: &mut Lines, tool: Tool) -> NetCounters {
    match tool {
        Tool::Netstat => netstat(lines),
        Tool::Nstat => nstat(lines),
        Tool::Ethtool => ethtool(lines),
    }
}

/// What stands in a group is indented; without its head (grep) it is the TCP group that people ask for.
fn netstat(lines: &mut Lines) -> NetCounters {
    let mut out = NetCounters::default();
    let mut group = "TcpExt";
    while let Some((_, line)) = lines.peek() {
        let trimmed = line.trim();
        let head = GROUPS.contains(&trimmed);
        let inside = line.starts_with([' ', '\t']) && !states::opens(line, "");
        if !(head || inside || sentence(trimmed).is_some()) {
            break;
        }
        lines.next();
        if head {
            group = trimmed.trim_end_matches(':');
        } else if let Some((name, value)) = sentence(trimmed) {
            out.0.insert(name.to_string(), value);
        } else if let Some((name, value)) = named(trimmed) {
            out.0.insert(format!("{group}.{name}"), value);
        }
    }
    out
}

/// `15 times the listen queue of a socket overflowed`
fn sentence(line: &str) -> Option<(&'static str, i64)> {
    let (number, words) = line.split_once(' ')?;
    let (_, name) = SENTENCES.iter().find(|(known, _)| *known == words)?;
    Some((name, number.parse().ok()?))
}

/// `TCPReqQFullDrop: 7`
fn named(line: &str) -> Option<(&str, i64)> {
    let (name, value) = line.split_once(':')?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    Some((name, value.trim().parse().ok()?)).filter(|_| plain)
}

fn nstat(lines: &mut Lines) -> NetCounters {
    let mut out = NetCounters::default();
    while let Some((name, value)) = lines.peek().and_then(|(_, line)| nstat_row(line.trim())) {
        lines.next();
        out.0.insert(name, value);
    }
    out
}

/// `TcpExtListenDrops               15                 0.0`
fn nstat_row(line: &str) -> Option<(String, i64)> {
    let mut words = line.split_whitespace();
    let (name, value, rate) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !rate.contains('.') || rate.parse::<f64>().is_err() {
        return None;
    }
    let prefix = PREFIXES.iter().find(|prefix| name.starts_with(**prefix))?;
    let rest = &name[prefix.len()..];
    let own = rest.starts_with(|c: char| c.is_ascii_uppercase());
    Some((format!("{prefix}.{rest}"), value.parse().ok()?)).filter(|_| own)
}

fn ethtool(lines: &mut Lines) -> NetCounters {
    let mut out = NetCounters::default();
    while let Some((_, line)) = lines.peek() {
        let trimmed = line.trim();
        let row = trimmed.split_once(':').is_some_and(|(_, value)| {
            let value = value.trim();
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
        });
        if trimmed != "NIC statistics:" && !row {
            break;
        }
        lines.next();
        if let Some((ALLOWANCE, value)) = named(trimmed) {
            // One card's beside another's.
            let all = out.0.entry(format!("ethtool.{ALLOWANCE}")).or_default();
            *all = all.saturating_add(value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Part, parse};

    fn counters(text: &str) -> std::collections::BTreeMap<String, i64> {
        let parts = parse(text, "x.txt").unwrap();
        let [Part::Counters(counters)] = &parts[..] else {
            panic!("{parts:?}")
        };
        counters.0.clone()
    }

    const NETSTAT: &str = "\
Ip:
    Forwarding: 2
    13681 total packets received
Icmp:
    2 ICMP messages received
    ICMP input histogram:
        destination unreachable: 2
    ICMP output histogram:
IcmpMsg:
        InType3: 2
Tcp:
    7 failed connection attempts
UdpLite:
TcpExt:
    84213 passive connections rejected because of time stamp
    Quick ack mode was activated 12 times
    15 times the listen queue of a socket overflowed
    TCPReqQFullDrop: 9
IpExt:
    InOctets: 6423113
";

    #[test]
    fn all_that_netstat_prints_is_read() {
        let got = counters(NETSTAT);
        for (name, value) in [
            ("TcpExt.PAWSPassive", 84_213),
            ("TcpExt.ListenOverflows", 15),
            ("TcpExt.TCPReqQFullDrop", 9),
            ("Tcp.AttemptFails", 7),
            ("IpExt.InOctets", 6_423_113),
        ] {
            assert_eq!(got.get(name), Some(&value), "{name}: {got:?}");
        }
        // What stands behind it is a piece of its own.
        let parts = parse(
            &format!("{NETSTAT}     11 CLOSE_WAIT\n      3 SYN_SENT\n"),
            "x.txt",
        )
        .unwrap();
        assert!(
            matches!(parts[..], [Part::Counters(_), Part::SocketStates(_)]),
            "{parts:?}"
        );
    }

    #[test]
    fn what_grep_left_of_it_is_read() {
        let got = counters(
            "    15 times the listen queue of a socket overflowed\n    16 SYNs to LISTEN sockets dropped\n",
        );
        assert_eq!(
            (got["TcpExt.ListenOverflows"], got["TcpExt.ListenDrops"]),
            (15, 16)
        );
        let got = counters("15 times the listen queue of a socket overflowed\n    TCPReqQFullDrop: 9\n");
        assert_eq!(got["TcpExt.TCPReqQFullDrop"], 9);
    }

    #[test]
    fn nstat_and_ethtool() {
        let got = counters(
            "#kernel\nIpInReceives      13681     0.0\nIp6InReceives 3 0.0\nTcpExtListenDrops      15    0.0\n",
        );
        let names: Vec<&str> = got.keys().map(String::as_str).collect();
        assert_eq!(names, ["Ip.InReceives", "Ip6.InReceives", "TcpExt.ListenDrops"]);
        let got = counters("NIC statistics:\n     tx_timeout: 0\n     conntrack_allowance_exceeded: 42\n");
        assert_eq!(got["ethtool.conntrack_allowance_exceeded"], 42);
        assert!(parse("conntrack_allowance_exceeded: many\n", "x.txt").is_err());
    }
}
