//! One TCP socket of this namespace, as inet_diag or /proc/net/tcp gives it.

use super::Tuple;

/// `TCP_*` of include/net/tcp_states.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SocketState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl SocketState {
    pub const ALL: [SocketState; 11] = [
        SocketState::Established,
        SocketState::SynSent,
        SocketState::SynRecv,
        SocketState::FinWait1,
        SocketState::FinWait2,
        SocketState::TimeWait,
        SocketState::Close,
        SocketState::CloseWait,
        SocketState::LastAck,
        SocketState::Listen,
        SocketState::Closing,
    ];

    pub fn from_number(number: u8) -> Option<SocketState> {
        match number {
            // TCP_NEW_SYN_RECV: a request socket.
            12 => Some(SocketState::SynRecv),
            n => Self::ALL.get(usize::from(n).wrapping_sub(1)).copied(),
        }
    }

    /// The name that netstat prints.
    pub fn name(self) -> &'static str {
        match self {
            SocketState::Established => "ESTABLISHED",
            SocketState::SynSent => "SYN_SENT",
            SocketState::SynRecv => "SYN_RECV",
            SocketState::FinWait1 => "FIN_WAIT1",
            SocketState::FinWait2 => "FIN_WAIT2",
            SocketState::TimeWait => "TIME_WAIT",
            SocketState::Close => "CLOSE",
            SocketState::CloseWait => "CLOSE_WAIT",
            SocketState::LastAck => "LAST_ACK",
            SocketState::Listen => "LISTEN",
            SocketState::Closing => "CLOSING",
        }
    }
}

/// A socket; `tuple` is seen from this host: src is the local end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    pub state: SocketState,
    pub tuple: Tuple,
    pub uid: u32,
    /// 0 for sockets without a file (request and TIME_WAIT sockets, orphans).
    pub inode: u64,
    /// LISTEN: connections waiting for accept(); else bytes to read.
    pub recv_queue: u32,
    /// LISTEN: the backlog in force, which only inet_diag tells; else bytes not acknowledged.
    pub send_queue: Option<u32>,
    /// Unanswered repeats of what it sent last: of its SYN, in SYN_SENT.
    pub repeats: u8,
}

/// The process that holds a socket's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    pub name: String,
}
