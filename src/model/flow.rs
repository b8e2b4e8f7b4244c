//! One entry of the conntrack table.

use std::net::{IpAddr, Ipv4Addr};

use super::Moment;

/// IP protocol numbers that conntrack tracks with states or timeouts of their own.
pub mod proto {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const GRE: u8 = 47;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;

    /// The kernel's name of a protocol, where it has one.
    pub fn name(number: u8) -> Option<&'static str> {
        Some(match number {
            ICMP => "icmp",
            TCP => "tcp",
            UDP => "udp",
            33 => "dccp",
            GRE => "gre",
            ICMPV6 => "icmpv6",
            SCTP => "sctp",
            136 => "udplite",
            _ => return None,
        })
    }
}

/// One direction of an entry: addresses and, where the protocol has them, ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Source port; the ICMP id for ICMP; 0 where the protocol has none.
    pub sport: u16,
    /// Destination port; ICMP type << 8 | code for ICMP; 0 where the protocol has none.
    pub dport: u16,
}

impl Default for Tuple {
    fn default() -> Tuple {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Tuple {
            src: any,
            dst: any,
            sport: 0,
            dport: 0,
        }
    }
}

impl Tuple {
    /// The same path, seen from the other end.
    pub fn inverted(self) -> Tuple {
        Tuple {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
        }
    }
}

/// `enum tcp_conntrack` of include/uapi/linux/netfilter/nf_conntrack_tcp.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    None = 0,
    SynSent = 1,
    SynRecv = 2,
    Established = 3,
    FinWait = 4,
    CloseWait = 5,
    LastAck = 6,
    TimeWait = 7,
    Close = 8,
    SynSent2 = 9,
}

impl TcpState {
    pub const ALL: [TcpState; 10] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    pub fn from_number(number: u8) -> Option<TcpState> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name that `conntrack -L` and /proc/net/nf_conntrack print.
    pub fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    pub fn from_name(name: &str) -> Option<TcpState> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Status bits (`enum ip_conntrack_status`, nf_conntrack_common.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    pub const SEEN_REPLY: u32 = 1 << 1;
    pub const ASSURED: u32 = 1 << 2;
    pub const CONFIRMED: u32 = 1 << 3;
    pub const SRC_NAT: u32 = 1 << 4;
    pub const DST_NAT: u32 = 1 << 5;
    pub const DYING: u32 = 1 << 9;
    pub const FIXED_TIMEOUT: u32 = 1 << 10;
    pub const OFFLOAD: u32 = 1 << 14;
    pub const HW_OFFLOAD: u32 = 1 << 15;

    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
    pub fn seen_reply(self) -> bool {
        self.has(Self::SEEN_REPLY)
    }
    pub fn assured(self) -> bool {
        self.has(Self::ASSURED)
    }
}

/// One entry as a dump, an event or a line of /proc/net/nf_conntrack gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub orig: Tuple,
    pub reply: Tuple,
    /// IP protocol number, see [`proto`].
    pub proto: u8,
    pub tcp_state: Option<TcpState>,
    pub status: Status,
    /// Seconds until it expires; absent for offloaded entries and in some events.
    pub timeout_secs: Option<u32>,
    pub mark: Option<u32>,
    pub zone: Option<u16>,
    pub id: Option<u32>,
    /// `CTA_TIMESTAMP_START`, nanoseconds since 1970, with nf_conntrack_timestamp=1.
    pub start_ns: Option<u64>,
    /// Packets and bytes, original then reply direction, with nf_conntrack_acct=1.
    pub packets: Option<[u64; 2]>,
    pub bytes: Option<[u64; 2]>,
}

// A Flow lives on the stack of the decoding loop: it must stay a few cache lines.
const _: () = assert!(std::mem::size_of::<Flow>() <= 224);

impl Flow {
    /// With nf_conntrack_timestamp=1 the entry says when it began, whatever policy it got; in seconds begun, as ages by
    /// timeout are.
    pub fn age_secs(&self, now: Moment) -> Option<u32> {
        let ns = now.real_ns.checked_sub(self.start_ns?)?;
        u32::try_from(ns / 1_000_000_000 + 1).ok()
    }
}

impl Default for Flow {
    fn default() -> Flow {
        Flow {
            orig: Tuple::default(),
            reply: Tuple::default(),
            proto: 0,
            tcp_state: None,
            status: Status(0),
            timeout_secs: None,
            mark: None,
            zone: None,
            id: None,
            start_ns: None,
            packets: None,
            bytes: None,
        }
    }
}
