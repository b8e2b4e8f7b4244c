//! What std's sockets cannot do: connect without waiting, from a chosen address; whole packets; a chosen backlog.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Sends the SYN, from an address of the caller's choice, and does not wait.
pub fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<OwnedFd> {
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
pub fn raw_socket(to: SocketAddr) -> io::Result<OwnedFd> {
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

pub fn send(socket: &OwnedFd, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
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

/// Room for so many connections that nobody has accepted.
pub fn set_backlog(listener: &TcpListener, backlog: i32) -> io::Result<()> {
    // SAFETY: listen takes a valid descriptor and a number; on a listening socket it sets the backlog anew.
    let set = unsafe { libc::listen(listener.as_raw_fd(), backlog) };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits for a connection, a little.
pub fn somebody_calls(listener: &TcpListener) {
    const MILLIS: i32 = 20;
    let mut wanted = libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the pointer and length describe `wanted`, which outlives the call.
    unsafe { libc::poll(&raw mut wanted, 1, MILLIS) };
}

/// Patient clients hold thousands of sockets.
/// Keeps the calling thread on one processor.
pub fn pin(processor: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is an empty set, and both calls are given one of its size.
    #[allow(unsafe_code)]
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

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
