//! `netstat -Lan` of FreeBSD: listeners and their queues.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lines::Lines;
use super::listing::Listing;
use super::{Unread, unread};
use crate::model::{Socket, SocketState, Tuple};

/// Listeners in one listing.
const MAX_LISTENERS: usize = 100_000;

pub fn opens(line: &str) -> bool {
    is_head(line) || queues(line).is_some()
}

fn is_head(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    line.trim_start().starts_with("Current listen queue sizes")
        || matches!(words[..], ["Proto", "Listen", "Local", "Address"])
}

pub fn read(lines: &mut Lines) -> Result<Listing, Unread> {
    let mut out = Listing::default();
    while let Some((number, line)) = lines.peek().filter(|(_, line)| opens(line)) {
        lines.next();
        let Some(row) = queues(line).filter(|row| row.proto != "unix") else {
            continue;
        };
        if out.sockets.len() == MAX_LISTENERS {
            return Err(unread(
                number,
                format!("more than {MAX_LISTENERS} listeners in one listing"),
            ));
        }
        let (addr, port) = endpoint(row.local, row.proto).ok_or_else(|| {
            unread(
                number,
                "a listener's address is cut, or a name: paste `netstat -Lan`",
            )
        })?;
        *out.states.entry(SocketState::Listen).or_default() += 1;
        out.sockets.push(Socket {
            state: SocketState::Listen,
            tuple: Tuple {
                src: addr,
                sport: port,
                dst: match addr {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                },
                dport: 0,
            },
            uid: 0,
            inode: 0,
            recv_queue: row.queued,
            send_queue: Some(row.backlog),
            repeats: 0,
        });
    }
    Ok(out)
}

struct Row<'a> {
    proto: &'a str,
    queued: u32,
    backlog: u32,
    local: &'a str,
}

/// `tcp4  3073/0/2048  127.0.0.1.5001`: those that wait for accept(), those whose handshake is under way, the backlog.
fn queues(line: &str) -> Option<Row<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (proto, sizes, local) = match words[..] {
        [proto, sizes, local] => (proto, sizes, local),
        [sizes, local] => ("tcp", sizes, local),
        _ => return None,
    };
    let known = matches!(proto, "tcp" | "tcp4" | "tcp6" | "tcp46" | "unix");
    let numbers: Vec<u32> = sizes
        .split('/')
        .map(|word| word.parse().ok())
        .collect::<Option<_>>()?;
    match numbers[..] {
        [queued, _, backlog] if known => Some(Row {
            proto,
            queued,
            backlog,
            local,
        }),
        _ => None,
    }
}

/// The port stands behind the last dot.
fn endpoint(word: &str, proto: &str) -> Option<(IpAddr, u16)> {
    let (addr, port) = word.rsplit_once('.')?;
    let addr = match addr {
        "*" if proto == "tcp6" || proto == "tcp46" => Ipv6Addr::UNSPECIFIED.into(),
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        addr => addr.parse().ok()?,
    };
    Some((addr, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::{Part, parse};

    #[test]
    fn queues_of_listeners() {
        let text = "\
Current listen queue sizes (qlen/incqlen/maxqlen)
Proto Listen                           Local Address
tcp4  3073/0/2048                      127.0.0.1.5001
tcp6  0/0/128                          *.22
tcp6  0/0/10                           ::1.25
unix  0/0/128                          /var/run/log
";
        let parts = parse(text, "x.txt").unwrap();
        let [Part::Sockets(listing)] = &parts[..] else {
            panic!("{parts:?}")
        };
        let got: Vec<_> = listing
            .sockets
            .iter()
            .map(|s| {
                let at = std::net::SocketAddr::new(s.tuple.src, s.tuple.sport).to_string();
                (at, s.recv_queue, s.send_queue)
            })
            .collect();
        let row = |at: &str, queued, backlog| (at.to_string(), queued, Some(backlog));
        assert_eq!(
            got,
            [
                row("127.0.0.1:5001", 3073, 2048),
                row("[::]:22", 0, 128),
                row("[::1]:25", 0, 10)
            ]
        );
        assert_eq!(parse("3073/0/2048 127.0.0.1.5001\n", "x.txt").unwrap().len(), 1);
        assert_eq!(parse("tcp4 1/0/2 localhost.http\n", "x.txt").unwrap_err().line, 1);
    }
}
