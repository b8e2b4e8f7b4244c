//! A long way: frames carried between two interfaces of one namespace, each after a while.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Frames under way; more means that the test sends more than it meant to.
const MOST_UNDER_WAY: usize = 50_000;
/// A veth frame with its virtio header; segmentation offload makes no larger ones for such short talks.
const LARGEST_FRAME: usize = 66_000;

/// What comes in while the machine is busy is not lost: bytes of the socket's queue.
const ROOM: i32 = 8 << 20;

/// Both ends of the way, in the namespace that they were opened in.
pub struct Way {
    ends: [OwnedFd; 2],
    delay: Duration,
    under_way: VecDeque<(Instant, usize, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Way {
    pub fn between(interfaces: [&str; 2], delay: Duration) -> io::Result<Way> {
        Ok(Way {
            ends: [open(interfaces[0])?, open(interfaces[1])?],
            delay,
            under_way: VecDeque::new(),
            buffer: vec![0; LARGEST_FRAME],
        })
    }

    /// Takes what has come in, and lets go what has been under way long enough.
    pub fn carry(&mut self) {
        for end in 0..2 {
            while let Some(frame) = self.receive(end) {
                assert!(self.under_way.len() < MOST_UNDER_WAY, "the way is jammed");
                self.under_way
                    .push_back((Instant::now() + self.delay, 1 - end, frame));
            }
        }
        while self
            .under_way
            .front()
            .is_some_and(|(due, ..)| *due <= Instant::now())
        {
            if let Some((_, end, frame)) = self.under_way.pop_front() {
                self.send(end, &frame);
            }
        }
    }

    fn receive(&mut self, end: usize) -> Option<Vec<u8>> {
        // SAFETY: the pointer and length describe `buffer`, which outlives the call.
        let got = unsafe {
            libc::recv(
                self.ends[end].as_raw_fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(got).ok().map(|got| self.buffer[..got].to_vec())
    }

    /// A frame that does not get through is lost, as on any way.
    fn send(&self, end: usize, frame: &[u8]) {
        // SAFETY: the pointer and length describe `frame`, which outlives the call.
        unsafe {
            libc::send(
                self.ends[end].as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
            )
        };
    }
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    let name = CString::new(interface)?;
    // SAFETY: the name is a string that ends in 0 and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    // SAFETY: socket() takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if index == 0 || fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fd is a new descriptor that nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // The virtio header carries "checksum still to be filled in" across, as a wire of the kernel's own would.
    for (level, option, value) in [
        (libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1),
        (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM),
    ] {
        // SAFETY: the pointer and length describe `value`, which outlives the call.
        let set = unsafe {
            libc::setsockopt(
                fd,
                level,
                option,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: sockaddr_ll is plain numbers, for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    if unsafe { libc::bind(fd, (&raw const address).cast(), length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}
