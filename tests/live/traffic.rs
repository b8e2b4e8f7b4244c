//! Real traffic, bounded in count and time: clients that give up, servers that do not accept, floods, churn.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, Read};
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::delay::Way;
use crate::inside::inside;
use crate::lab::Host;
use crate::pace::tick;
use crate::packet::{spoofed_syn, stranger};

/// No traffic outlives this, whatever becomes of the test.
const LONGEST: Duration = Duration::from_secs(45);
/// A peer of the test's own that does not answer for so long is broken.
const STUCK: Duration = Duration::from_secs(5);

/// Patient clients hold thousands of sockets.
pub fn raise_file_limit() -> Result<(), String> {
    const NEEDED: libc::rlim_t = 20_000;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes one rlimit through a valid pointer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_cur.max(NEEDED);
    // Root may raise the hard limit too.
    limit.rlim_max = limit.rlim_max.max(limit.rlim_cur);
    // SAFETY: setrlimit reads one rlimit through a valid pointer.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(format!("raising the limit of open files to {NEEDED}: {error}"))
}

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

/// Clients that open `per_second` connections and close each, answered or not, after `patience`.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    to: SocketAddr,
    per_second: u32,
    patience: Duration,
    many_sources: bool,
    many_targets: bool,
}

impl Clients {
    pub fn new(to: SocketAddr, per_second: u32, patience: Duration) -> Clients {
        Clients {
            to,
            per_second,
            patience,
            many_sources: false,
            many_targets: false,
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

    pub fn start(self, host: &Host) -> Traffic {
        start(host, move |run| {
            let mut open: VecDeque<(Instant, OwnedFd)> = VecDeque::new();
            while run.goes_on() {
                for _ in 0..run.due(self.per_second) {
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
    listener(host, at, 1024, |listener, run| {
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
        // SAFETY: listen takes a valid descriptor and a number; on a listening socket it sets the backlog anew.
        let set = unsafe { libc::listen(listener.as_raw_fd(), backlog) };
        assert_eq!(set, 0, "backlog {backlog}: {}", io::Error::last_os_error());
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

/// Waits for a connection, a little.
fn somebody_calls(listener: &TcpListener) {
    const MILLIS: i32 = 20;
    let mut wanted = libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the pointer and length describe `wanted`, which outlives the call.
    unsafe { libc::poll(&raw mut wanted, 1, MILLIS) };
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

/// Sends the SYN and does not wait.
fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let socket = socket(to, kind, 0)?;
    if let Some(from) = from {
        let (address, length) = socket_address(SocketAddr::new(from, 0));
        // SAFETY: the pointer and length describe `address`, which outlives the call.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let (address, length) = socket_address(to);
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::EINPROGRESS) {
        Ok(socket)
    } else {
        Err(error)
    }
}

/// IPPROTO_RAW: the packet brings its own IP header, in both families.
fn raw_socket(to: SocketAddr) -> io::Result<OwnedFd> {
    socket(to, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW)
}

fn socket(to: SocketAddr, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: socket() takes numbers only.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fd is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn send(socket: &OwnedFd, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
    // A raw IPv6 socket takes no port.
    let (address, length) = socket_address(SocketAddr::new(to.ip(), 0));
    // SAFETY: both pointers and lengths describe values that outlive the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn socket_address(of: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: sockaddr_storage is plain numbers, for which all zeroes is a value.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let port = of.port().to_be();
    let length = match of.ip() {
        IpAddr::V4(addr) => {
            let four = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: port,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(addr.octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than, and aligned for, every address of a family.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(four) };
            size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(addr) => {
            let six = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: port,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: addr.octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(six) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}
