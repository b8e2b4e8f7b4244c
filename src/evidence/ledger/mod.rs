//! What is in the table now, kept by events and corrected by dumps: who came, who went and why, and for how long they
//! stayed. It keeps no entry, only what it must know to recognize one.

mod places;

use std::collections::BTreeMap;

use foldhash::HashMapExt;
use hdrhistogram::Histogram;
use serde::Serialize;

pub use places::{MAX_PLACES, Place, Traffic, place_of};

use super::identity::{Identities, Identity};
use places::Places;

use crate::model::{Estimate, Event, EventKind, Flow, Gone, TcpState};

/// Entries that are kept one by one; above it half of them are let go, and again, and figures are scaled.
pub const MAX_ENTRIES: usize = 4_000_000;
/// What a lifetime is measured up to, in milliseconds: the default timeout of ESTABLISHED, five days.
const LONGEST_MS: u64 = 432_000_000;

#[derive(Clone, Copy)]
struct Kept {
    /// Milliseconds since the ledger began; for what was there before, those of the dump that brought it.
    since_ms: u32,
    place: u32,
    state: u8,
    /// Of the last dump that had it.
    dump: u8,
    /// It was seen to come, at `since_ms`.
    timed: bool,
}

/// No TCP state.
const STATELESS: u8 = u8::MAX;

/// Ends by their cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    pub expired: u64,
    pub refused: u64,
    pub evicted: u64,
    pub reused: u64,
    pub deleted: u64,
    pub unknown: u64,
}

impl Ends {
    fn count(&mut self, gone: Gone) {
        *match gone {
            Gone::Expired => &mut self.expired,
            Gone::Refused => &mut self.refused,
            Gone::Evicted => &mut self.evicted,
            Gone::Reused => &mut self.reused,
            Gone::Deleted(_) => &mut self.deleted,
            Gone::Unknown => &mut self.unknown,
        } += 1;
    }

    pub fn all(&self) -> u64 {
        self.expired + self.refused + self.evicted + self.reused + self.deleted + self.unknown
    }
}

/// What happened between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turnover {
    pub came: u64,
    pub went: Ends,
    /// `went` by the TCP state that each had in the end; other protocols are in none.
    pub went_by_state: BTreeMap<&'static str, u64>,
    /// Of `went`: entries whose timeout ran out before any answer, which had SYN_SENT or no reply in the end.
    pub unanswered: u64,
    /// Entry-seconds that those which went had spent in the table, as far as their beginning was seen.
    pub spent_secs: f64,
    /// Events lost meanwhile.
    pub lost: u64,
}

/// How far a dump and the ledger were apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// In the dump, and not in the ledger.
    pub missed: u64,
    /// In the ledger, and not in the dump.
    pub stale: u64,
}

pub struct Ledger {
    kept: foldhash::HashMap<Identity, Kept>,
    identities: Identities,
    most: usize,
    /// Of the hashes only those with so many zero bits at their end are kept.
    thinned: u32,
    places: Places,
    turnover: Turnover,
    /// Since the last dump.
    lost: u64,
    dump: u8,
    drift: Drift,
    handshakes_ms: Histogram<u32>,
    lifetimes_ms: BTreeMap<&'static str, Histogram<u32>>,
}

impl Ledger {
    pub fn new(most: usize) -> Ledger {
        Ledger {
            kept: foldhash::HashMap::new(),
            identities: Identities::default(),
            most: most.max(1),
            thinned: 0,
            places: Places::default(),
            turnover: Turnover::default(),
            lost: 0,
            dump: 0,
            drift: Drift::default(),
            handshakes_ms: histogram(),
            lifetimes_ms: BTreeMap::new(),
        }
    }

    /// `at_secs`: since the ledger began; `exact`: it happened then, and not some seconds before.
    pub fn apply(&mut self, event: &Event, at_secs: f64, exact: bool) {
        let at_ms = millis(at_secs);
        match event.kind {
            EventKind::New => {
                self.turnover.came += 1;
                self.insert(&event.flow, at_ms, exact, true);
            }
            EventKind::Update => self.change(&event.flow, at_ms, exact),
            EventKind::Destroy => self.remove(event, at_ms, exact),
        }
    }

    /// Events that were lost: what is kept is wrong by so many at most, until the next dump.
    pub fn lose(&mut self, events: u64) {
        self.lost += events;
        self.turnover.lost += events;
    }

    /// A dump begins: each of its entries goes to [`Ledger::seed`], and [`Ledger::corrected`] ends it.
    pub fn correct(&mut self) {
        self.dump = self.dump.wrapping_add(1);
        self.drift = Drift::default();
    }

    pub fn seed(&mut self, flow: &Flow, at_secs: f64) {
        let (key, dump) = (self.identities.of(flow), self.dump);
        if let Some(kept) = self.kept.get_mut(&key) {
            (kept.state, kept.dump) = (state_of(flow), dump);
        } else if self.is_kept(key) {
            self.drift.missed += 1;
            self.insert(flow, millis(at_secs), false, false);
        }
    }

    /// What the dump did not have is gone, unless it came while it went on, after `began_secs`.
    pub fn corrected(&mut self, began_secs: f64) -> Drift {
        let (began_ms, dump) = (millis(began_secs), self.dump);
        let (places, drift) = (&mut self.places, &mut self.drift);
        self.kept.retain(|_, kept| {
            let stays = kept.dump == dump || kept.since_ms >= began_ms;
            if !stays {
                drift.stale += 1;
                places.traffic(kept.place).held -= 1;
            }
            stays
        });
        self.lost = 0;
        self.drift
    }

    /// Events that were lost since the last dump.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Entries in the table, with what was lost since the last dump as its bound.
    pub fn held(&self) -> Estimate {
        let scale = self.scale();
        let value = self.kept.len() as f64 * scale;
        // Where only some are kept, a part of a whole that is not known: its spread is that of a count.
        let spread = if self.thinned == 0 {
            0.0
        } else {
            1.96 * (value * scale).sqrt()
        };
        Estimate {
            value,
            low: (value - spread - self.lost as f64).max(0.0),
            high: value + spread + self.lost as f64,
        }
    }

    /// The places with the most entries, most first, and what is not told apart.
    pub fn top(&self, rows: usize) -> (Vec<(Place, Traffic)>, Traffic) {
        self.places.top(rows)
    }

    /// What happened since this was asked before.
    pub fn turnover(&mut self) -> Turnover {
        self.places.begin();
        if self.places.is_full() {
            self.forget_places();
        }
        std::mem::take(&mut self.turnover)
    }

    /// From the SYN to ESTABLISHED, milliseconds: only where UPDATE events are heard.
    pub fn handshakes_ms(&self) -> &Histogram<u32> {
        &self.handshakes_ms
    }

    /// How long entries stayed, milliseconds, by the cause of their end.
    pub fn lifetimes_ms(&self) -> &BTreeMap<&'static str, Histogram<u32>> {
        &self.lifetimes_ms
    }

    /// One of so many entries is kept.
    pub fn scale(&self) -> f64 {
        (1u64 << self.thinned) as f64
    }

    fn insert(&mut self, flow: &Flow, at_ms: u32, timed: bool, new: bool) {
        let key = self.identities.of(flow);
        if !self.is_kept(key) {
            return;
        }
        if self.kept.len() >= self.most {
            self.thin();
            if !self.is_kept(key) {
                return;
            }
        }
        let place = self.place(flow);
        let kept = Kept {
            since_ms: at_ms,
            place,
            state: state_of(flow),
            dump: self.dump,
            timed,
        };
        // It may be there: its NEW was told after a dump had it, or the end of the one before was lost. And it may be
        // counted elsewhere: among those together, before there was room for its place.
        if let Some(before) = self.kept.insert(key, kept) {
            self.places.traffic(before.place).held -= 1;
        }
        let traffic = self.places.traffic(place);
        traffic.held += 1;
        traffic.came += u64::from(new);
    }

    fn change(&mut self, flow: &Flow, at_ms: u32, exact: bool) {
        let key = self.identities.of(flow);
        let Some(kept) = self.kept.get_mut(&key) else {
            return;
        };
        let (before, after) = (TcpState::from_number(kept.state), flow.tcp_state);
        kept.state = state_of(flow);
        let shook = matches!(before, Some(TcpState::SynSent | TcpState::SynRecv))
            && after == Some(TcpState::Established);
        if shook && kept.timed && exact {
            self.handshakes_ms
                .saturating_record(u64::from(at_ms.saturating_sub(kept.since_ms)));
        }
    }

    fn remove(&mut self, event: &Event, at_ms: u32, exact: bool) {
        let gone = event.gone().unwrap_or(Gone::Unknown);
        self.turnover.went.count(gone);
        if let Some(state) = event.flow.tcp_state {
            *self.turnover.went_by_state.entry(state.name()).or_default() += 1;
        }
        let silent = !event.flow.status.seen_reply();
        self.turnover.unanswered += u64::from(gone == Gone::Expired && silent);
        let key = self.identities.of(&event.flow);
        let Some(kept) = self.kept.remove(&key) else {
            return;
        };
        let traffic = self.places.traffic(kept.place);
        traffic.held -= 1;
        traffic.went += 1;
        if kept.timed && exact {
            let stayed_ms = u64::from(at_ms.saturating_sub(kept.since_ms));
            self.turnover.spent_secs += stayed_ms as f64 / 1000.0;
            let histogram = self.lifetimes_ms.entry(gone.name()).or_insert_with(histogram);
            histogram.saturating_record(stayed_ms);
        }
    }

    fn is_kept(&self, key: Identity) -> bool {
        key.zeros() >= self.thinned
    }

    /// Lets go of every other entry, by its hash: those that stay are a random half.
    fn thin(&mut self) {
        self.thinned += 1;
        let thinned = self.thinned;
        let places = &mut self.places;
        self.kept.retain(|key, kept| {
            let stays = key.zeros() >= thinned;
            if !stays {
                places.traffic(kept.place).held -= 1;
            }
            stays
        });
    }

    fn place(&mut self, flow: &Flow) -> u32 {
        self.places.number(place_of(flow)).unwrap_or(TOGETHER)
    }

    /// A walk over all that is kept: not for each entry that finds no place.
    fn forget_places(&mut self) {
        let moved = self.places.forget();
        for kept in self.kept.values_mut() {
            let number = moved.get(kept.place as usize).copied().flatten();
            kept.place = number.unwrap_or(TOGETHER);
        }
    }
}

/// No place of its own.
const TOGETHER: u32 = u32::MAX;

fn state_of(flow: &Flow) -> u8 {
    flow.tcp_state.map_or(STATELESS, |state| state as u8)
}

fn millis(secs: f64) -> u32 {
    (secs * 1000.0) as u32
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_MS, 2).expect("the bounds are constants")
}

#[cfg(test)]
mod tests;
