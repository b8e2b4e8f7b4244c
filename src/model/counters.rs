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

impl ConntrackStats {
    /// By name, in the kernel's words.
    pub fn named(&self) -> [(&'static str, Option<u64>); 10] {
        [
            ("found", self.found),
            ("invalid", self.invalid),
            ("insert", self.insert),
            ("insert_failed", self.insert_failed),
            ("drop", self.drop),
            ("early_drop", self.early_drop),
            ("error", self.error),
            ("search_restart", self.search_restart),
            ("clash_resolve", self.clash_resolve),
            ("chaintoolong", self.chaintoolong),
        ]
    }
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
