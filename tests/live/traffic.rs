//! Real traffic, bounded in count and time: clients that give up, servers that do not accept, floods, churn.

mod clients;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::delay::Way;
use crate::inside::inside;
use crate::lab::Host;
use crate::pace::tick;
use crate::packet::{Forged, SYN, datagram, forged, spoofed_syn};
use crate::race::{Make, Racers};
use crate::socket::{connect, raw_socket, send, set_backlog, somebody_calls};

pub use clients::Clients;

/// No traffic outlives this, whatever becomes of the test.
const LONGEST: Duration = Duration::from_secs(45);
/// A peer of the test's own that does not answer for so long is broken.
const STUCK: Duration = Duration::from_secs(5);

/// Runs until dropped, or until its count or time is used up.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Attempts made, connections taken: what the traffic counts.
    pub done: Arc<AtomicU64>,
    /// connect() found no free port.
    pub portless: Arc<AtomicU64>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("traffic broke down");
        }
    }
}

/// What a traffic's thread sees of it.
struct Run {
    began: Instant,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    portless: Arc<AtomicU64>,
}

impl Run {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.began.elapsed() < LONGEST
    }

    /// How many of `per_second` are due and not yet done. The time's bound is the count's too.
    fn due(&self, per_second: u32) -> u64 {
        let due = (self.began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
        due.saturating_sub(self.done.load(Ordering::Relaxed))
    }

    fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn start(host: &Host, work: impl FnOnce(Run) + Send + 'static) -> Traffic {
    let (stop, done, portless) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let run = Run {
        began: Instant::now(),
        stop: stop.clone(),
        done: done.clone(),
        portless: portless.clone(),
    };
    Traffic {
        stop,
        thread: Some(inside(&host.netns, move || work(run))),
        done,
        portless,
    }
}

/// A listener with this backlog that never calls accept().
pub fn deaf_listener(host: &Host, at: SocketAddr, backlog: i32) -> Traffic {
    listener(host, at, backlog, |_, run| {
        while run.goes_on() {
            tick();
        }
    })
}

/// Accepts, and closes at once.
pub fn closing_server(host: &Host, at: SocketAddr) -> Traffic {
    closing_server_of(host, at, 1024)
}

pub fn closing_server_of(host: &Host, at: SocketAddr, backlog: i32) -> Traffic {
    listener(host, at, backlog, |listener, run| {
        accept_each(listener, run, &mut drop);
    })
}

/// Accepts, and holds each connection until it is stopped.
pub fn holding_server(host: &Host, at: SocketAddr) -> Traffic {
    listener(host, at, 1024, |listener, run| {
        let mut held = Vec::new();
        accept_each(listener, run, &mut |stream| held.push(stream));
    })
}

fn listener(
    host: &Host,
    at: SocketAddr,
    backlog: i32,
    work: impl FnOnce(&TcpListener, &Run) + Send + 'static,
) -> Traffic {
    let (ready, listens) = std::sync::mpsc::channel();
    let traffic = start(host, move |run| {
        let listener = TcpListener::bind(at).unwrap_or_else(|error| panic!("listening at {at}: {error}"));
        set_backlog(&listener, backlog).unwrap_or_else(|error| panic!("backlog {backlog}: {error}"));
        listener
            .set_nonblocking(true)
            .expect("a listener can be non-blocking");
        let _ = ready.send(());
        work(&listener, &run);
    });
    listens.recv_timeout(STUCK).expect("the listener came up");
    traffic
}

fn accept_each(listener: &TcpListener, run: &Run, each: &mut dyn FnMut(TcpStream)) {
    while run.goes_on() {
        match listener.accept() {
            Ok((stream, _)) => {
                run.count();
                each(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => somebody_calls(listener),
            Err(error) => panic!("accepting: {error}"),
        }
    }
}

/// Opens `per_second` connections one after the other, each until the server closes it.
pub fn churn(host: &Host, to: SocketAddr, per_second: u32) -> Traffic {
    start(host, move |run| {
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                let mut stream = TcpStream::connect_timeout(&to, STUCK)
                    .unwrap_or_else(|e| panic!("connecting to {to}: {e}"));
                stream
                    .set_read_timeout(Some(STUCK))
                    .expect("a timeout can be set");
                // A reset is an end too.
                let _ = stream.read(&mut [0; 8]);
                run.count();
            }
            tick();
        }
    })
}

/// Opens `per_second` connections and keeps each of them, up to `most`.
pub fn pool(host: &Host, to: SocketAddr, per_second: u32, most: usize) -> Traffic {
    start(host, move |run| {
        let mut kept = Vec::new();
        while run.goes_on() {
            for _ in 0..run.due(per_second).min((most - kept.len()) as u64) {
                let stream = TcpStream::connect_timeout(&to, STUCK)
                    .unwrap_or_else(|e| panic!("connecting to {to}: {e}"));
                kept.push(stream);
                run.count();
            }
            tick();
        }
    })
}

/// `per_second` questions of one datagram, each from the next port; nobody waits for an answer.
pub fn questions(host: &Host, to: SocketAddr, per_second: u32) -> Traffic {
    const FIRST: u64 = 1024;
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .expect("an address");
    start(host, move |run| {
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                let port = FIRST + run.done.load(Ordering::Relaxed) % (65_536 - FIRST);
                let from = SocketAddr::new(any.ip(), port as u16);
                let socket = UdpSocket::bind(from).unwrap_or_else(|e| panic!("binding {from}: {e}"));
                // A port unreachable of the one before is no matter.
                let _ = socket.send_to(b"?", to);
                run.count();
            }
            tick();
        }
    })
}

/// Opens `per_second` connections, and says a word on each of them every now and then until it is stopped.
pub fn chatter(host: &Host, to: SocketAddr, per_second: u32) -> Traffic {
    const SILENCE: Duration = Duration::from_millis(400);
    start(host, move |run| {
        let mut open: VecDeque<(Instant, TcpStream)> = VecDeque::new();
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                let stream = TcpStream::connect_timeout(&to, STUCK)
                    .unwrap_or_else(|e| panic!("connecting to {to}: {e}"));
                open.push_back((Instant::now(), stream));
                run.count();
            }
            while open.front().is_some_and(|(said, _)| said.elapsed() >= SILENCE) {
                let Some((_, mut stream)) = open.pop_front() else {
                    break;
                };
                stream
                    .write_all(b"x")
                    .unwrap_or_else(|e| panic!("talking to {to}: {e}"));
                open.push_back((Instant::now(), stream));
            }
            tick();
        }
    })
}

/// Answers each datagram at once.
pub fn answering_server(host: &Host, at: SocketAddr) -> Traffic {
    let (ready, listens) = std::sync::mpsc::channel();
    let traffic = start(host, move |run| {
        let socket = UdpSocket::bind(at).unwrap_or_else(|error| panic!("binding {at}: {error}"));
        socket
            .set_nonblocking(true)
            .expect("a socket can be non-blocking");
        let _ = ready.send(());
        let mut bytes = [0; 512];
        while run.goes_on() {
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                // Who has gone meanwhile needs no answer.
                let _ = socket.send_to(&bytes[..length], from);
                run.count();
            }
            tick();
        }
    });
    listens.recv_timeout(STUCK).expect("the server came up");
    traffic
}

/// SYNs to `to`, each from another address that nobody has.
pub fn flood(host: &Host, to: SocketAddr, per_second: u32) -> Traffic {
    start(host, move |run| {
        let socket = raw_socket(to).unwrap_or_else(|error| panic!("a raw socket: {error}"));
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                let number = run.done.load(Ordering::Relaxed) as u32;
                let packet = spoofed_syn(to, number);
                send(&socket, to, &packet).unwrap_or_else(|error| panic!("sending a SYN to {to}: {error}"));
                run.count();
            }
            tick();
        }
    })
}

/// Tries one port of `to` after the other, each for a moment.
pub fn scan(host: &Host, to: IpAddr, per_second: u32) -> Traffic {
    start(host, move |run| {
        let mut open: VecDeque<OwnedFd> = VecDeque::new();
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                let port = 10_000 + (run.done.load(Ordering::Relaxed) % 50_000) as u16;
                let at = SocketAddr::new(to, port);
                open.push_back(connect(None, at).unwrap_or_else(|e| panic!("connecting to {at}: {e}")));
                run.count();
            }
            while open.len() > per_second as usize / 4 {
                open.pop_front();
            }
            tick();
        }
    })
}

/// Packets made by hand: what `make` gives for each number.
pub fn forge(host: &Host, per_second: u32, make: impl Fn(u32) -> Forged + Send + 'static) -> Traffic {
    start(host, move |run| {
        let to = make(0).to;
        let socket = raw_socket(to).unwrap_or_else(|error| panic!("a raw socket: {error}"));
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                let segment = make(run.done.load(Ordering::Relaxed) as u32);
                send(&socket, segment.to, &forged(&segment))
                    .unwrap_or_else(|error| panic!("sending to {}: {error}", segment.to));
                run.count();
            }
            tick();
        }
    })
}

/// Pairs of SYNs from both sources, sent in the same moment from the same port.
pub fn racing(host: &Host, sources: [IpAddr; 2], to: SocketAddr, per_second: u32) -> Traffic {
    let syn = |from, to, number: u32| {
        forged(&Forged {
            from,
            to,
            seq: number.wrapping_mul(7919),
            ack: 0,
            flags: SYN,
            options: Vec::new(),
        })
    };
    pairs(host, sources, to, per_second, syn)
}

/// The same with datagrams, IPv4.
pub fn racing_datagrams(host: &Host, sources: [IpAddr; 2], to: SocketAddr, per_second: u32) -> Traffic {
    let make = |from, to, _| match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => datagram(from, to),
        _ => unreachable!("these are IPv4"),
    };
    pairs(host, sources, to, per_second, make)
}

fn pairs(host: &Host, sources: [IpAddr; 2], to: SocketAddr, per_second: u32, make: Make) -> Traffic {
    start(host, move |run| {
        let racers = Racers::new(sources, to, make);
        while run.goes_on() {
            for _ in 0..run.due(per_second) {
                racers.once();
                run.count();
            }
            tick();
        }
    })
}

/// Calls `work` again and again in the host's namespace.
pub fn again_and_again(host: &Host, mut work: impl FnMut() + Send + 'static) -> Traffic {
    start(host, move |run| {
        while run.goes_on() {
            work();
            run.count();
            tick();
        }
    })
}

/// Carries frames between two interfaces of the host, each after `delay`.
pub fn carrier(host: &Host, interfaces: [&'static str; 2], delay: Duration) -> Traffic {
    let (ready, carries) = std::sync::mpsc::channel();
    let traffic = start(host, move |run| {
        let mut way = Way::between(interfaces, delay).unwrap_or_else(|error| panic!("a long way: {error}"));
        let _ = ready.send(());
        while run.goes_on() {
            way.carry();
            tick();
        }
    });
    carries.recv_timeout(STUCK).expect("the way is open");
    traffic
}
