//! Local ports in use towards each destination, against the range that connect() picks from.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::PortUse;
use crate::model::{Settings, Socket, SocketState};

/// Destinations remembered; a host that talks to more is not short of ports towards one.
pub const MAX_PAIRS: usize = 65_536;
/// A port has 16 bits.
const PORTS: usize = 1 << 16;
/// Parts of a list of reserved ports that are read: more cannot be apart from each other.
const MAX_RESERVED: usize = PORTS / 2;
/// Destinations reported, fullest first.
const MAX_REPORTED: usize = 5;

#[derive(Default)]
struct Pair {
    used: u64,
    reusable: u64,
    by_state: [u64; 13],
}

/// Folds sockets as they stream by.
pub struct Ports {
    low: u64,
    high: u64,
    /// Ports of the range that are not reserved.
    range: u64,
    reuse: u64,
    pairs: HashMap<(IpAddr, IpAddr, u16), Pair>,
    listening: std::collections::HashSet<u16>,
}

impl Ports {
    /// `None` where the port range is not known. `listening`: ports whose sockets were accepted, not connected.
    pub fn new(settings: &Settings, listeners: &[Socket]) -> Option<Ports> {
        let (low, high) = settings.pair("net.ipv4.ip_local_port_range")?;
        let reserved = settings.get("net.ipv4.ip_local_reserved_ports").unwrap_or("");
        Some(Ports {
            low,
            high,
            range: free(low, high, reserved),
            // tcp_twsk_unique() asks for the timestamp of the last segment: without timestamps nothing is reused.
            reuse: settings
                .number("net.ipv4.tcp_tw_reuse")
                .filter(|_| settings.number("net.ipv4.tcp_timestamps") != Some(0))
                .unwrap_or(0),
            pairs: HashMap::new(),
            listening: listeners.iter().map(|l| l.tuple.sport).collect(),
        })
    }

    pub fn add(&mut self, socket: &Socket) {
        let (tuple, port) = (socket.tuple, u64::from(socket.tuple.sport));
        let ours = (self.low..=self.high).contains(&port) && !self.listening.contains(&tuple.sport);
        if socket.state == SocketState::Listen || !ours || tuple.dport == 0 {
            return;
        }
        let key = (tuple.src, tuple.dst, tuple.dport);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            return;
        }
        let pair = self.pairs.entry(key).or_default();
        // tcp_tw_reuse: 1 = everywhere, 2 = loopback only (Documentation/networking/ip-sysctl.rst).
        let reuse = self.reuse == 1 || self.reuse == 2 && tuple.dst.is_loopback();
        if socket.state == SocketState::TimeWait && reuse {
            pair.reusable += 1;
        } else {
            pair.used += 1;
            pair.by_state[socket.state as usize] += 1;
        }
    }

    /// Fullest first; ties by address.
    pub fn finish(self) -> Vec<PortUse> {
        let mut all: Vec<_> = self.pairs.into_iter().collect();
        all.sort_by(|(ka, a), (kb, b)| b.used.cmp(&a.used).then(ka.cmp(kb)));
        all.truncate(MAX_REPORTED);
        all.into_iter()
            .map(|((src, dst, dport), pair)| PortUse {
                src,
                dst,
                dport,
                used: pair.used,
                reusable: pair.reusable,
                range: self.range,
                by_state: named(&pair.by_state),
            })
            .collect()
    }
}

fn named(by_state: &[u64; 13]) -> BTreeMap<String, u64> {
    SocketState::ALL
        .into_iter()
        .filter(|state| by_state[*state as usize] > 0)
        .map(|state| (state.name().to_string(), by_state[state as usize]))
        .collect()
}

/// Ports from `low` to `high` that are not in `reserved`: `8080,9148-9150` as the kernel prints it.
fn free(low: u64, high: u64, reserved: &str) -> u64 {
    let mut taken = vec![false; PORTS];
    for part in reserved.split(',').take(MAX_RESERVED) {
        let part = part.trim();
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>())
            && from <= to
        {
            taken[usize::from(from)..=usize::from(to)].fill(true);
        }
    }
    let all = low as usize..(high as usize).saturating_add(1).min(PORTS);
    taken
        .get(all)
        .map_or(0, |range| range.iter().filter(|taken| !**taken).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tuple;

    fn settings(reuse: &str) -> Settings {
        Settings(
            [
                ("net.ipv4.ip_local_port_range", "40000 40009"),
                ("net.ipv4.ip_local_reserved_ports", "40001,40003-40004"),
                ("net.ipv4.tcp_tw_reuse", reuse),
            ]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into(),
        )
    }

    fn socket(state: SocketState, sport: u16) -> Socket {
        let tuple = Tuple {
            src: "10.0.0.1".parse().unwrap(),
            dst: "10.0.0.2".parse().unwrap(),
            sport,
            dport: 80,
        };
        Socket {
            state,
            tuple,
            uid: 0,
            inode: 0,
            recv_queue: 0,
            send_queue: Some(0),
            repeats: 0,
        }
    }

    #[test]
    fn a_list_of_reserved_ports_is_bounded() {
        let long = "1-65535,".repeat(1 << 20);
        let began = std::time::Instant::now();
        assert_eq!(free(1024, 65_535, &long), 0);
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
        assert_eq!(free(1024, 65_535, ""), 64_512);
        assert_eq!(free(0, u64::MAX, "0,70000,9-3,x"), 65_535);
        assert_eq!(free(9, 3, ""), 0);
    }

    #[test]
    fn counts_ports_of_the_range_only() {
        let mut ports = Ports::new(&settings("0"), &[socket(SocketState::Listen, 40005)]).unwrap();
        ports.add(&socket(SocketState::Established, 40000));
        ports.add(&socket(SocketState::TimeWait, 40002));
        ports.add(&socket(SocketState::Established, 39999));
        ports.add(&socket(SocketState::Established, 40005));
        let got = ports.finish();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].used, got[0].reusable, got[0].range), (2, 0, 7));
        assert_eq!(got[0].by_state["TIME_WAIT"], 1);
    }

    #[test]
    fn time_wait_is_free_where_it_may_be_reused() {
        let mut ports = Ports::new(&settings("1"), &[]).unwrap();
        ports.add(&socket(SocketState::TimeWait, 40002));
        let got = ports.finish();
        assert_eq!((got[0].used, got[0].reusable), (0, 1));
        assert!(Ports::new(&Settings::default(), &[]).is_none());
        let mut settings = settings("1");
        settings.0.insert("net.ipv4.tcp_timestamps".into(), "0".into());
        let mut ports = Ports::new(&settings, &[]).unwrap();
        ports.add(&socket(SocketState::TimeWait, 40002));
        assert_eq!(ports.finish()[0].used, 1, "no timestamps, no reuse");
    }
}
