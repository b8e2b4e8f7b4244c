//! Netlink groups: what the kernel tells of itself, many messages a system call.

use std::mem::{size_of, zeroed};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::buffer::{attach, granted, grow};
use super::{Errno, get_option, last_errno, set_option};
use crate::model::BpfInstruction;

/// Messages taken by one system call, and the most that one of them has: an event of conntrack with labels, helper and
/// security context has less than a third of it.
const MESSAGES: usize = 64;
const MESSAGE_BYTES: usize = 2048;
/// System calls before the other sources, and the deadline, have their turn.
const CALLS: usize = 64;
/// include/uapi/linux/sock_diag.h: SK_MEMINFO_VARS numbers, of which the last counts what found no room.
const MEMINFO: usize = 9;
const MEMINFO_DROPS: usize = 8;
const NETLINK_ADD_MEMBERSHIP: libc::c_int = 1;

pub struct Events {
    socket: OwnedFd,
    buffer: Vec<u8>,
    buffer_bytes: u64,
    drops: u32,
}

impl Events {
    pub fn open(groups: &[u32], filter: &[BpfInstruction], buffer_bytes: u32) -> Result<Events, Errno> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket() takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: fd is a new descriptor that nothing else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        if !filter.is_empty() {
            attach(fd, filter)?;
        }
        grow(fd, buffer_bytes)?;
        bind(fd)?;
        for group in groups {
            set_option(fd, libc::SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)?;
        }
        Ok(Events {
            buffer_bytes: granted(fd)?,
            drops: drops(fd)?,
            socket,
            buffer: vec![0; MESSAGES * MESSAGE_BYTES],
        })
    }

    pub fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes
    }

    /// Hands on what is queued.
    pub fn drain(
        &mut self,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Errno> {
        for _ in 0..CALLS {
            let lengths = match self.receive() {
                Ok(lengths) => lengths,
                Err(Errno(libc::EAGAIN | libc::EINTR)) => break,
                // Some were lost, which the count of drops tells; the next call has those that were not.
                Err(Errno(libc::ENOBUFS)) => continue,
                Err(errno) => return Err(errno),
            };
            let whole = lengths.len() == MESSAGES;
            for (message, length) in self.buffer.chunks(MESSAGE_BYTES).zip(lengths) {
                let Some(message) = message.get(..length) else {
                    return Err(Errno::TRUNCATED);
                };
                if each(message).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if !whole {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The messages' lengths, as they were before they were cut to their part of the buffer.
    fn receive(&mut self) -> Result<Vec<usize>, Errno> {
        let mut parts: Vec<libc::iovec> = self
            .buffer
            .chunks_mut(MESSAGE_BYTES)
            .map(|part| libc::iovec {
                iov_base: part.as_mut_ptr().cast(),
                iov_len: part.len(),
            })
            .collect();
        // SAFETY: mmsghdr is plain numbers and pointers, for which all zeroes is a value.
        let mut headers: Vec<libc::mmsghdr> = parts.iter().map(|_| unsafe { zeroed() }).collect();
        for (header, part) in headers.iter_mut().zip(&mut parts) {
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each header names one part of the buffer; all of them outlive the call.
        let got = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            return Err(last_errno());
        }
        let received = headers.iter().take(got as usize);
        Ok(received.map(|header| header.msg_len as usize).collect())
    }

    /// How many found no room since the last call.
    pub fn lost(&mut self) -> Result<u64, Errno> {
        let now = drops(self.socket.as_raw_fd())?;
        let lost = now.wrapping_sub(self.drops);
        self.drops = now;
        Ok(lost.into())
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// A netlink socket without a port of its own gets nothing from any group (do_one_broadcast leaves out port 0).
fn bind(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: sockaddr_nl is plain numbers, for which all zeroes is a value: the kernel chooses the port.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

fn drops(fd: RawFd) -> Result<u32, Errno> {
    let mut numbers = [0u32; MEMINFO];
    get_option(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, &mut numbers)?;
    Ok(numbers[MEMINFO_DROPS])
}
