//! A kernel made of what a test wants it to say.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ctlens::collect::{How, Plan};
use ctlens::kernel::{Channel, Errno, Heard, Job, Kernel, Source};
use ctlens::model::{Limits, Moment};

/// What comes of one receive.
pub type Datagram = Result<Vec<u8>, Errno>;

pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
pub const CT_NEW: u16 = 0x100;
pub const MULTI: u16 = 2;
pub const DUMP_INTR: u16 = 0x10;

/// A plan of which only the way matters.
pub fn plan(how: How) -> Plan {
    Plan {
        how,
        why: String::new(),
        worst_fill_ms: 0.0,
        expected: None,
        expected_secs: 0.0,
        closed: None,
    }
}

/// A table whose count is all that is known of its size.
pub fn limits(count: u64) -> Limits {
    Limits {
        count: Some(count),
        ..Limits::default()
    }
}

/// Each answer is a list of datagrams; after the last one nothing more comes.
pub struct Fake<A: FnMut(Channel, &[u8]) -> Vec<Datagram>> {
    pub files: BTreeMap<String, Result<Vec<u8>, Errno>>,
    /// Of a file that is not among `files`.
    pub no_file: Errno,
    pub answer: A,
    pub tapped: Vec<Datagram>,
    pub requests: Vec<(Channel, Vec<u8>)>,
    clock_ns: u64,
}

impl<A: FnMut(Channel, &[u8]) -> Vec<Datagram>> Fake<A> {
    pub fn new(answer: A) -> Fake<A> {
        Fake {
            files: BTreeMap::new(),
            no_file: Errno::ENOENT,
            answer,
            tapped: Vec::new(),
            requests: Vec::new(),
            clock_ns: 1_000_000_000,
        }
    }

    pub fn file(mut self, path: &str, text: &str) -> Fake<A> {
        self.files.insert(path.to_string(), Ok(text.as_bytes().to_vec()));
        self
    }
}

impl<A: FnMut(Channel, &[u8]) -> Vec<Datagram>> Kernel for Fake<A> {
    fn now(&mut self) -> Moment {
        self.clock_ns += 1_000_000;
        Moment {
            mono_ns: self.clock_ns,
            real_ns: 1_795_591_079_000_000_000 + self.clock_ns,
        }
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        self.files.get(path).cloned().unwrap_or(Err(self.no_file))
    }

    fn read_dir(&mut self, path: &str, _part: &str) -> Result<Vec<u8>, Errno> {
        self.read_file(path)
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            self.requests.push((job.channel, job.request.clone()));
            job.result = Err(Errno::ETIMEDOUT);
            for datagram in (self.answer)(job.channel, &job.request) {
                match datagram {
                    Ok(bytes) if (job.sink)(&bytes).is_break() => {
                        job.result = Ok(());
                        break;
                    }
                    Ok(_) => {}
                    Err(errno) => {
                        job.result = Err(errno);
                        break;
                    }
                }
            }
        }
    }

    fn listen(
        &mut self,
        sources: &[Source],
        _deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        if sources.is_empty() {
            return Ok(Heard::default());
        }
        for datagram in std::mem::take(&mut self.tapped) {
            if each(0, &datagram?).is_break() {
                break;
            }
        }
        Ok(Heard::default())
    }
}

pub fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([1u32, 4321].map(u32::to_ne_bytes).concat());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

pub fn done() -> Vec<u8> {
    message(NLMSG_DONE, MULTI, &0i32.to_ne_bytes())
}

/// The kernel's refusal: a negative error number and the header of the request.
pub fn refused(errno: Errno) -> Vec<u8> {
    let mut payload = (-errno.0).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    message(NLMSG_ERROR, 0, &payload)
}

pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = (4 + value.len() as u16).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// The payload of a dump's entry: TCP SYN_SENT, 10.0.0.1:`sport` to 10.0.0.2:80.
pub fn syn_sent(sport: u16, id: u32, timeout_secs: u32) -> Vec<u8> {
    let tuple = |kind, src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16| {
        let ip = [attribute(1, &src), attribute(2, &dst)].concat();
        let ports = [
            attribute(1, &[6]),
            attribute(2, &sport.to_be_bytes()),
            attribute(3, &dport.to_be_bytes()),
        ];
        let both = [attribute(0x8001, &ip), attribute(0x8002, &ports.concat())].concat();
        attribute(kind, &both)
    };
    let state = attribute(0x8001, &attribute(1, &[1]));
    [
        vec![2, 0, 0, 0],
        tuple(0x8001, [10, 0, 0, 1], [10, 0, 0, 2], sport, 80),
        tuple(0x8002, [10, 0, 0, 2], [10, 0, 0, 1], 80, sport),
        attribute(3, &8u32.to_be_bytes()),
        attribute(12, &id.to_be_bytes()),
        attribute(7, &timeout_secs.to_be_bytes()),
        attribute(0x8004, &state),
    ]
    .concat()
}

/// A datagram of such entries, ids made from the ports.
pub fn entries(ports: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let one = |port: u16| message(CT_NEW, MULTI, &syn_sent(port, 0xabcd_0000 | u32::from(port), 100));
    ports.into_iter().flat_map(one).collect()
}
