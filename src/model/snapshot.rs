//! One namespace at one moment. What could not be seen is absent and has a [`Gap`].

use std::net::IpAddr;

use super::{ConntrackStats, Limits, Moment, NetCounters, Ruleset, Settings, Socket, Timeouts};

/// Something that was not seen, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The source by its name: `ctnetlink`, `inet_diag`, `tap`, `cttimeout`, a path, …
    pub source: String,
    pub reason: String,
    pub remedy: String,
}

impl Gap {
    pub fn new(source: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Gap {
        Gap {
            source: source.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

/// Which machine and namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Kernel release, `6.1.0-28-amd64`.
    pub kernel: Option<String>,
    /// The network namespace as /proc/self/ns/net names it: `net:[4026531840]`.
    pub netns: Option<String>,
}

impl Host {
    /// Major and minor number of the kernel's release.
    pub fn version(&self) -> Option<(u32, u32)> {
        self.kernel.as_deref().and_then(version)
    }
}

/// `6.1.0-28-amd64`: 6 and 1.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where entries were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableSource {
    Ctnetlink,
    /// /proc/net/nf_conntrack
    Procfs,
    /// `conntrack -L` text or a histogram that somebody pasted.
    Pasted,
}

impl TableSource {
    pub fn name(self) -> &'static str {
        match self {
            TableSource::Ctnetlink => "ctnetlink",
            TableSource::Procfs => "procfs",
            TableSource::Pasted => "pasted",
        }
    }
}

/// How a pass over the table went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TableLook {
    pub source: TableSource,
    pub started: Moment,
    pub ended: Moment,
    /// Entries handed on: after removing duplicates, before any filter of ours.
    pub dumped: u64,
    /// Set where the pass was closed early: the count it is a sample of.
    pub sampled_of: Option<u64>,
    /// The count after such a pass: it collects the expired entries that it walks past, so what it fell by tells of them.
    pub count_after: Option<u64>,
    /// Entries met twice because the dump resumed within a bucket.
    pub duplicates: u64,
    /// Messages or lines that could not be decoded.
    pub malformed: u64,
}

/// One namespace's surroundings at one moment. Entries and established sockets are folded while they
/// stream by and are not in here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub host: Host,
    pub taken: Moment,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub settings: Settings,
    pub stats: Option<ConntrackStats>,
    pub net: Option<NetCounters>,
    /// Sockets in SYN_SENT and SYN_RECV, both families.
    pub half_open: Option<Vec<Socket>>,
    pub listeners: Option<Vec<Socket>>,
    /// Addresses of this namespace.
    pub addresses: Option<Vec<IpAddr>>,
    /// The packet filter's rules.
    pub ruleset: Option<Ruleset>,
    /// Some flows may have timeouts of their own: what is left of one tells no age.
    pub flow_policies: bool,
    pub gaps: Vec<Gap>,
}
