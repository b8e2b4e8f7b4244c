//! Connections of which only one direction comes by here: told by entries that never see the other.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::few::End;
use super::sampling::Sample;
use super::{Destination, MAX_DESTINATIONS, TapLog};
use crate::model::{Estimate, Flow, TcpState, Tuple};

/// What a pass and a tap say of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneWay {
    /// Entries past the handshake that never saw a reply: conntrack picked them up in the middle.
    pub picked_up: Estimate,
    /// Who sends on these, where the tap saw its SYN/ACKs: a service whose clients' packets go another way.
    pub picked_up_from: Vec<Destination>,
    /// Whom they are sent to: a service whose answers go another way.
    pub picked_up_to: Vec<Destination>,
    pub wire: Option<OneWayWire>,
}

/// With a tap, where the table was read whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneWayWire {
    /// SYN_SENT entries whose SYN the tap saw.
    pub began: u64,
    /// SYN_SENT entries whose client sent a FIN, and no SYN/ACK came by: it had its answer by another way.
    pub went_on: u64,
    pub went_on_to: Vec<Destination>,
    /// Forwarded SYN/ACKs without an entry, by who sent them: their SYNs went another way.
    pub strays: u64,
    pub strays_from: Vec<Destination>,
    /// Addresses that these go to.
    pub stray_clients: u64,
}

/// Distinct ends remembered.
const MAX_ENDS: usize = 16_384;

#[derive(Default)]
struct Ends(HashMap<End, u64>);

impl Ends {
    fn add(&mut self, end: End) {
        if let Some(seen) = self.0.get_mut(&end) {
            *seen += 1;
        } else if self.0.len() < MAX_ENDS {
            self.0.insert(end, 1);
        }
    }

    fn largest(self, sample: Sample) -> Vec<Destination> {
        let mut all: Vec<(End, u64)> = self.0.into_iter().collect();
        all.sort_by(|(ka, a), (kb, b)| b.cmp(a).then(ka.cmp(kb)));
        all.truncate(MAX_DESTINATIONS);
        let destination = |((addr, port), n): (End, u64)| Destination {
            addr,
            port,
            entries: sample.estimate(n),
            answered: 0,
        };
        all.into_iter().map(destination).collect()
    }
}

pub struct OneWayTally {
    picked_up: u64,
    from: Ends,
    to: Ends,
    began: u64,
    went_on: u64,
    went_on_to: Ends,
    /// SYN/ACKs that have an entry; bounded as the tap is.
    entered: HashSet<Tuple>,
}

impl Default for OneWayTally {
    fn default() -> OneWayTally {
        OneWayTally {
            picked_up: 0,
            from: Ends(HashMap::new()),
            to: Ends(HashMap::new()),
            began: 0,
            went_on: 0,
            went_on_to: Ends(HashMap::new()),
            entered: HashSet::new(),
        }
    }
}

impl OneWayTally {
    pub fn add(&mut self, flow: &Flow, tap: Option<&TapLog>) {
        let Some(state) = flow.tcp_state else { return };
        if PAST_HANDSHAKE.contains(&state) && !flow.status.seen_reply() {
            self.picked_up += 1;
            // Clients' own ports would fill any bound.
            let from = (flow.orig.src, flow.orig.sport);
            if tap.is_some_and(|tap| tap.answers(&from)) {
                self.from.add(from);
            }
            self.to.add((flow.reply.src, flow.reply.sport));
        }
        let Some(tap) = tap else { return };
        let answers = tap.syn_acks_of(&flow.reply);
        if answers > 0 {
            self.entered.insert(flow.reply);
        }
        if state == TcpState::SynSent {
            self.began += u64::from(tap.syns_of(&flow.orig) > 0);
            // A client that gives up a SYN sends nothing.
            if answers == 0 && tap.ended_by(&flow.orig) {
                self.went_on += 1;
                self.went_on_to.add((flow.reply.src, flow.reply.sport));
            }
        }
    }

    pub fn finish(self, sample: Sample, tap: Option<&TapLog>, local: impl Fn(&IpAddr) -> bool) -> OneWay {
        let wire = tap.filter(|_| !sample.is_part()).map(|tap| {
            let mut from = Ends(HashMap::new());
            let mut clients = HashSet::new();
            let mut strays = 0;
            // This host's own SYN makes an entry, whichever way the answer comes.
            for tuple in tap
                .syn_acks()
                .filter(|t| !self.entered.contains(*t) && !local(&t.dst))
            {
                strays += 1;
                from.add((tuple.src, tuple.sport));
                clients.insert(tuple.dst);
            }
            OneWayWire {
                began: self.began,
                went_on: self.went_on,
                went_on_to: self.went_on_to.largest(sample),
                strays,
                strays_from: from.largest(sample),
                stray_clients: clients.len() as u64,
            }
        });
        OneWay {
            picked_up: sample.estimate(self.picked_up),
            picked_up_from: self.from.largest(sample),
            picked_up_to: self.to.largest(sample),
            wire,
        }
    }
}

const PAST_HANDSHAKE: [TcpState; 5] = [
    TcpState::Established,
    TcpState::FinWait,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::TimeWait,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Segment, SegmentKind, Status, TcpFlags};

    fn orig(sport: u16) -> Tuple {
        Tuple {
            src: "10.1.0.1".parse().unwrap(),
            dst: "10.2.0.9".parse().unwrap(),
            sport,
            dport: 80,
        }
    }

    fn flow(orig: Tuple, state: TcpState, status: u32) -> Flow {
        Flow {
            orig,
            reply: orig.inverted(),
            tcp_state: Some(state),
            status: Status(status),
            ..Flow::default()
        }
    }

    fn segment(kind: SegmentKind, tuple: Tuple) -> Segment {
        Segment {
            kind,
            tuple,
            sender: tuple.src,
            seq: 1,
            flags: TcpFlags(0),
            ifindex: 3,
            outgoing: false,
        }
    }

    #[test]
    fn a_fin_on_a_half_open_entry_shows_that_the_answer_went_another_way() {
        let mut tap = TapLog::default();
        for sport in 1..=3 {
            tap.add(&segment(SegmentKind::Syn, orig(sport)));
        }
        tap.add(&segment(SegmentKind::Fin, orig(1)));
        // Its answer came by, and something here ate it before conntrack.
        tap.add(&segment(SegmentKind::Fin, orig(2)));
        tap.add(&segment(SegmentKind::SynAck, orig(2).inverted()));
        let mut tally = OneWayTally::default();
        for sport in 1..=3 {
            tally.add(&flow(orig(sport), TcpState::SynSent, 0), Some(&tap));
        }
        let wire = tally.finish(Sample::all(3), Some(&tap), |_| false).wire.unwrap();
        assert_eq!((wire.began, wire.went_on, wire.strays), (3, 1, 0));
    }

    #[test]
    fn answers_without_an_entry_are_strays_unless_they_are_for_this_host() {
        let mut tap = TapLog::default();
        let other = Tuple {
            src: "10.1.0.7".parse().unwrap(),
            ..orig(4)
        };
        for tuple in [orig(1), orig(2), other] {
            tap.add(&segment(SegmentKind::SynAck, tuple.inverted()));
        }
        let mut tally = OneWayTally::default();
        // Picked up from the server's side: that does not make its SYN/ACK known.
        tally.add(&flow(orig(1).inverted(), TcpState::Established, 0), Some(&tap));
        tally.add(&flow(orig(2), TcpState::TimeWait, Status::SEEN_REPLY), Some(&tap));
        let got = tally.finish(Sample::all(2), Some(&tap), |addr| *addr == other.src);
        let wire = got.wire.unwrap();
        assert_eq!((wire.strays, wire.stray_clients), (1, 1));
        assert_eq!(wire.strays_from[0].label(), "10.2.0.9:80");
        assert_eq!(
            (got.picked_up.value, got.picked_up_from[0].label().as_str()),
            (1.0, "10.2.0.9:80")
        );
    }
}
