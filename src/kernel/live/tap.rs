//! The packet tap: AF_PACKET without promiscuity, with the filter in place before the first packet.

use std::mem::{size_of, zeroed};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::buffer::{attach, grow};
use super::{Errno, get_option, last_errno, set_option};
use crate::model::BpfInstruction;

/// sll2: protocol, reserved, ifindex, hatype, pkttype, halen, address.
const SLL2_BYTES: usize = 20;
/// No filter hands on more of a packet than this.
const MAX_SNAP_BYTES: usize = 512;
/// Packets taken from one socket before the others, and the deadline, have their turn.
const BATCH: usize = 4096;

pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    pub fn open(filter: &[BpfInstruction], buffer_bytes: u32) -> Result<Tap, Errno> {
        // Without this file af_packet is not loaded, and socket() would load it: looking must not change the host.
        if !Path::new("/proc/net/packet").exists() {
            return Err(Errno::EOPNOTSUPP);
        }
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0: nothing is queued until bind() names one, when the filter is already there.
        // SAFETY: socket() takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: fd is a new descriptor that nothing else owns.
        let tap = Tap {
            socket: unsafe { OwnedFd::from_raw_fd(fd) },
        };
        attach(fd, filter)?;
        tap.ignore_outgoing()?;
        grow(fd, buffer_bytes)?;
        tap.bind()?;
        Ok(tap)
    }

    /// Else every packet that this host sends is cloned before the filter drops it (dev_queue_xmit_nit). Since 4.20.
    fn ignore_outgoing(&self) -> Result<(), Errno> {
        let (fd, yes): (i32, libc::c_int) = (self.socket.as_raw_fd(), 1);
        match set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &yes) {
            Err(errno) if errno.0 != libc::ENOPROTOOPT => Err(errno),
            _ => Ok(()),
        }
    }

    fn bind(&self) -> Result<(), Errno> {
        // SAFETY: sockaddr_ll is plain numbers, for which all zeroes is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the pointer and length describe `address`, which outlives the call.
        let result = unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), length) };
        if result == 0 { Ok(()) } else { Err(last_errno()) }
    }

    /// Hands on what is queued, each as SLL2 header and packet.
    pub fn drain(&self, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<ControlFlow<()>, Errno> {
        let mut buffer = [0u8; SLL2_BYTES + MAX_SNAP_BYTES];
        for _ in 0..BATCH {
            // SAFETY: sockaddr_ll is plain numbers, for which all zeroes is a value.
            let mut from: libc::sockaddr_ll = unsafe { zeroed() };
            let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: both buffers are valid for the lengths given with them.
            let got = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    buffer[SLL2_BYTES..].as_mut_ptr().cast(),
                    MAX_SNAP_BYTES,
                    0,
                    (&raw mut from).cast(),
                    &mut length,
                )
            };
            if got < 0 {
                let errno = last_errno();
                let nothing = [libc::EAGAIN, libc::EINTR].contains(&errno.0);
                return if nothing {
                    Ok(ControlFlow::Continue(()))
                } else {
                    Err(errno)
                };
            }
            header(&from, &mut buffer);
            if each(&buffer[..SLL2_BYTES + got as usize]).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What the kernel dropped for want of buffer since the last call (PACKET_STATISTICS).
    pub fn lost(&self) -> Result<u64, Errno> {
        // SAFETY: tpacket_stats is plain numbers, for which all zeroes is a value.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        get_option(
            self.socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            &mut stats,
        )?;
        Ok(u64::from(stats.tp_drops))
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn header(from: &libc::sockaddr_ll, out: &mut [u8]) {
    out[..2].copy_from_slice(&from.sll_protocol.to_ne_bytes()); // in network order already
    out[2..4].fill(0);
    out[4..8].copy_from_slice(&(from.sll_ifindex as u32).to_be_bytes());
    out[8..10].copy_from_slice(&from.sll_hatype.to_be_bytes());
    out[10] = from.sll_pkttype;
    out[11] = from.sll_halen.min(8);
    out[12..20].copy_from_slice(&from.sll_addr);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_sends_is_not_even_cloned() {
        let all = BpfInstruction {
            code: 0x06, // RET
            jt: 0,
            jf: 0,
            k: 64,
        };
        let tap = match Tap::open(&[all], 4096) {
            Ok(tap) => tap,
            Err(Errno::EPERM | Errno::EOPNOTSUPP) => {
                println!("skipped: no packet socket can be opened here");
                return;
            }
            Err(errno) => panic!("{errno}"),
        };
        let (mut value, mut length): (libc::c_int, _) = (-1, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: the pointer and length describe `value`, which outlives the call.
        let result = unsafe {
            libc::getsockopt(
                tap.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_IGNORE_OUTGOING,
                (&raw mut value).cast(),
                &mut length,
            )
        };
        // A kernel before 4.20 knows no such option.
        assert!(
            (result, value) == (0, 1) || last_errno().0 == libc::ENOPROTOOPT,
            "{value}"
        );
    }
}
