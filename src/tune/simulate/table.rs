//! The table: entries with deadlines, and the collector that takes expired ones out of the count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::full::Buckets;
use super::outcome::{Simulated, TIMERS, Under};
use crate::model::Timer;

/// From 5.15.y on the collector comes again after the mean time left, …
const GC_BIAS_ENTRIES: i64 = 100;
/// … as if there were so many more entries with this time left, …
const GC_LONGEST_MS: i64 = 60_000;
const GC_SHORTEST_MS: i64 = 1_000;
/// … and none with more (GC_SCAN_INTERVAL_CLAMP).
const GC_CLAMP_MS: i64 = 300_000;
/// Above this share of the limit it also evicts, after a drop.
const GC_EVICTS: f64 = 0.95;

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// It has not come yet.
    New,
    In {
        timer: Timer,
        assured: bool,
        deadline_ms: i64,
    },
    /// Its time was over, and it is still counted: nobody has met it since.
    Dead,
    /// It was collected, or it went.
    Out,
    /// It found no room, or was evicted.
    Lost,
}

pub struct Table {
    states: Vec<State>,
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    by_timer: [u32; TIMERS],
    entries: u64,
    /// Expired, and still counted.
    dead: u64,
    max: Option<u64>,
    /// Made when the table is full for the first time.
    buckets: Option<Buckets>,
    bucket_count: u64,
    now_ms: i64,
    gc_ms: i64,
    gc_evicts: bool,
}

impl Table {
    pub fn new(flows: usize, under: &Under) -> Table {
        Table {
            states: vec![State::New; flows],
            deadlines: BinaryHeap::new(),
            by_timer: [0; TIMERS],
            entries: 0,
            dead: 0,
            max: under.max.filter(|max| *max > 0),
            buckets: None,
            bucket_count: under.buckets.max(1),
            now_ms: i64::MIN,
            gc_ms: 0,
            gc_evicts: false,
        }
    }

    /// nf_conntrack_count.
    pub fn count(&self) -> u64 {
        self.entries + self.dead
    }

    pub fn entries(&self) -> u64 {
        self.entries
    }

    pub fn by_timer(&self) -> &[u32; TIMERS] {
        &self.by_timer
    }

    pub fn is_new(&self, flow: u32) -> bool {
        self.states[flow as usize] == State::New
    }

    pub fn is_in(&self, flow: u32) -> bool {
        matches!(self.states[flow as usize], State::In { .. })
    }

    pub fn was_dropped(&self, flow: u32) -> bool {
        self.states[flow as usize] == State::Lost
    }

    /// Up to and including `at_ms`.
    pub fn advance(&mut self, at_ms: i64, out: &mut Simulated) {
        loop {
            let due = self.deadlines.peek().map(|Reverse((ms, _))| *ms);
            match due {
                // A collection at the same time finds it expired.
                Some(ms) if ms <= at_ms && ms <= self.gc_ms => self.expire(),
                _ if self.gc_ms <= at_ms => self.collect(out),
                _ => break,
            }
        }
        self.now_ms = self.now_ms.max(at_ms);
    }

    fn expire(&mut self) {
        let Some(Reverse((ms, flow))) = self.deadlines.pop() else {
            return;
        };
        // It may have been renewed since, or be gone.
        if let State::In {
            timer, deadline_ms, ..
        } = self.states[flow as usize]
            && deadline_ms == ms
        {
            self.by_timer[timer as usize] -= 1;
            self.entries -= 1;
            self.dead += 1;
            self.states[flow as usize] = State::Dead;
            if ms < 0 {
                // Long collected when the observation began.
                self.bury(flow);
            }
        }
    }

    /// An expired entry leaves the count.
    fn bury(&mut self, flow: u32) {
        if self.states[flow as usize] == State::Dead {
            self.dead -= 1;
            self.states[flow as usize] = State::Out;
            if let Some(buckets) = &mut self.buckets {
                buckets.remove(flow);
            }
        }
    }

    /// Whoever walks a bucket collects the expired entries in it (nf_ct_gc_expired).
    fn walk(&mut self, met: &[u32]) {
        met.iter().for_each(|flow| self.bury(*flow));
    }

    fn take_out(&mut self, flow: u32, timer: Timer, after: State) {
        self.by_timer[timer as usize] -= 1;
        self.entries -= 1;
        self.states[flow as usize] = after;
        if let Some(buckets) = &mut self.buckets {
            buckets.remove(flow);
        }
    }

    pub fn remove(&mut self, flow: u32) {
        match self.states[flow as usize] {
            State::In { timer, .. } => self.take_out(flow, timer, State::Out),
            State::New => self.states[flow as usize] = State::Out,
            _ => {}
        }
    }

    pub fn renew(&mut self, flow: u32, timer: Timer, assured: bool, deadline_ms: i64) {
        if let State::In { timer: before, .. } = self.states[flow as usize] {
            self.by_timer[before as usize] -= 1;
            self.by_timer[timer as usize] += 1;
            self.put(flow, timer, assured, deadline_ms);
        }
    }

    fn put(&mut self, flow: u32, timer: Timer, assured: bool, deadline_ms: i64) {
        self.states[flow as usize] = State::In {
            timer,
            assured,
            deadline_ms,
        };
        self.deadlines.push(Reverse((deadline_ms, flow)));
    }

    pub fn insert(&mut self, flow: u32, timer: Timer, assured: bool, deadline_ms: i64, out: &mut Simulated) {
        self.bury(flow);
        if let Some(buckets) = &self.buckets {
            let met = buckets.chains(flow);
            self.walk(&met);
        }
        if self.max.is_some_and(|max| self.count() >= max) && !self.make_room(flow, out) {
            out.drop += 1;
            self.states[flow as usize] = State::Lost;
            return;
        }
        self.by_timer[timer as usize] += 1;
        self.entries += 1;
        self.put(flow, timer, assured, deadline_ms);
        if let Some(buckets) = &mut self.buckets {
            buckets.insert(flow);
        }
    }

    /// early_drop(): of the first bucket that has any entry that is not ASSURED, all of these go.
    fn make_room(&mut self, flow: u32, out: &mut Simulated) -> bool {
        let states = &self.states;
        let buckets = self.buckets.get_or_insert_with(|| {
            let mut buckets = Buckets::new(self.bucket_count);
            let present = states
                .iter()
                .zip(0..)
                .filter(|(state, _)| matches!(state, State::In { .. } | State::Dead));
            present.for_each(|(_, flow)| buckets.insert(flow));
            buckets
        });
        let evictable = |flow: u32| matches!(states[flow as usize], State::In { assured: false, .. });
        let (victims, met) = buckets.victims(flow, &evictable);
        self.walk(&met);
        for victim in &victims {
            if let State::In { timer, .. } = self.states[*victim as usize] {
                self.take_out(*victim, timer, State::Lost);
                out.early_drop += 1;
            }
        }
        self.gc_evicts |= victims.is_empty();
        !victims.is_empty()
    }

    /// gc_worker(): expired entries leave the count.
    fn collect(&mut self, out: &mut Simulated) {
        let (now, mut sum, mut number) = (self.gc_ms, GC_BIAS_ENTRIES * GC_LONGEST_MS, GC_BIAS_ENTRIES);
        let evicts = std::mem::take(&mut self.gc_evicts);
        for index in 0..self.states.len() {
            let State::In {
                timer,
                assured,
                deadline_ms,
            } = self.states[index]
            else {
                self.bury(index as u32);
                continue;
            };
            sum += (deadline_ms - now).clamp(GC_SHORTEST_MS, GC_CLAMP_MS);
            number += 1;
            let above = self
                .max
                .is_some_and(|max| self.count() as f64 >= GC_EVICTS * max as f64);
            if evicts && above && (!assured || is_closing(timer)) {
                self.take_out(index as u32, timer, State::Lost);
                out.gc_evicted += 1;
            }
        }
        self.gc_ms = now + (sum / number).clamp(GC_SHORTEST_MS, GC_LONGEST_MS);
    }
}

/// tcp_can_early_drop().
fn is_closing(timer: Timer) -> bool {
    matches!(
        timer,
        Timer::FinWait | Timer::LastAck | Timer::TimeWait | Timer::Close | Timer::CloseWait
    )
}
