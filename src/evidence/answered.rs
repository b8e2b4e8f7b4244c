//! Entries of later TCP states by who answered, so that a half-open pile can be told who answers others.

use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt};

use super::SLOWEST_SECS;
use crate::model::{Flow, TcpState};

/// Whether a handshake came before this state, and no reset after it.
pub fn completed(state: TcpState) -> bool {
    use TcpState::{CloseWait, Established, FinWait, LastAck, TimeWait};
    matches!(state, Established | FinWait | CloseWait | LastAck | TimeWait)
}

/// Distinct ends remembered; those met later count as answering nobody.
const MAX_ENDS: usize = 65_536;

pub struct Answered(HashMap<(IpAddr, u16), Seen>);

#[derive(Clone, Copy, Default)]
struct Seen {
    all: u32,
    lately: u32,
}

impl Default for Answered {
    fn default() -> Answered {
        Answered(HashMap::new())
    }
}

impl Answered {
    /// An entry that saw an answer, and the seconds since its last packet, where known. Behind DNAT it is not the address
    /// that the SYN was sent to which answers.
    pub fn add(&mut self, flow: &Flow, idle_secs: Option<u32>) {
        let lately = idle_secs.is_some_and(|secs| secs <= SLOWEST_SECS);
        let key = (flow.reply.src, flow.reply.sport);
        if self.0.len() >= MAX_ENDS && !self.0.contains_key(&key) {
            return;
        }
        let seen = self.0.entry(key).or_default();
        seen.all = seen.all.saturating_add(1);
        seen.lately = seen.lately.saturating_add(u32::from(lately));
    }

    pub fn by(&self, end: &(IpAddr, u16)) -> u64 {
        self.0.get(end).map_or(0, |seen| u64::from(seen.all))
    }

    pub fn lately_by(&self, end: &(IpAddr, u16)) -> u64 {
        self.0.get(end).map_or(0, |seen| u64::from(seen.lately))
    }
}
