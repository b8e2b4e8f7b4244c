//! The packet tap: AF_PACKET without promiscuity, with the filter in place before the first packet.

use std::mem::{size_of, zeroed};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::{Errno, last_errno, set_option};
use crate::kernel::BpfInstruction;

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
        tap.attach(filter)?;
        tap.ignore_outgoing()?;
        let size = i32::try_from(buffer_bytes).unwrap_or(i32::MAX);
        // FORCE may exceed rmem_max where CAP_NET_ADMIN allows; else as much as there is.
        if set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size).is_err() {
            set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &size)?;
        }
        tap.bind()?;
        Ok(tap)
    }

    fn attach(&self, filter: &[BpfInstruction]) -> Result<(), Errno> {
        let code: Vec<libc::sock_filter> = filter
            .iter()
            .map(|i| libc::sock_filter {
                code: i.code,
                jt: i.jt,
                jf: i.jf,
                k: i.k,
            })
            .collect();
        let length = u16::try_from(code.len()).map_err(|_| Errno::EINVAL)?;
        let program = libc::sock_fprog {
            len: length,
            filter: code.as_ptr().cast_mut(),
        };
        // `code` outlives the call; the kernel copies the program.
        set_option(
            self.socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            &program,
        )
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

/// Indices of the taps that have something; none when the time is up.
pub fn ready(taps: &[Tap], left_ns: u64) -> Result<Vec<usize>, Errno> {
    let mut fds: Vec<libc::pollfd> = taps
        .iter()
        .map(|tap| libc::pollfd {
            fd: tap.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
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
    Ok(fds
        .iter()
        .enumerate()
        .filter(|(_, fd)| fd.revents != 0)
        .map(|(index, _)| index)
        .collect())
}

/// What the kernel dropped for want of buffer (PACKET_STATISTICS).
pub fn lost(taps: &[Tap]) -> Result<u64, Errno> {
    let mut sum = 0;
    for tap in taps {
        // SAFETY: tpacket_stats is plain numbers, for which all zeroes is a value.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the pointer and length describe `stats`, which outlives the call.
        let result = unsafe {
            libc::getsockopt(
                tap.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &mut length,
            )
        };
        if result != 0 {
            return Err(last_errno());
        }
        sum += u64::from(stats.tp_drops);
    }
    Ok(sum)
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
