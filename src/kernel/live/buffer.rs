//! What waits in a socket: how much room it has, and what never takes any.

use std::os::fd::RawFd;

use super::{Errno, get_option, set_option};
use crate::model::BpfInstruction;

/// What the filter rejects never takes room in the socket's buffer.
pub fn attach(fd: RawFd, filter: &[BpfInstruction]) -> Result<(), Errno> {
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
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// FORCE may exceed rmem_max where CAP_NET_ADMIN allows; else as much as there is.
pub fn grow(fd: RawFd, buffer_bytes: u32) -> Result<(), Errno> {
    let size = i32::try_from(buffer_bytes).unwrap_or(i32::MAX);
    if set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size).is_err() {
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &size)?;
    }
    Ok(())
}

/// What the kernel made of it.
pub fn granted(fd: RawFd) -> Result<u64, Errno> {
    let mut size: libc::c_int = 0;
    get_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &mut size)?;
    Ok(size.max(0) as u64)
}
