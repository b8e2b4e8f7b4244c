//! A kernel in memory whose every answer differs from the one before, and a reader that writes down all it gets.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ctlens::kernel::{Channel, Errno, Heard, Job, Kernel, Record, Replay, Source, Written};
use ctlens::model::{BpfInstruction, Moment};

/// One call on a kernel.
#[derive(Clone, Debug)]
pub enum Call {
    Now,
    File(&'static str),
    Dir(&'static str, &'static str),
    Request(Vec<Question>),
    Listen(bool, Option<usize>),
}

/// A job: its reader stops at the end of the answer, or after so many datagrams.
#[derive(Clone, Debug)]
pub struct Question {
    pub channel: Channel,
    pub request: Vec<u8>,
    pub wider: Vec<Vec<u8>>,
    pub stop_after: Option<usize>,
}

pub fn question(kind: u8) -> Question {
    Question {
        channel: Channel::Netfilter,
        request: request(kind, 1),
        wider: Vec::new(),
        stop_after: None,
    }
}

/// The kinds of request that `Fake` knows.
pub const WHOLE: u8 = 0;
pub const REFUSED: u8 = 1;
pub const OVERRUN: u8 = 2;

/// A netlink message that asks for an answer of this kind.
pub fn request(kind: u8, seq: u32) -> Vec<u8> {
    let mut out = 20u32.to_ne_bytes().to_vec();
    out.extend_from_slice(&[0x01, 0x01, 0x01, 0x03]);
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
    out
}

pub fn tap(buffer_bytes: u32) -> Source {
    let filter = vec![BpfInstruction {
        code: 6,
        jt: 0,
        jf: 0,
        k: 128,
    }];
    Source::Tap { filter, buffer_bytes }
}

#[derive(Default)]
pub struct Fake {
    count: u64,
}

const END: &[u8] = b"END";
pub const BIG: &str = "/big";
pub const BIG_BYTES: usize = 5 << 19; // two parts and a half

impl Fake {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// What the nth datagram of an answer holds.
    fn datagram(&self, job: &Job<'_>, index: usize) -> Vec<u8> {
        let mut out = format!("{:?} {:?} {} {index} ", job.channel, job.request, self.count).into_bytes();
        if index == 3 {
            out.extend_from_slice(END);
        }
        out
    }
}

impl Kernel for Fake {
    fn now(&mut self) -> Moment {
        let count = self.next();
        Moment {
            mono_ns: count * 1_000_000_007,
            real_ns: 1_790_000_000_000_000_000 + count * 1_000_000_007,
        }
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let count = self.next();
        match path {
            BIG => Ok((0..BIG_BYTES).map(|i| (i as u64 * 31 + count) as u8).collect()),
            "/empty" => Ok(Vec::new()),
            "/missing" => Err(Errno::ENOENT),
            _ => Ok(format!("{path} {count}\n").into_bytes()),
        }
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        let count = self.next();
        if path == "/secret" {
            return Err(Errno::EACCES);
        }
        let lines = ["1 -> socket:[11]\n", "2 -> pipe:[22]\n", "3\n"];
        let lines = lines.iter().filter(|line| line.contains(part));
        let lines: String = lines
            .map(|line| line.replace('\n', &format!("{count}\n")))
            .collect();
        Ok(lines.into_bytes())
    }

    /// The jobs' answers come in turn, as sockets that are read side by side would give them.
    fn request(&mut self, jobs: &mut [Job<'_>]) {
        self.next();
        let mut done = vec![false; jobs.len()];
        for index in 0..4 {
            for (at, job) in jobs.iter_mut().enumerate() {
                let failure = match job.request[16] {
                    REFUSED => Some(Errno::EPERM),
                    OVERRUN if index == 2 => Some(Errno::ENOBUFS),
                    _ => None,
                };
                if done[at] {
                    continue;
                }
                let datagram = self.datagram(job, index);
                if let Some(errno) = failure {
                    (job.result, done[at]) = (Err(errno), true);
                } else if (job.sink)(&datagram).is_break() {
                    (job.result, done[at]) = (Ok(()), true);
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
        let count = self.next();
        for index in 0..4 {
            for source in 0..sources.len() {
                let packet = format!("a header of 20 bytes; packet {index} for {source} at {count}");
                if each(source, packet.as_bytes()).is_break() {
                    return Ok(Heard {
                        lost: count,
                        ..Heard::default()
                    });
                }
            }
        }
        Ok(Heard {
            lost: count,
            ..Heard::default()
        })
    }
}

/// Makes the call and tells all that came of it.
pub fn make(kernel: &mut dyn Kernel, call: &Call) -> String {
    match call {
        Call::Now => format!("{:?}", kernel.now()),
        Call::File(path) => told(path, kernel.read_file(path)),
        Call::Dir(path, part) => told(path, kernel.read_dir(path, part)),
        Call::Request(questions) => ask(kernel, questions),
        Call::Listen(tapped, stop_after) => {
            let sources = if *tapped { vec![tap(1), tap(2)] } else { Vec::new() };
            let mut got = Vec::new();
            let deadline = Moment::default();
            let result = kernel.listen(&sources, deadline, &mut |source, packet| {
                got.push((source, String::from_utf8_lossy(packet).into_owned()));
                flow(stop_after.is_some_and(|most| got.len() >= most))
            });
            format!("{got:?} {result:?}")
        }
    }
}

pub fn ask(kernel: &mut dyn Kernel, questions: &[Question]) -> String {
    let mut got = vec![Vec::new(); questions.len()];
    let mut sinks: Vec<_> = got
        .iter_mut()
        .zip(questions)
        .map(|(got, question)| {
            move |datagram: &[u8]| {
                got.push(String::from_utf8_lossy(datagram).into_owned());
                let stop = question.stop_after.is_some_and(|most| got.len() >= most);
                flow(stop || datagram.ends_with(END))
            }
        })
        .collect();
    let mut jobs = Vec::new();
    for (sink, question) in sinks.iter_mut().zip(questions) {
        let mut job = Job::new(question.channel, question.request.clone(), sink);
        job.wider = question.wider.clone();
        jobs.push(job);
    }
    kernel.request(&mut jobs);
    let results: Vec<_> = jobs.iter().map(|job| job.result).collect();
    drop(jobs);
    drop(sinks);
    format!("{got:?} {results:?}")
}

fn told(path: &str, result: Result<Vec<u8>, Errno>) -> String {
    match result {
        Ok(bytes) if path == BIG => format!("{} bytes, sum {}", bytes.len(), sum(&bytes)),
        Ok(bytes) => format!("{:?}", String::from_utf8_lossy(&bytes)),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Differs where two bytes change places.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

fn flow(stop: bool) -> ControlFlow<()> {
    if stop {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Makes the calls on a fake kernel through the tee; tells what came of each.
pub fn record(path: &Path, calls: &[Call]) -> (Vec<String>, Written) {
    let mut record = Record::new(Box::new(Fake::default()), path, "diagnose --window 2s").expect("begins");
    let told = calls.iter().map(|call| make(&mut record, call)).collect();
    (told, record.finish().expect("finishes"))
}

pub fn replay(path: &Path) -> Replay {
    Replay::open(path).expect("opens")
}

/// One call of each sort, and of each outcome.
pub fn every_call() -> Vec<Call> {
    vec![
        Call::File("/first"),
        Call::Now,
        Call::Request(vec![question(WHOLE)]),
        Call::Listen(false, None),
        Call::Dir("/links", "socket:["),
        Call::Request(vec![question(OVERRUN), question(WHOLE), question(REFUSED)]),
        Call::Now,
        Call::File("/missing"),
        Call::Listen(true, Some(3)),
        Call::Dir("/secret", ""),
        Call::File("/empty"),
        Call::Listen(true, None),
        Call::File("/first"),
        Call::Now,
    ]
}

/// A directory that goes with the test, and a file in it.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
