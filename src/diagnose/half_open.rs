//! Sums over the piles of half-open entries, and the constants that say what a pile-up is.

use crate::evidence::{Basis, Direction, Evidence, Pile};
use crate::model::{Estimate, TcpState};

/// Held entries are the large majority from this share on.
pub const HELD_SHARE: f64 = 0.8;
/// Half-open entries make a pile-up from min(this, [`PILE_SHARE`] of nf_conntrack_max) on.
pub const PILE_ENTRIES: f64 = 500.0;
pub const PILE_SHARE: f64 = 0.01;
/// A destination is named where it holds at least this share of the pile.
const NAMED_SHARE: f64 = 0.05;
/// … and at most so many of them.
const NAMED: usize = 3;

/// From how many entries on half-open entries pile up here.
pub fn pile_from(evidence: &Evidence) -> f64 {
    let max = evidence.table.as_ref().and_then(|t| t.max).filter(|max| *max > 0);
    max.map_or(PILE_ENTRIES, |max| (max as f64 * PILE_SHARE).min(PILE_ENTRIES))
        .max(1.0)
}

/// All directions of one state together.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    pub entries: Estimate,
    pub held: Estimate,
    pub live: Estimate,
    pub unclear: Estimate,
}

pub fn sum<'a>(piles: impl Iterator<Item = &'a Pile> + Clone) -> Sum {
    Sum {
        entries: Estimate::sum(piles.clone().map(|p| p.entries)),
        held: Estimate::sum(piles.clone().map(|p| p.held)),
        live: Estimate::sum(piles.clone().map(|p| p.live)),
        unclear: Estimate::sum(piles.map(|p| p.unclear)),
    }
}

impl Sum {
    /// Of the entries whose fate is known, the share that is held.
    pub fn held_share(&self) -> Estimate {
        let share = |held: f64, live: f64| {
            if held + live > 0.0 {
                held / (held + live)
            } else {
                0.0
            }
        };
        Estimate {
            value: share(self.held.value, self.live.value),
            low: share(self.held.low, self.live.high),
            high: share(self.held.high, self.live.low),
        }
    }

    /// Entries per live attempt; `None` where nothing is live.
    pub fn amplification(&self) -> Option<f64> {
        (self.live.value >= 1.0).then(|| (self.entries.value / self.live.value * 10.0).round() / 10.0)
    }
}

/// The direction with the most entries of a state.
pub fn largest(evidence: &Evidence, state: TcpState) -> Option<(Direction, &Pile)> {
    let piles = evidence.half_open.as_ref()?.of(state);
    piles
        .iter()
        .max_by(|a, b| a.1.entries.value.total_cmp(&b.1.entries.value))
        .map(|(direction, pile)| (*direction, pile))
}

/// The weakest basis among piles that matter (at least a tenth of the whole).
pub fn basis<'a>(piles: impl Iterator<Item = &'a Pile> + Clone) -> Basis {
    let all = Estimate::sum(piles.clone().map(|p| p.entries)).value;
    let rank = |basis: Basis| match basis {
        Basis::Sockets => 0,
        Basis::Tap => 1,
        Basis::Ages => 2,
        Basis::Nothing => 3,
    };
    piles
        .filter(|p| p.entries.value * 10.0 >= all)
        .map(|p| p.basis)
        .max_by_key(|b| rank(*b))
        .unwrap_or(Basis::Nothing)
}

/// `10.9.1.3:80` of the destinations that matter.
pub fn places(pile: &Pile) -> Vec<String> {
    let least = pile.entries.value * NAMED_SHARE;
    let named = pile
        .destinations
        .iter()
        .filter(|d| d.entries.value >= least)
        .take(NAMED);
    named.map(|d| d.label()).collect()
}

/// The share of a pile that its largest destinations take together.
pub fn concentration(pile: &Pile) -> f64 {
    let top: f64 = pile.destinations.iter().map(|d| d.entries.value).sum();
    if pile.entries.value > 0.0 {
        top / pile.entries.value
    } else {
        0.0
    }
}

/// "a, b and c".
pub fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}
