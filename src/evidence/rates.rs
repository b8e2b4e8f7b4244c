//! Counters as differences over a window.

use std::collections::BTreeMap;

use crate::model::{ConntrackStats, NetCounters};

/// By name in the kernel's words. With no `earlier` reading: totals.
pub fn conntrack(earlier: Option<&ConntrackStats>, later: &ConntrackStats) -> BTreeMap<&'static str, u64> {
    let before = earlier.map(ConntrackStats::named);
    let mut out = BTreeMap::new();
    for (index, (name, now)) in later.named().into_iter().enumerate() {
        let Some(now) = now else { continue };
        match before.map(|b| b[index].1) {
            None => out.insert(name, now),
            Some(Some(then)) => out.insert(name, since(then, now)),
            // Read now but not then: a difference would be made up.
            Some(None) => None,
        };
    }
    out
}

/// Each CPU's counter is a u32 that wraps by itself, so sums over CPUs are alike modulo 2^32, however many wrapped.
fn since(then: u64, now: u64) -> u64 {
    u64::from(now.wrapping_sub(then) as u32)
}

/// Only names that both readings have. Gauges (sockstat, CurrEstab) are left as they are now.
pub fn net(earlier: Option<&NetCounters>, later: &NetCounters) -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    for (name, now) in &later.0 {
        let gauge = name.starts_with("sockstat.") || name.ends_with(".CurrEstab");
        match earlier.filter(|_| !gauge) {
            None => out.insert(name.clone(), *now),
            Some(earlier) => match earlier.get(name) {
                Some(then) => out.insert(name.clone(), now.saturating_sub(then).max(0)),
                None => None,
            },
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_one_wrap_and_never_invent() {
        let then = ConntrackStats {
            drop: Some(u64::from(u32::MAX)),
            found: None,
            ..Default::default()
        };
        let now = ConntrackStats {
            drop: Some(4),
            found: Some(9),
            early_drop: None,
            ..Default::default()
        };
        let got = conntrack(Some(&then), &now);
        assert_eq!(got.get("drop"), Some(&5));
        assert_eq!(got.get("found"), None);
        assert_eq!(got.get("early_drop"), None);
        assert_eq!(conntrack(None, &now).get("found"), Some(&9));
    }

    #[test]
    fn several_cpus_may_wrap_in_one_window() {
        let max = u64::from(u32::MAX);
        // Two CPUs at the top, then both at 1.
        assert_eq!(since(2 * max, 2), 4);
        assert_eq!(since(2 * max, max + 1), 2);
        assert_eq!(since(7, 7), 0);
    }

    #[test]
    fn gauges_are_not_differences() {
        let reading =
            |n| NetCounters([("TcpExt.ListenDrops".into(), n), ("sockstat.TCP.tw".into(), n)].into());
        let got = net(Some(&reading(40)), &reading(100));
        assert_eq!(got["TcpExt.ListenDrops"], 60);
        assert_eq!(got["sockstat.TCP.tw"], 100);
    }
}
