//! Listings of sockets: `netstat -ant`, `ss -ant`, /proc/net/tcp. Columns by their names, where there are names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::lines::Lines;
use super::states::socket_state;
use super::{Unread, unread};
use crate::model::{Process, Socket, SocketState, Tuple};
use crate::wire::proc_tcp;

/// TCP sockets in one listing.
const MAX_SOCKETS: usize = 1_000_000;
/// netstat without -W cuts an IPv6 address so that it fits, with its port, into so many columns (net-tools,
/// addr_do_one).
const NETSTAT_COLUMNS: usize = 23;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub states: BTreeMap<SocketState, u64>,
    /// Those whose two addresses could be read.
    pub sockets: Vec<Socket>,
    /// Rows with a cut address, or with names in place of numbers, and the first such line.
    pub unread: u64,
    pub first_unread: Option<usize>,
    /// Of listeners, where the tool named the program.
    pub processes: BTreeMap<Tuple, Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Netstat,
    Ss,
    Proc,
}

pub fn opens(line: &str) -> bool {
    tool(line).is_some()
}

fn tool(line: &str) -> Option<Tool> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let first = *words.first()?;
    let has = |word: &str| words.contains(&word);
    let banner = ["Active Internet connections", "Active UNIX domain sockets"];
    if banner.iter().any(|start| line.trim_start().starts_with(start))
        || first == "Proto" && (has("Recv-Q") || has("RefCnt"))
        || is_notice(line)
        || is_netstat_row(&words)
    {
        return Some(Tool::Netstat);
    }
    if first == "sl" && has("local_address") || is_proc_row(&words) {
        return Some(Tool::Proc);
    }
    let is_header = has("Recv-Q") && has("Send-Q") && matches!(first, "Netid" | "State" | "Recv-Q");
    (is_header || is_ss_row(&words)).then_some(Tool::Ss)
}

/// What netstat -p says to those who are not root.
fn is_notice(line: &str) -> bool {
    let line = line.trim_start();
    [
        "(Not all processes could be",
        "will not be shown, you would",
        "(No info could be read for",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

const TCP: [&str; 2] = ["tcp", "tcp6"];
const NOT_TCP: [&str; 9] = [
    "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "sctp", "icmp6", "unix",
];

fn is_netstat_row(words: &[&str]) -> bool {
    let numbers = words.iter().skip(1).take(2).filter(|w| w.parse::<u32>().is_ok());
    match words.first() {
        Some(first) if TCP.contains(first) || NOT_TCP.contains(first) => {
            words.len() >= 5 && (*first == "unix" || numbers.count() == 2 && words[3].contains(':'))
        }
        _ => false,
    }
}

fn is_proc_row(words: &[&str]) -> bool {
    let hex = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_hexdigit());
    let endpoint = |w: &str| {
        w.split_once(':')
            .is_some_and(|(a, p)| hex(a) && p.len() == 4 && hex(p))
    };
    let index = words.first().and_then(|w| w.strip_suffix(':'));
    index.is_some_and(|n| n.parse::<u64>().is_ok()) && words.get(1).is_some_and(|w| endpoint(w))
}

fn is_ss_row(words: &[&str]) -> bool {
    let netid = words.first().is_some_and(|first| NETIDS.contains(first));
    let state = words.get(usize::from(netid)).copied().unwrap_or("");
    let known = socket_state(state).is_some() || state == "UNCONN";
    known
        && words.len() >= 5
        && (words
            .get(1 + usize::from(netid))
            .is_some_and(|w| w.parse::<u32>().is_ok()))
}

/// Families that ss lists beside TCP, and TCP.
const NETIDS: [&str; 18] = [
    "tcp", "udp", "raw", "nl", "u_str", "u_dgr", "u_seq", "p_raw", "p_dgr", "icmp6", "sctp", "mptcp", "dccp",
    "v_str", "v_dgr", "tipc", "xdp", "???",
];

pub fn read(lines: &mut Lines) -> Result<Listing, Unread> {
    let mut reader = Reader::default();
    while let Some((number, line)) = lines.peek() {
        let Some(tool) = tool(line) else {
            if reader.columns.tool == Some(Tool::Ss) && is_more_of_ss(line) {
                lines.next();
                continue;
            }
            break;
        };
        lines.next();
        reader.line(number, line, tool)?;
    }
    Ok(reader.finish())
}

/// What ss -i says of a socket stands in an indented line below it.
fn is_more_of_ss(line: &str) -> bool {
    let words = [" cwnd:", " rto:", " rcv_space:", " skmem:("];
    line.starts_with('\t') || line.starts_with(' ') && words.iter().any(|word| line.contains(word))
}

/// Where a row's words stand.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    tool: Option<Tool>,
    proto: Option<usize>,
    state: usize,
    recv: usize,
    send: usize,
    local: usize,
    peer: usize,
    user: Option<usize>,
    inode: Option<usize>,
    program: Option<usize>,
}

#[derive(Default)]
struct Reader {
    columns: Columns,
    rows: Vec<Row>,
    processes: BTreeMap<Tuple, Process>,
    /// netstat printed an address wider than it cuts them.
    wide: bool,
}

struct Row {
    line: usize,
    socket: Socket,
    /// `None`: an address could not be read. False: it may have been cut.
    whole: Option<bool>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str, tool: Tool) -> Result<(), Unread> {
        let words: Vec<&str> = line.split_whitespace().collect();
        if tool == Tool::Proc {
            let socket = proc_tcp::socket_line(line).map_err(|malformed| unread(number, malformed.0))?;
            return match socket {
                Some(socket) => self.push(number, socket, Some(true)),
                None => Ok(()),
            };
        }
        if line.trim_start().starts_with("Active ") || is_notice(line) {
            return Ok(());
        }
        if words.contains(&"Recv-Q") {
            self.columns = header(&words, tool).ok_or_else(|| {
                let reason = "the listing has no State column, so its sockets' state is not known: \
                              paste `ss -tan` without a state filter";
                unread(number, reason)
            })?;
            return Ok(());
        }
        if self.columns.tool != Some(tool) {
            self.columns = assumed(&words, tool);
        }
        let proto = self
            .columns
            .proto
            .and_then(|at| words.get(at))
            .copied()
            .unwrap_or("tcp");
        if !TCP.contains(&proto) {
            return Ok(());
        }
        self.socket(number, line, &words)
    }

    fn socket(&mut self, number: usize, line: &str, words: &[&str]) -> Result<(), Unread> {
        let columns = self.columns;
        let word = |at: usize| {
            words
                .get(at)
                .copied()
                .ok_or_else(|| unread(number, "a socket's row is cut"))
        };
        let figure = |at: usize| {
            word(at)?
                .parse::<u32>()
                .map_err(|_| unread(number, "a socket's queue is no number"))
        };
        let state = match word(columns.state)? {
            "UNCONN" => SocketState::Close,
            name => socket_state(name)
                .ok_or_else(|| unread(number, format!("{:?} is no socket state", super::shown(name))))?,
        };
        let (local, peer) = (word(columns.local)?, word(columns.peer)?);
        let tuple = endpoint(local).zip(endpoint(peer)).map(|(local, peer)| Tuple {
            src: local.0,
            sport: local.1,
            dst: peer.0,
            dport: peer.1,
        });
        let netstat = columns.tool == Some(Tool::Netstat);
        let optional = |at: Option<usize>| at.and_then(|at| words.get(at)?.parse::<u64>().ok());
        let socket = Socket {
            state,
            tuple: tuple.unwrap_or_default(),
            uid: optional(columns.user)
                .and_then(|n| n.try_into().ok())
                .unwrap_or(0),
            inode: optional(columns.inode).unwrap_or(0),
            recv_queue: figure(columns.recv)?,
            // netstat has it of /proc/net/tcp, which gives a listener's as 0.
            send_queue: Some(figure(columns.send)?).filter(|_| !netstat || state != SocketState::Listen),
            repeats: 0,
        };
        let width = local.len().max(peer.len());
        self.wide |= netstat && width > NETSTAT_COLUMNS;
        let whole = tuple.map(|_| !(netstat && width == NETSTAT_COLUMNS));
        if state == SocketState::Listen
            && let (Some(tuple), Some(process)) = (
                tuple,
                process(line, words.get(columns.program.unwrap_or(usize::MAX))),
            )
        {
            self.processes.insert(tuple, process);
        }
        self.push(number, socket, whole)
    }

    fn push(&mut self, line: usize, socket: Socket, whole: Option<bool>) -> Result<(), Unread> {
        if self.rows.len() == MAX_SOCKETS {
            return Err(unread(
                line,
                format!("more than {MAX_SOCKETS} sockets in one listing"),
            ));
        }
        self.rows.push(Row { line, socket, whole });
        Ok(())
    }

    fn finish(self) -> Listing {
        let mut out = Listing {
            processes: self.processes,
            ..Listing::default()
        };
        for row in self.rows {
            *out.states.entry(row.socket.state).or_default() += 1;
            match row.whole {
                Some(whole) if whole || self.wide => out.sockets.push(row.socket),
                _ => {
                    out.unread += 1;
                    out.first_unread.get_or_insert(row.line);
                }
            }
        }
        out
    }
}

/// `None` without a State column.
fn header(words: &[&str], tool: Tool) -> Option<Columns> {
    // `Local Address`, `Foreign Address`, `Peer Address:PortProcess`, `PID/Program name` are one column each.
    let second = |word: &str| word.starts_with("Address") || word == "name";
    let names: Vec<&str> = words.iter().filter(|word| !second(word)).copied().collect();
    let at = |name: &str| names.iter().position(|n| *n == name);
    Some(Columns {
        tool: Some(tool),
        proto: at("Proto").or(at("Netid")),
        state: at("State")?,
        recv: at("Recv-Q")?,
        send: at("Send-Q")?,
        local: at("Local")?,
        peer: at("Foreign").or(at("Peer"))?,
        user: at("User"),
        inode: at("Inode"),
        program: at("PID/Program"),
    })
}

/// The usual columns of rows whose header was cut off, by grep for example.
fn assumed(words: &[&str], tool: Tool) -> Columns {
    let none = Columns {
        tool: Some(tool),
        ..Columns::default()
    };
    if tool == Tool::Netstat {
        return Columns {
            proto: Some(0),
            recv: 1,
            send: 2,
            local: 3,
            peer: 4,
            state: 5,
            ..none
        };
    }
    let netid = words.first().is_some_and(|first| NETIDS.contains(first));
    let from = usize::from(netid);
    Columns {
        proto: netid.then_some(0),
        state: from,
        recv: from + 1,
        send: from + 2,
        local: from + 3,
        peer: from + 4,
        ..none
    }
}

/// `10.0.0.1:80`, `[fd00::1]:80`, `fd00::1:80`, `*:80`, `[fe80::1]%eth0:80`; `None` with names or cut.
fn endpoint(word: &str) -> Option<(IpAddr, u16)> {
    let (host, port) = word.rsplit_once(':')?;
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    let host = host
        .split('%')
        .next()?
        .trim_start_matches('[')
        .trim_end_matches(']');
    let addr = if host == "*" {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        host.parse::<IpAddr>().ok()?.to_canonical()
    };
    Some((addr, port))
}

/// `15426/python3` of netstat, `users:(("python3",pid=15426,fd=3))` of ss.
fn process(line: &str, program: Option<&&str>) -> Option<Process> {
    if let Some(program) = program {
        let (pid, name) = program.split_once('/')?;
        return Some(Process {
            pid: pid.parse().ok()?,
            name: name.trim_end_matches(':').to_string(),
        });
    }
    let (_, users) = line.split_once("users:((\"")?;
    let (name, rest) = users.split_once('"')?;
    let pid = rest.split("pid=").nth(1)?.split([',', ')']).next()?;
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.to_string(),
    })
}
