//! Sums over the piles of half-open entries, and the constants that say what a pile-up is.

use super::rule::{count, whole};
use crate::evidence::{Basis, Destination, Direction, Evidence, Pile, Told};
use crate::model::{Estimate, TcpState};

/// Held entries are the large majority from this share on.
pub const HELD_SHARE: f64 = 0.8;
/// Half-open entries make a pile-up from min(this, [`PILE_SHARE`] of nf_conntrack_max) on.
pub const PILE_ENTRIES: f64 = 500.0;
pub const PILE_SHARE: f64 = 0.01;
/// A destination is named where it surely holds at least this share of the pile.
const NAMED_SHARE: f64 = 0.05;
/// … and at most so many of them.
const NAMED: usize = 3;

/// From how many entries on half-open entries pile up here.
pub fn pile_from(evidence: &Evidence) -> f64 {
    let max = evidence.table.as_ref().and_then(|t| t.max).filter(|max| *max > 0);
    max.map_or(PILE_ENTRIES, |max| (max as f64 * PILE_SHARE).min(PILE_ENTRIES))
        .max(1.0)
}

/// Whether they are fewer than [`PILE_SHARE`] of a limit that is known.
pub fn below_share_of_max(evidence: &Evidence, entries: Estimate) -> Sure {
    let max = evidence.table.as_ref().and_then(|t| t.max);
    let below = |entries: f64| max.is_some_and(|max| max == 0 || entries < max as f64 * PILE_SHARE);
    Sure::of(below(entries.high), below(entries.low))
}

/// Whether so many entries pile up. A sample's bounds may lie on both sides of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PileUp {
    No,
    Perhaps,
    Yes,
}

/// `settled`: entries that are no handshakes under way.
pub fn pile_up(evidence: &Evidence, settled: Estimate) -> PileUp {
    let from = pile_from(evidence);
    if settled.low >= from {
        PileUp::Yes
    } else if settled.high >= from {
        PileUp::Perhaps
    } else {
        PileUp::No
    }
}

/// `, 12 of them handshakes under way`
pub fn young(entries: Estimate, settled: Estimate) -> String {
    let under_way = (entries.value - settled.value).max(0.0);
    if under_way > 0.0 {
        format!(", {} of them handshakes under way", whole(under_way))
    } else {
        String::new()
    }
}

/// What a pile-up needs, and what there is.
pub fn too_few(evidence: &Evidence, entries: Estimate, settled: Estimate, name: &str) -> String {
    let (young, from) = (young(entries, settled), whole(pile_from(evidence)));
    format!("{} {name}{young}; a pile-up starts at {from}", count(entries))
}

/// The sample is too small to tell whether there is a pile-up at all.
pub const EXACT: &str = "ctlens diagnose --exact";

/// All directions of one state together.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    pub entries: Estimate,
    pub settled: Estimate,
    pub held: Estimate,
    pub live: Estimate,
    pub unclear: Estimate,
    /// The three of the settled entries alone.
    pub of_settled: Told,
}

pub fn sum<'a>(piles: impl Iterator<Item = &'a Pile> + Clone) -> Sum {
    Sum {
        entries: Estimate::sum(piles.clone().map(|p| p.entries)),
        settled: Estimate::sum(piles.clone().map(Pile::settled)),
        held: Estimate::sum_at_worst(piles.clone().map(|p| p.held)),
        live: Estimate::sum_at_worst(piles.clone().map(|p| p.live)),
        unclear: Estimate::sum_at_worst(piles.clone().map(|p| p.unclear)),
        of_settled: Told {
            held: Estimate::sum_at_worst(piles.clone().map(|p| p.of_settled().held)),
            live: Estimate::sum_at_worst(piles.clone().map(|p| p.of_settled().live)),
            unclear: Estimate::sum_at_worst(piles.map(|p| p.of_settled().unclear)),
        },
    }
}

impl Sum {
    /// Of the settled entries whose fate is known, the share that is held. The others may all be held, or all live:
    /// that is in the bounds.
    pub fn held_share(&self) -> Estimate {
        let share = |held: f64, live: f64| {
            if held + live > 0.0 {
                held / (held + live)
            } else {
                0.0
            }
        };
        let Told { held, live, unclear } = self.of_settled;
        Estimate {
            value: share(held.value, live.value),
            low: share(held.low, live.high + unclear.high),
            high: share(held.high + unclear.high, live.low),
        }
    }

    /// Entries per live attempt; `None` where nothing is live.
    pub fn amplification(&self) -> Option<f64> {
        (self.live.value >= 1.0).then(|| (self.entries.value / self.live.value * 10.0).round() / 10.0)
    }
}

/// Whether it is this host that does not answer: the SYNs come in, or go from it to itself.
pub fn answers_here(direction: Direction, pile: &Pile) -> bool {
    direction == Direction::In || pile.to_self >= 0.5
}

/// Packets a second that conntrack calls invalid, where they are this many for each new entry of a pile that others
/// opened: an answer that goes another way makes every further packet of its connection invalid.
const INVALID_EACH: f64 = 2.0;

/// `invalid` over the window, where it says that answers take another way.
pub fn one_way(evidence: &Evidence, direction: Direction, pile: &Pile) -> Option<f64> {
    let counters = evidence
        .conntrack
        .as_ref()
        .filter(|_| evidence.window_secs > 0.0)?;
    let invalid = *counters.get("invalid")? as f64;
    let arrived = pile.new_per_s?.value * evidence.window_secs;
    let others = matches!(direction, Direction::In | Direction::Forward);
    (others && arrived >= 1.0 && invalid >= arrived * INVALID_EACH).then_some(invalid)
}

/// Shows whether packets of a pile's connections come by in both directions.
pub fn both_ways(pile: &Pile) -> String {
    let place = pile.destinations.first();
    let filter = place.map_or("tcp".to_string(), |d| {
        format!("host {} and tcp port {}", d.addr, d.port)
    });
    format!("tcpdump -nni any -c 40 '{filter}'   # nothing but packets to it: its answers take another way")
}

/// The direction with the most settled entries of a state.
pub fn largest(evidence: &Evidence, state: TcpState) -> Option<(Direction, &Pile)> {
    let piles = evidence.half_open.as_ref()?.of(state);
    piles
        .iter()
        .max_by(|a, b| a.1.settled().value.total_cmp(&b.1.settled().value))
        .map(|(direction, pile)| (*direction, pile))
}

/// The weakest basis among piles that matter (at least a tenth of the whole).
pub fn basis<'a>(piles: impl Iterator<Item = &'a Pile> + Clone) -> Basis {
    let all = Estimate::sum(piles.clone().map(Pile::settled)).value;
    let rank = |basis: Basis| match basis {
        Basis::Sockets => 0,
        Basis::Tap => 1,
        Basis::Ages => 2,
        Basis::Nothing => 3,
    };
    piles
        .filter(|p| p.settled().value * 10.0 >= all)
        .map(|p| p.basis)
        .max_by_key(|b| rank(*b))
        .unwrap_or(Basis::Nothing)
}

/// The destinations that matter, largest first.
pub fn named(pile: &Pile) -> Vec<&Destination> {
    let least = pile.settled().value * NAMED_SHARE;
    let named = pile
        .destinations
        .iter()
        .filter(|d| d.entries.low >= least)
        .take(NAMED);
    named.collect()
}

/// `10.9.1.3:80` of [`named`].
pub fn places(pile: &Pile) -> Vec<String> {
    named(pile).into_iter().map(Destination::label).collect()
}

/// The share of a pile that its largest destinations take together.
pub fn concentration(pile: &Pile) -> Estimate {
    let top: f64 = pile.destinations.iter().map(|d| d.entries.value).sum();
    let settled = pile.settled().value;
    let exact = Estimate::exact(if settled > 0.0 { top / settled } else { 0.0 });
    pile.top_share.unwrap_or(exact)
}

/// Whether it is so. A sample's bounds may lie on both sides of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sure {
    No,
    Perhaps,
    Yes,
}

impl Sure {
    /// `yes`: what the bounds that speak least for it say; `perhaps`: what those that speak most for it do.
    pub fn of(yes: bool, perhaps: bool) -> Sure {
        match (yes, perhaps) {
            (true, _) => Sure::Yes,
            (_, true) => Sure::Perhaps,
            _ => Sure::No,
        }
    }
}

/// A pile belongs to few destinations where the largest ten take this share of it.
const FEW: f64 = 0.5;

/// Whether a pile goes to everywhere. Where no destination is known, nothing says so.
pub fn everywhere(pile: &Pile) -> Sure {
    let top = concentration(pile);
    let known = !pile.destinations.is_empty();
    Sure::of(known && top.high < FEW, known && top.low < FEW)
}

/// So many completed connections beside each half-open one: most sources do complete.
const COMPLETED_EACH: f64 = 20.0;

/// Whether entries of later states to the pile's destinations are that many more, and how many there are.
pub fn completed(pile: &Pile) -> (Sure, f64) {
    let sum: f64 = pile.destinations.iter().map(|d| d.answered as f64).sum();
    let all = pile.answered.unwrap_or(Estimate::exact(sum));
    let settled = pile.settled();
    let sure = Sure::of(
        all.low >= settled.high * COMPLETED_EACH,
        all.high >= settled.low * COMPLETED_EACH,
    );
    (sure, all.value)
}

/// Of slow handshakes so many were completed for each half-open one, in the time that the slowest takes, …
const COMPLETED_LATELY_EACH: f64 = 2.0;
/// … and at most this share is older: a client may always go away in the middle.
const OLD_SHARE: f64 = 0.1;

/// Whether a pile's handshakes are just slow: there are many at any moment, none gets old, and more are completed.
pub fn only_slow(pile: &Pile) -> Sure {
    let (Some(old), Some(lately)) = (pile.old, pile.answered_lately) else {
        return Sure::No;
    };
    let settled = pile.settled();
    Sure::of(
        old.high <= settled.low * OLD_SHARE && lately.low >= settled.high * COMPLETED_LATELY_EACH,
        old.low <= settled.high * OLD_SHARE && lately.high >= settled.low * COMPLETED_LATELY_EACH,
    )
}

/// Unanswered SYNs to everywhere, at most this share beside the connections that were answered, …
const BACKGROUND_SHARE: f64 = 0.05;

/// … are what any gateway to the Internet has: clients try dead addresses. Whether it is so, and the answered
/// connections.
pub fn background(evidence: &Evidence, pile: &Pile) -> (Sure, f64) {
    let Some(rows) = &evidence.states else {
        return (Sure::No, 0.0);
    };
    let of_tcp = rows
        .iter()
        .filter(|row| row.proto == "tcp" && !HALF_OPEN.contains(&row.state.as_deref().unwrap_or("")));
    let answered = Estimate::sum(of_tcp.map(|row| row.entries));
    let settled = pile.settled();
    let few = Sure::of(
        settled.high <= answered.low * BACKGROUND_SHARE,
        settled.low <= answered.high * BACKGROUND_SHARE,
    );
    (few.min(everywhere(pile)), answered.value)
}

const HALF_OPEN: [&str; 4] = ["NONE", "SYN_SENT", "SYN_RECV", "SYN_SENT2"];

/// "a, b and c".
pub fn listed(words: &[String]) -> String {
    joined(words, "and")
}

/// "a, b or c".
pub fn either(words: &[String]) -> String {
    joined(words, "or")
}

fn joined(words: &[String], before_last: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} {before_last} {last}", head.join(", ")),
    }
}
