//! What an observation shows of each timeout: who comes into its state, how long those stay who move on, how many it cuts
//! off, and after how long a silence others came back.

mod tally;

use foldhash::HashMapExt;

pub use tally::{OfTimer, Quantiles};

use crate::evidence::{Identities, Identity, Observer, place_of};
use crate::model::{Event, EventKind, Flow, Gone, TcpState, Timeouts, Timer};

/// Entries followed one by one; later ones are only counted.
const MAX_FOLLOWED: usize = 4_000_000;
/// Entries that are remembered after they expired, to know them again.
const MAX_EXPIRED: usize = 1 << 17;
/// Times left are told in whole seconds: a deadline moved only if it did by more.
const WHOLE_SECOND_MS: u32 = 1_500;
/// By default a connection that repeats segments, or waits for an acknowledgement, has no longer timeout.
const CAP_SECS: u32 = 300;

#[derive(Clone, Copy)]
struct Seen {
    /// When it came into this timer.
    since_ms: u32,
    /// When it expires, as of the last sight; `None`: that tells nothing of its last packet.
    expires_ms: Option<u32>,
    timer: Timer,
    /// `since_ms` is exact.
    timed: bool,
    /// An event told that it came, at `since_ms` at the latest.
    told: bool,
    answered: bool,
    /// Of the last reading that met it; 0: none did.
    pass: u32,
}

/// Folds an observation.
pub struct Measured {
    of: [OfTimer; Timer::ALL.len()],
    entries: foldhash::HashMap<Identity, Seen>,
    expired: foldhash::HashMap<Identity, Timer>,
    identities: Identities,
    timeouts: Timeouts,
    pass: u32,
    now_ms: u32,
    /// Somebody has listened since then.
    listening_since: Option<f64>,
    heard_secs: f64,
    /// UPDATE events: without any, nothing tells when an entry moved on.
    pub updates: u64,
    pub events: u64,
    pub lost: u64,
    /// Entries for which there was no room.
    pub unfollowed: u64,
    /// Seconds observed, of all observations together.
    pub secs: f64,
    pub passes: u64,
}

impl Default for Measured {
    fn default() -> Measured {
        Measured {
            of: std::array::from_fn(|_| OfTimer::default()),
            entries: foldhash::HashMap::new(),
            expired: foldhash::HashMap::new(),
            identities: Identities::default(),
            timeouts: Timeouts::default(),
            pass: 0,
            now_ms: 0,
            listening_since: None,
            heard_secs: 0.0,
            updates: 0,
            events: 0,
            lost: 0,
            unfollowed: 0,
            secs: 0.0,
            passes: 0,
        }
    }
}

impl Measured {
    pub fn of(&self, timer: Timer) -> &OfTimer {
        &self.of[timer as usize]
    }

    /// Seconds in which every event was heard.
    pub fn heard_secs(&self) -> f64 {
        self.heard_secs
    }

    /// The observation ends after `secs`.
    pub fn end(&mut self, secs: f64) {
        self.stop_listening(secs);
        self.secs += secs;
        for seen in self.entries.values().filter(|seen| seen.told) {
            // An answered datagram has what it waited for.
            if seen.timer < Timer::Udp || !seen.answered {
                self.of[seen.timer as usize].wait(self.now_ms.saturating_sub(seen.since_ms));
            }
        }
        self.entries.clear();
        self.expired.clear();
        (self.pass, self.now_ms) = (0, 0);
    }

    fn stop_listening(&mut self, at_secs: f64) {
        if let Some(since) = self.listening_since.take() {
            self.heard_secs += (at_secs - since).max(0.0);
        }
    }

    /// What is known of entries holds no longer.
    fn unsure(&mut self) {
        for seen in self.entries.values_mut() {
            (seen.timed, seen.told) = (false, false);
        }
    }

    fn tally(&mut self, timer: Timer) -> &mut OfTimer {
        &mut self.of[timer as usize]
    }

    fn enter(&mut self, flow: &Flow, timer: Timer, at_ms: u32, (timed, told): (bool, bool)) {
        let seen = Seen {
            since_ms: at_ms,
            expires_ms: self.expires_ms(flow, timer, at_ms),
            timer,
            timed,
            told,
            answered: flow.status.seen_reply(),
            pass: if told { 0 } else { self.pass },
        };
        let identity = self.identities.of(flow);
        if self.entries.len() >= MAX_FOLLOWED && !self.entries.contains_key(&identity) {
            self.unfollowed += 1;
            return;
        }
        self.entries.insert(identity, seen);
    }

    /// `None` where the time left may be another timeout's.
    fn expires_ms(&self, flow: &Flow, timer: Timer, at_ms: u32) -> Option<u32> {
        let left = flow.timeout_secs?;
        let policy = self.timeouts.get(timer).unwrap_or(timer.default_secs());
        let caps =
            [Timer::MaxRetrans, Timer::Unacknowledged].map(|cap| self.timeouts.get(cap).unwrap_or(CAP_SECS));
        let below_a_cap = caps.iter().any(|cap| policy > *cap && left <= *cap);
        let capped = flow.tcp_state.is_some() && timer != Timer::SynSent && below_a_cap;
        (left <= policy && !capped).then(|| at_ms.saturating_add(left.saturating_mul(1000)))
    }

    fn came(&mut self, flow: &Flow, timer: Timer, at_ms: u32, exact: bool) {
        self.tally(timer).came += 1;
        // In the middle of a connection, whose entry had expired: today's timeout has cut it.
        // A new SYN begins another one.
        let expired = self.expired.remove(&self.identities.of(flow));
        if flow.tcp_state.is_some_and(|state| state != TcpState::SynSent)
            && let Some(cut_by) =
                expired.filter(|timer| !matches!(timer, Timer::Close | Timer::TimeWait | Timer::LastAck))
        {
            self.tally(cut_by).cut_already += 1;
        }
        self.enter(flow, timer, at_ms, (exact, true));
    }

    fn changed(&mut self, flow: &Flow, timer: Timer, at_ms: u32, exact: bool) {
        self.updates += 1;
        let identity = self.identities.of(flow);
        let Some(before) = self.entries.get(&identity).copied() else {
            self.tally(timer).came += 1;
            self.enter(flow, timer, at_ms, (exact, true));
            return;
        };
        let stayed_ms = at_ms.saturating_sub(before.since_ms);
        let answers = !before.answered && flow.status.seen_reply() && flow.tcp_state.is_none();
        if before.timer == timer {
            if answers && before.timed && exact {
                self.tally(timer).move_on(stayed_ms, place_of(flow));
            }
            let expires_ms = self.expires_ms(flow, timer, at_ms);
            if let Some(seen) = self.entries.get_mut(&identity) {
                (seen.answered, seen.expires_ms) = (flow.status.seen_reply(), expires_ms);
            }
            return;
        }
        // A datagram's answer was told of before its stream was.
        let told = flow.tcp_state.is_none() && before.answered;
        match before.timed && exact {
            true if !told => self.tally(before.timer).move_on(stayed_ms, place_of(flow)),
            true => {}
            false => self.tally(before.timer).moved_untimed += 1,
        }
        self.tally(timer).came += 1;
        self.enter(flow, timer, at_ms, (exact, true));
    }

    fn went(&mut self, event: &Event, timer: Timer) {
        let flow = &event.flow;
        let identity = self.identities.of(flow);
        let before = self.entries.remove(&identity);
        if before.is_some_and(|before| before.timer != timer) {
            // It moved on when nobody listened to changes.
            self.tally(before.map_or(timer, |before| before.timer))
                .moved_untimed += 1;
        }
        match event.gone() {
            Some(Gone::Expired) => {
                let answered = flow.status.seen_reply();
                self.tally(timer).expire(answered);
                if self.expired.len() < MAX_EXPIRED {
                    self.expired.insert(identity, timer);
                }
            }
            Some(Gone::Refused) => self.tally(timer).refused += 1,
            _ => self.tally(timer).ended_otherwise += 1,
        }
    }

    /// An entry that two readings met, or an event and a reading: whether a packet came between, and after how long.
    fn met_again(&mut self, before: &Seen, flow: &Flow, timer: Timer, expires_ms: Option<u32>) {
        if before.timer != timer {
            self.tally(before.timer).moved_untimed += 1;
            return;
        }
        let (Some(then), Some(now)) = (before.expires_ms, expires_ms) else {
            return;
        };
        // By the same timeout, deadlines are as far apart as the packets that set them: no silence between was longer.
        let silent_ms = now.saturating_sub(then);
        if silent_ms > WHOLE_SECOND_MS {
            self.tally(timer).come_back(silent_ms, place_of(flow));
        }
    }
}

fn millis(secs: f64) -> u32 {
    (secs * 1000.0) as u32
}

impl Observer for Measured {
    fn event(&mut self, event: &Event, at_secs: f64, exact: bool) {
        self.listening_since
            .get_or_insert(at_secs.min(f64::from(self.now_ms) / 1000.0));
        self.events += 1;
        let at_ms = millis(at_secs);
        self.now_ms = self.now_ms.max(at_ms);
        let Some(timer) = Timer::of(&event.flow) else {
            return;
        };
        match event.kind {
            EventKind::New => self.came(&event.flow, timer, at_ms, exact),
            EventKind::Update => self.changed(&event.flow, timer, at_ms, exact),
            EventKind::Destroy => self.went(event, timer),
        }
    }

    fn lost(&mut self, events: u64, _at_secs: f64) {
        self.lost += events;
        self.unsure();
    }

    fn deaf(&mut self, at_secs: f64) {
        self.stop_listening(at_secs);
        self.unsure();
    }

    fn pass(&mut self, at_secs: f64, _whole: bool, timeouts: &Timeouts) {
        self.timeouts = *timeouts;
        self.pass += 1;
        self.passes += 1;
        self.now_ms = self.now_ms.max(millis(at_secs));
        for of in &mut self.of {
            of.begin_reading();
        }
    }

    fn entry(&mut self, flow: &Flow) {
        let Some(timer) = Timer::of(flow) else { return };
        let idle_secs = self.timeouts.since_set_secs(flow);
        self.tally(timer).meet(idle_secs);
        let (now_ms, pass) = (self.now_ms, self.pass);
        let expires_ms = self.expires_ms(flow, timer, now_ms);
        let identity = self.identities.of(flow);
        let Some(before) = self.entries.get(&identity).copied() else {
            self.enter(flow, timer, now_ms, (false, false));
            return;
        };
        self.met_again(&before, flow, timer, expires_ms);
        if let Some(seen) = self.entries.get_mut(&identity) {
            if seen.timer != timer {
                (seen.timer, seen.since_ms) = (timer, now_ms);
                (seen.timed, seen.told) = (false, false);
            }
            (seen.expires_ms, seen.pass) = (expires_ms, pass);
            seen.answered = flow.status.seen_reply();
        }
    }

    /// What the reading before met and this one did not, and whose time was over, has expired without a word: entries that
    /// are older than the first listener send no events.
    fn passed(&mut self, _at_secs: f64, whole: bool) {
        let (pass, now_ms, of) = (self.pass, self.now_ms, &mut self.of);
        self.entries.retain(|_, seen| {
            if seen.pass == pass || seen.pass == 0 {
                return true;
            }
            let over = seen
                .expires_ms
                .is_some_and(|expires_ms| expires_ms <= now_ms.saturating_add(1000));
            match over {
                true => of[seen.timer as usize].expire(seen.answered),
                false if whole => of[seen.timer as usize].ended_otherwise += 1,
                false => {}
            }
            false
        });
        self.of.iter_mut().for_each(OfTimer::end_reading);
    }
}

#[cfg(test)]
mod tests;
