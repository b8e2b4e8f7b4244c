//! /proc/net/tcp and tcp6: sockets where inet_diag cannot be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Malformed;
use crate::model::{Socket, SocketState, Tuple};

/// One line of /proc/net/tcp or tcp6; `None` for the header.
pub fn socket_line(line: &str) -> Result<Option<Socket>, Malformed> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.first() == Some(&"sl") {
        return Ok(None);
    }
    if words.len() < 10 {
        return Err(Malformed("a socket's line is cut"));
    }
    let hex = |text: &str| u32::from_str_radix(text, 16).map_err(|_| Malformed("a field is not hexadecimal"));
    let (src, sport) = hex_endpoint(words[1])?;
    let (dst, dport) = hex_endpoint(words[2])?;
    let state = u8::try_from(hex(words[3])?)
        .ok()
        .and_then(SocketState::from_number);
    let (send, recv) = words[4]
        .split_once(':')
        .ok_or(Malformed("a socket's queues are cut"))?;
    let state = state.ok_or(Malformed("an unknown socket state"))?;
    let send = hex(send)?;
    Ok(Some(Socket {
        state,
        tuple: Tuple {
            src,
            dst,
            sport,
            dport,
        },
        uid: words[7].parse().map_err(|_| Malformed("a uid is no number"))?,
        inode: words[9].parse().map_err(|_| Malformed("an inode is no number"))?,
        recv_queue: hex(recv)?,
        // get_tcp4_sock() prints 0 for a listener, whatever its backlog.
        send_queue: (state != SocketState::Listen).then_some(send),
        repeats: hex(words[6])?.min(u8::MAX.into()) as u8,
    }))
}

/// `0100007F:1F90`: each 32-bit word of the address in this machine's byte order.
fn hex_endpoint(text: &str) -> Result<(IpAddr, u16), Malformed> {
    let bad = Malformed("a socket's address is malformed");
    let (address, port) = text.split_once(':').ok_or(bad)?;
    let port = u16::from_str_radix(port, 16).map_err(|_| bad)?;
    if !address.is_ascii() {
        return Err(bad);
    }
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        let word = address.get(at..at + 8).ok_or(bad)?;
        bytes.extend_from_slice(&u32::from_str_radix(word, 16).map_err(|_| bad)?.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Ok((Ipv4Addr::from(four).into(), port));
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).map_err(|_| bad)?;
    Ok((IpAddr::V6(Ipv6Addr::from(sixteen)).to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_proc_net_tcp() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000  1000        0 12345 1 0000 100 0 0 10 0";
        let socket = socket_line(line).unwrap().unwrap();
        assert_eq!(
            (
                socket.state,
                socket.recv_queue,
                socket.send_queue,
                socket.uid,
                socket.inode
            ),
            (SocketState::Listen, 5, None, 1000, 12345)
        );
        if cfg!(target_endian = "little") {
            assert_eq!(socket.tuple.src, "127.0.0.1".parse::<IpAddr>().unwrap());
        }
        assert_eq!(socket.tuple.sport, 8080);
        assert_eq!(socket_line("  sl  local_address rem_address").unwrap(), None);
        assert!(socket_line("   0: 0100007F:1F90").is_err());
    }
}
