//! What a short look at the wire tells: who still sends, and answers that conntrack never saw.

use foldhash::{HashMap, HashMapExt};

use super::TapFacts;
use crate::model::{Segment, SegmentKind, Tuple};

/// Segments by tuple, with the number of times each was seen.
pub struct TapLog {
    pub facts: TapFacts,
    syns: HashMap<Tuple, u32>,
    syn_acks: HashMap<Tuple, u32>,
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
                self.facts.syns += 1;
                let seen = self.syns.entry(segment.tuple).or_default();
                *seen += 1;
                self.facts.syn_retransmits += u64::from(*seen > 1);
            }
            SegmentKind::SynAck => {
                self.facts.syn_acks += 1;
                let seen = self.syn_acks.entry(segment.tuple).or_default();
                *seen += 1;
                self.facts.syn_ack_retransmits += u64::from(*seen > 1);
            }
            SegmentKind::Rst => self.facts.resets += 1,
            SegmentKind::Unreachable { .. } => self.facts.unreachables += 1,
            SegmentKind::OtherTcp => {}
        }
    }

    /// SYNs seen with exactly this original tuple.
    pub fn syns_of(&self, orig: &Tuple) -> u32 {
        self.syns.get(orig).copied().unwrap_or(0)
    }

    /// SYN/ACKs seen with exactly this reply tuple.
    pub fn syn_acks_of(&self, reply: &Tuple) -> u32 {
        self.syn_acks.get(reply).copied().unwrap_or(0)
    }
}
