//! Counters, as read at one moment; differences are evidence's.

use std::collections::BTreeMap;

/// Conntrack's own statistics, summed over CPUs. Each is a u32 in the kernel and wraps there.
/// `None` = this kernel or source does not give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConntrackStats {
    pub found: Option<u64>,
    pub invalid: Option<u64>,
    pub insert: Option<u64>,
    pub insert_failed: Option<u64>,
    pub drop: Option<u64>,
    pub early_drop: Option<u64>,
    pub error: Option<u64>,
    pub search_restart: Option<u64>,
    pub clash_resolve: Option<u64>,
    pub chaintoolong: Option<u64>,
    /// CPUs summed.
    pub cpus: u32,
}

/// /proc/net/netstat and /proc/net/snmp by `Group.Name`, for example `TcpExt.ListenOverflows`;
/// and /proc/net/sockstat by `sockstat.TCP.tw`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetCounters(pub BTreeMap<String, i64>);

impl NetCounters {
    pub fn get(&self, name: &str) -> Option<i64> {
        self.0.get(name).copied()
    }
}
