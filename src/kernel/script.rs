//! Faults on demand around another kernel, for tests: what a real kernel does seldom, when one asks for it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::{Channel, Errno, Heard, Job, Kernel, Source};
use crate::model::Moment;

/// NLMSG_ERROR (include/uapi/linux/netlink.h), and a flag: only the request's header is quoted.
const NLMSG_ERROR: u16 = 2;
const NLM_F_CAPPED: u16 = 0x100;
const HEADER_BYTES: usize = 16;

/// Datagrams are counted from 0 in each answer.
pub struct Script {
    inner: Box<dyn Kernel>,
    faults: Vec<(Channel, Fault)>,
    files: Vec<(String, Errno)>,
    listen: Option<Errno>,
    lost: u64,
}

#[derive(Clone, Copy)]
enum Fault {
    Refuse(Errno),
    FailAfter(usize, Errno),
    Cut(usize, usize),
    Repeat(usize),
}

impl Script {
    pub fn new(inner: Box<dyn Kernel>) -> Script {
        Script {
            inner,
            faults: Vec::new(),
            files: Vec::new(),
            listen: None,
            lost: 0,
        }
    }

    /// Each request is answered with an error message, as the kernel refuses.
    pub fn refuse(self, channel: Channel, errno: Errno) -> Script {
        self.with(channel, Fault::Refuse(errno))
    }

    /// This file or directory cannot be read.
    pub fn refuse_file(mut self, path: &str, errno: Errno) -> Script {
        self.files.push((path.to_string(), errno));
        self
    }

    /// The socket fails after so many datagrams of an answer: ENOBUFS, a dump that breaks off.
    pub fn fail_after(self, channel: Channel, datagrams: usize, errno: Errno) -> Script {
        self.with(channel, Fault::FailAfter(datagrams, errno))
    }

    /// Only the first `bytes` of the nth datagram come through.
    pub fn cut_datagram(self, channel: Channel, nth: usize, bytes: usize) -> Script {
        self.with(channel, Fault::Cut(nth, bytes))
    }

    /// The nth datagram comes twice: a dump that resumes shows entries again.
    pub fn repeat_datagram(self, channel: Channel, nth: usize) -> Script {
        self.with(channel, Fault::Repeat(nth))
    }

    /// No source can be listened to; waiting still works.
    pub fn refuse_listen(mut self, errno: Errno) -> Script {
        self.listen = Some(errno);
        self
    }

    /// Each listen call loses so many packets more.
    pub fn lose(mut self, packets: u64) -> Script {
        self.lost = packets;
        self
    }

    fn with(mut self, channel: Channel, fault: Fault) -> Script {
        self.faults.push((channel, fault));
        self
    }

    fn refused(&self, path: &str) -> Result<(), Errno> {
        let found = self.files.iter().find(|(of, _)| of == path);
        found.map_or(Ok(()), |(_, errno)| Err(*errno))
    }

    fn answer(&mut self, job: &mut Job<'_>) -> Result<(), Errno> {
        let faults = self.faults.iter().filter(|(channel, _)| *channel == job.channel);
        let faults: Vec<Fault> = faults.map(|(_, fault)| *fault).collect();
        for fault in &faults {
            if let Fault::Refuse(errno) = fault {
                if errno.0 <= 0 {
                    return Err(*errno); // one of our own: no kernel says it
                }
                let taken = (job.sink)(&error_message(&job.request, *errno));
                return if taken.is_break() {
                    Ok(())
                } else {
                    Err(Errno::ETIMEDOUT)
                };
            }
        }
        let mut failed = None;
        let mut count = 0;
        let sink = &mut *job.sink;
        let mut faulty = |datagram: &[u8]| {
            let (mut length, mut times) = (datagram.len(), 1);
            for fault in &faults {
                match *fault {
                    Fault::FailAfter(most, errno) if count >= most => {
                        failed = Some(errno);
                        return ControlFlow::Break(());
                    }
                    Fault::Cut(nth, bytes) if nth == count => length = length.min(bytes),
                    Fault::Repeat(nth) if nth == count => times += 1,
                    _ => {}
                }
            }
            count += 1;
            (0..times).try_for_each(|_| sink(&datagram[..length]))
        };
        let mut tee = [Job::new(job.channel, job.request.clone(), &mut faulty)];
        tee[0].wider = job.wider.clone();
        self.inner.request(&mut tee);
        let [tee] = tee;
        let result = tee.result;
        failed.map_or(result, Err)
    }
}

impl Kernel for Script {
    fn now(&mut self) -> Moment {
        self.inner.now()
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        self.refused(path)?;
        self.inner.read_file(path)
    }

    fn run(&mut self, command: &str) -> Result<Vec<u8>, Errno> {
        self.refused(command)?;
        self.inner.run(command)
    }

    fn read_parts(
        &mut self,
        path: &str,
        deadline: Moment,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        self.refused(path)?;
        self.inner.read_parts(path, deadline, each)
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        self.refused(path)?;
        self.inner.read_dir(path, part)
    }

    fn find_links(&mut self, path: &str, targets: &BTreeSet<String>) -> Result<Vec<u8>, Errno> {
        self.refused(path)?;
        self.inner.find_links(path, targets)
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            job.result = self.answer(job);
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
        match self.listen {
            Some(errno) if !sources.is_empty() => Err(errno),
            _ => self.inner.listen(sources, deadline, each).map(|heard| Heard {
                lost: heard.lost + self.lost,
                ..heard
            }),
        }
    }
}

/// What netlink_ack() sends: a header, the negative error number, the header of the request.
fn error_message(request: &[u8], errno: Errno) -> Vec<u8> {
    let mut quoted = request.to_vec();
    quoted.resize(HEADER_BYTES, 0);
    let length = 2 * HEADER_BYTES + 4;
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
    out.extend_from_slice(&NLM_F_CAPPED.to_ne_bytes());
    out.extend_from_slice(&quoted[8..]);
    out.extend_from_slice(&errno.0.saturating_neg().to_ne_bytes());
    out.extend_from_slice(&quoted);
    out
}
