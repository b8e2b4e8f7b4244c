//! One pass over the table: a row per protocol and state, and who stands behind each half-open entry.

use std::net::IpAddr;

use foldhash::{HashSet, HashSetExt};

use super::answered::{Answered, completed};
use super::fate::Fate;
use super::lasting::{LastingTally, asks_place, idle_secs};
use super::nat::NatTally;
use super::one_way::OneWayTally;
use super::pile::{Marks, PileTally, piles};
use super::refusals::StillThere;
use super::rows::Rows;
use super::sampling::Sample;
use super::schedule::{Sender, may_renew_syn_sent};
use super::stale::{Sends, StaleTally};
use super::tap::TapLog;
use super::vanished::{self, Entered, Meanwhile};
use super::{Counted, Direction, HalfOpen, RulesetFacts};
use crate::model::{Flow, Moment, Snapshot, Socket, SocketState, TableLook, TcpState, Timeouts, Tuple};

/// An answer takes less than this; the first repeat of a SYN comes after one second.
const HANDSHAKE_SECS: u32 = 2;

/// What the fold needs to know before the first entry comes by.
pub struct Census<'a> {
    locals: Option<HashSet<IpAddr>>,
    /// `locals` are all of the host's addresses.
    locals_whole: bool,
    sockets: Option<HashSet<Tuple>>,
    requests: Option<HashSet<Tuple>>,
    /// Of `sockets`, the ones that have sent their SYN again.
    repeating: HashSet<Tuple>,
    tap: Option<&'a TapLog>,
    /// When the first reading of the sockets began; the tap had ended by then.
    began: Moment,
    /// The latest time that an entry was said to be handed on.
    expected: Moment,
    timeouts: Timeouts,
    flow_policies: bool,
    /// The time left of a SYN_SENT entry may tell the time since its last SYN, not since its first.
    renewed: bool,
    rows: Rows,
    syn_sent: [PileTally; 4],
    syn_recv: [PileTally; 4],
    answered: Answered,
    lasting: LastingTally,
    /// Tuples of sockets whose entry is in SYN_SENT, and whether it may be a handshake under way; and of those whose
    /// entry saw an answer.
    matched: Vec<(Tuple, bool)>,
    matched_answered: Vec<Tuple>,
    unseen_syn_acks: u64,
    entered: Entered,
    still_there: StillThere,
    one_way: OneWayTally,
    nat: NatTally,
    stale: StaleTally,
    rules: Option<RulesetFacts>,
    entries: u64,
}

impl<'a> Census<'a> {
    /// `before`: addresses, half-open sockets and timeouts read before the pass.
    pub fn new(before: &Snapshot, tap: Option<&'a TapLog>) -> Census<'a> {
        let of_state = |wanted: SocketState| {
            before.half_open.as_ref().map(|sockets| {
                let mut set = HashSet::new();
                set.extend(sockets.iter().filter(|s| s.state == wanted).map(|s| s.tuple));
                set
            })
        };
        let again = |s: &&Socket| s.state == SocketState::SynSent && s.repeats > 0;
        let rules = before
            .ruleset
            .clone()
            .map(|ruleset| RulesetFacts::between(None, ruleset));
        let mut repeating = HashSet::new();
        repeating.extend(before.half_open.iter().flatten().filter(again).map(|s| s.tuple));
        Census {
            repeating,
            locals: before.addresses.as_ref().map(|all| all.iter().copied().collect()),
            locals_whole: true,
            sockets: of_state(SocketState::SynSent),
            requests: of_state(SocketState::SynRecv),
            tap,
            began: before.taken,
            expected: before.taken,
            timeouts: before.timeouts,
            flow_policies: before.flow_policies,
            renewed: before.host.kernel.as_deref().is_some_and(may_renew_syn_sent),
            rows: Rows::default(),
            syn_sent: Default::default(),
            syn_recv: Default::default(),
            answered: Answered::default(),
            lasting: LastingTally::default(),
            matched: Vec::new(),
            matched_answered: Vec::new(),
            unseen_syn_acks: 0,
            entered: Entered::default(),
            still_there: StillThere::default(),
            one_way: OneWayTally::default(),
            nat: NatTally::default(),
            stale: StaleTally::new(rules.as_ref()),
            rules,
            entries: 0,
        }
    }

    /// From pasted text, where the host's addresses may be known only in part.
    pub fn pasted(before: &Snapshot, addresses_whole: bool) -> Census<'static> {
        let mut census = Census::new(before, None);
        census.locals_whole = addresses_whole;
        census
    }

    /// `now`: when this entry was handed on, or is expected to be; `finish` learns how long it really took.
    pub fn add(&mut self, flow: &Flow, now: Moment) {
        self.entries += 1;
        self.expected = self.expected.max(now);
        let age = self.age_secs(flow);
        self.rows.add(flow, age);
        if let Some(tap) = self.tap {
            self.entered.add(flow, tap);
            self.still_there.add(flow, tap);
        }
        self.nat.add(flow, age);
        if self.stale.asks_for(flow) {
            let sends = Sends {
                since_set_secs: self.since_set_secs(flow),
                stamped_secs: flow.age_secs(now),
                syn_renews: self.renewed,
                syn_again: self
                    .tap
                    .is_some_and(|tap| tap.syn_again(&flow.orig, age, now, self.began)),
            };
            self.stale.add(flow, self.direction(flow), sends);
        }
        self.one_way.add(flow, self.tap);
        match flow.tcp_state {
            Some(TcpState::SynSent) => self.half_open(flow, now, false),
            Some(TcpState::SynRecv) => self.half_open(flow, now, true),
            Some(state) if completed(state) => self.answered.add(flow, self.since_set_secs(flow)),
            _ => {}
        }
        let idle = idle_secs(&self.timeouts, flow, self.flow_policies);
        let place = asks_place(flow, idle).then(|| self.place(flow));
        self.lasting.add(flow, idle, place);
    }

    /// Which way an entry goes, and whether to this host itself.
    fn place(&self, flow: &Flow) -> (Direction, bool) {
        let direction = self.direction(flow);
        let to_self = direction == Direction::Out && self.is_local(&flow.reply.src);
        (direction, to_self)
    }

    /// [`Census::since_set_secs`], but none where a repeated SYN may have set it anew: the age in states that nothing else
    /// renews.
    fn age_secs(&self, flow: &Flow) -> Option<u32> {
        let renewed = self.renewed && flow.tcp_state == Some(TcpState::SynSent);
        self.since_set_secs(flow).filter(|_| !renewed)
    }

    /// Seconds since the timeout was set: at most the age.
    fn since_set_secs(&self, flow: &Flow) -> Option<u32> {
        self.timeouts.since_set_secs(flow)
    }

    fn direction(&self, flow: &Flow) -> Direction {
        // A socket proves an end local whatever its address: a transparent proxy's, or one that was just removed.
        let has =
            |sockets: &Option<HashSet<Tuple>>, tuple| sockets.as_ref().is_some_and(|s| s.contains(tuple));
        if has(&self.sockets, &flow.orig) {
            return Direction::Out;
        }
        if has(&self.requests, &flow.reply) {
            return Direction::In;
        }
        if self.locals.is_none() {
            Direction::Unknown
        } else if self.is_local(&flow.orig.src) {
            Direction::Out
        } else if self.is_local(&flow.reply.src) {
            Direction::In
        } else if self.locals_whole {
            Direction::Forward
        } else {
            Direction::Unknown
        }
    }

    fn is_local(&self, addr: &IpAddr) -> bool {
        is_local(&self.locals, addr)
    }

    fn half_open(&mut self, flow: &Flow, now: Moment, answered: bool) {
        let direction = self.direction(flow);
        let waited = now.secs_since(self.began);
        let stamped = flow.age_secs(now);
        let age = stamped.or(self.age_secs(flow));
        let at_least = stamped.or(self.since_set_secs(flow));
        // CTA_TIMEOUT is cut to whole seconds: the entry may be up to one second younger than it says.
        let gone = match at_least.map(|age| f64::from(age) - 1.0 - waited) {
            Some(margin_secs) if margin_secs < 0.0 => Fate::Unclear,
            Some(margin_secs) => Fate::JustHeld { margin_secs },
            None => Fate::Held,
        };
        // A client's repeated SYN and the answer to it set the timeout of SYN_RECV anew (nf_conntrack_tcp_packet).
        let again = answered && (self.repeating.contains(&flow.orig) || self.seen_again(flow));
        let marks = Marks {
            under_way: at_least.is_some_and(|age| age <= HANDSHAKE_SECS) && !again,
            to_self: direction == Direction::Out && self.is_local(&flow.reply.src),
            insists: self.tap.map(|tap| tap.syns_of(&flow.orig) > 1),
        };
        let fate = match (direction, answered) {
            (Direction::Out, _) => self.by_socket(flow.orig, gone, marks.under_way, answered),
            (Direction::In, true) => match &self.requests {
                Some(requests) if requests.contains(&flow.reply) => Fate::Live,
                Some(_) => gone,
                None => self.by_wire(flow, age, now, answered),
            },
            _ => self.by_wire(flow, age, now, answered),
        };
        let piles = if answered {
            &mut self.syn_recv
        } else {
            &mut self.syn_sent
        };
        piles[direction as usize].add(flow, age, marks, fate);
        if !answered && at_least.is_some_and(|age| self.was_answered(flow, f64::from(age) - 1.0, now)) {
            self.unseen_syn_acks += 1;
        }
    }

    /// Whether a SYN/ACK came in for it, which is `age_secs` old at least. One that was seen before the entry began was
    /// for another connection: a busy client soon uses a port again.
    fn was_answered(&self, flow: &Flow, age_secs: f64, now: Moment) -> bool {
        self.tap.is_some_and(|tap| {
            let began = now.secs_since(tap.ended.unwrap_or(self.began)) + tap.facts.secs;
            age_secs >= began && tap.syn_acks_of(&flow.reply) > 0
        })
    }

    /// Whether the wire showed a packet of the handshake twice.
    fn seen_again(&self, flow: &Flow) -> bool {
        self.tap
            .is_some_and(|tap| tap.syns_of(&flow.orig) > 1 || tap.syn_acks_of(&flow.reply) > 1)
    }

    /// `gone`: what it is where no socket answers for it.
    fn by_socket(&mut self, orig: Tuple, gone: Fate, under_way: bool, answered: bool) -> Fate {
        match &self.sockets {
            Some(sockets) if sockets.contains(&orig) => {
                if answered {
                    self.matched_answered.push(orig);
                } else {
                    self.matched.push((orig, under_way));
                }
                Fate::Live
            }
            Some(_) => gone,
            None => Fate::Unclear,
        }
    }

    fn by_wire(&self, flow: &Flow, age: Option<u32>, now: Moment, answered: bool) -> Fate {
        let Some(age) = age else { return Fate::Unclear };
        // The middle of the second that CTA_TIMEOUT names.
        let age = f64::from(age) - 0.5;
        let Some(tap) = self.tap else {
            return match self.flow_policies {
                true => Fate::Unclear,
                false => Fate::Aged { age_secs: age },
            };
        };
        // What was born after its end is too young to tell.
        let since = now.secs_since(tap.ended.unwrap_or(self.began));
        let (age_secs, tap_secs) = ((age - since).max(0.0), tap.facts.secs);
        // The first SYN of an entry born during the tap is no repeat.
        let born_inside = age_secs <= tap_secs + 1.0;
        let again = |seen: u32| if born_inside { seen >= 2 } else { seen >= 1 };
        let caught = tap.caught();
        let syn_again = again(tap.syns_of(&flow.orig));
        if answered {
            let repeated = syn_again || again(tap.syn_acks_of(&flow.reply));
            return Fate::Tapped {
                sender: Sender::SynAck,
                repeated,
                age_secs,
                tap_secs,
                caught,
            };
        }
        Fate::Tapped {
            sender: Sender::Syn,
            repeated: syn_again,
            age_secs,
            tap_secs,
            caught,
        }
    }

    /// `after`: half-open sockets read after the pass, where they could be.
    pub fn finish(mut self, look: &TableLook, after: Option<&[Socket]>) -> Counted {
        let sample = self.sample(look);
        let meanwhile = self.meanwhile(after);
        let late_secs = look.ended.secs_since(self.expected);
        for pile in self.syn_sent.iter_mut().chain(&mut self.syn_recv) {
            pile.took_longer(late_secs);
        }
        self.syn_sent[Direction::Out as usize]
            .gave_up_meanwhile(meanwhile.gave_up, meanwhile.gave_up_settled);
        let exact = !sample.is_part();
        let half_open = HalfOpen {
            syn_sent: piles(self.syn_sent, sample, &self.answered, meanwhile.new_sockets),
            syn_recv: piles(self.syn_recv, sample, &self.answered, 0),
            syn_sent_sockets: self.sockets.as_ref().map(|s| s.len() as u64),
            // A sample meets only some of the entries: it cannot say that one is missing.
            sockets_without_entry: meanwhile.without_entry.filter(|_| exact),
            without_entry_to: if exact {
                meanwhile.without_entry_to
            } else {
                Vec::new()
            },
            syn_recv_sockets: self.requests.as_ref().map(|s| s.len() as u64),
            owners: Vec::new(),
        };
        let states = self.rows.finish(sample, &self.timeouts);
        let (lasting, sought) = self.lasting.finish(sample);
        let (locals, tap) = (self.locals, self.tap);
        let own = |addr: &IpAddr| is_local(&locals, addr);
        Counted {
            states,
            half_open,
            lasting,
            sought,
            sample,
            unseen_syn_acks: tap.map(|_| sample.estimate(self.unseen_syn_acks).value as u64),
            expired: sample.is_part().then_some(sample.expired),
            nat: self.nat.finish(sample, self.rules.as_ref()),
            stale_nat: self.stale.finish(sample),
            refusers: tap.map(|tap| self.still_there.refusers(tap, exact, own)),
            one_way: self.one_way.finish(sample, tap, own),
            vanished: tap.filter(|_| exact).map(|tap| self.entered.vanished(tap, own)),
        }
    }

    fn sample(&self, look: &TableLook) -> Sample {
        let looked_at = look.dumped.max(self.entries);
        let met_per_s = self.rows.arriving_per_s();
        let all = look.sampled_of.unwrap_or(looked_at) as f64 / looked_at.max(1) as f64;
        let arrivals = met_per_s * all * look.ended.secs_since(self.began);
        Sample {
            looked_at,
            ..Sample::of_look(look, arrivals)
        }
    }

    /// What the sockets' second reading says beside the first.
    fn meanwhile(&self, after: Option<&[Socket]>) -> Meanwhile {
        let (Some(after), Some(before)) = (after, &self.sockets) else {
            return Meanwhile::default();
        };
        let mut still = HashSet::new();
        still.extend(
            after
                .iter()
                .filter(|s| s.state == SocketState::SynSent)
                .map(|s| s.tuple),
        );
        let count =
            |tuples: &mut dyn Iterator<Item = &Tuple>| tuples.filter(|t| still.contains(*t)).count() as u64;
        let waited_on = count(&mut before.iter());
        let matched = count(&mut self.matched.iter().map(|(tuple, _)| tuple));
        let gone = self.matched.iter().filter(|(tuple, _)| !still.contains(tuple));
        let answered = count(&mut self.matched_answered.iter());
        let mut known = HashSet::new();
        known.extend(self.matched.iter().map(|(tuple, _)| *tuple));
        known.extend(self.matched_answered.iter().copied());
        let lost = before
            .iter()
            .filter(|t| still.contains(*t) && !known.contains(*t));
        Meanwhile {
            gave_up: self.matched.len() as u64 - matched,
            gave_up_settled: gone.filter(|(_, under_way)| !under_way).count() as u64,
            new_sockets: still.len() as u64 - waited_on,
            // One that was answered before the pass came by has an entry in a later state.
            without_entry: Some(waited_on.saturating_sub(matched + answered)),
            without_entry_to: vanished::wanted(lost),
        }
    }
}

fn is_local(locals: &Option<HashSet<IpAddr>>, addr: &IpAddr) -> bool {
    addr.is_loopback() || locals.as_ref().is_some_and(|locals| locals.contains(addr))
}
