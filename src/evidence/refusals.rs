//! Attempts that somebody refused, and who: RSTs that answer a SYN, and ICMP errors about one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{MAX_DESTINATIONS, TapLog};
use crate::model::{Flow, Segment, SegmentKind, TcpFlags, TcpState, Tuple};

/// One place that refuses, as the tap saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refuser {
    /// Whom the SYN was for, after DNAT.
    pub addr: IpAddr,
    pub port: u16,
    /// Attempts that a RST ended.
    pub resets: u64,
    /// Of these, the ones whose SYN came in here too, under the same tuple.
    pub asked: u64,
    /// Attempts that an ICMP error was about.
    pub unreachables: u64,
    /// Of these, the ones that the table has in SYN_SENT; absent where it was not read whole.
    pub entered: Option<u64>,
    /// What most of the ICMP errors said.
    pub says: Option<Unreachable>,
    /// Attempts that it answered with a SYN/ACK meanwhile.
    pub answered: u64,
    /// Who was refused.
    pub sources: u64,
    /// Share of the sources that were refused once, 0 to 1.
    pub one_shot: f64,
    /// Refusals that came over this host's loopback.
    pub looped: u64,
    /// An address of this host.
    pub own: bool,
}

/// An ICMP error about a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    pub sender: IpAddr,
    pub icmp_type: u8,
    pub icmp_code: u8,
}

impl Refuser {
    pub fn label(&self) -> String {
        SocketAddr::new(self.addr, self.port).to_string()
    }

    pub fn refused(&self) -> u64 {
        self.resets + self.unreachables
    }
}

/// LOOPBACK_IFINDEX, include/net/flow.h: the same in every namespace.
const LOOPBACK_IFINDEX: u32 = 1;

#[derive(Clone, Copy)]
struct Refused {
    /// By a RST where absent.
    says: Option<Unreachable>,
    looped: bool,
}

/// Refused attempts by the tuple of their SYN, each once, however often and on however many interfaces it was refused.
pub struct Refusals(HashMap<Tuple, Refused>);

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals(HashMap::new())
    }
}

impl Refusals {
    /// Memory is bounded by the tap's own limit of segments.
    pub fn add(&mut self, segment: &Segment) {
        let (tuple, says) = match segment.kind {
            // tcp_v4_send_reset(): to a SYN, which acknowledges nothing, RST|ACK with sequence number 0; else no ACK.
            SegmentKind::Rst if segment.seq == 0 && segment.flags.has(TcpFlags::ACK) => {
                (segment.tuple.inverted(), None)
            }
            SegmentKind::Unreachable { icmp_type, icmp_code } if refuses(icmp_type, icmp_code) => {
                let says = Unreachable {
                    sender: segment.sender,
                    icmp_type,
                    icmp_code,
                };
                (segment.tuple, Some(says))
            }
            _ => return,
        };
        let looped = segment.ifindex == LOOPBACK_IFINDEX;
        self.0.entry(tuple).or_insert(Refused { says, looped });
    }

    /// Whether an ICMP error was about this packet's tuple.
    fn unreachable(&self, tuple: &Tuple) -> bool {
        self.0.get(tuple).is_some_and(|refused| refused.says.is_some())
    }
}

/// "Fragmentation needed" (4) and "source route failed" (5) refuse nobody; ICMPv6 has errors of its own for these.
fn refuses(icmp_type: u8, icmp_code: u8) -> bool {
    icmp_type != 3 || !matches!(icmp_code, 4 | 5)
}

/// Entries whose SYN an ICMP error was about. It grows with the tap, which is bounded.
pub struct StillThere(HashSet<Tuple>);

impl Default for StillThere {
    fn default() -> StillThere {
        StillThere(HashSet::new())
    }
}

impl StillThere {
    pub fn add(&mut self, flow: &Flow, tap: &TapLog) {
        if flow.tcp_state == Some(TcpState::SynSent) {
            // What the error quotes has left this host: it is as the other end sees it.
            let sent = flow.reply.inverted();
            if tap.refusals.unreachable(&sent) {
                self.0.insert(sent);
            }
        }
    }

    /// Who refuses, most first. `whole`: every entry was met.
    pub fn refusers(&self, tap: &TapLog, whole: bool, own: impl Fn(&IpAddr) -> bool) -> Vec<Refuser> {
        let mut places: BTreeMap<(IpAddr, u16), Tally> = BTreeMap::new();
        for (tuple, refused) in &tap.refusals.0 {
            let tally = places.entry((tuple.dst, tuple.dport)).or_default();
            tally.looped += u64::from(refused.looped);
            *tally.sources.entry(tuple.src).or_default() += 1;
            match refused.says {
                Some(says) => {
                    tally.unreachables += 1;
                    tally.entered += u64::from(self.0.contains(tuple));
                    *tally.says.entry(says).or_default() += 1;
                }
                None => {
                    tally.resets += 1;
                    tally.asked += u64::from(tap.syns_of(tuple) > 0);
                }
            }
        }
        for tuple in tap.syn_acks() {
            if let Some(tally) = places.get_mut(&(tuple.src, tuple.sport)) {
                tally.answered += 1;
            }
        }
        let mut out: Vec<Refuser> = places
            .into_iter()
            .map(|(end, tally)| tally.refuser(end, whole, own(&end.0)))
            .collect();
        // Stable: ties stay in the order of the addresses.
        out.sort_by_key(|place| std::cmp::Reverse(place.refused()));
        out.truncate(MAX_DESTINATIONS);
        out
    }
}

#[derive(Default)]
struct Tally {
    resets: u64,
    asked: u64,
    unreachables: u64,
    entered: u64,
    says: BTreeMap<Unreachable, u64>,
    answered: u64,
    sources: BTreeMap<IpAddr, u32>,
    looped: u64,
}

impl Tally {
    fn refuser(self, (addr, port): (IpAddr, u16), whole: bool, own: bool) -> Refuser {
        let sources = self.sources.len() as u64;
        let once = self.sources.values().filter(|n| **n == 1).count() as f64;
        Refuser {
            addr,
            port,
            resets: self.resets,
            asked: self.asked,
            unreachables: self.unreachables,
            entered: whole.then_some(self.entered),
            says: self
                .says
                .into_iter()
                .max_by_key(|(_, n)| *n)
                .map(|(says, _)| says),
            answered: self.answered,
            sources,
            one_shot: once / sources.max(1) as f64,
            looped: self.looped,
            own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(sport: u16) -> Tuple {
        Tuple {
            src: "10.0.0.1".parse().unwrap(),
            dst: "10.0.0.9".parse().unwrap(),
            sport,
            dport: 80,
        }
    }

    fn rst(sport: u16, seq: u32, flags: u8) -> Segment {
        Segment {
            kind: SegmentKind::Rst,
            tuple: tuple(sport).inverted(),
            sender: tuple(sport).dst,
            seq,
            flags: TcpFlags(flags),
            ifindex: 3,
            outgoing: false,
        }
    }

    fn icmp(sport: u16, icmp_code: u8) -> Segment {
        Segment {
            kind: SegmentKind::Unreachable {
                icmp_type: 3,
                icmp_code,
            },
            tuple: tuple(sport),
            sender: "10.0.0.254".parse().unwrap(),
            ..rst(sport, 7, 0)
        }
    }

    fn refusers(segments: &[Segment], met: &[u16]) -> Vec<Refuser> {
        let mut tap = TapLog::default();
        segments.iter().for_each(|segment| tap.add(segment));
        let mut still = StillThere::default();
        for sport in met {
            let flow = Flow {
                orig: tuple(*sport),
                reply: tuple(*sport).inverted(),
                tcp_state: Some(TcpState::SynSent),
                ..Flow::default()
            };
            still.add(&flow, &tap);
        }
        still.refusers(&tap, true, |_| false)
    }

    #[test]
    fn a_reset_of_an_established_connection_refuses_nobody() {
        let (rst_ack, plain) = (TcpFlags::RST | TcpFlags::ACK, TcpFlags::RST);
        let got = refusers(
            &[
                rst(1, 0, rst_ack),
                rst(2, 99, rst_ack),
                rst(3, 0, plain),
                rst(1, 0, rst_ack),
            ],
            &[],
        );
        assert_eq!((got.len(), got[0].resets, got[0].refused()), (1, 1, 1));
    }

    #[test]
    fn an_error_about_size_refuses_nobody_and_the_sender_is_told() {
        let got = refusers(&[icmp(1, 4), icmp(2, 1), icmp(3, 1), icmp(4, 3)], &[2, 4]);
        assert_eq!((got.len(), got[0].unreachables, got[0].entered), (1, 3, Some(2)));
        let says = got[0].says.unwrap();
        assert_eq!(
            (says.sender.to_string().as_str(), says.icmp_code),
            ("10.0.0.254", 1)
        );
    }
}
