//! Histograms of TCP states: `     11 CLOSE_WAIT`, or `CLOSE_WAIT 11`.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::Lines;
use super::{Part, Unread, shown, unread};
use crate::model::{SocketState, TcpState};

pub fn opens(line: &str, following: &str) -> bool {
    match row(line) {
        // The row of protocols without states comes first, and `uniq -c` indents it like the others.
        Some((_, "")) => {
            let indented = |line: &str| line.starts_with(char::is_whitespace);
            let states = row(following).is_some_and(|(_, word)| !word.is_empty() && word_of(word).is_some());
            states && indented(line) == indented(following)
        }
        Some((_, word)) => word_of(word).is_some(),
        None => false,
    }
}

#[derive(Default)]
struct Tally {
    sockets: BTreeMap<SocketState, u64>,
    table: BTreeMap<TcpState, u64>,
    /// A line that only one of the two can have.
    only_sockets: Option<usize>,
    only_table: Option<usize>,
    /// … and one that no socket can have. Netstat prints CLOSE, too, where others show that these are sockets.
    no_socket: bool,
}

/// A state that comes again begins another histogram.
pub fn read(lines: &mut Lines, name: &str) -> Result<Part, Unread> {
    let mut tally = Tally::default();
    let mut seen = BTreeSet::new();
    let mut first = 0;
    while let Some((number, line)) = lines.peek() {
        let Some((count, word)) = row(line) else { break };
        let again = if word.is_empty() {
            !seen.is_empty()
        } else {
            !seen.insert(word)
        };
        if again {
            break;
        }
        lines.next();
        if first == 0 {
            first = number;
        }
        let Some(found) = word_of(word) else {
            return Err(unread(number, format!("{:?} is no TCP state", shown(word))));
        };
        tally.add(number, count, found);
    }
    tally.finish(first, name)
}

impl Tally {
    fn add(&mut self, line: usize, count: u32, word: Word) {
        match word {
            Word::State { socket, entry, spelt } => {
                self.no_socket |= socket.is_none();
                if let Some(state) = socket {
                    add(&mut self.sockets, state, count);
                }
                if let Some(state) = entry {
                    add(&mut self.table, state, count);
                }
                if spelt || matches!(socket, Some(state) if only_sockets(state)) {
                    self.only_sockets.get_or_insert(line);
                }
                if matches!(entry, Some(state) if only_table(state)) {
                    self.only_table.get_or_insert(line);
                }
            }
            Word::Sockets => {
                self.only_sockets.get_or_insert(line);
            }
            Word::Table => {
                self.no_socket = true;
                self.only_table.get_or_insert(line);
            }
            Word::Nothing => {}
        }
    }

    fn finish(self, first: usize, name: &str) -> Result<Part, Unread> {
        if self.sockets.is_empty() && self.table.is_empty() {
            return Err(unread(first, "a histogram without a single TCP state"));
        }
        let table = match (self.only_sockets, self.only_table) {
            (Some(_), None) => false,
            (Some(_), Some(_)) if !self.no_socket => false,
            (Some(a), Some(b)) => {
                let reason = "some of these states only sockets have, others only conntrack";
                return Err(unread(a.max(b), reason));
            }
            (None, Some(_)) => true,
            (None, None) => name.to_lowercase().contains("conntrack"),
        };
        Ok(if table {
            Part::TableStates(self.table)
        } else {
            Part::SocketStates(self.sockets)
        })
    }
}

/// One state may be spelt in two ways.
fn add<S: Ord>(counts: &mut BTreeMap<S, u64>, state: S, count: u32) {
    *counts.entry(state).or_default() += u64::from(count);
}

fn only_sockets(state: SocketState) -> bool {
    use SocketState::{Closing, FinWait1, FinWait2, Listen};
    matches!(state, FinWait1 | FinWait2 | Listen | Closing)
}

fn only_table(state: TcpState) -> bool {
    use TcpState::{Close, FinWait, None, SynSent2};
    matches!(state, FinWait | Close | SynSent2 | None)
}

enum Word {
    State {
        socket: Option<SocketState>,
        entry: Option<TcpState>,
        /// As only ss or a BSD's netstat spells it.
        spelt: bool,
    },
    /// Left over from a header, or of another protocol, in the output of netstat or ss.
    Sockets,
    /// An entry of another protocol: it has an address where TCP has its state.
    Table,
    Nothing,
}

fn word_of(word: &str) -> Option<Word> {
    if word.is_empty() {
        return Some(Word::Nothing);
    }
    if word.starts_with("src=") {
        return Some(Word::Table);
    }
    let leftovers = [
        "Foreign",
        "Local",
        "State",
        "Recv-Q",
        "established)",
        "servers)",
        "UNCONN",
        "CONNECTED",
        "LISTENING",
        "CONNECTING",
        "DGRAM",
        "STREAM",
        "SEQPACKET",
    ];
    if leftovers.contains(&word) {
        return Some(Word::Sockets);
    }
    let socket = socket_state(word);
    let entry = TcpState::from_name(word);
    let spelt = socket.is_some_and(|state| state.name() != word);
    (socket.is_some() || entry.is_some()).then_some(Word::State { socket, entry, spelt })
}

/// As netstat, ss or a BSD's netstat spell it.
pub fn socket_state(word: &str) -> Option<SocketState> {
    let name = match word {
        "ESTAB" => "ESTABLISHED",
        "FIN-WAIT-1" | "FIN_WAIT_1" => "FIN_WAIT1",
        "FIN-WAIT-2" | "FIN_WAIT_2" => "FIN_WAIT2",
        "SYN-SENT" => "SYN_SENT",
        "SYN-RECV" | "SYN_RCVD" => "SYN_RECV",
        "TIME-WAIT" => "TIME_WAIT",
        "CLOSE-WAIT" => "CLOSE_WAIT",
        "LAST-ACK" => "LAST_ACK",
        word => word,
    };
    SocketState::ALL.into_iter().find(|state| state.name() == name)
}

/// The count and the word of a row, in either order. No table and no host has more than 32 bits of either.
fn row(line: &str) -> Option<(u32, &str)> {
    let mut words = line.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    if words.next().is_some() {
        return None;
    }
    match (first.parse(), second) {
        (Ok(count), None) => Some((count, "")),
        (Ok(count), Some(word)) => Some((count, word)),
        (Err(_), Some(count)) => Some((count.parse().ok()?, first.trim_end_matches(':'))),
        (Err(_), None) => None,
    }
}
