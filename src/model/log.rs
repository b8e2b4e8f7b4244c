//! What lines of a log told: of a kernel, or of a program that could not connect.

use std::collections::BTreeMap;

/// Lines counted by what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFacts {
    /// `nf_conntrack: table full, dropping packet`
    pub table_full: u64,
    /// Lines of any kind that the kernel did not print (`net_ratelimit: N callbacks suppressed`): all that are limited
    /// share one limit.
    pub suppressed: u64,
    /// `possible SYN flooding on port N`, by port.
    pub syn_queue_full: BTreeMap<u16, u64>,
    /// `Listen queue overflow: N already in queue`: the longest queue, and how often.
    pub accept_queue_full: Option<(u64, u64)>,
    /// `Cannot assign requested address` (EADDRNOTAVAIL): connect() found no local port.
    pub no_ports: u64,
    /// Where that was, as the program named it.
    pub no_ports_to: Option<String>,
    /// `Connection refused`: the servers that a program named, and how often.
    pub refused: BTreeMap<String, u64>,
    /// Conntrack's own lines on packets outside the window (nf_conntrack_log_invalid).
    pub out_of_window: u64,
}

/// Servers remembered of one log; further ones are left out.
const MAX_SERVERS: usize = 1_000;

impl LogFacts {
    /// Another log's lines beside these.
    pub fn add(&mut self, other: LogFacts) {
        self.table_full += other.table_full;
        self.suppressed = self.suppressed.saturating_add(other.suppressed);
        for (port, lines) in other.syn_queue_full {
            *self.syn_queue_full.entry(port).or_default() += lines;
        }
        if let Some((longest, times)) = other.accept_queue_full {
            let (known, before) = self.accept_queue_full.unwrap_or((0, 0));
            self.accept_queue_full = Some((known.max(longest), before.saturating_add(times)));
        }
        for (server, lines) in other.refused {
            self.refuse(server, lines);
        }
        self.out_of_window += other.out_of_window;
        self.no_ports += other.no_ports;
        self.no_ports_to = self.no_ports_to.take().or(other.no_ports_to);
    }

    /// `server` refused so many connections.
    pub fn refuse(&mut self, server: String, lines: u64) {
        if self.refused.len() < MAX_SERVERS || self.refused.contains_key(&server) {
            *self.refused.entry(server).or_default() += lines;
        }
    }
}
