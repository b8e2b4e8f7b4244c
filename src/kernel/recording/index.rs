//! Where each answer of a recording begins: one pass over the file, which holds no datagram in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use pcap_file::DataLink;

use super::blocks::{Block, Blocks, NoSection, Stop};
use super::note::{FORMAT, Note};
use super::{RecordingError, Tag, plain};
use crate::kernel::{Errno, Heard};
use crate::model::Moment;

/// Reading stops where the index would need more. A look makes some hundred entries, and two per process where
/// sockets' owners are looked for; the table adds none.
const MAX_INDEX_BYTES: usize = 256 << 20;
/// What an entry takes beside its key.
const ENTRY_BYTES: usize = 96;

pub type SpanId = usize;

/// One answer to a job, or one listen call: blocks from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
    pub tag: Tag,
    /// What was heard (listen calls only), or the error; `None` where the recording ends within.
    pub outcome: Option<Result<Heard, Errno>>,
}

/// Everything is in the order of the file.
#[derive(Debug, Default)]
pub struct Index {
    pub tool: String,
    pub options: String,
    pub moments: Vec<(u64, Moment)>,
    pub files: BTreeMap<String, Vec<u64>>,
    /// By path; each with the part that was asked for.
    pub dirs: BTreeMap<String, Vec<(u64, String)>>,
    pub spans: Vec<Span>,
    /// By family and request key.
    pub answers: BTreeMap<(u16, Vec<u8>), Vec<SpanId>>,
    /// By the sources' kinds.
    pub listens: BTreeMap<Vec<String>, Vec<SpanId>>,
    /// Why not all is there.
    pub cut: Option<String>,
}

/// Reads the file once; the blocks are ready to be read again.
pub fn read(path: &Path, file: File, first: Vec<u8>) -> Result<(Index, Blocks), RecordingError> {
    let path_text = path.display().to_string();
    let plain = plain::open(path, file, first)?;
    let mut blocks = Blocks::open(plain.file, plain.length).map_err(|why| match why {
        NoSection::OtherByteOrder => RecordingError::OtherByteOrder {
            path: path_text.clone(),
        },
        NoSection::NotPcapng if plain.broken.is_none() => RecordingError::NotARecording {
            path: path_text.clone(),
        },
        NoSection::NotPcapng | NoSection::Stop(_) => RecordingError::NothingLeft {
            path: path_text.clone(),
            at: plain.length,
        },
    })?;
    let mut pass = Pass::default();
    let (count, stop) = pass.run(&mut blocks);
    if let Stop::Newer(format) = stop {
        return Err(RecordingError::Newer {
            path: path_text,
            format,
            known: FORMAT,
        });
    }
    if !pass.introduced {
        let foreign = pass.foreign || stop == Stop::End && plain.broken.is_none();
        return Err(if foreign {
            let what = match blocks.link() {
                Some(DataLink::NETLINK) => "a capture of netlink packets (nlmon)",
                _ => "a packet capture",
            };
            RecordingError::Foreign {
                path: path_text,
                what,
            }
        } else {
            RecordingError::NothingLeft {
                path: path_text,
                at: blocks.at(),
            }
        });
    }
    let mut index = pass.index;
    for span in &mut index.spans {
        if span.outcome.is_none() {
            span.end = blocks.at();
        }
    }
    index.cut = cut(&path_text, &blocks, count, &stop, pass.closed, plain.broken);
    Ok((index, blocks))
}

fn cut(
    path: &str,
    blocks: &Blocks,
    count: u64,
    stop: &Stop,
    closed: bool,
    broken: Option<String>,
) -> Option<String> {
    let (at, length) = (blocks.at(), blocks.length());
    let why = broken.map(|why| format!(" ({why})")).unwrap_or_default();
    let how = match stop {
        Stop::Broken(what) => format!("makes no sense from byte {at} on: {what}{why}"),
        Stop::Cut => format!("is cut at byte {length}, inside a block{why}"),
        _ if !closed => format!("is cut at byte {length}, before its closing block{why}"),
        _ if !why.is_empty() => format!("is whole, but broken behind its last block{why}"),
        _ => return None,
    };
    Some(format!(
        "the recording {path} {how}; the {count} whole blocks up to byte {at} were read"
    ))
}

#[derive(Default)]
struct Pass {
    index: Index,
    /// `About` was met.
    introduced: bool,
    /// A packet was met before it.
    foreign: bool,
    closed: bool,
    open: BTreeMap<Tag, SpanId>,
    spent: usize,
}

impl Pass {
    /// How many blocks were whole, and what came then.
    fn run(&mut self, blocks: &mut Blocks) -> (u64, Stop) {
        let mut count = 1; // the section header
        loop {
            let start = blocks.at();
            let taken = match blocks.next() {
                Ok(block) => self.take(start, block),
                Err(stop) => return (count, stop),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(closed)) => self.index.spans[closed].end = blocks.at(),
                Err(stop) => return (count, blocks.seek(start).err().unwrap_or(stop)),
            }
            count += 1;
            if self.foreign {
                return (count, Stop::End);
            }
        }
    }

    /// The span that this block closes, if it does.
    fn take(&mut self, start: u64, block: Block<'_>) -> Result<Option<SpanId>, Stop> {
        match block {
            Block::Note(note, _) => return self.note(start, note),
            Block::Datagram {
                tag: Some(tag),
                outgoing: true,
                family,
                bytes,
            } if self.introduced => {
                self.spend(bytes.len())?;
                let key = (family, super::without_sender(bytes));
                let id = self.open(start, tag);
                self.index.answers.entry(key).or_default().push(id);
            }
            Block::Datagram { .. } | Block::Tapped { .. } | Block::Other { packet: true } => {
                self.foreign |= !self.introduced;
            }
            Block::Other { packet: false } => {}
        }
        Ok(None)
    }

    fn note(&mut self, start: u64, note: Note) -> Result<Option<SpanId>, Stop> {
        let index = &mut self.index;
        match note {
            Note::About { tool, options } if !self.introduced => {
                (index.tool, index.options) = (tool, options);
                self.introduced = true;
            }
            _ if !self.introduced => return Err(Stop::Broken("it does not begin with `about`".into())),
            Note::Now(when) => {
                index.moments.push((start, when.into()));
                self.spend(0)?;
            }
            Note::File { path, .. } => {
                let length = path.len();
                index.files.entry(path).or_default().push(start);
                self.spend(length)?;
            }
            Note::Dir { path, part, .. } => {
                let length = path.len() + part.len();
                index.dirs.entry(path).or_default().push((start, part));
                self.spend(length)?;
            }
            Note::Listen { call, sources, .. } => {
                let kinds: Vec<String> = sources.into_iter().map(|source| source.kind).collect();
                self.spend(kinds.iter().map(String::len).sum())?;
                let id = self.open(start, Tag { call, part: 0 });
                self.index.listens.entry(kinds).or_default().push(id);
            }
            Note::Answered { call, job, errno } => {
                return Ok(self.close(Tag { call, part: job }, errno, Heard::default()));
            }
            Note::Heard {
                call,
                lost,
                buffer_bytes,
                errno,
            } => return Ok(self.close(Tag { call, part: 0 }, errno, Heard { lost, buffer_bytes })),
            Note::Closed => self.closed = true,
            Note::About { .. } | Note::More | Note::Unknown => {}
        }
        Ok(None)
    }

    fn open(&mut self, start: u64, tag: Tag) -> SpanId {
        let id = self.index.spans.len();
        self.index.spans.push(Span {
            start,
            end: start,
            tag,
            outcome: None,
        });
        self.open.insert(tag, id);
        id
    }

    fn close(&mut self, tag: Tag, errno: Option<i32>, heard: Heard) -> Option<SpanId> {
        let id = self.open.remove(&tag)?;
        self.index.spans[id].outcome = Some(errno.map_or(Ok(heard), |number| Err(Errno(number))));
        Some(id)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Stop> {
        self.spent += ENTRY_BYTES + bytes;
        if self.spent > MAX_INDEX_BYTES {
            return Err(Stop::Broken(format!(
                "its index would exceed {MAX_INDEX_BYTES} bytes"
            )));
        }
        Ok(())
    }
}
