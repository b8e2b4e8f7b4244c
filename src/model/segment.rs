//! One packet that the tap saw: headers only.

use std::net::IpAddr;

use super::Tuple;

/// TCP flag bits as in the header's 14th byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;

    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// A SYN without ACK.
    Syn,
    SynAck,
    Rst,
    /// The sender has no more data.
    Fin,
    /// An ICMP error (destination unreachable) about a TCP segment whose tuple is `tuple`.
    Unreachable {
        icmp_type: u8,
        icmp_code: u8,
    },
    OtherTcp,
}

/// A tapped segment. For `Unreachable`, `tuple` is that of the packet the error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub kind: SegmentKind,
    pub tuple: Tuple,
    /// Whose packet it is: of an ICMP error often a router.
    pub sender: IpAddr,
    /// TCP sequence number: tells a retransmission from a new attempt on a used tuple.
    pub seq: u32,
    pub flags: TcpFlags,
    /// The interface it was seen on.
    pub ifindex: u32,
    /// True where this host sent it (sll packet type 4).
    pub outgoing: bool,
}
