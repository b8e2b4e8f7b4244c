//! Recorded flows under other timeouts, another limit, another rate: the table as the kernel would keep it.
//!
//! A flow's entry lives until its last deadline, as long as the recording does not end it before. Where the deadline comes
//! before something that the flow did, the flow is cut. A full table evicts as the kernel does (nf_conntrack_core.c,
//! early_drop and gc_worker), and expired entries count until they are collected.

mod full;
mod outcome;
mod scatter;
mod table;

use std::collections::BTreeMap;

use super::lives::{Lives, Set, What};
use crate::evidence::Place;
use crate::model::{Timer, proto};
pub use outcome::{Peak, Point, Simulated, Under};
use scatter::fraction;
use table::Table;

/// Destinations of cut flows that are named.
const MAX_NAMED: usize = 10;

/// The whole recording under one profile.
pub fn simulate(lives: &Lives, under: &Under) -> Simulated {
    let taken = taken(lives, under.rate);
    let (copies, sets) = (taken.flows, taken.sets);
    let mut run = Run {
        under,
        lives,
        owners: taken.owners,
        table: Table::new(copies, under),
        out: Simulated {
            flows: copies as u64,
            blind_s: blind_secs(lives, under),
            ..Simulated::default()
        },
        cut: vec![false; copies],
        cut_to: BTreeMap::new(),
    };
    for set in &sets {
        run.until(i64::from(set.at_ms));
        run.set(set);
    }
    run.until(i64::from(lives.end_ms));
    run.finish()
}

/// Each set for each time that its flow is taken.
struct Taken {
    sets: Vec<Set>,
    flows: usize,
    /// The recorded flow of each that is simulated.
    owners: Vec<u32>,
}

/// Copies come within a second of the original, at times that are spread by a hash.
fn taken(lives: &Lives, rate: f64) -> Taken {
    let flows = lives.flows() as u32;
    let whole = rate.floor() as u32;
    let part = rate.fract();
    let copies = |flow: u32| whole + u32::from(fraction(flow, 0) < part);
    let mut first = Vec::with_capacity(flows as usize + 1);
    let mut owners = Vec::new();
    for flow in 0..flows {
        first.push(owners.len() as u32);
        owners.extend(std::iter::repeat_n(flow, copies(flow) as usize));
    }
    first.push(owners.len() as u32);
    let mut sets = Vec::new();
    for set in &lives.sets {
        let (from, to) = (first[set.flow as usize], first[set.flow as usize + 1]);
        for flow in from..to {
            let late_ms = match flow - from {
                0 => 0.0,
                copy => fraction(set.flow, copy) * 1000.0,
            };
            sets.push(Set {
                at_ms: set.at_ms.saturating_add(late_ms as i32),
                flow,
                ..*set
            });
        }
    }
    sets.sort_by_key(|set| (set.at_ms, set.flow));
    Taken {
        sets,
        flows: owners.len(),
        owners,
    }
}

/// Entries that were there before the observation had today's timeouts: under a longer one there would have been more.
fn blind_secs(lives: &Lives, under: &Under) -> u32 {
    let longer = under.profile.timeouts.iter().filter_map(|(timer, secs)| {
        let today = lives.timeouts().get(*timer)?;
        let there = lives
            .sets
            .iter()
            .take_while(|set| set.at_ms < 0)
            .any(|set| matches!(set.what, What::Timer { timer: of, .. } if of == *timer));
        (there && *secs > today).then_some(*secs)
    });
    longer.max().unwrap_or(0)
}

struct Run<'a> {
    under: &'a Under,
    lives: &'a Lives,
    owners: Vec<u32>,
    table: Table,
    out: Simulated,
    cut: Vec<bool>,
    cut_to: BTreeMap<Place, u64>,
}

impl Run<'_> {
    /// Lets time pass: deadlines, the collector, the grid.
    fn until(&mut self, at_ms: i64) {
        let (step, end) = (i64::from(self.under.step_ms.max(1)), i64::from(self.lives.end_ms));
        loop {
            let next_point = self.out.points.len() as i64 * step;
            let stop = at_ms.min(if next_point <= end { next_point } else { i64::MAX });
            self.table.advance(stop, &mut self.out);
            if next_point > end || next_point > at_ms {
                return;
            }
            self.point(next_point);
        }
    }

    fn point(&mut self, at_ms: i64) {
        self.out.points.push(Point {
            at_ms: at_ms as u32,
            count: self.table.count(),
            entries: self.table.entries(),
            by_timer: *self.table.by_timer(),
        });
        if at_ms == 0 {
            // What was there already.
            Timer::ALL.into_iter().for_each(|timer| self.peaks(timer, 0));
        }
    }

    /// What was before the observation is not compared.
    fn peaks(&mut self, timer: Timer, at_ms: i64) {
        if at_ms < 0 {
            return;
        }
        self.out.peak.see(self.table.entries(), at_ms);
        self.out.peak_count.see(self.table.count(), at_ms);
        let entries = self.table.by_timer()[timer as usize];
        self.out.peaks[timer as usize].see(entries.into(), at_ms);
    }

    fn set(&mut self, set: &Set) {
        let at_ms = i64::from(set.at_ms);
        match set.what {
            What::Went => self.table.remove(set.flow),
            What::Timer { timer, assured } => {
                let deadline_ms = at_ms + i64::from(self.secs(set.flow, timer, set.secs)) * 1000;
                let fresh = self.table.is_new(set.flow);
                if self.table.is_in(set.flow) {
                    self.table.renew(set.flow, timer, assured, deadline_ms);
                } else if fresh || self.goes_on(set.flow, timer, at_ms) {
                    self.table
                        .insert(set.flow, timer, assured, deadline_ms, &mut self.out);
                }
                self.peaks(timer, at_ms);
            }
        }
    }

    /// A flow whose entry had expired goes on: it is cut, and may get a new one.
    fn goes_on(&mut self, flow: u32, timer: Timer, at_ms: i64) -> bool {
        if self.table.was_dropped(flow) {
            return false;
        }
        let owner = self.owners[flow as usize];
        let place = self.lives.place(owner);
        // A late SYN/ACK finds no entry and makes none: the next SYN does.
        let comes_back = place.2 != proto::TCP || self.under.loose && timer != Timer::SynRecv;
        if !std::mem::replace(&mut self.cut[flow as usize], true) && at_ms >= 0 {
            self.out.cut += 1;
            self.out.picked_up += u64::from(comes_back);
            *self.cut_to.entry(place).or_default() += 1;
        }
        comes_back
    }

    /// The timeout in force: the profile's, unless the kernel gave the entry another one than its timer's.
    fn secs(&self, flow: u32, timer: Timer, given: u32) -> u32 {
        let profile = &self.under.profile;
        let (dst, dport, number) = self.lives.place(self.owners[flow as usize]);
        let targeted = profile.targets.iter().find(|target| {
            target.proto == number && target.dst == dst && target.dport.is_none_or(|port| port == dport)
        });
        let targeted = targeted.and_then(|target| target.timeouts.get(&timer));
        let Some(wanted) = targeted.or_else(|| profile.timeouts.get(&timer)) else {
            return given;
        };
        match self.lives.timeouts().get(timer) {
            // An event's time left is cut to whole seconds.
            Some(today) if given + 1 < today => given.min(*wanted),
            _ => *wanted,
        }
    }

    fn finish(mut self) -> Simulated {
        let mut places: Vec<_> = self.cut_to.into_iter().collect();
        places.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
        places.truncate(MAX_NAMED);
        self.out.cut_to = places;
        self.out
    }
}

#[cfg(test)]
mod tests;
