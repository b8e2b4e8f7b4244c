//! Text of /proc, and the like text that `conntrack -L` prints. By header name, never by column position.

use std::net::IpAddr;

use super::Malformed;
use crate::model::{ConntrackStats, Flow, NetCounters, Status, TcpState, Tuple, proto};

/// /proc/net/stat/nf_conntrack: (entries of the namespace, counters summed over CPUs). Hexadecimal; the first line
/// names the columns. `entries` repeats on every row.
pub fn nf_conntrack_stat(text: &str) -> Result<(Option<u64>, ConntrackStats), Malformed> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
    if header.first() != Some(&"entries") {
        return Err(Malformed("no header of /proc/net/stat/nf_conntrack"));
    }
    let mut stats = ConntrackStats::default();
    let mut entries = None;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let values: Vec<&str> = line.split_whitespace().collect();
        if values.len() != header.len() {
            return Err(Malformed(
                "a row of /proc/net/stat/nf_conntrack does not match its header",
            ));
        }
        stats.cpus += 1;
        for (name, value) in header.iter().zip(values) {
            let value =
                u64::from_str_radix(value, 16).map_err(|_| Malformed("a counter is not hexadecimal"))?;
            match *name {
                "entries" => entries = Some(value),
                name => add(&mut stats, name, value),
            }
        }
    }
    if stats.cpus == 0 {
        return Err(Malformed("no row of /proc/net/stat/nf_conntrack"));
    }
    Ok((entries, stats))
}

/// Kernels up to 5.9 have `searched` and `delete_list` where newer ones have `clashres` and `chainlength`; `insert`
/// counts entries made through netlink only.
pub(super) fn add(stats: &mut ConntrackStats, name: &str, value: u64) {
    let slot = match name {
        "found" => &mut stats.found,
        "invalid" => &mut stats.invalid,
        "insert" => &mut stats.insert,
        "insert_failed" => &mut stats.insert_failed,
        "drop" => &mut stats.drop,
        "early_drop" => &mut stats.early_drop,
        "icmp_error" | "error" => &mut stats.error,
        "search_restart" => &mut stats.search_restart,
        "clashres" | "clash_resolve" => &mut stats.clash_resolve,
        "chainlength" | "chaintoolong" => &mut stats.chaintoolong,
        _ => return,
    };
    *slot = Some(slot.unwrap_or(0).saturating_add(value));
}

/// `conntrack -S`: a line per CPU of `name=value`.
pub fn conntrack_s(text: &str) -> Result<ConntrackStats, Malformed> {
    let mut stats = ConntrackStats::default();
    for line in text.lines().filter(|line| line.trim_start().starts_with("cpu=")) {
        stats.cpus += 1;
        for word in line.split_whitespace().skip(1) {
            let (name, value) = word
                .split_once('=')
                .ok_or(Malformed("a word of conntrack -S without ="))?;
            add(
                &mut stats,
                name,
                value.parse().map_err(|_| Malformed("a counter is no number"))?,
            );
        }
    }
    if stats.cpus == 0 {
        Err(Malformed("no line of conntrack -S"))
    } else {
        Ok(stats)
    }
}

/// /proc/net/netstat and /proc/net/snmp: pairs of lines, names then values, each with its group.
pub fn group_counters(text: &str) -> NetCounters {
    let mut out = NetCounters::default();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((group, names)), Some((again, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            break;
        };
        if group != again {
            break;
        }
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                out.0.insert(format!("{group}.{name}"), value);
            }
        }
    }
    out
}

/// /proc/net/sockstat: `TCP: inuse 1 orphan 0 …`.
pub fn sockstat(text: &str) -> NetCounters {
    let mut out = NetCounters::default();
    for line in text.lines() {
        let Some((group, rest)) = line.split_once(':') else {
            continue;
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if let Ok(value) = pair[1].parse() {
                out.0.insert(format!("sockstat.{group}.{}", pair[0]), value);
            }
        }
    }
    out
}

/// Active objects of a slab cache, from /proc/slabinfo.
pub fn slab_objects(text: &str, cache: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(cache))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Bytes of memory that one object of a slab cache takes, what its pages waste included.
pub fn slab_object_bytes(text: &str, cache: &str, page_bytes: u64) -> Option<f64> {
    let mut lines = text.lines();
    let line = lines.find(|line| line.split_whitespace().next() == Some(cache))?;
    let number = |at| {
        line.split_whitespace()
            .nth(at)
            .and_then(|word: &str| word.parse::<u64>().ok())
    };
    let (per_slab, pages) = (number(4)?, number(5)?);
    (per_slab > 0).then(|| (pages * page_bytes) as f64 / per_slab as f64)
}

/// One line of /proc/net/nf_conntrack or of `conntrack -L`, with or without `-o extended`, `id` or `timestamp`.
pub fn flow_line(line: &str) -> Result<Flow, Malformed> {
    let mut words = line.split_ascii_whitespace().peekable();
    if matches!(words.peek(), Some(&("ipv4" | "ipv6"))) {
        words.nth(1); // and the family's number
    }
    let name = words.next().ok_or(Malformed("an empty line"))?;
    let number = words
        .next()
        .and_then(|n| n.parse::<u8>().ok())
        .ok_or(Malformed("no protocol number"))?;
    if proto::name(number).is_some_and(|known| known != name) && name != "unknown" {
        return Err(Malformed("the protocol's name and number differ"));
    }
    let mut flow = Flow {
        proto: number,
        status: Status(Status::SEEN_REPLY | Status::CONFIRMED),
        ..Flow::default()
    };
    if let Some(Ok(timeout)) = words.peek().map(|word| word.parse()) {
        flow.timeout_secs = Some(timeout);
        words.next();
    }
    let mut met = Met::default();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => field(&mut flow, &mut met, key, value)?,
            None => flag(&mut flow, word),
        }
    }
    if met
        != (Met {
            src: 2,
            dst: 2,
            ..met
        })
    {
        return Err(Malformed("a line without both tuples"));
    }
    for tuple in [flow.orig, flow.reply] {
        if tuple.src.is_ipv4() != tuple.dst.is_ipv4() {
            return Err(Malformed("a tuple of two families"));
        }
    }
    if number == proto::TCP && flow.tcp_state.is_none() && !flow.status.has(Status::OFFLOAD) {
        return Err(Malformed("a TCP line without a state"));
    }
    Ok(flow)
}

/// How often a field stood in the line so far: a tuple begins with its `src`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Met {
    src: usize,
    dst: usize,
    icmp_ids: usize,
}

fn direction(flow: &mut Flow, tuples: usize) -> Result<&mut Tuple, Malformed> {
    match tuples {
        1 => Ok(&mut flow.orig),
        2 => Ok(&mut flow.reply),
        _ => Err(Malformed("a tuple's field outside a tuple")),
    }
}

fn flag(flow: &mut Flow, word: &str) {
    match word {
        "[UNREPLIED]" => flow.status.0 &= !Status::SEEN_REPLY,
        "[ASSURED]" => flow.status.0 |= Status::ASSURED,
        "[OFFLOAD]" => flow.status.0 |= Status::OFFLOAD,
        "[HW_OFFLOAD]" => flow.status.0 |= Status::OFFLOAD | Status::HW_OFFLOAD,
        _ if flow.tcp_state.is_none() && flow.proto == proto::TCP => {
            flow.tcp_state = TcpState::from_name(word)
        }
        _ => {}
    }
}

fn field(flow: &mut Flow, met: &mut Met, key: &str, value: &str) -> Result<(), Malformed> {
    let tuples = met.src;
    let port = || value.parse::<u16>().map_err(|_| Malformed("a port is no number"));
    let byte = || {
        value
            .parse::<u8>()
            .map(u16::from)
            .map_err(|_| Malformed("an ICMP field is no number"))
    };
    let count = || {
        value
            .parse::<u64>()
            .map_err(|_| Malformed("a counter is no number"))
    };
    match key {
        "src" => {
            met.src += 1;
            direction(flow, met.src)?.src = address(value)?;
        }
        "dst" => {
            met.dst += 1;
            direction(flow, tuples)?.dst = address(value)?;
        }
        "sport" => direction(flow, tuples)?.sport = port()?,
        "dport" => direction(flow, tuples)?.dport = port()?,
        "type" => direction(flow, tuples)?.dport |= byte()? << 8,
        "code" => direction(flow, tuples)?.dport |= byte()?,
        // ICMP's id stands once inside each tuple; an entry's id (conntrack -o id) after both.
        "id" if matches!(flow.proto, proto::ICMP | proto::ICMPV6) && met.icmp_ids < tuples => {
            met.icmp_ids = tuples;
            direction(flow, tuples)?.sport = port()?
        }
        "id" => flow.id = value.parse().ok(),
        "packets" => flow.packets.get_or_insert([0; 2])[tuples.saturating_sub(1).min(1)] = count()?,
        "bytes" => flow.bytes.get_or_insert([0; 2])[tuples.saturating_sub(1).min(1)] = count()?,
        "mark" => flow.mark = value.parse().ok(),
        // A zone may hold for one direction only.
        "zone" | "zone-orig" | "zone-reply" => flow.zone = value.parse().ok(),
        _ => {}
    }
    Ok(())
}

fn address(value: &str) -> Result<IpAddr, Malformed> {
    value.parse().map_err(|_| Malformed("an address that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_new_and_old_kernels_by_name() {
        let new = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n\
            00000010  00000001 00000002 00000000 0000000f 00000000 00000000 00000003 00000000 00000000 00000005 00000006 00000002  00000000 00000000 00000000 00000000\n\
            00000010  00000000 00000002 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000005 00000000 00000000  00000000 00000000 00000000 00000000\n";
        let (entries, stats) = nf_conntrack_stat(new).unwrap();
        assert_eq!((entries, stats.cpus), (Some(16), 2));
        assert_eq!(
            (stats.found, stats.invalid, stats.drop),
            (Some(4), Some(16), Some(10))
        );
        assert_eq!((stats.clash_resolve, stats.chaintoolong), (Some(1), Some(3)));
        let old = "entries  searched found new invalid ignore delete delete_list insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart\n\
            0000000a  000000ff 00000002 00000003 00000004 00000005 00000006 00000007 00000008 00000009 0000000a 0000000b 0000000c  00000000 00000000 00000000 0000000d\n";
        let (_, stats) = nf_conntrack_stat(old).unwrap();
        assert_eq!(
            (stats.clash_resolve, stats.chaintoolong, stats.search_restart),
            (None, None, Some(13))
        );
        assert!(nf_conntrack_stat("nonsense").is_err());
        assert!(nf_conntrack_stat("entries found\n1 2 3\n").is_err());
        assert!(nf_conntrack_stat("entries found\n").is_err());
        // No kernel says so, but text may.
        let huge = "entries found\n1 ffffffffffffffff\n1 ffffffffffffffff\n";
        assert_eq!(nf_conntrack_stat(huge).unwrap().1.found, Some(u64::MAX));
    }

    #[test]
    fn lines_of_proc_and_of_conntrack() {
        let line = "ipv4     2 tcp      6 118 SYN_SENT src=10.0.0.1 dst=10.9.1.3 sport=4242 dport=80 [UNREPLIED] src=10.9.1.3 dst=10.0.0.1 sport=80 dport=4242 mark=0 zone=7 use=2";
        let flow = flow_line(line).unwrap();
        assert_eq!(
            (flow.tcp_state, flow.timeout_secs, flow.zone),
            (Some(TcpState::SynSent), Some(118), Some(7))
        );
        assert!(!flow.status.seen_reply() && !flow.status.assured());
        assert_eq!(flow.orig.inverted(), flow.reply);
        let line = "tcp      6 431999 ESTABLISHED src=fd00::1 dst=fd00::2 sport=1 dport=2 packets=3 bytes=4 src=fd00::2 dst=fd00::1 sport=2 dport=1 packets=5 bytes=6 [ASSURED] mark=3 use=1 id=99";
        let flow = flow_line(line).unwrap();
        assert_eq!(
            (flow.packets, flow.bytes, flow.id),
            (Some([3, 5]), Some([4, 6]), Some(99))
        );
        assert!(flow.status.seen_reply() && flow.status.assured());
        let line = "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=77 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=77 mark=0 use=1";
        assert_eq!(flow_line(line).unwrap().orig.dport, 8 << 8);
        assert_eq!(flow_line(line).unwrap().orig.sport, 77);
        // An id of 0 is one, and the entry's own id does not fit into it.
        let line = "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=0 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=0 mark=0 use=1 id=3735928559";
        let flow = flow_line(line).unwrap();
        assert_eq!(
            (flow.orig.sport, flow.reply.sport, flow.id),
            (0, 0, Some(3735928559))
        );
        let line = "udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 zone-orig=6 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 mark=0 use=1";
        assert_eq!(flow_line(line).unwrap().zone, Some(6));
        for bad in [
            "",
            "tcp 6",
            "udp 6 1 src=1.1.1.1",
            "tcp 6 1 SYN_SENT src=1.1.1.1 dst=x",
            "ipv4 2",
            "udp 17 1 src=1.1.1.1 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1",
            "udp 17 1 src=1.1.1.1 dst=::1 sport=1 dport=2 src=::1 dst=1.1.1.1 sport=2 dport=1",
        ] {
            assert!(flow_line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_and_slabs() {
        let text = "TcpExt: ListenOverflows ListenDrops\nTcpExt: 7 9\nIpExt: InOctets\nIpExt: 5\n";
        let got = group_counters(text);
        assert_eq!(
            (got.get("TcpExt.ListenDrops"), got.get("IpExt.InOctets")),
            (Some(9), Some(5))
        );
        assert_eq!(sockstat("TCP: inuse 1 tw 2\n").get("sockstat.TCP.tw"), Some(2));
        assert_eq!(
            slab_objects("# x\nnf_conntrack  17 32 256\n", "nf_conntrack"),
            Some(17)
        );
        let slab = "nf_conntrack  160 224 256 16 1 : tunables 0 0 0\n";
        assert_eq!(slab_object_bytes(slab, "nf_conntrack", 4096), Some(256.0));
        assert_eq!(
            slab_object_bytes("nf_conntrack 1 2 3\n", "nf_conntrack", 4096),
            None
        );
    }
}
