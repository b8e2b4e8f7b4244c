//! The packet filter's rules, as far as they decide over tracked connections.

use std::net::IpAddr;

/// Who holds a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// nf_tables, whoever wrote it: nft, iptables-nft, firewalld.
    NfTables,
    /// The older ip_tables and ip6_tables, as `iptables-legacy-save` prints them.
    Legacy,
}

/// `NFPROTO_*`, by nft's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Inet,
    Ip,
    Ip6,
    Arp,
    Bridge,
    Netdev,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
            Family::Arp => "arp",
            Family::Bridge => "bridge",
            Family::Netdev => "netdev",
        }
    }
}

/// Where a base chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Egress,
}

/// conntrack looks at a packet at this priority (NF_IP_PRI_CONNTRACK): a chain below it comes first.
pub const CONNTRACK_PRIORITY: i32 = -200;

/// A base chain's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub hook: Hook,
    pub priority: i32,
}

impl At {
    /// Whether a packet passes here before conntrack sees it.
    pub fn before_conntrack(self) -> bool {
        self.hook == Hook::Ingress
            || matches!(self.hook, Hook::Prerouting | Hook::Output) && self.priority < CONNTRACK_PRIORITY
    }
}

/// Packets and bytes since the counter was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub packets: u64,
    pub bytes: u64,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    pub engine: Engine,
    pub family: Family,
    pub table: String,
    pub name: String,
    /// Base chains only.
    pub at: Option<At>,
    /// A base chain's policy is to drop.
    pub drops: bool,
    /// Packets that met the policy, where they are counted (iptables counts them, nft does not).
    pub counter: Option<Tally>,
}

/// One thing that a rule asks of a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Match {
    /// An address and its prefix length.
    Source(IpAddr, u8),
    Destination(IpAddr, u8),
    /// Both ends included.
    SourcePorts(u16, u16),
    DestinationPorts(u16, u16),
    /// IP protocol number.
    Protocol(u8),
    /// An interface's name; `eth*` where it ends in `*`.
    InputInterface(String),
    OutputInterface(String),
    /// Any of these `ct state` bits (`NF_CT_STATE_BIT`, see [`ct_state`]).
    State(u32),
    /// Any of these, each of which asks all of its own.
    AnyOf {
        /// The named set that lists them; empty where the rule does.
        set: String,
        of: Vec<Vec<Match>>,
    },
    /// Only so often.
    Limit,
    /// Something that is not understood here: whether a packet matches cannot be told.
    Other(String),
}

impl Match {
    /// One of them is itself, more are a list that the rule has written down; of none nothing is known.
    pub fn any_of(mut list: Vec<Match>) -> Option<Match> {
        match list.len() {
            0 => None,
            1 => list.pop(),
            _ => Some(Match::AnyOf {
                set: String::new(),
                of: list.into_iter().map(|one| vec![one]).collect(),
            }),
        }
    }
}

/// Bits of `ct state` (include/uapi/linux/netfilter/nf_conntrack_common.h).
pub mod ct_state {
    pub const INVALID: u32 = 1;
    pub const ESTABLISHED: u32 = 1 << 1;
    pub const RELATED: u32 = 1 << 2;
    pub const NEW: u32 = 1 << 3;
    pub const UNTRACKED: u32 = 1 << 6;
}

/// A match, or its opposite.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub not: bool,
    pub what: Match,
}

/// Where NAT takes its new address and port from; `None` where the rule leaves that to the interface, or as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Both ends included.
    pub ports: Option<(u16, u16)>,
    /// `fully-random`: without it parallel SYNs may choose the same port (insert-clash).
    pub fully_random: bool,
    /// The target is looked up in a map, or taken from a register: what it is cannot be told.
    pub unknown: bool,
}

/// What a rule does with the packets that it matches.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Accept,
    Drop,
    Reject,
    Notrack,
    Snat(Mapping),
    Dnat(Mapping),
    Masquerade(Mapping),
    Redirect(Mapping),
    /// Gives the flow the named timeout policy.
    Timeout(String),
    Synproxy,
    /// Hands the flow to the named flowtable.
    Offload(String),
    Jump(String),
    Goto(String),
    Return,
    /// Counts, logs, marks, or something that is not understood here.
    Other(String),
}

/// One rule of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterRule {
    pub engine: Engine,
    pub family: Family,
    pub table: String,
    pub chain: String,
    /// nf_tables only.
    pub handle: Option<u64>,
    /// Its place in its chain, from 1 on.
    pub number: u32,
    pub when: Vec<Condition>,
    pub then: Action,
    /// Its own counter, or that of the named one it uses.
    pub counter: Option<Tally>,
    /// The rule in short, as its own tool would write it.
    pub text: String,
}

/// A `ct timeout` object or a policy of nfct.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeoutPolicy {
    pub name: String,
    /// nft objects have a table.
    pub table: Option<String>,
}

/// All rules of one namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    pub chains: Vec<Chain>,
    pub rules: Vec<FilterRule>,
    pub timeout_policies: Vec<TimeoutPolicy>,
    pub flowtables: Vec<String>,
    /// Something of it could not be read or was more than a bound: what is absent may be there all the same.
    pub partial: bool,
}
