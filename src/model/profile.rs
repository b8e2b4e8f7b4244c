//! A set of timeouts and sizes: measured, proposed, or in force.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Timeouts, Timer};

/// What is to be in force. What it does not name stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Seconds.
    pub timeouts: BTreeMap<Timer, u32>,
    /// `nf_conntrack_max`: one value for the host.
    pub max: Option<u64>,
    /// `nf_conntrack_buckets`: one value for the host.
    pub buckets: Option<u64>,
    /// Other sysctls, by their dotted names.
    pub others: BTreeMap<String, String>,
    /// Flows that get timeouts of their own.
    pub targets: Vec<Target>,
}

/// Flows to one place, and their timeouts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// [`super::proto::TCP`] or [`super::proto::UDP`].
    pub proto: u8,
    pub dst: IpAddr,
    /// `None`: any.
    pub dport: Option<u16>,
    /// Seconds.
    pub timeouts: BTreeMap<Timer, u32>,
}

impl Profile {
    pub fn is_empty(&self) -> bool {
        *self == Profile::default()
    }

    /// The timeouts in force under it, where `today` are those without it.
    pub fn over(&self, today: &Timeouts) -> Timeouts {
        let mut out = *today;
        for (timer, secs) in &self.timeouts {
            out.set(*timer, Some(*secs));
        }
        out
    }

    /// Its sysctls by their dotted names, in the order of the timers; sizes first.
    pub fn sysctls(&self) -> Vec<(String, String)> {
        let ct = |rest: &str| format!("net.netfilter.nf_conntrack_{rest}");
        let sizes = [("buckets", self.buckets), ("max", self.max)];
        let sizes = sizes
            .into_iter()
            .filter_map(|(rest, value)| Some((ct(rest), value?.to_string())));
        let timeouts = self
            .timeouts
            .iter()
            .filter_map(|(timer, secs)| Some((ct(timer.sysctl()?), secs.to_string())));
        let others = self
            .others
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        sizes.chain(timeouts).chain(others).collect()
    }
}
