//! What pasted text told: a snapshot with the holes that a paste has.

use std::collections::BTreeMap;

use super::{LogFacts, Process, Snapshot, Socket, SocketState, TcpState, Tuple};

/// One setting of a pasted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub file: String,
    pub line: usize,
    /// Dotted, as it was pasted.
    pub name: String,
    pub value: String,
    /// Printed by a running kernel (`sysctl -a`); false: asked for in a file such as sysctl.conf.
    pub in_force: bool,
}

/// Everything but the entries themselves, which are read again as they are handed on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pasted {
    /// `half_open` is filled only from a listing of sockets that would show a SYN_SENT one.
    pub snapshot: Snapshot,
    pub settings: Vec<Setting>,
    /// True: `snapshot.addresses` are all of the host's; false: only those that its sockets showed.
    pub addresses_whole: bool,
    /// Sockets by state, from a listing or a histogram that would show SYN_SENT; `None` where none would.
    pub socket_states: Option<BTreeMap<SocketState, u64>>,
    /// Sockets of all states whose addresses could be read.
    pub sockets: Vec<Socket>,
    /// Of listeners, where the tool named the program.
    pub processes: BTreeMap<Tuple, Process>,
    /// What lines of logs told.
    pub log: Option<LogFacts>,
    /// TCP entries by state, from a histogram.
    pub table_states: Option<BTreeMap<TcpState, u64>>,
    /// Files that hold entries, in the order in which they are handed on.
    pub entry_files: Vec<String>,
    /// Entries that the tool said it listed, where it said so.
    pub entries_shown: Option<u64>,
}
