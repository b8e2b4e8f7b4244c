//! Each flow's life as it was seen: when which timeout was set, and how it ended. About 20 bytes a change and 12 a flow.

use foldhash::HashMapExt;

use crate::evidence::{Identities, Identity, Observer, Place, place_of};
use crate::model::{Event, EventKind, Flow, Gone, Timeouts, Timer};

/// Flows that are taken in; later ones are counted.
const MAX_FLOWS: usize = 8_000_000;
/// Deadlines are told in whole seconds: they moved only if they did by more.
const WHOLE_SECOND_MS: i64 = 1_500;

/// A timeout that was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Set {
    /// Milliseconds since the observation began; before it for what was there already.
    pub at_ms: i32,
    pub flow: u32,
    /// What the kernel gave it, seconds.
    pub secs: u32,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// A packet or a change of state set this timer.
    Timer { timer: Timer, assured: bool },
    /// It went, and not because its time was over.
    Went,
}

#[derive(Clone, Copy)]
struct Open {
    flow: u32,
    timer: Timer,
    set_ms: i64,
    assured: bool,
}

/// Folds an observation.
#[derive(Default)]
pub struct Lives {
    /// In the order of time once [`Lives::end`] was called.
    pub sets: Vec<Set>,
    places: Vec<Place>,
    open: foldhash::HashMap<Identity, Open>,
    identities: Identities,
    timeouts: Timeouts,
    pass_ms: i64,
    pub events: u64,
    pub lost: u64,
    pub updates: u64,
    pub sampled: bool,
    /// Flows for which there was no room.
    pub left_out: u64,
    /// Nobody listened from then on, milliseconds.
    pub deaf_ms: Option<i32>,
    pub end_ms: i32,
}

impl Lives {
    pub fn flows(&self) -> usize {
        self.places.len()
    }

    pub fn place(&self, flow: u32) -> Place {
        self.places[flow as usize]
    }

    /// The timeouts in force at the last reading.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The observation ends after `secs`.
    pub fn end(&mut self, secs: f64) {
        self.end_ms = millis(secs) as i32;
        self.open = foldhash::HashMap::new();
        self.sets.sort_by_key(|set| (set.at_ms, set.flow));
    }

    fn begin(&mut self, flow: &Flow, identity: Identity) -> Option<u32> {
        if self.places.len() >= MAX_FLOWS {
            self.left_out += 1;
            return None;
        }
        if let Some(before) = self.open.remove(&identity) {
            self.push(before.flow, before.set_ms.max(0), 0, What::Went);
        }
        let number = self.places.len() as u32;
        self.places.push(place_of(flow));
        Some(number)
    }

    fn push(&mut self, flow: u32, at_ms: i64, secs: u32, what: What) {
        self.sets.push(Set {
            at_ms: at_ms.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
            flow,
            secs,
            what,
        });
    }

    fn set(&mut self, flow: &Flow, timer: Timer, at_ms: i64, secs: u32, new: bool) {
        let identity = self.identities.of(flow);
        let known = self.open.get(&identity).copied().filter(|_| !new);
        let number = match known {
            Some(open) => open.flow,
            None => match self.begin(flow, identity) {
                Some(number) => number,
                None => return,
            },
        };
        let assured = flow.status.assured();
        self.push(number, at_ms, secs, What::Timer { timer, assured });
        let open = Open {
            flow: number,
            timer,
            set_ms: at_ms,
            assured,
        };
        self.open.insert(identity, open);
    }

    /// When the timeout of an entry that the reading met was set, and to what; where its time left tells no age, as if it
    /// had just been.
    fn set_when(&self, flow: &Flow, timer: Timer) -> Option<(i64, u32)> {
        let left = flow.timeout_secs?;
        Some(
            match self.timeouts.since_set_secs(flow).zip(self.timeouts.get(timer)) {
                Some((since, policy)) => (self.pass_ms - i64::from(since) * 1000, policy),
                None => (self.pass_ms, left),
            },
        )
    }
}

fn millis(secs: f64) -> i64 {
    (secs * 1000.0) as i64
}

impl Observer for Lives {
    fn event(&mut self, event: &Event, at_secs: f64, _exact: bool) {
        self.events += 1;
        let (flow, at_ms) = (&event.flow, millis(at_secs));
        match event.kind {
            EventKind::Destroy => {
                let gone = event.gone();
                if let Some(open) = self.open.remove(&self.identities.of(flow))
                    && !matches!(gone, Some(Gone::Expired | Gone::Unknown))
                {
                    self.push(open.flow, at_ms, 0, What::Went);
                }
            }
            kind => {
                self.updates += u64::from(kind == EventKind::Update);
                if let (Some(timer), Some(secs)) = (Timer::of(flow), flow.timeout_secs) {
                    self.set(flow, timer, at_ms, secs, kind == EventKind::New);
                }
            }
        }
    }

    fn lost(&mut self, events: u64, _at_secs: f64) {
        self.lost += events;
    }

    fn deaf(&mut self, at_secs: f64) {
        self.deaf_ms.get_or_insert(millis(at_secs) as i32);
    }

    fn pass(&mut self, at_secs: f64, whole: bool, timeouts: &Timeouts) {
        self.timeouts = *timeouts;
        self.pass_ms = millis(at_secs);
        self.sampled |= !whole;
    }

    fn entry(&mut self, flow: &Flow) {
        let Some(timer) = Timer::of(flow) else { return };
        let Some((set_ms, secs)) = self.set_when(flow, timer) else {
            return;
        };
        let known = self.open.get(&self.identities.of(flow)).copied();
        match known {
            // The same deadline as before says nothing new; nor does an age that is not told.
            Some(open)
                if open.timer == timer
                    && (set_ms - open.set_ms <= WHOLE_SECOND_MS || set_ms == self.pass_ms)
                    && open.assured == flow.status.assured() => {}
            Some(open) => self.set(flow, timer, set_ms.max(open.set_ms), secs, false),
            None => self.set(flow, timer, set_ms, secs, true),
        }
    }

    fn passed(&mut self, _at_secs: f64, _whole: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Status, TcpState, proto};

    fn flow(number: u16, state: TcpState, left: Option<u32>) -> Flow {
        let mut flow = Flow {
            proto: proto::TCP,
            tcp_state: Some(state),
            timeout_secs: left,
            status: Status(Status::SEEN_REPLY),
            ..Flow::default()
        };
        flow.orig.sport = number;
        flow
    }

    fn told(lives: &Lives) -> Vec<(i32, u32, Option<Timer>, u32)> {
        let one = |set: &Set| {
            let timer = match set.what {
                What::Timer { timer, .. } => Some(timer),
                What::Went => None,
            };
            (set.at_ms, set.flow, timer, set.secs)
        };
        lives.sets.iter().map(one).collect()
    }

    #[test]
    fn events_and_readings_make_lives() {
        let mut lives = Lives::default();
        let event = |kind, flow| Event {
            kind,
            flow,
            port: 0,
            at_ns: None,
            stop_ns: None,
        };
        let defaults = Timeouts::defaults();
        // One comes, one was there for 50 s; the first moves on, the second is touched, a third is refused.
        lives.event(
            &event(EventKind::New, flow(1, TcpState::SynSent, Some(120))),
            1.0,
            true,
        );
        lives.pass(2.0, true, &defaults);
        lives.entry(&flow(1, TcpState::SynSent, Some(119)));
        lives.entry(&flow(2, TcpState::Established, Some(431_950)));
        lives.event(
            &event(EventKind::Update, flow(1, TcpState::SynRecv, Some(60))),
            3.0,
            true,
        );
        lives.event(
            &event(EventKind::New, flow(3, TcpState::SynSent, Some(120))),
            4.0,
            true,
        );
        let refused = Flow {
            status: Status(0),
            ..flow(3, TcpState::Close, Some(119))
        };
        lives.event(&event(EventKind::Destroy, refused), 5.0, true);
        lives.pass(10.0, true, &defaults);
        lives.entry(&flow(2, TcpState::Established, Some(431_998)));
        lives.end(12.0);
        assert_eq!(
            told(&lives),
            [
                (-48_000, 1, Some(Timer::Established), 432_000),
                (1_000, 0, Some(Timer::SynSent), 120),
                (3_000, 0, Some(Timer::SynRecv), 60),
                (4_000, 2, Some(Timer::SynSent), 120),
                (5_000, 2, None, 0),
                (8_000, 1, Some(Timer::Established), 432_000),
            ]
        );
        assert_eq!((lives.flows(), lives.end_ms, lives.events), (3, 12_000, 4));
    }
}
