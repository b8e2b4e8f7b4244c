//! Whether the originators of half-open entries are gone: told by sockets, by the wire, or by age alone.

use super::schedule::{LAST_SYN_SECS, Sender, chance_of_repeat};
use super::{Basis, Told, sampling::Sample};
use crate::model::Estimate;

/// CTA_TIMEOUT is in whole seconds, and a repeat is due only after one: younger entries tell nothing.
const TOO_YOUNG_SECS: f64 = 1.0;
/// With ages alone: most applications give up a connect within this time.
const LIKELY_GIVEN_UP_SECS: f64 = 7.0;
/// A pass that takes longer than expected by more than this is not reckoned with.
const RECENT_SECS: usize = 64;
/// So many entries whose live sender could not have hidden settle the question by themselves.
const ENOUGH_CERTAIN: u64 = 30;

/// What is known of one entry's originator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Held,
    /// Held as well, if the pass took no longer than expected: it is older than what was read before by so much.
    JustHeld {
        margin_secs: f64,
    },
    Live,
    Unclear,
    /// No socket can tell: a repeat was, or was not, seen on the wire.
    Tapped {
        sender: Sender,
        repeated: bool,
        /// At the end of the tap.
        age_secs: f64,
        tap_secs: f64,
        /// The share of the packets that the tap had room for.
        caught: f64,
    },
    /// Neither socket nor tap.
    Aged {
        age_secs: f64,
    },
}

#[derive(Default)]
struct Wire {
    seen: u64,
    certain: u64,
    certain_seen: u64,
    tellable: u64,
    blind: u64,
    chance_sum: f64,
    weight_sum: f64,
    weight_variance: f64,
}

#[derive(Default)]
struct Aged {
    surely_gone: u64,
    likely_gone: u64,
    likely_live: u64,
}

/// Fates tallied.
#[derive(Default)]
pub struct Fates {
    held: u64,
    live: u64,
    unclear: u64,
    wire: Wire,
    aged: Aged,
    /// By whole seconds of margin; empty until there is one.
    recent: Vec<Recent>,
}

/// Entries that would turn out to be too young, were the pass found to have taken longer than expected.
#[derive(Default)]
struct Recent {
    /// The least margin among them.
    margin_secs: f64,
    held: u64,
    wire: Wire,
}

impl Wire {
    fn merge(&mut self, other: &Wire) {
        self.seen += other.seen;
        self.certain += other.certain;
        self.certain_seen += other.certain_seen;
        self.tellable += other.tellable;
        self.blind += other.blind;
        self.chance_sum += other.chance_sum;
        self.weight_sum += other.weight_sum;
        self.weight_variance += other.weight_variance;
    }
}

impl Fates {
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Held => self.held += 1,
            Fate::JustHeld { margin_secs } => match self.recent(margin_secs) {
                Some(recent) => recent.held += 1,
                None => self.held += 1,
            },
            Fate::Live => self.live += 1,
            Fate::Unclear => self.unclear += 1,
            Fate::Tapped {
                sender,
                repeated,
                age_secs,
                tap_secs,
                caught,
            } => {
                let chance = chance_of_repeat(sender, age_secs, tap_secs) * caught;
                self.tapped(repeated, age_secs, chance, tap_secs);
            }
            Fate::Aged { age_secs } => self.aged(age_secs),
        }
    }

    /// Those of about this margin; `None` where it is beyond all doubt.
    fn recent(&mut self, margin_secs: f64) -> Option<&mut Recent> {
        let second = margin_secs.max(0.0) as usize;
        if second >= RECENT_SECS {
            return None;
        }
        if self.recent.len() <= second {
            self.recent.resize_with(second + 1, || Recent {
                margin_secs: f64::INFINITY,
                ..Recent::default()
            });
        }
        let recent = &mut self.recent[second];
        recent.margin_secs = recent.margin_secs.min(margin_secs);
        Some(recent)
    }

    /// The pass took so much longer than expected: entries of a lesser margin may have been born meanwhile.
    pub fn settle(&mut self, late_secs: f64) {
        for recent in std::mem::take(&mut self.recent) {
            if recent.margin_secs < late_secs {
                self.unclear += recent.held + recent.wire.tellable + recent.wire.blind;
            } else {
                self.held += recent.held;
                self.wire.merge(&recent.wire);
            }
        }
    }

    /// Entries that a socket answered for before the pass, but no longer after it.
    pub fn gave_up_meanwhile(&mut self, entries: u64) {
        let moved = entries.min(self.live);
        self.live -= moved;
        self.unclear += moved;
    }

    /// `looked_at` entries whose ages lie mostly in `spread` seconds (5th and 95th percentile). `new_sockets`: local
    /// sockets that appeared during the pass; one of them may have taken up an entry that counts as held.
    pub fn finish(
        &self,
        sample: Sample,
        looked_at: u64,
        spread: (u64, u64),
        new_sockets: u64,
    ) -> (Told, Basis) {
        let most = sample.estimate(looked_at).high;
        let scale = |part| at_most(sample.spread(part), most);
        let unclear = sample.estimate(self.unclear);
        let told = |held, live, basis| (Told { held, live, unclear }, basis);
        if self.held + self.live > 0 {
            let mut held = sample.estimate(self.held);
            held.low = (held.low - new_sockets as f64).max(0.0);
            return told(held, sample.estimate(self.live), Basis::Sockets);
        }
        if self.wire.tellable + self.wire.blind > 0 {
            let (held, live) = self.wire_fates(of_one_age(spread));
            return told(scale(held), scale(live), Basis::Tap);
        }
        match self.aged_fates() {
            Some((held, live)) => told(scale(held), scale(live), Basis::Ages),
            None => told(Estimate::exact(0.0), Estimate::exact(0.0), Basis::Nothing),
        }
    }

    fn tapped(&mut self, repeated: bool, age_secs: f64, chance: f64, tap_secs: f64) {
        if age_secs <= TOO_YOUNG_SECS && !repeated {
            self.unclear += 1;
            return;
        }
        let chance = if repeated {
            chance.max(tap_secs / LAST_SYN_SECS)
        } else {
            chance
        };
        let young = if repeated {
            None
        } else {
            self.recent(age_secs - TOO_YOUNG_SECS)
        };
        let wire = match young {
            Some(recent) => &mut recent.wire,
            None => &mut self.wire,
        };
        if chance <= 0.0 {
            wire.blind += 1;
            return;
        }
        wire.tellable += 1;
        wire.chance_sum += chance;
        if chance >= 0.99 {
            wire.certain += 1;
            wire.certain_seen += u64::from(repeated);
        }
        if repeated {
            let weight = 1.0 / chance;
            wire.seen += 1;
            wire.weight_sum += weight;
            wire.weight_variance += weight * (weight - 1.0);
        }
    }

    fn aged(&mut self, age_secs: f64) {
        if age_secs > LAST_SYN_SECS {
            self.aged.surely_gone += 1;
        } else if age_secs > LIKELY_GIVEN_UP_SECS {
            self.aged.likely_gone += 1;
        } else if age_secs > TOO_YOUNG_SECS {
            self.aged.likely_live += 1;
        } else {
            self.unclear += 1;
        }
    }

    fn aged_fates(&self) -> Option<(Estimate, Estimate)> {
        let Aged {
            surely_gone,
            likely_gone,
            likely_live,
        } = self.aged;
        if surely_gone + likely_gone + likely_live == 0 {
            return None;
        }
        let held = Estimate {
            value: (surely_gone + likely_gone) as f64,
            low: surely_gone as f64,
            high: (surely_gone + likely_gone + likely_live) as f64,
        };
        let live = Estimate {
            value: likely_live as f64,
            low: 0.0,
            high: (likely_gone + likely_live) as f64,
        };
        Some((held, live))
    }

    /// Each repeat stands for 1/chance live senders (Horvitz-Thompson); entries too old to repeat are taken to
    /// be live as often as the others, and may all be or not be.
    fn wire_fates(&self, one_age: bool) -> (Estimate, Estimate) {
        let wire = &self.wire;
        let (tellable, blind) = (wire.tellable as f64, wire.blind as f64);
        if wire.tellable == 0 {
            let unknown = Estimate {
                value: 0.0,
                low: 0.0,
                high: blind,
            };
            return (
                Estimate {
                    value: blind,
                    low: 0.0,
                    high: blind,
                },
                unknown,
            );
        }
        let value = wire.weight_sum.min(tellable);
        let spread = 1.96 * wire.weight_variance.sqrt();
        let mean_chance = wire.chance_sum / tellable;
        let mut high = (value + spread).min(tellable);
        if wire.seen == 0 && wire.certain < wire.tellable {
            // The rule of three: none seen still allows 3 / chance.
            high = (3.0 / mean_chance).min((wire.tellable - wire.certain) as f64);
        }
        let mut low = (value - spread).max(wire.seen as f64).min(value);
        if wire.certain < ENOUGH_CERTAIN && one_age {
            // One burst's repeats come, or do not come, all together.
            low = wire.seen as f64;
            high = tellable - (wire.certain - wire.certain_seen) as f64;
        }
        let ratio = |live: f64| live / tellable;
        let live = Estimate {
            value: value + blind * ratio(value),
            low: low + blind * ratio(low),
            high: high + blind * ratio(high).max(ratio(value)),
        };
        let all = tellable + blind;
        (
            Estimate {
                value: all - live.value,
                low: all - live.high,
                high: all - live.low,
            },
            live,
        )
    }
}

fn of_one_age((young, old): (u64, u64)) -> bool {
    (old - young) as f64 <= (young as f64 / 2.0).max(2.0)
}

fn at_most(part: Estimate, most: f64) -> Estimate {
    Estimate {
        value: part.value.min(most),
        low: part.low.min(most),
        high: part.high.min(most),
    }
}
