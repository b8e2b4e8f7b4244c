//! A few entries, taken at random while they stream by, whose sockets are looked for afterwards.

use foldhash::HashMap;

use super::sampling::Sample;
use super::{Direction, Joined, Lasting};
use crate::model::{Flow, Socket, SocketState, Tuple};

/// So many give a share to within five points.
const MAX_KEPT: usize = 512;

/// Entries of the lasting states that have an end on this host.
#[derive(Default)]
pub struct Sought {
    idle: Reservoir,
    unclosed: Reservoir,
    /// Sockets seen with the tuple of an entry that was kept.
    seen: HashMap<Tuple, SocketState>,
    looking: bool,
}

impl Sought {
    pub fn keep_idle(&mut self, flow: &Flow, direction: Direction) {
        self.idle.meet(flow, direction);
    }

    pub fn keep_unclosed(&mut self, flow: &Flow, direction: Direction) {
        self.unclosed.meet(flow, direction);
    }

    /// Nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.idle.kept.is_empty() && self.unclosed.kept.is_empty()
    }

    pub fn see(&mut self, socket: &Socket) {
        if !self.looking {
            self.looking = true;
            let wanted = self.idle.kept.iter().chain(&self.unclosed.kept);
            // LISTEN stands for "not seen": no entry has a listener's tuple.
            self.seen = wanted.map(|tuple| (*tuple, SocketState::Listen)).collect();
        }
        // What is left of a closed connection needs no entry.
        if matches!(socket.state, SocketState::TimeWait | SocketState::Close) {
            return;
        }
        if let Some(state) = self.seen.get_mut(&socket.tuple) {
            *state = socket.state;
        }
    }

    /// All sockets have been seen.
    pub fn tell(self, lasting: &mut Lasting, sample: Sample) {
        let joined = |of: &Reservoir| {
            let states = of.kept.iter().filter_map(|tuple| self.seen.get(tuple));
            let found = states.filter(|state| **state != SocketState::Listen);
            let unclosed = found.clone().filter(|state| **state == SocketState::CloseWait);
            Joined {
                entries: sample.estimate(of.met),
                unplaced: sample.estimate(of.unplaced),
                looked_for: of.kept.len() as u64,
                found: found.count() as u64,
                unclosed: unclosed.count() as u64,
            }
        };
        lasting.established.stay.joined = Some(joined(&self.idle));
        lasting.close_wait.joined = Some(joined(&self.unclosed));
    }
}

/// Each that was met is kept with the same chance. The same input keeps the same ones.
#[derive(Default)]
struct Reservoir {
    /// Entries with an end on this host.
    met: u64,
    /// Entries of which that is not known.
    unplaced: u64,
    kept: Vec<Tuple>,
    drawn: u64,
}

impl Reservoir {
    fn meet(&mut self, flow: &Flow, direction: Direction) {
        // What a socket of this host would have as its tuple.
        let tuple = match direction {
            Direction::Out => flow.orig,
            Direction::In => flow.reply,
            Direction::Forward => return,
            Direction::Unknown => {
                self.unplaced += 1;
                return;
            }
        };
        self.met += 1;
        if self.kept.len() < MAX_KEPT {
            self.kept.push(tuple);
            return;
        }
        // Knuth's MMIX multiplier; the high bits are the random ones.
        self.drawn = self
            .drawn
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (self.drawn >> 32) % self.met;
        if let Some(place) = self.kept.get_mut(at as usize) {
            *place = tuple;
        }
    }
}
