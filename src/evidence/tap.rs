//! What a short look at the wire tells: who still sends, and answers that conntrack never saw.

use foldhash::{HashMap, HashMapExt};

use super::TapFacts;
use crate::model::{Segment, SegmentKind, Tuple};

/// Segments by tuple, with the number of times each was seen.
pub struct TapLog {
    pub facts: TapFacts,
    syns: HashMap<Tuple, Seen>,
    syn_acks: HashMap<Tuple, Seen>,
}

/// A packet passes the tap once per device that it goes through: a bridge's port and the bridge, a bond's, a VLAN's.
/// Only what comes by the first of them counts, or one SYN would look repeated.
struct Seen {
    ifindex: u32,
    times: u32,
}

/// The times it was seen, this one included; `None` where it is only another device's view.
fn count(log: &mut HashMap<Tuple, Seen>, segment: &Segment) -> Option<u32> {
    let seen = log.entry(segment.tuple).or_insert(Seen {
        ifindex: segment.ifindex,
        times: 0,
    });
    if seen.ifindex != segment.ifindex {
        return None;
    }
    seen.times += 1;
    Some(seen.times)
}

impl Default for TapLog {
    fn default() -> TapLog {
        TapLog {
            facts: TapFacts::default(),
            syns: HashMap::new(),
            syn_acks: HashMap::new(),
        }
    }
}

impl TapLog {
    /// Memory is bounded by the tap's own limit of segments.
    pub fn add(&mut self, segment: &Segment) {
        if segment.outgoing {
            return;
        }
        self.facts.segments += 1;
        match segment.kind {
            SegmentKind::Syn => {
                if let Some(times) = count(&mut self.syns, segment) {
                    self.facts.syns += 1;
                    self.facts.syn_retransmits += u64::from(times > 1);
                }
            }
            SegmentKind::SynAck => {
                if let Some(times) = count(&mut self.syn_acks, segment) {
                    self.facts.syn_acks += 1;
                    self.facts.syn_ack_retransmits += u64::from(times > 1);
                }
            }
            SegmentKind::Rst => self.facts.resets += 1,
            SegmentKind::Unreachable { .. } => self.facts.unreachables += 1,
            SegmentKind::OtherTcp => {}
        }
    }

    /// SYNs seen with exactly this original tuple.
    pub fn syns_of(&self, orig: &Tuple) -> u32 {
        self.syns.get(orig).map_or(0, |seen| seen.times)
    }

    /// SYN/ACKs seen with exactly this reply tuple.
    pub fn syn_acks_of(&self, reply: &Tuple) -> u32 {
        self.syn_acks.get(reply).map_or(0, |seen| seen.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TcpFlags;

    #[test]
    fn a_bridge_does_not_repeat_what_its_port_saw() {
        let mut log = TapLog::default();
        let mut syn = Segment {
            kind: SegmentKind::Syn,
            tuple: Tuple::default(),
            seq: 7,
            flags: TcpFlags(TcpFlags::SYN),
            ifindex: 2,
            outgoing: false,
        };
        log.add(&syn);
        syn.ifindex = 3;
        log.add(&syn);
        assert_eq!((log.syns_of(&syn.tuple), log.facts.syn_retransmits), (1, 0));
        syn.ifindex = 2;
        log.add(&syn);
        assert_eq!((log.syns_of(&syn.tuple), log.facts.syn_retransmits), (2, 1));
        syn.kind = SegmentKind::SynAck;
        for ifindex in [2, 3] {
            syn.ifindex = ifindex;
            log.add(&syn);
        }
        assert_eq!((log.syn_acks_of(&syn.tuple), log.facts.syn_acks), (1, 1));
    }
}
