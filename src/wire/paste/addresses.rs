//! `ip addr`, also with -br or -o: the host's own addresses.

use std::net::IpAddr;

use super::lines::Lines;
use super::{Unread, unread};

/// Words that begin a line below an interface's first.
const DETAILS: [&str; 6] = ["inet", "inet6", "altname", "valid_lft", "vf", "prog/xdp"];
/// `ip -br addr`: an interface's name, its state, its addresses.
const STATES: [&str; 7] = [
    "UP",
    "DOWN",
    "UNKNOWN",
    "DORMANT",
    "LOWERLAYERDOWN",
    "TESTING",
    "NOTPRESENT",
];

pub fn opens(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let third = words.next();
    let index = first.strip_suffix(':').is_some_and(|n| n.parse::<u32>().is_ok());
    let first_of_interface = index && second.ends_with(':') && third.is_some_and(|w| w.starts_with('<'));
    let one_line = index && matches!(third, Some("inet" | "inet6" | "link/ether" | "link/loopback"));
    let brief = first.parse::<u64>().is_err()
        && STATES.contains(&second)
        && third.is_none_or(|w| address(w).is_some());
    let detail = (DETAILS.contains(&first) || first.starts_with("link/")) && !second.is_empty();
    first_of_interface || one_line || brief || detail
}

pub fn read(lines: &mut Lines) -> Result<Vec<IpAddr>, Unread> {
    let mut out = Vec::new();
    while let Some((number, line)) = lines.peek().filter(|(_, line)| opens(line)) {
        lines.next();
        let mut words = line.split_whitespace();
        if STATES.contains(&words.clone().nth(1).unwrap_or("")) {
            out.extend(words.filter_map(address));
        } else if words.any(|word| matches!(word, "inet" | "inet6")) {
            let found = words.next().and_then(address);
            out.push(found.ok_or_else(|| unread(number, "no address follows inet"))?);
        }
    }
    out.sort();
    out.dedup();
    Ok(out)
}

/// `10.0.0.1/24`, and `10.0.0.1` of a point-to-point link.
fn address(word: &str) -> Option<IpAddr> {
    word.split('/').next()?.parse().ok()
}
