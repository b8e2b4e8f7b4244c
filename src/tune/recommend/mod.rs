//! A profile from what was measured: a value for each timeout with its reason and its price, and the table's size.

mod fill;
mod floors;
mod proposal;
mod row;
mod sizes;
mod targets;

use serde::Serialize;

use super::adaptive::{Adaptive, Switch};
use super::measured::Measured;
use crate::evidence::Evidence;
use crate::model::{Profile, Target, Timer};
pub use row::{Change, Fill, Price, Row};
pub use sizes::Size;
pub use targets::Trouble;

/// Fewer entries than this share of the limit are not worth a change, …
const WORTH_SHARE: f64 = 0.005;
/// … nor are fewer than this.
const WORTH: f64 = 300.0;

/// What to set, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Recommendation {
    pub observed: Observed,
    /// Room is wanted for so many times the observed rate.
    pub headroom: f64,
    /// Rules here translate source addresses.
    pub behind_nat: bool,
    /// Timeouts whose state was seen, in the order of the states; the others stay.
    pub states: Vec<Row>,
    /// By their names: nothing was seen of them.
    pub unseen: Vec<&'static str>,
    pub size: Size,
    /// Where one destination is the trouble.
    pub targets: Vec<Trouble>,
    pub advice: Vec<Advice>,
    /// So long an observation tells what this one could not.
    pub observe_s: Option<f64>,
    /// What limits it.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub profile: Profile,
    /// The same where only sysctls can be set: for everybody instead of for the targets.
    #[serde(skip)]
    pub everywhere: Profile,
    #[serde(skip)]
    pub adaptive: Adaptive,
}

/// How much was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Observed {
    pub secs: f64,
    /// Of these, with every event.
    pub heard_secs: f64,
    pub readings: u64,
    pub events: u64,
    pub lost: u64,
}

/// Another setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    pub name: String,
    pub now: Option<String>,
    pub value: String,
    pub because: String,
    /// It is in the profile.
    pub included: bool,
}

/// What others found that asks for a setting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asks {
    /// The verdict, or a finding, is window-invalid.
    pub be_liberal: bool,
}

pub fn recommend(evidence: &Evidence, measured: &Measured, headroom: f64, asks: Asks) -> Recommendation {
    let rules = evidence.ruleset.as_ref();
    let behind_nat = rules.is_some_and(|rules| rules.source_nat().next().is_some());
    let seen: Vec<Timer> = Timer::ALL
        .into_iter()
        .filter(|timer| measured.of(*timer).is_seen())
        .collect();
    let max = evidence.table.as_ref().and_then(|table| table.max).unwrap_or(0);
    let around = row::Around {
        evidence,
        measured,
        headroom,
        behind_nat,
        worth: WORTH.max(max as f64 * WORTH_SHARE),
    };
    let mut states: Vec<Row> = seen.iter().filter_map(|timer| around.row(*timer)).collect();
    let least = |timer| {
        states
            .iter()
            .find(|row| row.timer == timer)
            .and_then(|row| row.least_s)
    };
    let syn_sent_secs = least(Timer::SynSent).unwrap_or(Timer::SynSent.default_secs());
    let targets = targets::troubles(evidence, syn_sent_secs);
    let everywhere = profile(&states, &[]);
    for row in &mut states {
        row.target(&targets, &around);
    }
    let mut out = Recommendation {
        observed: Observed {
            secs: measured.secs,
            heard_secs: measured.heard_secs(),
            readings: measured.passes,
            events: measured.events,
            lost: measured.lost,
        },
        headroom,
        behind_nat,
        unseen: Timer::ALL
            .into_iter()
            .filter(|timer| !seen.contains(timer) && timer.sysctl().is_some())
            .map(Timer::name)
            .collect(),
        size: sizes::size(
            evidence,
            (sum(&states, |fill| fill.now), sum(&states, |fill| fill.then)),
            headroom,
        ),
        advice: advice(evidence, asks),
        observe_s: states.iter().filter_map(|row| row.observe_s).reduce(f64::max),
        notes: notes(evidence, measured),
        profile: profile(&states, &targets),
        adaptive: adaptive(&states, max, headroom, &everywhere),
        everywhere,
        targets,
        states,
    };
    out.add_sizes();
    out
}

impl Recommendation {
    /// Sizes and other settings are every profile's.
    fn add_sizes(&mut self) {
        for profile in [
            &mut self.profile,
            &mut self.everywhere,
            &mut self.adaptive.calm,
            &mut self.adaptive.spike,
        ] {
            (profile.max, profile.buckets) = (self.size.recommended_max, self.size.recommended_buckets);
            let others = self.advice.iter().filter(|advice| advice.included);
            profile.others = others
                .map(|advice| (advice.name.clone(), advice.value.clone()))
                .collect();
        }
    }
}

fn sum(states: &[Row], of: impl Fn(&Fill) -> f64) -> f64 {
    // Rust's sum of nothing is -0.
    states.iter().map(|row| of(&row.fill)).fold(0.0, |a, b| a + b)
}

/// A timeout that targets have is theirs alone.
fn profile(states: &[Row], targets: &[Trouble]) -> Profile {
    let of_target = |timer: Timer| targets.iter().any(|trouble| trouble.timeout == timer.name());
    Profile {
        timeouts: states
            .iter()
            .filter(|row| matches!(row.change, Change::Lower | Change::Raise) && !of_target(row.timer))
            .filter_map(|row| Some((row.timer, row.recommended_s?)))
            .collect(),
        targets: targets
            .iter()
            .map(|trouble| trouble.target.clone())
            .collect::<Vec<Target>>(),
        ..Profile::default()
    }
}

/// A calm table that stays below it leaves timeouts as generous as they are.
const CALM_FILL: f64 = 0.3;

/// In a spike every timeout that may go down does; on a calm day only as many as the table needs, the greediest first.
fn adaptive(states: &[Row], max: u64, headroom: f64, everywhere: &Profile) -> Adaptive {
    let of_limit = |entries: f64| match max {
        0 => 0.0,
        max => entries / max as f64,
    };
    let saved = |row: &Row| row.fill.now - row.fill.then;
    let mut lowered: Vec<&Row> = states.iter().filter(|row| saved(row) > 0.0).collect();
    lowered.sort_by(|a, b| saved(b).total_cmp(&saved(a)));
    let (mut calm, mut calm_entries) = (everywhere.clone(), sum(states, |fill| fill.then.max(fill.now)));
    calm.timeouts
        .retain(|timer, _| !lowered.iter().any(|row| row.timer == *timer));
    for row in lowered {
        if of_limit(calm_entries) <= CALM_FILL {
            break;
        }
        if let Some(secs) = everywhere.timeouts.get(&row.timer) {
            calm.timeouts.insert(row.timer, *secs);
            calm_entries -= saved(row);
        }
    }
    let mut spike = everywhere.clone();
    for row in states.iter().filter(|row| row.timer != Timer::Established) {
        if let (Some(least), Some(now)) = (row.least_s, row.recommended_s.or(row.now_s))
            && least < now
        {
            spike.timeouts.insert(row.timer, least);
        }
    }
    Adaptive {
        switch: Switch::at(
            of_limit(calm_entries),
            of_limit(sum(states, |fill| fill.least) * headroom),
        ),
        calm,
        spike,
    }
}

fn advice(evidence: &Evidence, asks: Asks) -> Vec<Advice> {
    let ct = |rest: &str| format!("net.netfilter.nf_conntrack_{rest}");
    let now = |rest: &str| evidence.settings.get(&ct(rest)).map(str::to_string);
    let advice = |rest: &str, value: &str, because: &str, included| Advice {
        name: ct(rest),
        now: now(rest),
        value: value.to_string(),
        because: because.to_string(),
        included,
    };
    let mut out = Vec::new();
    if asks.be_liberal && now("tcp_be_liberal").as_deref() == Some("0") {
        out.push(advice(
            "tcp_be_liberal",
            "1",
            "packets outside of the window are invalid here, and connections lose them; with it only RSTs are",
            true,
        ));
    }
    let idle = evidence.lasting.as_ref().map(|lasting| &lasting.established);
    let one_way = idle.map_or(0.0, |idle| idle.one_way.value + idle.untold_one_way.value);
    if one_way >= 1_000.0 && now("tcp_loose").as_deref() == Some("1") {
        out.push(advice(
            "tcp_loose",
            "0",
            "entries were picked up in the middle of connections and never saw an answer; with it such packets are \
             invalid, and so are those of live connections after a reboot or a failover",
            false,
        ));
    }
    if now("events").as_deref() == Some("1") {
        out.push(advice(
            "events",
            "2",
            "1 prepares each entry for listeners that there may not be; 2, the default, does so only while somebody listens",
            false,
        ));
    }
    out
}

fn notes(evidence: &Evidence, measured: &Measured) -> Vec<String> {
    let mut out = Vec::new();
    if measured.heard_secs() == 0.0 {
        out.push(
            "no event was heard: transitions are not timed, and arrivals are told by the entries' ages alone"
                .to_string(),
        );
    } else if measured.updates == 0 {
        out.push("changes of state were not listened to: transitions are not timed".to_string());
    }
    if measured.lost > 0 {
        out.push(format!(
            "{} events were lost: what they would have told is missing",
            measured.lost
        ));
    }
    if measured.unfollowed > 0 {
        out.push(format!(
            "{} entries were only counted, for want of room",
            measured.unfollowed
        ));
    }
    if let Some(of) = evidence.table.as_ref().and_then(|table| table.sampled_of) {
        out.push(format!(
            "readings are samples of a table of {} entries",
            proposal::count(of)
        ));
    }
    out
}

#[cfg(test)]
mod tests;
