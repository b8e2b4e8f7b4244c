//! TCP sockets of both families: inet_diag, or /proc/net/tcp where asking would load a module.

use std::ops::ControlFlow;

use super::ask::ask;
use super::presence::Presence;
use super::sources::refused;
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::{Gap, Socket, SocketState};
use crate::wire::{inet_diag, procfs};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

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
        let asked = ask(kernel, Channel::SockDiag, request, wider, true, &mut |message| {
            if inet_diag::is_socket(message.kind)
                && let Ok(socket) = inet_diag::decode_socket(message.payload)
                && states.contains(&socket.state)
            {
                each(&socket);
            }
            ControlFlow::Continue(())
        });
        match asked {
            Ok(()) => {}
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
            if let Ok(Some(socket)) = procfs::socket_line(line)
                && states.contains(&socket.state)
            {
                each(&socket);
            }
        }
    }
    Ok(())
}
