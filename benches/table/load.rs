//! Entries made through ctnetlink, the bare drain of a dump, and a flush, all in the namespace of the caller.

use std::os::fd::AsRawFd;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket as NetlinkSocket, SocketAddr};

/// Of this namespace's TCP states; entries are given half of it to all of it.
pub const TIMEOUT_SECS: u32 = 6_000;
const MESSAGES_PER_SEND: usize = 64;
const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;

/// A TCP state and its share of the table in hundredths.
pub struct State {
    pub name: &'static str,
    number: u8,
    share: u64,
    status: u32,
}

const CONFIRMED: u32 = 1 << 3;
const REPLIED: u32 = 1 << 1 | CONFIRMED;
const ASSURED: u32 = 1 << 2 | REPLIED;

pub const STATES: [State; 6] = [
    State {
        name: "SYN_SENT",
        number: 1,
        share: 40,
        status: CONFIRMED,
    },
    State {
        name: "SYN_RECV",
        number: 2,
        share: 5,
        status: REPLIED,
    },
    State {
        name: "ESTABLISHED",
        number: 3,
        share: 35,
        status: ASSURED,
    },
    State {
        name: "FIN_WAIT",
        number: 4,
        share: 5,
        status: ASSURED,
    },
    State {
        name: "CLOSE_WAIT",
        number: 5,
        share: 3,
        status: ASSURED,
    },
    State {
        name: "TIME_WAIT",
        number: 7,
        share: 12,
        status: ASSURED,
    },
];

pub struct Socket {
    inner: NetlinkSocket,
}

impl Socket {
    pub fn open() -> Socket {
        let mut inner = NetlinkSocket::new(NETLINK_NETFILTER).expect("a netlink socket");
        inner.bind_auto().expect("a bound netlink socket");
        Socket { inner }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.inner
            .send_to(bytes, &SocketAddr::new(0, 0), 0)
            .expect("a request is sent");
    }

    /// Deletes all entries of this namespace.
    pub fn flush(&mut self) {
        let mut request = Vec::new();
        message(&mut request, CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, 0, |_| {});
        self.send(&request);
        let mut answer = Vec::with_capacity(4096);
        self.inner.recv(&mut answer, 0).expect("an acknowledgement");
    }
}

/// The anchor: receives a whole dump and looks at nothing but where it ends. Gives the number of bytes.
pub fn drain() -> usize {
    let mut socket = Socket::open();
    let mut request = Vec::new();
    message(&mut request, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 0, |_| {});
    socket.send(&request);
    let (mut buffer, mut bytes) = (vec![0u8; 32 * 1024], 0);
    loop {
        // SAFETY: the buffer is valid for the length given with it.
        let got = unsafe {
            libc::recv(
                socket.inner.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        assert!(got >= 16, "the dump broke off");
        bytes += got as usize;
        // NLMSG_DONE comes first in the last datagram, or alone.
        let kind = u16::from_ne_bytes([buffer[4], buffer[5]]);
        if kind == 3 || ends_with_done(&buffer[..got as usize]) {
            return bytes;
        }
    }
}

/// NLMSG_DONE is 20 bytes long and the last message of its datagram.
fn ends_with_done(datagram: &[u8]) -> bool {
    let Some(tail) = datagram.len().checked_sub(20).map(|at| &datagram[at..]) else {
        return false;
    };
    tail[..4] == 20u32.to_ne_bytes() && tail[4..6] == 3u16.to_ne_bytes()
}

/// A reproducible table: the same seed gives the same entries.
pub struct Mix {
    random: u64,
}

impl Mix {
    pub fn new(seed: u64) -> Mix {
        Mix {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Gives how many entries each state got.
    pub fn load(mut self, socket: &mut Socket, entries: u64) -> [u64; 6] {
        let (mut made, mut batch, mut queued) = ([0u64; 6], Vec::new(), 0);
        for serial in 0..entries {
            let mut dice = self.next() % 100;
            let index = STATES.iter().position(|state| {
                let here = dice < state.share;
                dice = dice.saturating_sub(state.share);
                here
            });
            let index = index.unwrap_or(STATES.len() - 1);
            made[index] += 1;
            let random = self.next();
            self.entry(&mut batch, serial as u32, &STATES[index], random);
            queued += 1;
            if queued == MESSAGES_PER_SEND {
                socket.send(&batch);
                batch.clear();
                queued = 0;
            }
        }
        if queued > 0 {
            socket.send(&batch);
        }
        made
    }

    fn entry(&mut self, out: &mut Vec<u8>, serial: u32, state: &State, random: u64) {
        let v6 = random.is_multiple_of(4);
        let (sport, dport) = (
            (random >> 8) as u16 | 1024,
            if random & 16 == 0 { 80u16 } else { 443 },
        );
        let source = (serial ^ 0x5a5a_5a5a).to_be_bytes();
        let server = [10, 9, 0, (random >> 32) as u8 & 31];
        let address = |host: [u8; 4]| {
            if v6 {
                [[0xfd, 0, 0, 0], [0; 4], [0; 4], host].concat()
            } else {
                host.to_vec()
            }
        };
        let (source, server) = (address(source), address(server));
        let family = if v6 { 10 } else { 2 };
        let timeout = TIMEOUT_SECS / 2 + (random >> 40) as u32 % (TIMEOUT_SECS / 2);
        message(out, CT_NEW, NLM_F_REQUEST | NLM_F_CREATE_EXCL, family, |out| {
            tuple(out, 1, v6, &source, &server, sport, dport);
            tuple(out, 2, v6, &server, &source, dport, sport);
            attribute(out, 3, &state.status.to_be_bytes());
            nested(out, 4, |out| {
                nested(out, 1, |out| attribute(out, 1, &[state.number]));
            });
            attribute(out, 7, &timeout.to_be_bytes());
            if random & 0x60 == 0 {
                attribute(out, 8, &7u32.to_be_bytes());
            }
        });
    }
}

fn tuple(out: &mut Vec<u8>, kind: u16, v6: bool, src: &[u8], dst: &[u8], sport: u16, dport: u16) {
    let (src_kind, dst_kind) = if v6 { (3, 4) } else { (1, 2) };
    nested(out, kind, |out| {
        nested(out, 1, |out| {
            attribute(out, src_kind, src);
            attribute(out, dst_kind, dst);
        });
        nested(out, 2, |out| {
            attribute(out, 1, &[6]);
            attribute(out, 2, &sport.to_be_bytes());
            attribute(out, 3, &dport.to_be_bytes());
        });
    });
}

/// nlmsghdr and nfgenmsg around a body.
fn message(out: &mut Vec<u8>, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, 0, 0, 0]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn nested(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    header(out, start, kind | 0x8000);
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(value);
    header(out, start, kind);
}

fn header(out: &mut Vec<u8>, start: usize, kind: u16) {
    let length = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    out[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
}
