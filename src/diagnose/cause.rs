//! The closed lists: sides, causes and their codes. The strings are the ones in JSON, for good.

use serde::{Serialize, Serializer};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This host's own netfilter, never a box in front of it.
    Firewall,
    /// This host's own sockets and settings.
    Proxy,
    Backend,
    Client,
    Path,
    None,
    Undecided,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Firewall => "firewall",
            Side::Proxy => "proxy",
            Side::Backend => "backend",
            Side::Client => "client",
            Side::Path => "path",
            Side::None => "none",
            Side::Undecided => "undecided",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    SynSentHold,
    SynRecvHold,
    EstablishedHold,
    CloseWaitHold,
    TimeWaitHold,
    UdpHold,
    TableFull,
    HashUndersized,
    NatPortsExhausted,
    InsertClash,
    RulesetDrop,
    StaleNatEntry,
    WindowInvalid,
    ListenerOverflow,
    EphemeralPortsExhausted,
    PawsDrop,
    BackendUnresponsive,
    BackendRefusing,
    SynFlood,
    AsymmetricRouting,
    RpFilterDrop,
    None,
    Undecided,
}

impl Cause {
    /// Every cause that has a code, in the order of the codes.
    pub const ALL: [Cause; 21] = [
        Cause::SynSentHold,
        Cause::SynRecvHold,
        Cause::EstablishedHold,
        Cause::CloseWaitHold,
        Cause::TimeWaitHold,
        Cause::UdpHold,
        Cause::TableFull,
        Cause::HashUndersized,
        Cause::NatPortsExhausted,
        Cause::InsertClash,
        Cause::RulesetDrop,
        Cause::StaleNatEntry,
        Cause::WindowInvalid,
        Cause::ListenerOverflow,
        Cause::EphemeralPortsExhausted,
        Cause::PawsDrop,
        Cause::BackendUnresponsive,
        Cause::BackendRefusing,
        Cause::SynFlood,
        Cause::AsymmetricRouting,
        Cause::RpFilterDrop,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Cause::SynSentHold => "syn-sent-hold",
            Cause::SynRecvHold => "syn-recv-hold",
            Cause::EstablishedHold => "established-hold",
            Cause::CloseWaitHold => "close-wait-hold",
            Cause::TimeWaitHold => "time-wait-hold",
            Cause::UdpHold => "udp-hold",
            Cause::TableFull => "table-full",
            Cause::HashUndersized => "hash-undersized",
            Cause::NatPortsExhausted => "nat-ports-exhausted",
            Cause::InsertClash => "insert-clash",
            Cause::RulesetDrop => "ruleset-drop",
            Cause::StaleNatEntry => "stale-nat-entry",
            Cause::WindowInvalid => "window-invalid",
            Cause::ListenerOverflow => "listener-overflow",
            Cause::EphemeralPortsExhausted => "ephemeral-ports-exhausted",
            Cause::PawsDrop => "paws-drop",
            Cause::BackendUnresponsive => "backend-unresponsive",
            Cause::BackendRefusing => "backend-refusing",
            Cause::SynFlood => "syn-flood",
            Cause::AsymmetricRouting => "asymmetric-routing",
            Cause::RpFilterDrop => "rp-filter-drop",
            Cause::None => "none",
            Cause::Undecided => "undecided",
        }
    }

    pub fn side(self) -> Side {
        match self {
            Cause::None => Side::None,
            Cause::Undecided => Side::Undecided,
            Cause::ListenerOverflow | Cause::EphemeralPortsExhausted | Cause::PawsDrop => Side::Proxy,
            Cause::BackendUnresponsive | Cause::BackendRefusing => Side::Backend,
            Cause::SynFlood => Side::Client,
            Cause::AsymmetricRouting | Cause::RpFilterDrop => Side::Path,
            _ => Side::Firewall,
        }
    }

    /// Whether entries are kept longer than what they stand for.
    pub fn holds(self) -> bool {
        matches!(
            self,
            Cause::SynSentHold
                | Cause::SynRecvHold
                | Cause::EstablishedHold
                | Cause::CloseWaitHold
                | Cause::TimeWaitHold
                | Cause::UdpHold
        )
    }

    /// `CT001` …; `None` for `none` and `undecided`.
    pub fn code(self) -> Option<String> {
        let index = Self::ALL.iter().position(|cause| *cause == self)?;
        Some(format!("CT{:03}", index + 1))
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
