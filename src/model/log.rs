//! What lines of a log told: of a kernel, or of a program that could not connect.

use std::collections::BTreeMap;

/// Lines counted by what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFacts {
    /// `nf_conntrack: table full, dropping packet`
    pub table_full: u64,
    /// Further lines that the kernel did not print (`net_ratelimit: N callbacks suppressed`).
    pub suppressed: u64,
    /// `possible SYN flooding on port N`, by port.
    pub syn_queue_full: BTreeMap<u16, u64>,
    /// `Listen queue overflow: N already in queue`: the longest queue, and how often.
    pub accept_queue_full: Option<(u64, u64)>,
    /// `Cannot assign requested address` (EADDRNOTAVAIL): connect() found no local port.
    pub no_ports: u64,
    /// Where that was, as the program named it.
    pub no_ports_to: Option<String>,
}

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
        self.no_ports += other.no_ports;
        self.no_ports_to = self.no_ports_to.take().or(other.no_ports_to);
    }
}
