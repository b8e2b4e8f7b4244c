//! Clients that try, each with its patience.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Traffic, start};
use crate::lab::Host;
use crate::pace::tick;
use crate::packet::stranger;
use crate::socket::connect;

/// Clients that open `per_second` connections and close each, answered or not, after `patience`.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    to: SocketAddr,
    per_second: u32,
    patience: Duration,
    many_sources: bool,
    many_targets: bool,
    most: u64,
}

impl Clients {
    pub fn new(to: SocketAddr, per_second: u32, patience: Duration) -> Clients {
        Clients {
            to,
            per_second,
            patience,
            many_sources: false,
            many_targets: false,
            most: u64::MAX,
        }
    }

    /// One address of the nobodies' blocks after the other; the host must hold them.
    pub fn with_many_sources(self) -> Clients {
        Clients {
            many_sources: true,
            ..self
        }
    }

    /// One of the nobodies after the other is tried.
    pub fn with_many_targets(self) -> Clients {
        Clients {
            many_targets: true,
            ..self
        }
    }

    /// So many attempts, and then no more.
    pub fn up_to(self, most: u64) -> Clients {
        Clients { most, ..self }
    }

    pub fn start(self, host: &Host) -> Traffic {
        start(host, move |run| {
            let mut open: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
            while run.goes_on() {
                let left = self.most.saturating_sub(run.done.load(Ordering::Relaxed));
                for _ in 0..run.due(self.per_second).min(left) {
                    let number = run.done.load(Ordering::Relaxed) as u32;
                    let other = stranger(self.to.ip(), number);
                    let to = if self.many_targets {
                        SocketAddr::new(other, self.to.port())
                    } else {
                        self.to
                    };
                    match connect(self.many_sources.then_some(other), to) {
                        Ok(socket) => open.push_back((Instant::now(), socket)),
                        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                            run.portless.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("connecting to {}: {error}", self.to),
                    }
                    run.count();
                }
                while open
                    .front()
                    .is_some_and(|(since, _)| since.elapsed() >= self.patience)
                {
                    open.pop_front();
                }
                tick();
            }
        })
    }
}
