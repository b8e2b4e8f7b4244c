//! The custom blocks of a recording: what is no packet, as a line of JSON and the bytes it speaks of.
//!
//! A block's value: PEN (u32), `ctlens`, format (u8), 0 (u8), length of the head (u32), length of the body (u32), head
//! (a `Note` as JSON), body. Numbers are in the section's byte order. A reader skips notes of kinds it does not know.

use serde::{Deserialize, Serialize};

use crate::kernel::{Errno, Source};
use crate::model::{BpfInstruction, Moment};

/// Copyable custom block, value PEN first.
pub const CUSTOM_BLOCK: u32 = 0xbad;
/// The enterprise number for documentation (RFC 5612); `MAGIC` tells ours from another's.
const PEN: u32 = 32473;
const MAGIC: &[u8] = b"ctlens";
/// What stands for a set of targets: they are as many as sockets, in each of as many notes as processes.
pub const LINKS: &str = "links to what was wanted";
pub const FORMAT: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// The first note: who recorded, with what options.
    About { tool: String, options: String },
    /// An answer to `now`.
    Now(When),
    /// An answer to `read_file`: an error number, or `bytes` of content, the first of them in the body.
    File {
        path: String,
        errno: Option<i32>,
        bytes: u64,
    },
    /// An answer to `read_dir`, likewise; or to `find_links`, with `LINKS` as its part.
    Dir {
        path: String,
        part: String,
        errno: Option<i32>,
        bytes: u64,
    },
    /// The next bytes of the content before it.
    More,
    /// The end of the answer to one job.
    Answered { call: u64, job: u32, errno: Option<i32> },
    /// The start of a listen call.
    Listen {
        call: u64,
        sources: Vec<Ear>,
        deadline: When,
    },
    /// Its end.
    Heard {
        call: u64,
        lost: u64,
        #[serde(default)]
        buffer_bytes: u64,
        errno: Option<i32>,
    },
    /// The last note: the recording is whole.
    Closed,
    #[serde(other)]
    Unknown,
}

/// A `Moment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    pub mono_ns: u64,
    pub real_ns: u64,
}

impl From<Moment> for When {
    fn from(moment: Moment) -> When {
        When {
            mono_ns: moment.mono_ns,
            real_ns: moment.real_ns,
        }
    }
}

impl From<When> for Moment {
    fn from(when: When) -> Moment {
        Moment {
            mono_ns: when.mono_ns,
            real_ns: when.real_ns,
        }
    }
}

/// A `Source`; `filter` holds code, jt, jf and k of each instruction, `groups` are those of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ear {
    pub kind: String,
    #[serde(default)]
    pub filter: Vec<(u16, u8, u8, u32)>,
    #[serde(default)]
    pub buffer_bytes: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

impl From<&Source> for Ear {
    fn from(source: &Source) -> Ear {
        let (filter, buffer_bytes, groups) = match source {
            Source::Tap { filter, buffer_bytes } => (filter, buffer_bytes, Vec::new()),
            Source::Events {
                groups,
                filter,
                buffer_bytes,
            } => (filter, buffer_bytes, groups.clone()),
        };
        let numbers = |i: &BpfInstruction| (i.code, i.jt, i.jf, i.k);
        Ear {
            kind: super::source_kind(source).to_string(),
            filter: filter.iter().map(numbers).collect(),
            buffer_bytes: *buffer_bytes,
            groups,
        }
    }
}

/// A result as its error number.
pub fn number_of<T>(result: &Result<T, Errno>) -> Option<i32> {
    result.as_ref().err().map(|errno| errno.0)
}

/// Why a custom block of ours cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    Newer(u8),
    Malformed,
}

impl Note {
    /// The value of a custom block.
    pub fn encode(&self, body: &[u8]) -> Vec<u8> {
        let head = serde_json::to_vec(self).expect("a note is strings and numbers");
        let mut out = Vec::with_capacity(32 + head.len() + body.len());
        out.extend_from_slice(&PEN.to_ne_bytes());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[FORMAT, 0]);
        out.extend_from_slice(&(head.len() as u32).to_ne_bytes());
        out.extend_from_slice(&(body.len() as u32).to_ne_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(body);
        out
    }

    /// The note and its body; `None` where the block is another's.
    pub fn decode(value: &[u8]) -> Option<Result<(Note, &[u8]), Unreadable>> {
        let rest = value.strip_prefix(&PEN.to_ne_bytes())?.strip_prefix(MAGIC)?;
        Some(match rest {
            [FORMAT, _, rest @ ..] => read(rest).ok_or(Unreadable::Malformed),
            [format, ..] if *format > FORMAT => Err(Unreadable::Newer(*format)),
            _ => Err(Unreadable::Malformed),
        })
    }
}

fn read(rest: &[u8]) -> Option<(Note, &[u8])> {
    let (head_length, rest) = rest.split_first_chunk::<4>()?;
    let (body_length, rest) = rest.split_first_chunk::<4>()?;
    let (head, rest) = rest.split_at_checked(u32::from_ne_bytes(*head_length) as usize)?;
    let (body, _) = rest.split_at_checked(u32::from_ne_bytes(*body_length) as usize)?;
    Some((serde_json::from_slice(head).ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_its_block() {
        let notes = [
            Note::Now(When {
                mono_ns: u64::MAX,
                real_ns: 1,
            }),
            Note::Dir {
                path: "/proc/\u{1}\"é".into(),
                part: String::new(),
                errno: Some(-3),
                bytes: 0,
            },
            Note::Listen {
                call: 4,
                sources: vec![Ear::from(&Source::Tap {
                    filter: vec![BpfInstruction {
                        code: 6,
                        jt: 1,
                        jf: 2,
                        k: u32::MAX,
                    }],
                    buffer_bytes: 9,
                })],
                deadline: When {
                    mono_ns: 1,
                    real_ns: 2,
                },
            },
            Note::More,
            Note::Closed,
        ];
        for note in notes {
            let mut value = note.encode(b"\0body");
            value.extend_from_slice(&[0; 3]); // a block's padding
            assert_eq!(Note::decode(&value), Some(Ok((note, &b"\0body"[..]))));
        }
    }

    #[test]
    fn others_and_newer_ones_are_told_apart() {
        let value = Note::Closed.encode(&[]);
        assert_eq!(Note::decode(&[&[1], &value[1..]].concat()), None);
        assert_eq!(Note::decode(&value[..8]), None);
        let mut newer = value.clone();
        newer[10] = FORMAT + 1;
        assert_eq!(Note::decode(&newer), Some(Err(Unreadable::Newer(2))));
        for cut in 10..value.len() {
            assert_eq!(
                Note::decode(&value[..cut]),
                Some(Err(Unreadable::Malformed)),
                "{cut}"
            );
        }
        let mut later = value;
        let at = later.windows(6).position(|w| w == b"closed").unwrap();
        later[at..at + 6].copy_from_slice(b"dreamt");
        assert_eq!(Note::decode(&later), Some(Ok((Note::Unknown, &[][..]))));
    }
}
