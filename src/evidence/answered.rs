//! Entries of later TCP states by who answered, so that a half-open pile can be told who answers others.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use crate::model::Flow;

/// Distinct ends remembered; those met later count as answering nobody.
const MAX_ENDS: usize = 65_536;

pub struct Answered(HashMap<(IpAddr, u16), u32>);

impl Default for Answered {
    fn default() -> Answered {
        Answered(HashMap::new())
    }
}

impl Answered {
    /// An entry that saw an answer. Behind DNAT it is not the address that the SYN was sent to which answers.
    pub fn add(&mut self, flow: &Flow) {
        let key = (flow.reply.src, flow.reply.sport);
        if let Some(seen) = self.0.get_mut(&key) {
            *seen = seen.saturating_add(1);
        } else if self.0.len() < MAX_ENDS {
            self.0.insert(key, 1);
        }
    }

    pub fn by(&self, end: &(IpAddr, u16)) -> u64 {
        self.0.get(end).copied().map_or(0, u64::from)
    }
}
