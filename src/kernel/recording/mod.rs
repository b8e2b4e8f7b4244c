//! The file that `Record` writes and `Replay` reads: raw bytes in a pcapng, so that Wireshark opens it too.
//!
//! One section in the byte order of the recorded machine, zstd around it where the file's name ends in `.zst`:
//! - Interface 0 (link type NETLINK, 253): each netlink datagram, with the 16 bytes that the kernel's nlmon would
//!   put before it: packet type (4 = request, 0 = answer), ARPHRD_NETLINK, 10 zero bytes, netlink family.
//! - Interface 1 (link type LINUX_SLL2, 276): each tapped packet, as `Source::Tap` hands it on.
//! - Each packet has a comment `ctlens CALL.PART`: the request or listen call that it belongs to, counted from 0, and
//!   the job or source within that call. Its time is that of the last answer to `now` before it (1970 where there is none).
//! - Custom blocks hold all else: a `Note`, and the bytes it speaks of (see `note`).
//!
//! The first custom block is `about`, the last one `closed`. A request call is the jobs' requests in their order,
//! then their answers as they came, then an `answered` for each job; a listen call lies between `listen` and `heard`.

use pcap_file::DataLink;
use thiserror::Error;

use super::{Channel, Source};

mod blocks;
mod index;
mod note;
mod plain;
mod tape;

pub use blocks::{Block, Blocks};
pub use index::{Index, Span, SpanId, read};
pub use note::{Ear, LINKS, Note, number_of};
pub use plain::{MAGIC_BYTES, is_recording};
pub use tape::{Tape, Written};

/// Longer blocks are not written, and not believed where they are read. Wireshark's own bound (wiretap/pcapng.c).
pub const MAX_BLOCK_BYTES: usize = 16 << 20;
/// The longest file or listing that a replay puts together from its parts.
pub const MAX_CONTENT_BYTES: u64 = 512 << 20;

const NETLINK: u32 = 0;
const TAPPED: u32 = 1;
const LINK_TYPES: [DataLink; 2] = [DataLink::NETLINK, DataLink::LINUX_SLL2];

/// Why a recording could not be written or read.
#[derive(Debug, Error)]
pub enum RecordingError {
    #[error("cannot record into {path}: {why}; name a file in a directory that you may write to")]
    Create { path: String, why: String },
    #[error(
        "cannot record into {path}: it is there already and no regular file (a link is not followed); give another name"
    )]
    NotAFile { path: String },
    #[error("recording into {path} failed: {why}; nothing was kept of it, make room and record again")]
    Write { path: String, why: String },
    #[error("cannot read {path}: {why}")]
    Read { path: String, why: String },
    #[error("{path} is no recording: it holds no pcapng, plain or in zstd; `ctlens record FILE` makes one")]
    NotARecording { path: String },
    #[error(
        "{path} is {what} that ctlens did not record: the clock, the files, and which answer belongs to which \
         request are missing; `ctlens record FILE` on that host writes them all"
    )]
    Foreign { path: String, what: &'static str },
    #[error("{path} was recorded on a machine of the other byte order; replay it on one like that")]
    OtherByteOrder { path: String },
    #[error("{path} was recorded by a newer ctlens (format {format}, known here is {known}); update ctlens")]
    Newer { path: String, format: u8, known: u8 },
    #[error(
        "{path} ends or breaks at byte {at}, before anything that can be replayed; copy or record it again"
    )]
    NothingLeft { path: String, at: u64 },
    #[error("cannot unpack {path} into {dir}: {why}; set TMPDIR to a directory with room")]
    Unpack { path: String, dir: String, why: String },
}

/// The call and the job or source within it that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub call: u64,
    pub part: u32,
}

impl Tag {
    fn comment(self) -> String {
        format!("ctlens {}.{}", self.call, self.part)
    }

    fn from_comment(text: &str) -> Option<Tag> {
        let (call, part) = text.strip_prefix("ctlens ")?.split_once('.')?;
        Some(Tag {
            call: call.parse().ok()?,
            part: part.parse().ok()?,
        })
    }
}

/// What a request is looked up by: its family, and its bytes without what differs from one sending to the next
/// (nlmsg_seq and nlmsg_pid of each message in it).
pub fn request_key(channel: Channel, request: &[u8]) -> (u16, Vec<u8>) {
    (family(channel), without_sender(request))
}

/// The netlink family (include/uapi/linux/netlink.h).
pub fn family(channel: Channel) -> u16 {
    match channel {
        Channel::Route => 0,
        Channel::SockDiag => 4,
        Channel::Netfilter => 12,
    }
}

/// What a listen call is looked up by: filters and buffers may differ from one version to the next.
pub fn source_kind(source: &Source) -> &'static str {
    match source {
        Source::Tap { .. } => "tap",
        Source::Events { .. } => "events",
    }
}

fn without_sender(request: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    let mut key = request.to_vec();
    let mut at = 0;
    while let Some(header) = key.get_mut(at..at + HEADER) {
        header[8..].fill(0);
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length < HEADER {
            break;
        }
        at += length.min(key.len()).next_multiple_of(4);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_comment() {
        let tag = Tag { call: 71, part: 3 };
        assert_eq!(Tag::from_comment(&tag.comment()), Some(tag));
        for other in ["", "ctlens", "ctlens 1", "ctlens x.1", "seen 1.2", "ctlens -1.0"] {
            assert_eq!(Tag::from_comment(other), None, "{other}");
        }
    }

    #[test]
    fn requests_are_equal_but_for_sequence_and_port() {
        let message = |seq: u8, port: u8, body: u8| {
            let mut bytes = vec![0; 20];
            bytes[..4].copy_from_slice(&20u32.to_ne_bytes());
            (bytes[8], bytes[12], bytes[16]) = (seq, port, body);
            bytes
        };
        let key = |a: Vec<u8>, b: Vec<u8>| request_key(Channel::Netfilter, &[a, b].concat());
        assert_eq!(
            key(message(1, 2, 5), message(3, 4, 6)),
            key(message(9, 8, 5), message(7, 6, 6))
        );
        assert_ne!(
            key(message(1, 2, 5), message(3, 4, 6)),
            key(message(1, 2, 5), message(3, 4, 7))
        );
        assert_ne!(
            request_key(Channel::Netfilter, &message(1, 2, 5)),
            request_key(Channel::Route, &message(1, 2, 5))
        );
        // No netlink at all, and a length that leads nowhere.
        assert_eq!(without_sender(&[1, 2, 3]), [1, 2, 3]);
        assert_eq!(without_sender(&[0xff; 16])[..8], [0xff; 8]);
        assert_eq!(without_sender(&[0; 40]), [0; 40]);
    }
}
