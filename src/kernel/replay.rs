//! Answers from a recording: the same calls get the same bytes, other calls get what was recorded nearest.
//!
//! A cursor stands on the call that was answered last. A call is answered by the first recorded answer to the like
//! behind the cursor, or where there is none, by the last one before it; the cursor then moves there, so that the
//! clock goes with the data.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use super::recording::{
    Block, Blocks, Index, LINKS, MAGIC_BYTES, MAX_CONTENT_BYTES, Note, RecordingError, Span, SpanId, Tag,
    read, request_key, source_kind,
};
use super::{Errno, Heard, Job, Kernel, Source, links_to, printed_by};
use crate::model::Moment;

pub struct Replay {
    index: Index,
    blocks: Blocks,
    cursor: u64,
}

impl Replay {
    /// Reads the whole file once to learn where each answer lies.
    pub fn open(path: &Path) -> Result<Replay, RecordingError> {
        let unreadable = |error: std::io::Error| RecordingError::Read {
            path: path.display().to_string(),
            why: error.to_string(),
        };
        let (mut file, mut first) = (File::open(path).map_err(unreadable)?, Vec::new());
        let begin = (&mut file).take(MAGIC_BYTES).read_to_end(&mut first);
        begin.map_err(unreadable)?;
        Replay::open_from(path, file, first)
    }

    /// The same of a file that is open at `path` and whose `first` bytes were read to tell what it is: a pipe gives
    /// them only once.
    pub fn open_from(path: &Path, file: File, first: Vec<u8>) -> Result<Replay, RecordingError> {
        let (index, blocks) = read(path, file, first)?;
        Ok(Replay {
            index,
            blocks,
            cursor: 0,
        })
    }

    /// Where the recording is not whole: a sentence that says at which byte, and how much was read.
    pub fn cut(&self) -> Option<String> {
        self.index.cut.clone()
    }

    /// The command and options that recorded it.
    pub fn about(&self) -> &str {
        &self.index.options
    }

    /// What wrote it: name and version.
    pub fn tool(&self) -> &str {
        &self.index.tool
    }

    fn nearest_span(&self, ids: Option<&Vec<SpanId>>) -> Option<Span> {
        let spans = &self.index.spans;
        nearest(ids?, self.cursor, |id| spans[*id].start).map(|id| spans[*id])
    }

    /// The content of the file or directory at `start`.
    fn content(&mut self, start: u64) -> Result<Vec<u8>, Errno> {
        let mut content = Vec::new();
        self.parts(start, MAX_CONTENT_BYTES, &mut |part| {
            content.extend_from_slice(part);
            ControlFlow::Continue(())
        })?;
        Ok(content)
    }

    /// The same part by part, and then the error that it ended with.
    fn parts(
        &mut self,
        start: u64,
        at_most: u64,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        self.cursor = start;
        self.blocks.seek(start).map_err(|_| Errno::CUT_SHORT)?;
        let (ended, expected, mut come, first) = match self.blocks.next() {
            Ok(Block::Note(Note::File { errno, bytes, .. } | Note::Dir { errno, bytes, .. }, body)) => {
                let taken = if bytes > at_most || body.is_empty() {
                    ControlFlow::Continue(())
                } else {
                    each(body)
                };
                (errno, bytes, body.len() as u64, taken)
            }
            _ => return Err(Errno::CUT_SHORT),
        };
        if expected > at_most {
            return Err(Errno::TOO_LARGE);
        }
        if first.is_break() {
            return Ok(());
        }
        while come < expected {
            match self.blocks.next() {
                Ok(Block::Note(Note::More, part)) if !part.is_empty() => {
                    if each(part).is_break() {
                        return Ok(());
                    }
                    come += part.len() as u64;
                }
                _ => return Err(Errno::CUT_SHORT),
            }
        }
        ended.map_or(Ok(()), |number| Err(Errno(number)))
    }

    /// The nearest listing of the directory whose part fits; the first of `fits` that finds any.
    fn listing(&mut self, path: &str, fits: &[&dyn Fn(&str) -> bool]) -> Result<Vec<u8>, Errno> {
        let listings = self.index.dirs.get(path).ok_or(Errno::NOT_RECORDED)?;
        let start = fits.iter().find_map(|fits| {
            let fitting = listings.iter().filter(|(_, of)| fits(of));
            let starts: Vec<u64> = fitting.map(|(start, _)| *start).collect();
            nearest(&starts, self.cursor, |start| *start).copied()
        });
        self.content(start.ok_or(Errno::NOT_RECORDED)?)
    }

    fn answer(&mut self, job: &mut Job<'_>) -> Result<(), Errno> {
        let requests = std::iter::once(&job.request).chain(&job.wider);
        let mut keys = requests.map(|request| request_key(job.channel, request));
        let found = keys.find_map(|key| self.nearest_span(self.index.answers.get(&key)));
        let span = found.ok_or(Errno::NOT_RECORDED)?;
        self.cursor = span.start;
        let enough = self.blocks.each(span, |block| match block {
            Block::Datagram {
                tag,
                outgoing: false,
                bytes,
                ..
            } if tag == Some(span.tag) => (job.sink)(bytes),
            _ => ControlFlow::Continue(()),
        });
        match (enough, span.outcome) {
            (ControlFlow::Break(()), _) => Ok(()),
            (ControlFlow::Continue(()), Some(Err(errno))) => Err(errno),
            (ControlFlow::Continue(()), _) => Err(Errno::CUT_SHORT),
        }
    }
}

impl Kernel for Replay {
    fn now(&mut self) -> Moment {
        let moments = &self.index.moments;
        match nearest(moments, self.cursor, |(start, _)| *start) {
            Some((start, moment)) => {
                self.cursor = self.cursor.max(*start);
                *moment
            }
            None => Moment::default(),
        }
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let starts = self.index.files.get(path).ok_or(Errno::NOT_RECORDED)?;
        let start = nearest(starts, self.cursor, |start| *start).ok_or(Errno::NOT_RECORDED)?;
        self.content(*start)
    }

    fn run(&mut self, command: &str) -> Result<Vec<u8>, Errno> {
        self.read_file(&printed_by(command))
    }

    fn read_parts(
        &mut self,
        path: &str,
        _deadline: Moment,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let starts = self.index.files.get(path).ok_or(Errno::NOT_RECORDED)?;
        let start = *nearest(starts, self.cursor, |start| *start).ok_or(Errno::NOT_RECORDED)?;
        self.parts(start, u64::MAX, each)
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        // Each line that contains `part` contains what is part of it.
        let content = self.listing(path, &[&|of| of == part, &|of| part.contains(of)])?;
        let lines = content.split_inclusive(|byte| *byte == b'\n');
        Ok(lines
            .filter(|line| contains(line, part.as_bytes()))
            .flatten()
            .copied()
            .collect())
    }

    fn find_links(&mut self, path: &str, targets: &BTreeSet<String>) -> Result<Vec<u8>, Errno> {
        let all = |of: &str| targets.iter().all(|target| target.contains(of));
        let content = self.listing(path, &[&|of| of == LINKS, &all])?;
        Ok(links_to(&content, targets))
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            job.result = self.answer(job);
        }
    }

    fn listen(
        &mut self,
        sources: &[Source],
        _deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        let kinds: Vec<String> = sources
            .iter()
            .map(|source| source_kind(source).to_string())
            .collect();
        let events = sources
            .iter()
            .any(|source| matches!(source, Source::Events { .. }));
        let span = match self.nearest_span(self.index.listens.get(&kinds)) {
            // Nothing happens twice.
            Some(span) if events && span.start <= self.cursor => return Err(Errno::ENDED),
            Some(span) => span,
            None if sources.is_empty() => return Ok(Heard::default()),
            None => return Err(Errno::NOT_RECORDED),
        };
        self.cursor = span.start;
        let _ = self.blocks.each(span, |block| match block {
            Block::Tapped {
                tag: Some(Tag { call, part }),
                bytes,
            }
            | Block::Datagram {
                tag: Some(Tag { call, part }),
                outgoing: false,
                bytes,
                ..
            } if call == span.tag.call && (part as usize) < sources.len() => each(part as usize, bytes),
            _ => ControlFlow::Continue(()),
        });
        // How many were lost is known at the end of the call only.
        span.outcome.unwrap_or(Err(Errno::CUT_SHORT))
    }
}

/// The first behind the cursor, or the last before it.
fn nearest<T>(items: &[T], cursor: u64, start: impl Fn(&T) -> u64) -> Option<&T> {
    let behind = items.partition_point(|item| start(item) <= cursor);
    items.get(behind).or(items.last())
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    part.is_empty() || line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_behind_else_the_last_before() {
        let starts = [10, 20, 30];
        let near = |cursor| nearest(&starts, cursor, |start| *start).copied();
        assert_eq!(
            [0, 10, 19, 29].map(near),
            [Some(10), Some(20), Some(20), Some(30)]
        );
        assert_eq!([30, 99].map(near), [Some(30), Some(30)]);
        assert_eq!(nearest::<u64>(&[], 5, |start| *start), None);
    }

    #[test]
    fn lines_by_their_part() {
        assert!(contains(b"net -> net:[1]\n", b"net -> ") && contains(b"", b"") && contains(b"a\n", b"\n"));
        assert!(!contains(b"ab", b"abc") && !contains(b"", b"x"));
    }
}
