//! The only door to the outside. It carries bytes and understands none of them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::model::{BpfInstruction, Moment};

mod change;
mod errno;
mod live;
mod piped;
mod record;
mod recording;
mod replay;
mod script;

pub use change::Change;
pub use errno::Errno;
pub use live::{Live, Netns, OpenError};
pub use piped::Piped;
pub use record::Record;
pub use recording::{MAGIC_BYTES, RecordingError, Written, is_recording};
pub use replay::Replay;
pub use script::Script;

/// The netlink family that a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `NETLINK_NETFILTER`
    Netfilter,
    /// `NETLINK_SOCK_DIAG`
    SockDiag,
    /// `NETLINK_ROUTE`
    Route,
}

/// Takes each datagram of an answer; `Break` = enough (the answer's end was in it, or the reader wants no
/// more), and the socket is closed.
pub type Sink<'a> = dyn FnMut(&[u8]) -> ControlFlow<()> + Send + 'a;

/// One request and where its answer goes.
pub struct Job<'a> {
    pub channel: Channel,
    /// The request as it is sent.
    pub request: Vec<u8>,
    /// Requests whose recorded answers hold at least as much: a replay may answer from one of them, in this
    /// order, where it has none for `request`. Never sent.
    pub wider: Vec<Vec<u8>>,
    pub sink: &'a mut Sink<'a>,
    /// `Ok` where the sink said `Break`. Anything else means that the answer's end was never seen.
    pub result: Result<(), Errno>,
}

impl<'a> Job<'a> {
    pub fn new(channel: Channel, request: Vec<u8>, sink: &'a mut Sink<'a>) -> Job<'a> {
        Job {
            channel,
            request,
            wider: Vec::new(),
            sink,
            result: Err(Errno::NOT_ASKED),
        }
    }
}

/// Something to listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Packets of this namespace, by AF_PACKET and never promiscuous. Each is handed on as an SLL2 header
    /// (LINKTYPE_LINUX_SLL2, 276) and what the filter lets through of the packet from its network header on.
    Tap {
        filter: Vec<BpfInstruction>,
        buffer_bytes: u32,
    },
    /// Netlink messages that the kernel sends to groups of `NETLINK_NETFILTER`, one datagram at a time. The kernel never
    /// waits for who listens: NETLINK_BROADCAST_SEND_ERROR is not set, which would keep dead entries in the table.
    Events {
        /// `NFNLGRP_*`
        groups: Vec<u32>,
        filter: Vec<BpfInstruction>,
        buffer_bytes: u32,
    },
}

/// How a listen call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Packets and messages lost for want of buffer since the call before.
    pub lost: u64,
    /// What the kernel grants the last source's buffer, its own overhead included; 0 where that is not known.
    pub buffer_bytes: u64,
}

/// What carries bytes in and out: the live kernel, a recording, a tee that records, a script of faults, a pipe's text
/// beside any of them.
pub trait Kernel {
    /// The only clock.
    fn now(&mut self) -> Moment;

    /// The whole content of a file.
    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno>;

    /// A file's content in parts as they are read, until its end, `Break`, or the deadline (ETIMEDOUT): for files that
    /// may be large, or slow.
    fn read_parts(
        &mut self,
        path: &str,
        _deadline: Moment,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let _ = each(&self.read_file(path)?);
        Ok(())
    }

    /// A directory's names in order, one a line; a symbolic link as `name -> target`. Only lines that contain `part`,
    /// so that a recording holds no more of its host than was asked for.
    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno>;

    /// The lines of a directory's links to one of `targets`, so that neither answer nor recording grows with what else
    /// a process has open. It may end when each target was met once.
    fn find_links(&mut self, path: &str, targets: &BTreeSet<String>) -> Result<Vec<u8>, Errno> {
        Ok(links_to(&self.read_dir(path, "")?, targets))
    }

    /// What a command that only reads prints, run in the namespace that is looked at; `command` is its words, no shell's.
    /// ENOENT where there is no such program.
    fn run(&mut self, _command: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }

    /// Sends each job's request and feeds its sink.
    fn request(&mut self, jobs: &mut [Job<'_>]);

    /// Hands on what the sources say, by their index, until the deadline or `Break`; an empty slice waits. With events
    /// among them it ends as soon as some were handed on, so that who listens can look at the clock. A tap is closed when
    /// the call ends; events stay open, and wait in their buffer, until `hush` or a call with other events.
    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno>;

    /// Closes what is still listened to.
    fn hush(&mut self) {}
}

/// The name under which a recording keeps what a command printed.
fn printed_by(command: &str) -> String {
    format!("$ {command}")
}

/// Of a listing's lines, those that are links to one of `targets`.
fn links_to(listing: &[u8], targets: &BTreeSet<String>) -> Vec<u8> {
    let wanted = |line: &&[u8]| {
        let line = std::str::from_utf8(line).ok();
        let target = line.and_then(|line| line.trim_end_matches('\n').split_once(" -> "));
        target.is_some_and(|(_, target)| targets.contains(target))
    };
    let lines = listing.split_inclusive(|byte| *byte == b'\n').filter(wanted);
    lines.flatten().copied().collect()
}
