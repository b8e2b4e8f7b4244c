//! The kernel of this machine: files, netlink sockets, the packet tap. The only module with `unsafe`.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use netlink_sys::{Socket, SocketAddr};

use super::{Channel, Errno, Heard, Job, Kernel, Source};
use crate::model::Moment;

mod buffer;
mod change;
mod ears;
mod events;
mod namespace;
mod tap;

pub use namespace::{Netns, OpenError};

/// The kernel fits dump datagrams to the first receive buffer, up to 32 KiB; a smaller later one would cut them.
const RECEIVE_BYTES: usize = 32 * 1024;
/// Two full datagrams in flight, and room for the kernel's own accounting.
const SOCKET_BUFFER_BYTES: i32 = 512 * 1024;
/// A request that gets no datagram for so long has failed.
const ANSWER_TIMEOUT_SECS: i64 = 10;
/// The longest file read whole.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Links of one directory looked at before giving up: a proxy's connections, and some more.
const MAX_LINKS: usize = 1 << 19;
/// A seq_file gives a page a read, whatever is asked for.
const PART_BYTES: usize = 64 * 1024;
/// The longest file read in parts: /proc/net/nf_conntrack of six million entries.
const MAX_PARTS_BYTES: u64 = 1 << 30;

pub struct Live {
    buffer: Vec<u8>,
    ears: ears::Ears,
}

impl Live {
    /// Enters `netns` with the calling thread, if one is given. Call it on the main thread before any other exists:
    /// /proc/self/net shows the main thread's namespace.
    pub fn open(netns: Option<&Netns>) -> Result<Live, OpenError> {
        if let Some(netns) = netns {
            netns.enter()?;
        }
        Ok(Live {
            buffer: Vec::with_capacity(RECEIVE_BYTES),
            ears: ears::Ears::default(),
        })
    }

    fn answer(&mut self, job: &mut Job<'_>) -> Result<(), Errno> {
        let family = match job.channel {
            Channel::Netfilter => NETLINK_NETFILTER,
            Channel::SockDiag => NETLINK_SOCK_DIAG,
            Channel::Route => NETLINK_ROUTE,
        };
        let mut socket = Socket::new(family).map_err(errno_of)?;
        socket.bind_auto().map_err(errno_of)?;
        socket.set_rx_buf_sz(SOCKET_BUFFER_BYTES).map_err(errno_of)?;
        let wait = libc::timeval {
            tv_sec: ANSWER_TIMEOUT_SECS,
            tv_usec: 0,
        };
        set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, &wait)?;
        socket
            .send_to(&job.request, &SocketAddr::new(0, 0), 0)
            .map_err(errno_of)?;
        loop {
            self.buffer.clear();
            let length = match socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(length) => length,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Err(Errno::ETIMEDOUT),
                Err(error) => return Err(errno_of(error)),
            };
            if length > self.buffer.len() {
                return Err(Errno::TRUNCATED);
            }
            if (job.sink)(&self.buffer).is_break() {
                return Ok(());
            }
        }
    }
}

impl Kernel for Live {
    fn now(&mut self) -> Moment {
        Moment {
            mono_ns: clock(libc::CLOCK_MONOTONIC),
            real_ns: clock(libc::CLOCK_REALTIME),
        }
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = File::open(path).map_err(errno_of)?;
        let mut out = Vec::new();
        let length = file
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut out)
            .map_err(errno_of)?;
        if length as u64 > MAX_FILE_BYTES {
            return Err(Errno::TOO_LARGE);
        }
        Ok(out)
    }

    fn run(&mut self, command: &str) -> Result<Vec<u8>, Errno> {
        let mut words = command.split_whitespace();
        let mut child = Command::new(words.next().ok_or(Errno::ENOENT)?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(errno_of)?;
        let mut out = Vec::new();
        let read = child
            .stdout
            .take()
            .map(|pipe| pipe.take(MAX_FILE_BYTES + 1).read_to_end(&mut out));
        // What it still prints beyond the bound, nobody reads.
        if out.len() as u64 > MAX_FILE_BYTES {
            let _ = child.kill();
        }
        let status = child.wait().map_err(errno_of)?;
        match read {
            Some(Err(error)) => Err(errno_of(error)),
            _ if out.len() as u64 > MAX_FILE_BYTES => Err(Errno::TOO_LARGE),
            _ if !status.success() => Err(Errno::EIO),
            _ => Ok(out),
        }
    }

    fn read_parts(
        &mut self,
        path: &str,
        deadline: Moment,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let mut file = File::open(path).map_err(errno_of)?;
        let mut buffer = vec![0; PART_BYTES];
        let mut total = 0;
        loop {
            let length = match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(error) => return Err(errno_of(error)),
            };
            if each(&buffer[..length]).is_break() {
                return Ok(());
            }
            total += length as u64;
            if total > MAX_PARTS_BYTES {
                return Err(Errno::TOO_LARGE);
            }
            if self.now().mono_ns >= deadline.mono_ns {
                return Err(Errno::ETIMEDOUT);
            }
        }
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(path).map_err(errno_of)? {
            let entry = entry.map_err(errno_of)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A link may go away between the listing and the look; its name stays.
            lines.push(match fs::read_link(entry.path()) {
                Ok(target) => format!("{name} -> {}\n", target.to_string_lossy()),
                Err(_) => format!("{name}\n"),
            });
        }
        lines.retain(|line| line.contains(part));
        lines.sort();
        Ok(lines.concat().into_bytes())
    }

    fn find_links(&mut self, path: &str, targets: &BTreeSet<String>) -> Result<Vec<u8>, Errno> {
        let (mut lines, mut met) = (Vec::new(), BTreeSet::new());
        for (count, entry) in fs::read_dir(path).map_err(errno_of)?.enumerate() {
            if count >= MAX_LINKS {
                return Err(Errno::TOO_LARGE);
            }
            let entry = entry.map_err(errno_of)?;
            let link = fs::read_link(entry.path());
            let Some(target) = link.as_ref().ok().and_then(|link| link.to_str()) else {
                continue;
            };
            let Some(wanted) = targets.get(target) else {
                continue;
            };
            lines.push(format!("{} -> {wanted}\n", entry.file_name().to_string_lossy()));
            met.insert(wanted);
            if met.len() == targets.len() {
                break;
            }
        }
        lines.sort();
        Ok(lines.concat().into_bytes())
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        for job in jobs {
            job.result = self.answer(job);
        }
    }

    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        self.ears.open(sources)?;
        loop {
            let left = deadline.mono_ns.saturating_sub(self.now().mono_ns);
            if left == 0 || self.ears.hear(left, each)?.is_break() {
                return self.ears.heard();
            }
        }
    }

    fn hush(&mut self) {
        self.ears.hush();
    }
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime writes one timespec through a valid pointer; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(which, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn errno_of(error: std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

fn last_errno() -> Errno {
    errno_of(std::io::Error::last_os_error())
}

/// setsockopt with a plain structure or number.
fn set_option<T: Copy>(fd: i32, level: i32, name: i32, value: &T) -> Result<(), Errno> {
    let length = std::mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which outlives the call; the kernel only reads it.
    let result = unsafe { libc::setsockopt(fd, level, name, (value as *const T).cast(), length) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// getsockopt into a plain structure or number.
fn get_option<T: Copy>(fd: i32, level: i32, name: i32, value: &mut T) -> Result<(), Errno> {
    let mut length = std::mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which outlives the call; the kernel writes no more than that.
    let result = unsafe { libc::getsockopt(fd, level, name, (value as *mut T).cast(), &mut length) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_what_is_wanted_are_found() {
        let held = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        let name = held.as_raw_fd().to_string();
        let target = fs::read_link(format!("/proc/self/fd/{name}")).expect("its link");
        let target = target.display().to_string();
        let mut live = Live::open(None).expect("no namespace to enter");
        let mut find = |targets: &[&str]| {
            let targets = targets.iter().map(|target| target.to_string()).collect();
            let found = live.find_links("/proc/self/fd", &targets).expect("it is listed");
            String::from_utf8(found).expect("text")
        };
        assert_eq!(find(&[&target, "socket:[0]"]), format!("{name} -> {target}\n"));
        assert_eq!(find(&[&target]), format!("{name} -> {target}\n"));
        assert_eq!(find(&["socket:[0]"]), "");
        assert_eq!(
            live.find_links("/proc/self/no-such", &BTreeSet::new()),
            Err(Errno::ENOENT)
        );
    }
}
