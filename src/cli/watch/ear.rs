//! Events between two looks, and the ledger that they keep.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::args::{Listen, WatchArgs};
use super::super::look::{Note, Onlooker};
use crate::collect::{self, FlowFilter, Listening, Presence};
use crate::diagnose::whole;
use crate::evidence::{Drift, Holders, Ledger, MAX_ENTRIES, Observer, Place, Traffic};
use crate::kernel::Kernel;
use crate::model::{Event, EventKind, Flow, Gap, Moment, Timeouts, proto};
use crate::render::{Heard, HolderDoc, Spread, Way};

/// So many new flows a second are too many to hear of each; …
const HOT_PER_S: f64 = 2000.0;
/// … and so few are calm again.
const CALM_PER_S: f64 = 1000.0;
/// For so long it does not listen then; at most, where it was too much again and again.
const DEAF_SECS: f64 = 30.0;
const DEAFEST_SECS: f64 = 480.0;
/// What one new flow costs where somebody listens, in seconds of CPU (6.18: 15.9 µs with a listener, 9.2 without one).
const LISTENING_COSTS_SECS: f64 = 6.7e-6;
/// Whether to stop is looked at so often.
const SLICE_SECS: f64 = 0.5;
/// What waited is read in so many turns at most, each of which waits for no more than this.
const CATCH_UP_TURNS: usize = 32;
const CATCH_UP_SECS: f64 = 0.001;
/// From one reading of the whole table to the next; after a loss, where every look loses some.
const WHOLE_EVERY_SECS: f64 = 60.0;
const LOSS_EVERY_SECS: f64 = 10.0;
/// Holders that are told of.
const HOLDERS: usize = 100;

/// Too much came to hear of each.
#[derive(Clone, Copy)]
struct Hot {
    since_secs: f64,
    per_s: f64,
    /// For so long it does not listen.
    lasting_secs: f64,
}

/// Hears events while the look has nothing to do, and keeps the ledger.
pub struct Ear<'a> {
    /// Is told all that the ear hears.
    observer: Option<&'a mut dyn Observer>,
    stopped: Arc<AtomicBool>,
    listening: Listening,
    updates: Option<(Duration, Duration)>,
    pub on: bool,
    presence: Presence,
    ledger: Ledger,
    pub began: Moment,
    /// Events are read as they come.
    pub exact: bool,
    pass_began: f64,
    /// When it last listened.
    heard_at: f64,
    /// When it had last caught up, and how long that was after the time before: what came and went is of then.
    settled: f64,
    counted_secs: f64,
    read_whole: bool,
    /// The recording has no more.
    pub ended: bool,
    /// When the whole table was read, and how far the ledger was from it.
    whole: Option<(f64, Drift)>,
    /// Why it does not listen.
    deaf: Option<Gap>,
    room: u64,
    /// It stopped listening.
    hot: Option<Hot>,
    /// By the last reading, where no events are heard.
    holders: Holders,
}

impl<'a> Ear<'a> {
    pub fn new(
        args: &WatchArgs,
        stopped: Arc<AtomicBool>,
        observer: Option<&'a mut dyn Observer>,
    ) -> Ear<'a> {
        Ear {
            observer,
            stopped,
            listening: Listening {
                kinds: vec![EventKind::New, EventKind::Destroy],
                updates_apart: true,
                filter: FlowFilter::default(),
                buffer_bytes: args.buffer,
            },
            updates: args.updates,
            on: args.events != Listen::Never,
            presence: Presence::default(),
            ledger: Ledger::new(MAX_ENTRIES),
            began: Moment::default(),
            exact: true,
            pass_began: 0.0,
            heard_at: 0.0,
            settled: 0.0,
            counted_secs: 0.0,
            read_whole: false,
            ended: false,
            whole: None,
            deaf: None,
            room: 0,
            hot: None,
            holders: Holders::default(),
        }
    }

    pub fn begin(&mut self, kernel: &mut dyn Kernel) {
        self.presence = Presence::read(kernel);
        // Before the first reading of the table, so that nothing comes between.
        self.turn(kernel, self.began);
    }

    pub fn way(&self) -> Way {
        if self.on { Way::Events } else { Way::Summaries }
    }

    pub fn why(&self, per_s: Option<f64>) -> String {
        match (&self.deaf, self.on, self.hot) {
            (Some(gap), ..) => format!("no events: {}; {}", gap.reason, gap.remedy),
            (None, true, _) => format!(
                "{} new flows a second: hearing of each takes {:.1} % of a CPU; room for {} events",
                per_s.map_or("an unknown number of".to_string(), whole),
                self.costs(per_s) * 100.0,
                whole(self.room as f64)
            ),
            (None, false, Some(hot)) => format!(
                "{} new flows a second were too many to hear of each: nobody listens for {:.0} s, and the table is read",
                whole(hot.per_s),
                hot.lasting_secs
            ),
            (None, false, None) => "nobody listens, as it was asked for: the table is read".to_string(),
        }
    }

    pub fn costs(&self, per_s: Option<f64>) -> f64 {
        per_s.filter(|_| self.on).unwrap_or(0.0) * LISTENING_COSTS_SECS
    }

    /// Listens while it is calm. What comes while nobody listens is not known for every kind of flow, so that after a
    /// while one look listens again; where that is too much still, twice as long goes by before the next.
    pub fn choose(&mut self, kernel: &mut dyn Kernel, wish: Listen, (per_s, at_secs): (Option<f64>, f64)) {
        let on = match (wish, self.hot) {
            _ if self.deaf.is_some() => false,
            (Listen::Always, _) => true,
            (Listen::Never, _) => false,
            (Listen::Auto, _) if self.on => per_s.is_none_or(|per_s| per_s <= HOT_PER_S),
            (Listen::Auto, Some(hot)) => {
                at_secs >= hot.since_secs + hot.lasting_secs && per_s.is_none_or(|per_s| per_s < CALM_PER_S)
            }
            (Listen::Auto, None) => true,
        };
        if self.on && !on {
            let again = self
                .hot
                .filter(|hot| at_secs - hot.since_secs < hot.lasting_secs * 2.0);
            self.hot = Some(Hot {
                since_secs: at_secs,
                per_s: per_s.unwrap_or(0.0),
                lasting_secs: again.map_or(DEAF_SECS, |hot| (hot.lasting_secs * 2.0).min(DEAFEST_SECS)),
            });
            kernel.hush();
            self.tell_deaf(at_secs);
            self.ledger = Ledger::new(MAX_ENTRIES);
            self.whole = None;
        }
        self.on = on;
    }

    fn observer(&mut self) -> Option<&mut &'a mut dyn Observer> {
        self.observer.as_mut().filter(|_| !self.ended)
    }

    fn tell_deaf(&mut self, at_secs: f64) {
        if let Some(observer) = self.observer() {
            observer.deaf(at_secs);
        }
    }

    /// One turn of listening, until something came or `until` did: the clock then, and how many came.
    fn turn(&mut self, kernel: &mut dyn Kernel, until: Moment) -> (Moment, usize) {
        self.listening.kinds = vec![EventKind::New, EventKind::Destroy];
        let now = kernel.now();
        let updates = self.updates.is_some_and(|(lasting, every)| {
            now.secs_since(self.began) % every.as_secs_f64() < lasting.as_secs_f64()
        });
        if updates {
            self.listening.kinds.push(EventKind::Update);
        }
        let mut events: Vec<Event> = Vec::new();
        let heard = collect::events(kernel, &self.presence, &self.listening, until, &mut |event| {
            events.push(*event);
            ControlFlow::Continue(())
        });
        match heard {
            Ok(turn) => {
                let heard_at = turn.now.secs_since(self.began);
                // No clock goes back: a recording that is over begins its last look anew.
                self.ended |= turn.ended || heard_at < self.heard_at;
                for event in &events {
                    let (at_secs, exact) = self.when(event, turn.now);
                    self.ledger.apply(event, at_secs, exact);
                    if let Some(observer) = self.observer() {
                        observer.event(event, at_secs, exact);
                    }
                }
                self.ledger.lose(turn.lost);
                self.room = self.room.max(turn.room);
                self.heard_at = heard_at;
                if let Some(observer) = self.observer().filter(|_| turn.lost > 0) {
                    observer.lost(turn.lost, heard_at);
                }
                (turn.now, events.len())
            }
            Err(gap) => {
                kernel.hush();
                self.tell_deaf(now.secs_since(self.began));
                (self.on, self.deaf) = (false, Some(gap));
                (now, 0)
            }
        }
    }

    /// Seconds since the watch began, and whether that is when it happened.
    fn when(&self, event: &Event, read: Moment) -> (f64, bool) {
        match event.at_ns {
            Some(ns) => (ns.saturating_sub(self.began.real_ns) as f64 / 1e9, true),
            None => (read.secs_since(self.began), self.exact),
        }
    }

    /// What has come while others had their turn.
    fn catch_up(&mut self, kernel: &mut dyn Kernel) {
        for _ in 0..CATCH_UP_TURNS {
            let now = kernel.now();
            if !self.on || self.turn(kernel, now.plus_secs(CATCH_UP_SECS)).1 == 0 {
                break;
            }
        }
    }

    /// After the look: then the ledger is what the table was.
    pub fn settle(&mut self, kernel: &mut dyn Kernel) {
        self.catch_up(kernel);
        (self.counted_secs, self.settled) = (self.heard_at - self.settled, self.heard_at);
        // The reading itself made expired entries go: only now have they been told of.
        if std::mem::take(&mut self.read_whole) && self.on {
            self.whole = Some((self.pass_began, self.ledger.corrected(self.pass_began)));
        }
    }

    /// Whether the ledger needs a reading of the whole table, however large that is: to begin with, after a loss, and
    /// every now and then.
    pub fn wants_whole(&self, at_secs: f64) -> bool {
        let after = |secs: f64| self.whole.is_none_or(|(at, _)| at_secs - at >= secs);
        self.on && (after(WHOLE_EVERY_SECS) || self.ledger.lost() > 0 && after(LOSS_EVERY_SECS))
    }

    /// To be asked before [`Ear::heard`], which begins a new count. `count`: entries in the table.
    pub fn holders(&mut self, count: Option<u64>) -> Vec<HolderDoc> {
        let scale = self.ledger.scale();
        let secs = self.counted_secs;
        let per_s = |n: u64| (secs > 0.0).then(|| n as f64 * scale / secs);
        if self.on {
            let (top, _) = self.ledger.top(HOLDERS);
            let row = |(place, of): (Place, Traffic)| {
                holder(place, of.held as f64 * scale, per_s(of.came), per_s(of.went))
            };
            return top.into_iter().map(row).collect();
        }
        let top = self.holders.top(HOLDERS, count).into_iter();
        top.map(|(place, entries)| holder(place, entries, None, None))
            .collect()
    }

    pub fn heard(&mut self) -> Option<Heard> {
        if !self.on {
            return None;
        }
        let secs = self.counted_secs;
        let per_s = |n: f64| if secs > 0.0 { n / secs } else { 0.0 };
        let stayed = self.ledger.lifetimes_ms().iter();
        let stayed_ms = stayed.map(|(cause, of)| (*cause, spread(of))).collect();
        let handshakes = self.ledger.handshakes_ms();
        let handshake_ms = (!handshakes.is_empty()).then(|| spread(handshakes));
        let held = self.whole.map(|_| self.ledger.held());
        let turnover = self.ledger.turnover();
        Some(Heard {
            came_per_s: per_s(turnover.came as f64),
            went_per_s: per_s(turnover.went.all() as f64),
            went: turnover.went,
            went_by_state: turnover.went_by_state,
            unanswered: turnover.unanswered,
            spent_entry_s: turnover.spent_secs,
            lost: turnover.lost,
            held,
            drift: self.whole.map(|(_, drift)| drift),
            one_of: self.ledger.scale(),
            handshake_ms,
            stayed_ms,
        })
    }
}

fn holder(
    (dst, dport, number): Place,
    entries: f64,
    came_per_s: Option<f64>,
    went_per_s: Option<f64>,
) -> HolderDoc {
    HolderDoc {
        dst,
        dport,
        proto: proto::name(number).map_or(number.to_string(), str::to_string),
        entries,
        came_per_s,
        went_per_s,
    }
}

fn spread(of: &hdrhistogram::Histogram<u32>) -> Spread {
    Spread {
        count: of.len(),
        p50: of.value_at_quantile(0.5),
        p99: of.value_at_quantile(0.99),
        max: of.max(),
    }
}

impl Onlooker for Ear<'_> {
    fn note(&mut self, _: Note<'_>) {}

    fn idle(&mut self, kernel: &mut dyn Kernel, until: Moment) {
        let mut now = kernel.now();
        while now < until && !self.ended && !self.stopped.load(Ordering::Relaxed) {
            let slice = until.min(now.plus_secs(SLICE_SECS));
            let (then, heard) = if self.on {
                self.turn(kernel, slice)
            } else {
                let _ = kernel.listen(&[], slice, &mut |_, _| ControlFlow::Continue(()));
                (kernel.now(), 0)
            };
            // A recording that was made with shorter waits has no later time to tell.
            if heard == 0 && then <= now {
                break;
            }
            now = then;
        }
    }

    fn pass(&mut self, kernel: &mut dyn Kernel, whole: bool, timeouts: &Timeouts) {
        self.catch_up(kernel);
        self.pass_began = kernel.now().secs_since(self.began);
        self.holders = Holders::default();
        if self.on && whole {
            self.ledger.correct();
        }
        let began = self.pass_began;
        if let Some(observer) = self.observer() {
            observer.pass(began, whole, timeouts);
        }
    }

    fn entry(&mut self, flow: &Flow) {
        if let Some(observer) = self.observer() {
            observer.entry(flow);
        }
        if self.on {
            self.ledger.seed(flow, self.pass_began);
        } else {
            self.holders.add(flow);
        }
    }

    fn passed(&mut self, whole: bool) {
        self.read_whole = whole;
        let began = self.pass_began;
        if let Some(observer) = self.observer() {
            observer.passed(began, whole);
        }
    }
}
