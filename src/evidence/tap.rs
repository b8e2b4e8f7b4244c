//! What a short look at the wire tells: who still sends, and answers that conntrack never saw.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::TapFacts;
use super::few::End;
use super::refusals::Refusals;
use super::ways::Arrivals;
use crate::model::{Moment, Segment, SegmentKind, Tuple};

/// Segments by tuple, with the number of times each was seen.
pub struct TapLog {
    pub facts: TapFacts,
    /// When it ended; unset where that was with the reading of the sockets.
    pub ended: Option<Moment>,
    syns: HashMap<Tuple, Seen>,
    syn_acks: HashMap<Tuple, Seen>,
    /// Who sent these.
    answering: HashSet<End>,
    /// Tuples of RSTs, whoever sent them.
    resets: HashSet<Tuple>,
    pub arrivals: Arrivals,
    /// Tuples of FINs.
    fins: HashSet<Tuple>,
    pub(super) refusals: Refusals,
}

#[derive(Clone, Copy)]
struct Seen {
    times: u32,
    ifindex: u32,
}

impl Default for TapLog {
    fn default() -> TapLog {
        TapLog {
            facts: TapFacts::default(),
            ended: None,
            syns: HashMap::new(),
            syn_acks: HashMap::new(),
            answering: HashSet::new(),
            resets: HashSet::new(),
            arrivals: Arrivals::default(),
            fins: HashSet::new(),
            refusals: Refusals::default(),
        }
    }
}

impl TapLog {
    /// Memory is bounded by the tap's own limit of segments.
    pub fn add(&mut self, segment: &Segment) {
        if segment.kind == SegmentKind::Rst {
            self.resets.insert(segment.tuple);
        }
        if segment.outgoing {
            return;
        }
        self.facts.segments += 1;
        self.arrivals.add(segment);
        self.refusals.add(segment);
        match segment.kind {
            SegmentKind::Syn => {
                if let Some(times) = seen_again(&mut self.syns, segment) {
                    self.facts.syns += 1;
                    self.facts.syn_retransmits += u64::from(times > 1);
                }
            }
            SegmentKind::SynAck => {
                self.answering.insert((segment.tuple.src, segment.tuple.sport));
                if let Some(times) = seen_again(&mut self.syn_acks, segment) {
                    self.facts.syn_acks += 1;
                    self.facts.syn_ack_retransmits += u64::from(times > 1);
                }
            }
            SegmentKind::Unreachable { .. } => self.facts.unreachables += 1,
            SegmentKind::Fin => {
                self.fins.insert(segment.tuple);
            }
            SegmentKind::Rst => self.facts.resets += 1,
            SegmentKind::OtherTcp => {}
        }
    }

    /// SYNs seen with exactly this original tuple.
    pub fn syns_of(&self, orig: &Tuple) -> u32 {
        self.syns.get(orig).map_or(0, |seen| seen.times)
    }

    /// Whether the wire showed a repeated SYN of an entry that is so old; `began`: when the tap had ended at the latest.
    pub fn syn_again(&self, orig: &Tuple, age_secs: Option<u32>, now: Moment, began: Moment) -> bool {
        // CTA_TIMEOUT is cut to whole seconds; the first SYN of an entry born during the tap is no repeat.
        let opened = now.secs_since(self.ended.unwrap_or(began)) + self.facts.secs;
        let born_before = age_secs.is_some_and(|age| f64::from(age) - 1.0 > opened);
        self.syns_of(orig) >= if born_before { 1 } else { 2 }
    }

    /// Tuples of all SYNs, with how often each was seen.
    pub fn syns(&self) -> impl Iterator<Item = (&Tuple, u32)> {
        self.syns.iter().map(|(tuple, seen)| (tuple, seen.times))
    }

    /// Whether a RST answered packets of this tuple.
    pub fn was_reset(&self, tuple: &Tuple) -> bool {
        self.resets.contains(&tuple.inverted())
    }

    /// Whether a FIN of this tuple came by.
    pub fn ended_by(&self, tuple: &Tuple) -> bool {
        self.fins.contains(tuple)
    }

    /// Whether a SYN/ACK came from there.
    pub fn answers(&self, end: &End) -> bool {
        self.answering.contains(end)
    }

    /// Tuples of all SYN/ACKs.
    pub fn syn_acks(&self) -> impl Iterator<Item = &Tuple> {
        self.syn_acks.keys()
    }

    /// SYN/ACKs seen with exactly this reply tuple.
    pub fn syn_acks_of(&self, reply: &Tuple) -> u32 {
        self.syn_acks.get(reply).map_or(0, |seen| seen.times)
    }

    /// Of the packets that came by, the share that the tap had room for.
    pub fn caught(&self) -> f64 {
        let (seen, lost) = (self.facts.segments as f64, self.facts.lost as f64);
        if lost > 0.0 { seen / (seen + lost) } else { 1.0 }
    }
}

/// How often now; `None` where it is the same packet on a further interface: a bridge and its port, a bond and its
/// member, a VLAN and its device each show it.
fn seen_again(log: &mut HashMap<Tuple, Seen>, segment: &Segment) -> Option<u32> {
    let first = Seen {
        times: 0,
        ifindex: segment.ifindex,
    };
    let seen = log.entry(segment.tuple).or_insert(first);
    if seen.ifindex != segment.ifindex {
        return None;
    }
    seen.times += 1;
    Some(seen.times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TcpFlags;

    #[test]
    fn a_packet_on_a_bridge_and_its_port_is_one() {
        let on = |ifindex| Segment {
            kind: SegmentKind::Syn,
            tuple: Tuple::default(),
            sender: Tuple::default().src,
            seq: 1,
            flags: TcpFlags(TcpFlags::SYN),
            ifindex,
            outgoing: false,
        };
        let mut log = TapLog::default();
        for ifindex in [5, 4] {
            log.add(&on(ifindex));
        }
        assert_eq!(
            (log.syns_of(&Tuple::default()), log.facts.syn_retransmits),
            (1, 0)
        );
        for ifindex in [5, 4] {
            log.add(&on(ifindex));
        }
        assert_eq!(
            (log.syns_of(&Tuple::default()), log.facts.syn_retransmits),
            (2, 1)
        );
    }

    #[test]
    fn what_was_lost_is_reckoned_with() {
        let mut log = TapLog::default();
        assert_eq!(log.caught(), 1.0);
        log.facts.lost = 10;
        assert_eq!(log.caught(), 0.0);
        log.facts.segments = 30;
        assert_eq!(log.caught(), 0.75);
    }
}
