//! What an entry is known by again: a hash of its original tuple, protocol and zone.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;

use crate::model::{Flow, Tuple};

/// 128 bits of a hash stand for an entry: of four million, two are mistaken for each other once in 10^25.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity([u64; 2]);

impl Identity {
    /// Zero bits at the hash's end: a random half has one at least, a quarter two.
    pub fn zeros(&self) -> u32 {
        self.0[1].trailing_zeros()
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Makes them, by seeds of its own.
#[derive(Default)]
pub struct Identities([RandomState; 2]);

impl Identities {
    pub fn of(&self, flow: &Flow) -> Identity {
        let id: (&Tuple, u8, Option<u16>) = (&flow.orig, flow.proto, flow.zone.filter(|zone| *zone != 0));
        Identity([0, 1].map(|index| self.0[index].hash_one(id)))
    }
}
