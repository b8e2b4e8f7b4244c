//! TCP sockets of both families: inet_diag, or /proc/net/tcp where asking would load a module. A list is whole or it is
//! a gap: a socket that was missed would make its entry look held.

use std::ops::ControlFlow;

use super::ask::{Refusal, ask, refused};
use super::presence::Presence;
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::{Gap, Socket, SocketState};
use crate::wire::inet_diag::{AF_INET, AF_INET6};
use crate::wire::{inet_diag, proc_tcp};

/// What to do where the kernel's answer is not understood.
const REPORT: &str = "report it with a recording (ctlens record FILE)";

/// Feeds the sockets in `states` as they come.
pub fn sockets(
    kernel: &mut dyn Kernel,
    presence: &Presence,
    states: &[SocketState],
    each: &mut (dyn FnMut(&Socket) + Send),
) -> Result<(), Gap> {
    if !(presence.has("inet_diag") && presence.has("tcp_diag")) {
        return from_proc(kernel, states, each);
    }
    for family in [AF_INET, AF_INET6] {
        let request = inet_diag::encode_dump(family, states);
        let wider = vec![inet_diag::encode_dump(family, &SocketState::ALL)];
        let mut malformed = None;
        let asked = ask(kernel, Channel::SockDiag, request, wider, true, &mut |message| {
            if !inet_diag::is_socket(message.kind) {
                return ControlFlow::Continue(());
            }
            match inet_diag::decode_socket(message.payload) {
                Ok(socket) if states.contains(&socket.state) => each(&socket),
                Ok(_) => {}
                Err(error) => malformed = Some(error),
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = malformed {
            return Err(Gap::new("inet_diag", error.to_string(), REPORT));
        }
        match asked {
            Ok(()) => {}
            // A kernel without modules and without tcp_diag.
            Err(Refusal::Refused(Errno::ENOENT)) if family == AF_INET => {
                return from_proc(kernel, states, each);
            }
            // A host without IPv6.
            Err(refusal) if family == AF_INET6 && refusal.errno() == Some(Errno::ENOENT) => {}
            Err(refusal) => {
                return Err(refused(
                    "inet_diag",
                    refusal,
                    "sockets tell held entries from live ones: run on the host",
                ));
            }
        }
    }
    Ok(())
}

fn from_proc(
    kernel: &mut dyn Kernel,
    states: &[SocketState],
    each: &mut (dyn FnMut(&Socket) + Send),
) -> Result<(), Gap> {
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let bytes = match kernel.read_file(path) {
            Ok(bytes) => bytes,
            Err(Errno::ENOENT) if path.ends_with('6') => continue,
            Err(errno) => return Err(Gap::new(path, errno.to_string(), "is /proc mounted?")),
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            match proc_tcp::socket_line(line) {
                Ok(Some(socket)) if states.contains(&socket.state) => each(&socket),
                Ok(_) => {}
                Err(error) => return Err(Gap::new(path, error.to_string(), REPORT)),
            }
        }
    }
    Ok(())
}
