//! A tee: passes every call on to another kernel and writes what went through. It never changes an answer.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::recording::{Ear, LINKS, Note, RecordingError, Tag, Tape, Written, family, number_of};
use super::{Channel, Errno, Heard, Job, Kernel, Sink, Source, printed_by};
use crate::model::Moment;

/// What of a file read in parts is recorded; it is held until its end, which the note before it tells.
const MAX_KEPT_BYTES: usize = 256 << 20;

pub struct Record {
    inner: Box<dyn Kernel>,
    /// Shared by the sinks of one request call, which may run side by side.
    tape: Mutex<Tape>,
    calls: u64,
}

impl Record {
    /// `about`: the command and its options, for who reads the recording later.
    pub fn new(inner: Box<dyn Kernel>, path: &Path, about: &str) -> Result<Record, RecordingError> {
        let mut tape = Tape::create(path)?;
        tape.about(about);
        Ok(Record {
            inner,
            tape: Mutex::new(tape),
            calls: 0,
        })
    }

    /// The file has its name only after this. An error in writing never disturbed the look; it comes out here.
    pub fn finish(self) -> Result<Written, RecordingError> {
        self.tape
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .finish()
    }

    fn tape(&mut self) -> &mut Tape {
        self.tape.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls - 1
    }
}

impl Kernel for Record {
    fn now(&mut self) -> Moment {
        let moment = self.inner.now();
        let tape = self.tape();
        tape.stamp(moment);
        tape.note(&Note::Now(moment.into()), &[]);
        moment
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let result = self.inner.read_file(path);
        self.tape().content(&result, |errno, bytes| Note::File {
            path: path.to_string(),
            errno,
            bytes,
        });
        result
    }

    /// What came is recorded with how it ended: CUT_SHORT where the reader had enough.
    fn read_parts(
        &mut self,
        path: &str,
        deadline: Moment,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let (mut kept, mut over, mut enough) = (Vec::new(), false, false);
        let result = self.inner.read_parts(path, deadline, &mut |part| {
            over |= kept.len() + part.len() > MAX_KEPT_BYTES;
            if !over {
                kept.extend_from_slice(part);
            }
            let taken = each(part);
            enough |= taken.is_break();
            taken
        });
        let ended = match result {
            _ if over => Err(Errno::TOO_LARGE),
            Ok(()) if enough => Err(Errno::CUT_SHORT),
            other => other,
        };
        self.tape().parts(&kept, &ended, |errno, bytes| Note::File {
            path: path.to_string(),
            errno,
            bytes,
        });
        result
    }

    /// Recorded as the file `$ command`.
    fn run(&mut self, command: &str) -> Result<Vec<u8>, Errno> {
        let result = self.inner.run(command);
        self.tape().content(&result, |errno, bytes| Note::File {
            path: printed_by(command),
            errno,
            bytes,
        });
        result
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        let result = self.inner.read_dir(path, part);
        self.tape().content(&result, |errno, bytes| Note::Dir {
            path: path.to_string(),
            part: part.to_string(),
            errno,
            bytes,
        });
        result
    }

    fn find_links(&mut self, path: &str, targets: &BTreeSet<String>) -> Result<Vec<u8>, Errno> {
        let result = self.inner.find_links(path, targets);
        self.tape().content(&result, |errno, bytes| Note::Dir {
            path: path.to_string(),
            part: LINKS.to_string(),
            errno,
            bytes,
        });
        result
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        let call = self.next_call();
        for (part, job) in (0..).zip(&*jobs) {
            self.tape()
                .datagram(Tag { call, part }, true, family(job.channel), &job.request);
        }
        let tape = &self.tape;
        let mut sinks: Vec<Box<Sink<'_>>> = Vec::new();
        let mut asked = Vec::new();
        for (part, job) in (0..).zip(&mut *jobs) {
            let (family, sink) = (family(job.channel), &mut *job.sink);
            sinks.push(Box::new(move |datagram: &[u8]| {
                let mut tape = tape.lock().unwrap_or_else(PoisonError::into_inner);
                tape.datagram(Tag { call, part }, false, family, datagram);
                drop(tape);
                sink(datagram)
            }));
            asked.push((job.channel, job.request.clone(), job.wider.clone()));
        }
        let mut tees: Vec<Job<'_>> = Vec::new();
        for (sink, (channel, request, wider)) in sinks.iter_mut().zip(asked) {
            let mut tee = Job::new(channel, request, &mut **sink);
            tee.wider = wider;
            tees.push(tee);
        }
        self.inner.request(&mut tees);
        let results: Vec<_> = tees.iter().map(|tee| tee.result).collect();
        drop(tees);
        drop(sinks);
        for (number, (job, result)) in (0..).zip(jobs.iter_mut().zip(results)) {
            job.result = result;
            let note = Note::Answered {
                call,
                job: number,
                errno: number_of(&result),
            };
            self.tape().note(&note, &[]);
        }
    }

    fn hush(&mut self) {
        self.inner.hush();
    }

    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        let call = self.next_call();
        let note = Note::Listen {
            call,
            sources: sources.iter().map(Ear::from).collect(),
            deadline: deadline.into(),
        };
        let tape = self.tape.get_mut().unwrap_or_else(PoisonError::into_inner);
        tape.note(&note, &[]);
        let result = self.inner.listen(sources, deadline, &mut |source, packet| {
            let part = u32::try_from(source).unwrap_or(u32::MAX);
            match sources.get(source) {
                Some(Source::Events { .. }) => {
                    tape.datagram(Tag { call, part }, false, family(Channel::Netfilter), packet);
                }
                _ => tape.tapped(Tag { call, part }, packet),
            }
            each(source, packet)
        });
        let note = Note::Heard {
            call,
            lost: result.map_or(0, |heard| heard.lost),
            buffer_bytes: result.map_or(0, |heard| heard.buffer_bytes),
            errno: number_of(&result),
        };
        tape.note(&note, &[]);
        result
    }
}
