//! One look of `watch`: the line, and the document, that tell it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::figures::{compact, percent, rate};
use super::page::WIDTH;
use super::style::{Paint, Style};
use crate::diagnose::{Cause, Lean, Report, Side, Trigger, whole};
use crate::evidence::{Drift, Ends, Forecast, StateRow, Table, Told};
use crate::model::Estimate;
use crate::tune::Mode;

pub const WATCH_SCHEMA: &str = "ctlens.watch/1";

/// How the flows are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Each that comes and goes.
    Events,
    /// By readings of the table alone.
    Summaries,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Events => "by events",
            Way::Summaries => "by readings",
        }
    }
}

/// What came and went since the look before.
#[derive(Clone, Debug, Serialize)]
pub struct Heard {
    pub came_per_s: f64,
    pub went_per_s: f64,
    pub went: Ends,
    /// The same by the TCP state that each had in the end.
    pub went_by_state: BTreeMap<&'static str, u64>,
    /// Of these, whose timeout ran out without any answer.
    pub unanswered: u64,
    /// Seconds that those which went had spent in the table together, as far as they were seen to come.
    pub spent_entry_s: f64,
    /// Events that found no room: each figure here may be off by so many.
    pub lost: u64,
    /// Entries in the table by the ledger; null until the whole table was read once.
    #[serde(serialize_with = "bounds_or_null")]
    pub held: Option<Estimate>,
    /// How far it was from the last whole reading of the table; null before one.
    pub drift: Option<Drift>,
    /// Figures of holders are those of one of so many entries, scaled.
    pub one_of: f64,
    /// From the SYN to ESTABLISHED; null where no state changes were heard.
    pub handshake_ms: Option<Spread>,
    /// How long entries stayed, by the cause of their end.
    pub stayed_ms: BTreeMap<&'static str, Spread>,
}

/// Where entries go.
#[derive(Clone, Debug, Serialize)]
pub struct HolderDoc {
    pub dst: IpAddr,
    pub dport: u16,
    pub proto: String,
    pub entries: f64,
    /// Both null where no events are heard.
    pub came_per_s: Option<f64>,
    pub went_per_s: Option<f64>,
}

impl HolderDoc {
    /// `10.9.1.3:80`, `[fd00::3]:80`.
    pub fn label(&self) -> String {
        SocketAddr::new(self.dst, self.dport).to_string()
    }
}

/// SYN_SENT and SYN_RECV entries by what became of whoever opened them.
#[derive(Clone, Copy, Debug, Serialize)]
struct HalfOpenDoc {
    #[serde(serialize_with = "bounds")]
    held: Estimate,
    #[serde(serialize_with = "bounds")]
    live: Estimate,
    #[serde(serialize_with = "bounds")]
    unclear: Estimate,
}

/// Milliseconds, of all since the watch began.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// One look.
#[derive(Clone, Debug)]
pub struct Frame {
    /// From 1 on.
    pub number: u64,
    /// Seconds since the watch began.
    pub at_secs: f64,
    pub report: Report,
    /// The verdict is so many seconds old: of when the wire was listened to.
    pub as_told_ago_s: Option<f64>,
    pub forecast: Option<Forecast>,
    pub way: Way,
    /// Why so, and what it costs.
    pub why: String,
    /// What listening costs the traffic, as a share of one CPU.
    pub costs: f64,
    /// `None`: nothing told them apart.
    pub half_open: Option<Told>,
    pub heard: Option<Heard>,
    /// Most entries first.
    pub holders: Vec<HolderDoc>,
    /// Conditions that were to be told of, and hold.
    pub alerts: Vec<String>,
    /// Of two profiles, the one that would be in force; `None`: nobody named any.
    pub profile: Option<Mode>,
}

#[derive(Serialize)]
struct FrameDoc<'a> {
    schema: &'static str,
    taken: &'a Option<String>,
    /// Seconds since the watch began.
    at_s: f64,
    interval_s: f64,
    table: &'a Option<Table>,
    states: &'a Option<Vec<StateRow>>,
    /// Rises in the interval.
    counters: &'a Option<BTreeMap<&'static str, u64>>,
    forecast: &'a Option<Forecast>,
    source: Way,
    why: &'a str,
    /// A share of one CPU.
    costs_cpu: f64,
    half_open: Option<HalfOpenDoc>,
    heard: &'a Option<Heard>,
    /// Most entries first, ten at most.
    holders: &'a [HolderDoc],
    verdict: VerdictDoc<'a>,
    /// Conditions of --alert that hold.
    alerts: &'a [String],
    /// Of --adaptive.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Mode>,
    gaps: Vec<&'a str>,
}

#[derive(Serialize)]
struct VerdictDoc<'a> {
    bottleneck: Side,
    cause: Cause,
    confidence: f64,
    headline: &'a str,
    /// Null: of this look. Else it is so old: of when the wire was listened to, and this look leaves it open.
    as_told_ago_s: Option<f64>,
    trigger: &'a Option<Trigger>,
    leans_to: &'a Option<Lean>,
}

/// One document in one line, its end included.
pub fn frame_json(frame: &Frame) -> String {
    let report = &frame.report;
    let verdict = &report.verdict;
    let doc = FrameDoc {
        schema: WATCH_SCHEMA,
        taken: &report.taken,
        at_s: frame.at_secs,
        interval_s: report.window_s,
        table: &report.table,
        states: &report.states,
        counters: &report.counters,
        forecast: &frame.forecast,
        source: frame.way,
        why: &frame.why,
        costs_cpu: frame.costs,
        half_open: frame.half_open.map(|told| HalfOpenDoc {
            held: told.held,
            live: told.live,
            unclear: told.unclear,
        }),
        heard: &frame.heard,
        holders: frame.holders.get(..HOLDERS).unwrap_or(&frame.holders),
        verdict: VerdictDoc {
            bottleneck: verdict.bottleneck,
            cause: verdict.cause,
            confidence: verdict.confidence,
            headline: &verdict.headline,
            as_told_ago_s: frame.as_told_ago_s,
            trigger: &verdict.trigger,
            leans_to: &verdict.leans_to,
        },
        alerts: &frame.alerts,
        profile: frame.profile,
        gaps: report.gaps.iter().map(|gap| gap.source.as_str()).collect(),
    };
    let mut out = serde_json::to_string(&doc).expect("a frame is strings and numbers");
    out.push('\n');
    out
}

/// Rows of holders in a document.
const HOLDERS: usize = 10;
/// Rows of states that a line tells.
const STATES: usize = 2;

/// `11:59:22  firewall: syn-sent-hold 0.99  1,005  0.4 %  +144/s  levels off at 17k  SYN_SENT 1,005`
pub fn frame_line(frame: &Frame, style: &Style) -> String {
    let report = &frame.report;
    let time = report.taken.as_deref().map_or("-", clock);
    let (verdict, paint) = verdict(report);
    let mut rest = Vec::new();
    rest.extend(frame.as_told_ago_s.map(|ago| format!("({} ago)", duration(ago))));
    if let Some(table) = &report.table {
        rest.push(table.count.map_or("?".to_string(), |count| whole(count as f64)));
        rest.extend(table.fill.map(percent));
        rest.extend(frame.profile.map(|mode| format!("profile {}", mode.name())));
    }
    rest.extend(heading(frame));
    rest.extend(flowing(frame));
    rest.extend(damage(report));
    rest.extend(most(report));
    let mut line = format!("{time}  {verdict}");
    for word in rest {
        if line.chars().count() + 2 + word.chars().count() > WIDTH {
            break;
        }
        line.push_str("  ");
        line.push_str(&word);
    }
    let painted = style.paint(paint, &verdict);
    format!("{}\n", line.replacen(&verdict, &painted, 1))
}

/// `2026-11-25T11:59:22Z`
fn clock(taken: &str) -> &str {
    taken.get(11..19).unwrap_or(taken)
}

/// The verdict in a few words.
pub fn verdict(report: &Report) -> (String, Paint) {
    let verdict = &report.verdict;
    match verdict.cause {
        Cause::None => ("nothing".to_string(), Paint::Green),
        Cause::Undecided => {
            let leans = verdict.leans_to.as_ref().and_then(|lean| lean.causes.first());
            let text = leans.map_or("undecided".to_string(), |cause| {
                format!("undecided ({}?)", cause.name())
            });
            (text, Paint::Yellow)
        }
        cause => (
            format!(
                "{}: {} {:.2}",
                verdict.bottleneck.name(),
                cause.name(),
                verdict.confidence
            ),
            Paint::Red,
        ),
    }
}

/// Growth, and where it leads to.
pub fn heading(frame: &Frame) -> Vec<String> {
    let Some(forecast) = &frame.forecast else {
        return Vec::new();
    };
    let mut out = Vec::new();
    // Less than one in a hundred seconds is standing still.
    if forecast.growth_per_s.abs() >= 0.01 {
        let sign = if forecast.growth_per_s > 0.0 { "+" } else { "-" };
        out.push(format!("{sign}{}/s", rate(forecast.growth_per_s.abs())));
    }
    match (forecast.full_in_s, forecast.plateau) {
        (Some(secs), _) if secs <= 0.0 => out.push("FULL".to_string()),
        (Some(secs), _) => out.push(format!("full in {}", duration(secs))),
        (None, Some(plateau)) if forecast.growth_per_s > 0.5 => {
            out.push(format!("levels off at {}", compact(plateau)));
        }
        _ => {}
    }
    out
}

/// What comes and goes, and what of it was lost.
pub fn flowing(frame: &Frame) -> Vec<String> {
    let Some(heard) = &frame.heard else {
        return Vec::new();
    };
    let (came, went) = (rate(heard.came_per_s), rate(heard.went_per_s));
    let mut out = vec![format!("{came} in, {went} out /s")];
    if heard.lost > 0 {
        out.push(format!("{} events lost", whole(heard.lost as f64)));
    }
    out
}

/// `90 s`, `12 min`, `3 h`
pub fn duration(secs: f64) -> String {
    match secs {
        secs if secs < 120.0 => format!("{secs:.0} s"),
        secs if secs < 7200.0 => format!("{:.0} min", secs / 60.0),
        secs if secs < 172_800.0 => format!("{:.0} h", secs / 3600.0),
        secs => format!("{:.0} d", secs / 86_400.0),
    }
}

/// Counters of lost packets that rose.
fn damage(report: &Report) -> Vec<String> {
    let counters = report.counters.iter().flatten();
    counters
        .filter(|(name, rise)| ["drop", "early_drop", "insert_failed"].contains(name) && **rise > 0)
        .map(|(name, rise)| format!("{name} +{}", whole(*rise as f64)))
        .collect()
}

/// The states with the most entries.
fn most(report: &Report) -> Vec<String> {
    StateRow::by_entries(report.states.as_deref())
        .into_iter()
        .take(STATES)
        .filter(|row| row.entries.value > 0.0)
        .map(|row| format!("{} {}", row.name(), whole(row.entries.value)))
        .collect()
}

fn bounds_or_null<S: serde::Serializer>(
    estimate: &Option<Estimate>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match estimate {
        Some(estimate) => bounds(estimate, serializer),
        None => serializer.serialize_none(),
    }
}

fn bounds<S: serde::Serializer>(estimate: &Estimate, serializer: S) -> Result<S::Ok, S::Error> {
    BTreeMap::from([
        ("value", estimate.value),
        ("low", estimate.low),
        ("high", estimate.high),
    ])
    .serialize(serializer)
}
