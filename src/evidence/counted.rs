//! What a pass over the table came to, and what the sockets read after it add.

use super::sampling::Sample;
use super::{HalfOpen, Lasting, NatUse, OneWay, Refuser, Sought, StaleNat, StateRow, Vanished};
use crate::model::{Estimate, Socket};

/// What a pass over the table came to.
pub struct Counted {
    pub states: Vec<StateRow>,
    pub half_open: HalfOpen,
    pub lasting: Lasting,
    pub(super) sought: Sought,
    pub(super) sample: Sample,
    /// SYN_SENT entries whose SYN/ACK the tap saw; `None` without a tap.
    pub unseen_syn_acks: Option<u64>,
    /// Of the count that a sample is one of.
    pub expired: Option<Estimate>,
    pub nat: Vec<NatUse>,
    /// `None` where the rules were not read.
    pub stale_nat: Option<Option<StaleNat>>,
    /// Who refused attempts on the wire; `None` without a tap.
    pub refusers: Option<Vec<Refuser>>,
    pub one_way: OneWay,
    /// Tapped SYNs that left no trace; `None` without a tap, or where the table was not read whole.
    pub vanished: Option<Vec<Vanished>>,
}

impl Counted {
    /// Whether sockets are to be looked for.
    pub fn seeks(&self) -> bool {
        !self.sought.is_empty()
    }

    /// Sockets of any state, as they come.
    pub fn see(&mut self, socket: &Socket) {
        self.sought.see(socket);
    }

    /// All sockets have come.
    pub fn all_seen(&mut self) {
        std::mem::take(&mut self.sought).tell(&mut self.lasting, self.sample);
    }
}
