//! Entries made over ctnetlink, without any packet.
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack,nf_conntrack_common,nf_conntrack_tcp}.h
const CT_NEW: u16 = 1 << 8;
const REQUEST_CREATE_EXCL: u16 = 0x1 | 0x400 | 0x200;
const NESTED: u16 = 0x8000;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const TIMEOUT: u16 = 7;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const CONFIRMED: u32 = 1 << 3;
const SEEN_REPLY_ASSURED: u32 = 1 << 1 | 1 << 2;

const TCP: u8 = 6;
/// Messages of one sendto(); the kernel works them off before it returns.
const BATCH: u32 = 100;

/// What spread entries have left at least.
const LEAST_LEFT_SECS: u32 = 20;

/// What the entries look like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// As `enum tcp_conntrack` numbers it.
    state: u8,
    status: u32,
    timeout_secs: u32,
    /// The entries have come one after the other, evenly over the time that they live.
    spread: bool,
}

impl Kind {
    /// The other direction never sent anything.
    pub fn is_one_way(self) -> bool {
        self.status == CONFIRMED
    }
}

const ASSURED: u32 = CONFIRMED | SEEN_REPLY_ASSURED;

/// ESTABLISHED and ASSURED: never evicted.
pub const ESTABLISHED: Kind = Kind {
    state: 3,
    status: ASSURED,
    timeout_secs: 432_000,
    spread: false,
};
/// ESTABLISHED four days ago and silent since, by the default timeout of five days.
pub const IDLE: Kind = Kind {
    timeout_secs: 86_400,
    ..ESTABLISHED
};
/// The same, but the other direction never sent anything.
pub const PICKED_UP: Kind = Kind {
    status: CONFIRMED,
    ..IDLE
};
/// Half closed, each for less than an hour.
pub const CLOSE_WAIT: Kind = Kind {
    state: 5,
    status: ASSURED,
    timeout_secs: 3_600,
    spread: true,
};
/// Closed in the last 120 s.
pub const TIME_WAIT: Kind = Kind {
    state: 7,
    status: ASSURED,
    timeout_secs: 120,
    spread: true,
};
/// SYN_SENT that nobody answered: evicted for new entries when the table is full.
pub const SYN_SENT: Kind = Kind {
    state: 1,
    status: CONFIRMED,
    timeout_secs: 120,
    spread: false,
};

/// The socket of the namespace that it was made in.
pub struct Filler {
    socket: OwnedFd,
    from: Ipv4Addr,
    to: Ipv4Addr,
    port: u16,
    made: u32,
}

impl Filler {
    pub fn new(from: Ipv4Addr, to: Ipv4Addr, port: u16) -> io::Result<Filler> {
        // SAFETY: socket() takes numbers only.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_NETFILTER,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fd is a new descriptor that nothing else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Filler {
            socket,
            from,
            to,
            port,
            made: 0,
        })
    }

    /// Makes `entries` more. Whether the table took them shows in its count.
    pub fn add(&mut self, kind: Kind, entries: u64) -> io::Result<()> {
        let mut left = entries;
        while left > 0 {
            let batch = left.min(BATCH.into()) as u32;
            let bytes: Vec<u8> = (0..batch)
                .flat_map(|n| self.message(kind, self.made + n))
                .collect();
            self.made += batch;
            left -= u64::from(batch);
            self.send(&bytes)?;
            self.forget_answers();
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: sockaddr_nl is plain numbers, for which all zeroes is a value: pid 0 is the kernel.
        let mut kernel: libc::sockaddr_nl = unsafe { zeroed() };
        kernel.nl_family = libc::AF_NETLINK as u16;
        // SAFETY: both pointers and lengths describe values that outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const kernel).cast(),
                size_of::<libc::sockaddr_nl>() as u32,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Only refusals are answered.
    fn forget_answers(&self) {
        let mut buffer = [0u8; 8192];
        // SAFETY: the pointer and length describe `buffer`, which outlives each call.
        while unsafe {
            libc::recv(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        } > 0
        {}
    }

    /// The `number`th entry: sources count up their ports, then their addresses.
    fn message(&self, kind: Kind, number: u32) -> Vec<u8> {
        const PORTS: u32 = 60_000;
        let from = Ipv4Addr::from(u32::from(self.from) + number / PORTS);
        let from_port = 1024 + (number % PORTS) as u16;
        let timeout_secs = match kind.spread {
            // None leaves before it was looked at.
            true => LEAST_LEFT_SECS + number % (kind.timeout_secs - LEAST_LEFT_SECS),
            false => kind.timeout_secs,
        };
        let orig = tuple(from, self.to, from_port, self.port);
        let reply = tuple(self.to, from, self.port, from_port);
        let body = [
            vec![libc::AF_INET as u8, 0, 0, 0],
            attribute(TUPLE_ORIG | NESTED, &orig),
            attribute(TUPLE_REPLY | NESTED, &reply),
            attribute(STATUS, &kind.status.to_be_bytes()),
            attribute(TIMEOUT, &timeout_secs.to_be_bytes()),
            // CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE
            attribute(
                PROTOINFO | NESTED,
                &attribute(1 | NESTED, &attribute(1, &[kind.state])),
            ),
        ]
        .concat();
        let mut out = Vec::with_capacity(16 + body.len());
        out.extend((16 + body.len() as u32).to_ne_bytes());
        out.extend(CT_NEW.to_ne_bytes());
        out.extend(REQUEST_CREATE_EXCL.to_ne_bytes());
        out.extend([0; 8]); // sequence, port
        out.extend(body);
        out
    }
}

fn tuple(src: Ipv4Addr, dst: Ipv4Addr, sport: u16, dport: u16) -> Vec<u8> {
    let ip = [attribute(1, &src.octets()), attribute(2, &dst.octets())].concat();
    let proto = [
        attribute(1, &[TCP]),
        attribute(2, &sport.to_be_bytes()),
        attribute(3, &dport.to_be_bytes()),
    ]
    .concat();
    [
        attribute(TUPLE_IP | NESTED, &ip),
        attribute(TUPLE_PROTO | NESTED, &proto),
    ]
    .concat()
}

/// Padded to four bytes; the length is the one without padding.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + payload.len() + 3);
    out.extend((4 + payload.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
