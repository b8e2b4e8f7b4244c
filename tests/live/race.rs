//! Two first packets that meet in the same moment, each sent from a processor of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::socket::{pin, raw_socket, send};

/// What is sent from an address and port; the number is that of the pair.
pub type Make = fn(SocketAddr, SocketAddr, u32) -> Vec<u8>;

/// Pairs of packets from both sources, with the same source port, until it is dropped.
pub struct Racers {
    go: Arc<AtomicU32>,
    done: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Racers {
    /// In the namespace of the thread that calls it.
    pub fn new(sources: [IpAddr; 2], to: SocketAddr, make: Make) -> Racers {
        let (go, done, stop) = <(Arc<AtomicU32>, Arc<AtomicU32>, Arc<AtomicBool>)>::default();
        let threads = sources.into_iter().enumerate().map(|(processor, from)| {
            let (go, done, stop) = (go.clone(), done.clone(), stop.clone());
            thread::spawn(move || {
                pin(processor).unwrap_or_else(|error| panic!("processor {processor}: {error}"));
                let socket = raw_socket(to).unwrap_or_else(|error| panic!("a raw socket: {error}"));
                let mut last = 0;
                while !stop.load(Ordering::Acquire) {
                    let number = go.load(Ordering::Acquire);
                    if number == last {
                        // Both must see the start within a microsecond of each other.
                        std::hint::spin_loop();
                        continue;
                    }
                    last = number;
                    let from = SocketAddr::new(from, 1024 + (number % 60_000) as u16);
                    send(&socket, to, &make(from, to, number))
                        .unwrap_or_else(|error| panic!("sending to {to}: {error}"));
                    done.fetch_add(1, Ordering::AcqRel);
                }
            })
        });
        let threads = threads.collect();
        Racers {
            go,
            done,
            stop,
            threads,
        }
    }

    /// Starts the next pair, and waits until both are sent.
    pub fn once(&self) {
        self.done.store(0, Ordering::Release);
        self.go.fetch_add(1, Ordering::AcqRel);
        while self.done.load(Ordering::Acquire) < 2 && self.threads.iter().all(|thread| !thread.is_finished())
        {
            thread::yield_now();
        }
    }
}

impl Drop for Racers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
