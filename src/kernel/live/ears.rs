//! What is listened to: taps for one call, events from one call to the next.

use std::ops::ControlFlow;
use std::os::fd::AsRawFd;

use super::events::Events;
use super::tap::Tap;
use super::{Errno, last_errno};
use crate::kernel::{Heard, Source};

#[derive(Default)]
pub struct Ears {
    /// Of the call that is under way.
    open: Vec<Ear>,
    /// What stays open between calls.
    kept: Vec<(Source, Events)>,
}

enum Ear {
    Tap(Tap),
    /// By its place among those that are kept.
    Kept(usize),
}

impl Ears {
    pub fn open(&mut self, sources: &[Source]) -> Result<(), Errno> {
        self.open.clear();
        if sources
            .iter()
            .any(|source| matches!(source, Source::Events { .. }))
        {
            self.kept.retain(|(of, _)| sources.contains(of));
        }
        for source in sources {
            let ear = match source {
                Source::Tap { filter, buffer_bytes } => Ear::Tap(Tap::open(filter, *buffer_bytes)?),
                Source::Events {
                    groups,
                    filter,
                    buffer_bytes,
                } => {
                    let known = self.kept.iter().position(|(of, _)| of == source);
                    if known.is_none() {
                        let events = Events::open(groups, filter, *buffer_bytes)?;
                        self.kept.push((source.clone(), events));
                    }
                    Ear::Kept(known.unwrap_or(self.kept.len() - 1))
                }
            };
            self.open.push(ear);
        }
        Ok(())
    }

    pub fn hush(&mut self) {
        self.open.clear();
        self.kept.clear();
    }

    /// Waits for something and hands it on, or waits in vain. `Break`: enough, or events among it.
    pub fn hear(
        &mut self,
        left_ns: u64,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Errno> {
        let mut events = false;
        for index in self.ready(left_ns)? {
            let mut each = |bytes: &[u8]| each(index, bytes);
            let taken = match &self.open[index] {
                Ear::Tap(tap) => tap.drain(&mut each)?,
                Ear::Kept(place) => {
                    events = true;
                    self.kept[*place].1.drain(&mut each)?
                }
            };
            if taken.is_break() {
                return Ok(taken);
            }
        }
        Ok(match events {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    /// What was lost, and the end of what does not stay open.
    pub fn heard(&mut self) -> Result<Heard, Errno> {
        let mut out = Heard::default();
        for ear in std::mem::take(&mut self.open) {
            match ear {
                Ear::Tap(tap) => out.lost += tap.lost()?,
                Ear::Kept(place) => {
                    let events = &mut self.kept[place].1;
                    out.lost += events.lost()?;
                    out.buffer_bytes = events.buffer_bytes();
                }
            }
        }
        Ok(out)
    }

    /// Indices of those that have something; none when the time is up.
    fn ready(&self, left_ns: u64) -> Result<Vec<usize>, Errno> {
        let fd = |ear: &Ear| match ear {
            Ear::Tap(tap) => tap.as_raw_fd(),
            Ear::Kept(place) => self.kept[*place].1.as_raw_fd(),
        };
        let poll = |ear: &Ear| libc::pollfd {
            fd: fd(ear),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds: Vec<libc::pollfd> = self.open.iter().map(poll).collect();
        // Rounded up, so that the last wait does not spin.
        let millis = i32::try_from(left_ns.div_ceil(1_000_000)).unwrap_or(i32::MAX);
        // SAFETY: the pointer and length describe `fds`, which outlives the call.
        let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
        if result < 0 {
            let errno = last_errno();
            return if errno.0 == libc::EINTR {
                Ok(Vec::new())
            } else {
                Err(errno)
            };
        }
        let heard = fds.iter().enumerate().filter(|(_, fd)| fd.revents != 0);
        Ok(heard.map(|(index, _)| index).collect())
    }
}
