//! Entries of the states that outlive their connections: whose they are, how long nothing has touched them, and
//! whether a socket of this host stands behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::answered::Answered;
use super::fate::Fate;
use super::pile::{Marks, PileTally, piles};
use super::sampling::Sample;
use super::{Destination, Direction, Pile, Sought};
use crate::model::{Estimate, Flow, TcpState, Timeouts, proto};

/// Silent for longer, and neither end has sent a keepalive by Linux' defaults or answered one: tcp_keepalive_time and
/// tcp_keepalive_probes times tcp_keepalive_intvl (include/net/tcp.h).
pub const IDLE_SECS: u32 = 7_200 + 9 * 75;
pub const DAY_SECS: u32 = 86_400;

/// What lasts in the table, and what says whether anybody still needs it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lasting {
    pub established: Idle,
    pub close_wait: Stay,
    pub time_wait: Stay,
    /// UDP entries that nobody answered.
    pub udp: BTreeMap<Direction, Pile>,
}

/// Entries of one state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stay {
    pub pile: Pile,
    /// Those that have an end on this host; absent where sockets were not read, or were not looked for.
    pub joined: Option<Joined>,
}

/// ESTABLISHED entries by how long no packet has touched them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Idle {
    /// Idle for more than [`IDLE_SECS`].
    pub stay: Stay,
    /// Who opened more than half of these.
    pub opened_by: Option<(IpAddr, Estimate)>,
    /// Of these, the ones idle for more than a day, …
    pub day: Estimate,
    /// … for more than three, …
    pub three_days: Estimate,
    /// … and the ones that have never seen a packet of the other direction.
    pub one_way: Estimate,
    /// Who sent the packets of those, with the port: a server's, where it was picked up in the middle.
    pub one_way_from: Vec<Destination>,
    /// ESTABLISHED entries whose idle time is not known.
    pub untold: Estimate,
    /// Of the untold ones, those that have never seen a packet of the other direction.
    pub untold_one_way: Estimate,
}

/// Entries with an end on this host, and whether that has a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Joined {
    pub entries: Estimate,
    /// Entries of which it is not known whether they have one.
    pub unplaced: Estimate,
    /// Of the first, taken at random.
    pub looked_for: u64,
    /// Of the ones looked for, those that have a connected socket, …
    pub found: u64,
    /// … and those whose socket is in CLOSE_WAIT: the peer has closed, the program has not.
    pub unclosed: u64,
}

/// An answer to a datagram takes less than this.
const ANSWER_SECS: u32 = 2;

/// Folds entries while they stream by.
#[derive(Default)]
pub struct LastingTally {
    idle: PileTally,
    day: u64,
    three_days: u64,
    one_way: u64,
    one_way_from: PileTally,
    untold: u64,
    untold_one_way: u64,
    close_wait: PileTally,
    time_wait: PileTally,
    udp: [PileTally; 4],
    answered_udp: Answered,
    sought: Sought,
}

impl LastingTally {
    /// `idle`: seconds since the entry's timeout was set. `place`: which way it goes, and whether to this host itself, of
    /// those that [`asks_place`] asks it of.
    pub fn add(&mut self, flow: &Flow, idle: Option<u32>, place: Option<(Direction, bool)>) {
        let place = place.unwrap_or((Direction::Unknown, false));
        match flow.tcp_state {
            Some(TcpState::Established) => self.established(flow, idle, place),
            Some(TcpState::CloseWait) => {
                self.sought.keep_unclosed(flow, place.0);
                self.close_wait.add(flow, idle, Marks::default(), Fate::Unclear);
            }
            Some(TcpState::TimeWait) => self.time_wait.add(flow, idle, Marks::default(), Fate::Unclear),
            _ if flow.proto == proto::UDP && flow.status.seen_reply() => self.answered_udp.add(flow, None),
            _ if flow.proto == proto::UDP => {
                let (direction, to_self) = place;
                let marks = Marks {
                    under_way: idle.is_some_and(|secs| secs <= ANSWER_SECS),
                    to_self,
                    insists: None,
                };
                self.udp[direction as usize].add(flow, idle, marks, Fate::Unclear);
            }
            _ => {}
        }
    }

    fn established(&mut self, flow: &Flow, idle: Option<u32>, place: (Direction, bool)) {
        let one_way = !flow.status.seen_reply();
        let Some(secs) = idle else {
            self.untold += 1;
            self.untold_one_way += u64::from(one_way);
            return;
        };
        if secs <= IDLE_SECS {
            return;
        }
        self.day += u64::from(secs > DAY_SECS);
        self.three_days += u64::from(secs > 3 * DAY_SECS);
        self.idle.add(flow, idle, Marks::default(), Fate::Unclear);
        self.sought.keep_idle(flow, place.0);
        if one_way {
            self.one_way += 1;
            let turned = Flow {
                orig: flow.reply,
                reply: flow.orig,
                ..*flow
            };
            self.one_way_from
                .add(&turned, idle, Marks::default(), Fate::Unclear);
        }
    }

    /// What was seen, and the entries that sockets are still to be looked for.
    pub fn finish(self, sample: Sample) -> (Lasting, Sought) {
        let nobody = Answered::default();
        let stay = |tally: PileTally| Stay {
            pile: tally.finish(sample, &nobody, 0),
            joined: None,
        };
        let opened_by = self.idle.largest_source();
        let lasting = Lasting {
            established: Idle {
                stay: stay(self.idle),
                opened_by: opened_by.map(|(addr, entries)| (addr, sample.estimate(entries))),
                day: sample.estimate(self.day),
                three_days: sample.estimate(self.three_days),
                one_way: sample.estimate(self.one_way),
                one_way_from: self.one_way_from.finish(sample, &nobody, 0).destinations,
                untold: sample.estimate(self.untold),
                untold_one_way: sample.estimate(self.untold_one_way),
            },
            close_wait: stay(self.close_wait),
            time_wait: stay(self.time_wait),
            udp: piles(self.udp, sample, &self.answered_udp, 0),
        };
        (lasting, self.sought)
    }
}

/// Whether it matters where an entry's ends are. Most entries are spared the look.
pub fn asks_place(flow: &Flow, idle: Option<u32>) -> bool {
    match flow.tcp_state {
        Some(TcpState::Established) => idle.is_some_and(|secs| secs > IDLE_SECS),
        Some(state) => state == TcpState::CloseWait,
        None => flow.proto == proto::UDP && !flow.status.seen_reply(),
    }
}

/// Idle time of an entry; `flow_policies`: its timeout may be one of its own.
pub fn idle_secs(timeouts: &Timeouts, flow: &Flow, flow_policies: bool) -> Option<u32> {
    timeouts.since_set_secs(flow).filter(|_| !flow_policies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Socket, SocketState, Status, Tuple};

    fn flow(state: TcpState, number: u16, seen: bool) -> Flow {
        let orig = Tuple {
            src: "10.0.0.1".parse().unwrap(),
            dst: "10.0.0.2".parse().unwrap(),
            sport: number,
            dport: 80,
        };
        Flow {
            orig,
            reply: orig.inverted(),
            proto: proto::TCP,
            tcp_state: Some(state),
            status: Status(if seen { Status::SEEN_REPLY } else { 0 }),
            ..Flow::default()
        }
    }

    const OUTWARD: Option<(Direction, bool)> = Some((Direction::Out, false));

    #[test]
    fn idle_entries_are_those_that_no_keepalive_renewed() {
        let mut tally = LastingTally::default();
        for (number, idle) in [Some(7_875), Some(7_876), Some(90_000), Some(300_000), None]
            .into_iter()
            .enumerate()
        {
            tally.add(
                &flow(TcpState::Established, number as u16, idle != Some(300_000)),
                idle,
                OUTWARD,
            );
        }
        let (got, _) = tally.finish(Sample::all(5));
        let got = got.established;
        assert_eq!(got.stay.pile.entries, Estimate::exact(3.0));
        assert_eq!((got.day.value, got.three_days.value), (2.0, 1.0));
        assert_eq!((got.untold.value, got.untold_one_way.value), (1.0, 0.0));
        assert_eq!(got.stay.pile.destinations[0].label(), "10.0.0.2:80");
        // Whoever sent what was picked up.
        assert_eq!(
            (got.one_way.value, got.one_way_from[0].label().as_str()),
            (1.0, "10.0.0.1:3")
        );
        assert_eq!(
            got.opened_by,
            Some(("10.0.0.1".parse().unwrap(), Estimate::exact(3.0)))
        );
    }

    #[test]
    fn sockets_are_looked_for_from_the_local_end() {
        let mut tally = LastingTally::default();
        for number in 0..2_000 {
            tally.add(&flow(TcpState::Established, number, true), Some(90_000), OUTWARD);
        }
        tally.add(
            &flow(TcpState::CloseWait, 9, true),
            Some(5),
            Some((Direction::In, false)),
        );
        tally.add(
            &flow(TcpState::CloseWait, 10, true),
            Some(5),
            Some((Direction::Forward, false)),
        );
        let (mut got, mut sought) = tally.finish(Sample::all(2_002));
        let socket = |tuple, state| Socket {
            state,
            tuple,
            uid: 0,
            inode: 0,
            recv_queue: 0,
            send_queue: None,
            repeats: 0,
        };
        for number in 0..2_000 {
            let tuple = flow(TcpState::Established, number, true).orig;
            let state = if number % 2 == 0 {
                SocketState::Established
            } else {
                SocketState::TimeWait
            };
            sought.see(&socket(tuple, state));
        }
        sought.see(&socket(
            flow(TcpState::CloseWait, 9, true).reply,
            SocketState::CloseWait,
        ));
        sought.tell(&mut got, Sample::all(2_002));
        let idle = got.established.stay.joined.unwrap();
        assert_eq!((idle.entries.value, idle.looked_for), (2_000.0, 512));
        let share = idle.found as f64 / idle.looked_for as f64;
        assert!((0.4..0.6).contains(&share), "taken at random: {idle:?}");
        let close_wait = got.close_wait.joined.unwrap();
        assert_eq!(
            (
                close_wait.entries.value,
                close_wait.looked_for,
                close_wait.found,
                close_wait.unclosed
            ),
            (1.0, 1, 1, 1)
        );
        assert_eq!(got.time_wait.joined, None);
    }

    #[test]
    fn a_datagram_is_unanswered_by_whom_no_entry_saw_answer() {
        let mut tally = LastingTally::default();
        let udp = |number, seen| Flow {
            proto: proto::UDP,
            tcp_state: None,
            ..flow(TcpState::None, number, seen)
        };
        for number in 0..100 {
            tally.add(&udp(number, number % 4 == 0), Some(number.into()), OUTWARD);
        }
        let (got, _) = tally.finish(Sample::all(100));
        let pile = &got.udp[&Direction::Out];
        assert_eq!((pile.entries.value, pile.settled().value), (75.0, 73.0));
        assert_eq!(
            (pile.destinations[0].entries.value, pile.destinations[0].answered),
            (73.0, 25)
        );
    }
}
