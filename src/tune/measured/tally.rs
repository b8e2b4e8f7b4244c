//! The figures of one timeout.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::evidence::Place;

/// The longest that is told apart, in milliseconds: the default timeout of ESTABLISHED, five days.
const LONGEST_MS: u64 = 432_000_000;
/// The longest stays and silences that are known by their places.
const MAX_NAMED: usize = 512;

/// What was seen of one timeout.
pub struct OfTimer {
    /// Entries that came into it.
    pub came: u64,
    /// How long those stayed in it that moved on, or were answered; milliseconds.
    pub moved_ms: Histogram<u32>,
    /// Those of which it is not known how long.
    pub moved_untimed: u64,
    /// Entries that went because their time was over, unanswered and answered ones.
    pub expired: [u64; 2],
    pub refused: u64,
    /// Evicted, deleted, replaced by a new connection, or gone between two readings.
    pub ended_otherwise: u64,
    /// Of those that are still in it: for how long, milliseconds; unanswered ones only, where there is no TCP state.
    pub waiting_ms: Histogram<u32>,
    /// Silences at most so long, milliseconds, after which a packet came.
    pub silences_ms: Histogram<u32>,
    /// Seconds since a packet set the timeout, of the entries that the last reading met.
    pub idle_secs: Histogram<u32>,
    /// The last reading's entries.
    pub entries: u64,
    /// The most entries that a reading met.
    pub peak: u64,
    /// Connections in whose middle the entry expired, and which went on.
    pub cut_already: u64,
    /// The longest stays and silences, and where they went.
    pub cut: Named,
}

impl Default for OfTimer {
    fn default() -> OfTimer {
        OfTimer {
            came: 0,
            moved_ms: histogram(LONGEST_MS),
            moved_untimed: 0,
            expired: [0; 2],
            refused: 0,
            ended_otherwise: 0,
            waiting_ms: histogram(LONGEST_MS),
            silences_ms: histogram(LONGEST_MS),
            idle_secs: histogram(LONGEST_MS / 1000),
            entries: 0,
            peak: 0,
            cut_already: 0,
            cut: Named::default(),
        }
    }
}

fn histogram(longest: u64) -> Histogram<u32> {
    Histogram::new_with_bounds(1, longest, 3).expect("the bounds are constants")
}

impl OfTimer {
    pub(super) fn move_on(&mut self, stayed_ms: u32, place: Place) {
        self.moved_ms.saturating_record(u64::from(stayed_ms).max(1));
        self.cut.push(stayed_ms, place);
    }

    pub(super) fn come_back(&mut self, silent_ms: u32, place: Place) {
        self.silences_ms.saturating_record(u64::from(silent_ms));
        self.cut.push(silent_ms, place);
    }

    pub(super) fn expire(&mut self, answered: bool) {
        self.expired[usize::from(answered)] += 1;
    }

    pub(super) fn wait(&mut self, waits_ms: u32) {
        self.waiting_ms.saturating_record(u64::from(waits_ms).max(1));
    }

    pub(super) fn begin_reading(&mut self) {
        self.idle_secs.reset();
        self.entries = 0;
    }

    pub(super) fn meet(&mut self, idle_secs: Option<u32>) {
        self.entries += 1;
        if let Some(secs) = idle_secs {
            self.idle_secs.saturating_record(u64::from(secs).max(1));
        }
    }

    pub(super) fn end_reading(&mut self) {
        self.peak = self.peak.max(self.entries);
    }

    /// Whether anything was seen of it.
    pub fn is_seen(&self) -> bool {
        self.came + self.peak + self.expired[0] + self.expired[1] > 0
    }

    /// Stays and silences that lasted longer than `secs`, and that a timeout of so many seconds would have cut off.
    pub fn longer_than(&self, secs: u32) -> u64 {
        let ms = u64::from(secs) * 1000;
        above(&self.moved_ms, ms) + above(&self.silences_ms, ms)
    }

    /// Of the last reading's entries whose idle time is known: the share that a packet touched within `secs`.
    pub fn touched_within(&self, secs: u32) -> Option<f64> {
        let all = self.idle_secs.len();
        (all > 0).then(|| {
            let young = self
                .idle_secs
                .count_between(0, u64::from(secs).min(LONGEST_MS / 1000));
            young.min(all) as f64 / all as f64
        })
    }

    /// Of the entries that came: the share that waits until its time is over, where enough was heard to tell. Those that
    /// have waited for longer than anybody who moved on do so.
    pub fn by_timeout(&self) -> Option<f64> {
        let moved = self.moved_ms.len() + self.moved_untimed + self.refused;
        let longest_ms = self.moved_ms.max().max(1_000);
        let over = self.expired[0] + self.expired[1] + above(&self.waiting_ms, longest_ms);
        (moved + over > 0).then(|| over as f64 / (moved + over) as f64)
    }

    /// Seconds of the longest silence that a connection came back from.
    pub fn longest_silence_secs(&self) -> f64 {
        self.silences_ms.max() as f64 / 1000.0
    }

    /// How many told how long they need.
    pub fn samples(&self) -> u64 {
        self.moved_ms.len() + self.silences_ms.len()
    }
}

/// Values beyond `ms`, each by its own value, which is within a thousandth.
fn above(of: &Histogram<u32>, ms: u64) -> u64 {
    of.iter_recorded()
        .filter(|value| value.value_iterated_to() > ms)
        .map(|value| value.count_since_last_iteration())
        .sum()
}

/// Of how long a silence or a stay was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Quantiles {
    /// Seconds, of a histogram of milliseconds.
    pub fn of(histogram: &Histogram<u32>) -> Option<Quantiles> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Quantiles {
            count: histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        })
    }
}

/// The longest of what was pushed, by place.
#[derive(Default)]
pub struct Named {
    all: Vec<(u32, Place)>,
    /// Below it nothing is kept.
    least_ms: u32,
}

impl Named {
    pub(super) fn push(&mut self, ms: u32, place: Place) {
        if ms < self.least_ms {
            return;
        }
        self.all.push((ms, place));
        if self.all.len() >= 2 * MAX_NAMED {
            self.all.sort_unstable_by(|a, b| b.cmp(a));
            self.all.truncate(MAX_NAMED);
            self.least_ms = self.all.last().map_or(0, |(ms, _)| *ms);
        }
    }

    /// Those longer than `secs`, by place, most first.
    pub fn longer_than(&self, secs: u32) -> Vec<(Place, u64)> {
        let mut places = std::collections::BTreeMap::new();
        let ms = u64::from(secs) * 1000;
        for (_, place) in self.all.iter().filter(|(long, _)| u64::from(*long) > ms) {
            *places.entry(*place).or_insert(0) += 1;
        }
        let mut out: Vec<_> = places.into_iter().collect();
        out.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
        out
    }
}
