//! `simulate` as text and as a document.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::columns::{Align, columns, widest};
use super::figures::percent;
use super::json::document;
use super::page::{Page, WIDTH};
use super::profile::ProfileDoc;
use super::style::{Paint, Style, shell_quoted};
use crate::diagnose::whole;
use crate::model::{Profile, Timer, proto};
use crate::tune::{Peak, Simulated};

pub const SIMULATE_SCHEMA: &str = "ctlens.simulate/1";
/// States with less than this share of the peak have no row.
const LEAST_SHARE: f64 = 0.01;

/// One profile's outcome.
pub struct Column {
    pub name: String,
    pub profile: Profile,
    pub max: Option<u64>,
    pub simulated: Simulated,
}

pub struct Simulation {
    /// As it was, then the others.
    pub columns: Vec<Column>,
    pub rate: f64,
    pub secs: f64,
    pub flows: u64,
    pub events: u64,
    pub notes: Vec<String>,
    /// The recording's file.
    pub from: Option<String>,
}

#[derive(Serialize)]
struct Doc<'a> {
    schema: &'static str,
    secs: f64,
    flows: u64,
    events: u64,
    rate: f64,
    profiles: Vec<ColumnDoc<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct ColumnDoc<'a> {
    name: &'a str,
    profile: ProfileDoc,
    max: Option<u64>,
    flows: u64,
    /// As a dump shows it.
    peak: Peak,
    /// With expired entries that are not yet collected.
    peak_count: Peak,
    peaks: BTreeMap<&'static str, Peak>,
    drop: u64,
    early_drop: u64,
    gc_evicted: u64,
    cut: u64,
    picked_up: u64,
    cut_to: Vec<CutDoc>,
    /// For so many seconds the figures are too low.
    blind_s: u32,
    points: Vec<PointDoc>,
}

#[derive(Serialize)]
struct CutDoc {
    to: String,
    flows: u64,
}

#[derive(Serialize)]
struct PointDoc {
    at_s: f64,
    count: u64,
    entries: u64,
    by_timeout: BTreeMap<&'static str, u32>,
}

pub fn simulate_json(simulation: &Simulation) -> String {
    document(&Doc {
        schema: SIMULATE_SCHEMA,
        secs: simulation.secs,
        flows: simulation.flows,
        events: simulation.events,
        rate: simulation.rate,
        profiles: simulation.columns.iter().map(column_doc).collect(),
        notes: &simulation.notes,
    })
}

fn column_doc(column: &Column) -> ColumnDoc<'_> {
    let got = &column.simulated;
    let timers = |of: &dyn Fn(Timer) -> u64| -> Vec<Timer> {
        Timer::ALL.into_iter().filter(|timer| of(*timer) > 0).collect()
    };
    let peaks = timers(&|timer| got.peaks[timer as usize].entries);
    ColumnDoc {
        name: &column.name,
        profile: ProfileDoc::from(&column.profile),
        max: column.max,
        flows: got.flows,
        peak: got.peak,
        peak_count: got.peak_count,
        peaks: peaks
            .into_iter()
            .map(|timer| (timer.name(), got.peaks[timer as usize]))
            .collect(),
        drop: got.drop,
        early_drop: got.early_drop,
        gc_evicted: got.gc_evicted,
        cut: got.cut,
        picked_up: got.picked_up,
        cut_to: cut_to(got).map(|(to, flows)| CutDoc { to, flows }).collect(),
        blind_s: got.blind_s,
        points: got
            .points
            .iter()
            .map(|point| PointDoc {
                at_s: f64::from(point.at_ms) / 1000.0,
                count: point.count,
                entries: point.entries,
                by_timeout: timers(&|timer| point.by_timer[timer as usize].into())
                    .into_iter()
                    .map(|timer| (timer.name(), point.by_timer[timer as usize]))
                    .collect(),
            })
            .collect(),
    }
}

fn cut_to(got: &Simulated) -> impl Iterator<Item = (String, u64)> {
    got.cut_to.iter().map(|((addr, port, number), flows)| {
        let protocol = proto::name(*number).unwrap_or("?");
        (format!("{protocol} {}", SocketAddr::new(*addr, *port)), *flows)
    })
}

/// `plot`: the entries over time, drawn.
pub fn simulate_text(simulation: &Simulation, plot: &str, style: &Style) -> String {
    let mut page = Page::new(style);
    answers(&mut page, simulation);
    page.gap();
    page.lines(&table(&simulation.columns));
    page.gap();
    page.lines(plot);
    for column in simulation
        .columns
        .iter()
        .filter(|column| column.simulated.cut > 0)
    {
        let got = &column.simulated;
        page.heading(&format!("Cut under {}", column.name));
        for (to, flows) in cut_to(got) {
            page.item(&format!("{to}: {} flows", whole(flows as f64)), Paint::Plain);
        }
        let text = format!(
            "{} of them got a new entry in the middle of the connection",
            whole(got.picked_up as f64)
        );
        page.item(&text, Paint::Dim);
    }
    page.heading("Recorded");
    let text = format!(
        "{:.0} s, {} flows, {} events{}",
        simulation.secs,
        whole(simulation.flows as f64),
        whole(simulation.events as f64),
        match simulation.rate {
            1.0 => String::new(),
            rate => format!("; each flow {rate} times"),
        }
    );
    page.item(&text, Paint::Plain);
    for note in &simulation.notes {
        page.item(note, Paint::Yellow);
    }
    for column in simulation
        .columns
        .iter()
        .filter(|column| column.simulated.blind_s > 0)
    {
        let text = format!(
            "{}: what expired before the recording is not known, and would still be there: figures of the first {} s are \
             too low",
            column.name, column.simulated.blind_s
        );
        page.item(&text, Paint::Yellow);
    }
    page.heading("Next");
    next(&mut page, simulation);
    page.finish()
}

/// A line for each profile.
fn answers(page: &mut Page, simulation: &Simulation) {
    let Some((was, others)) = simulation.columns.split_first() else {
        return;
    };
    let losses = |got: &Simulated| match got.drop + got.early_drop {
        0 => String::new(),
        _ => format!(
            "; {} dropped, {} evicted",
            whole(got.drop as f64),
            whole((got.early_drop + got.gc_evicted) as f64)
        ),
    };
    let before = was.simulated.peak.entries;
    if others.is_empty() {
        let text = format!(
            ": peak {} entries{}.",
            whole(before as f64),
            losses(&was.simulated)
        );
        page.accent("", "As it was", &text, Paint::Plain);
    }
    for column in others {
        let got = &column.simulated;
        let change = match before {
            0 => String::new(),
            before => {
                let share = got.peak.entries as f64 / before as f64 - 1.0;
                let sign = if share <= 0.0 { "-" } else { "+" };
                format!(" ({sign}{})", percent(share.abs()))
            }
        };
        let text = format!(
            ": peak {} entries instead of {}{change}, {} of {} flows cut{}.",
            whole(got.peak.entries as f64),
            whole(before as f64),
            whole(got.cut as f64),
            whole(got.flows as f64),
            losses(got)
        );
        let paint = if got.cut + got.drop == 0 {
            Paint::Green
        } else {
            Paint::Yellow
        };
        page.accent("", &column.name, &text, paint);
    }
}

fn table(all: &[Column]) -> String {
    let most = all
        .iter()
        .map(|column| column.simulated.peak.entries)
        .max()
        .unwrap_or(0) as f64;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |title: &str, of: &dyn Fn(&Column) -> String| {
        let mut cells = vec![title.to_string()];
        cells.extend(all.iter().map(of));
        rows.push(cells);
    };
    let count = |number: u64| whole(number as f64);
    row("peak entries", &|column| count(column.simulated.peak.entries));
    row("  at", &|column| format!("{:.0}s", column.simulated.peak.at_s));
    for timer in Timer::ALL {
        let peak = |column: &Column| column.simulated.peaks[timer as usize].entries;
        let seen = all.iter().map(peak).max().unwrap_or(0);
        if seen > 0 && seen as f64 >= LEAST_SHARE * most {
            row(&format!("  {}", timer.label()), &|column| count(peak(column)));
        }
    }
    row("peak count", &|column| count(column.simulated.peak_count.entries));
    row("of the limit", &|column| match column.max {
        Some(max) if max > 0 => percent(column.simulated.peak_count.entries as f64 / max as f64),
        _ => "-".to_string(),
    });
    row("drop", &|column| count(column.simulated.drop));
    row("early_drop", &|column| count(column.simulated.early_drop));
    row("gc evicted", &|column| count(column.simulated.gc_evicted));
    row("flows cut", &|column| count(column.simulated.cut));
    let names: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
    let text = columns(&titles(&names), &rows, 2);
    if widest(&text) <= WIDTH {
        return text;
    }
    // By letters where the names are too long to stand beside each other.
    let letters: Vec<String> = ('A'..='Z').map(String::from).take(all.len()).collect();
    let names: Vec<&str> = letters.iter().map(String::as_str).collect();
    let mut text = columns(&titles(&names), &rows, 1);
    for (letter, column) in letters.iter().zip(all) {
        text.push_str(&format!("{letter}: {}\n", column.name));
    }
    text
}

fn titles<'a>(names: &[&'a str]) -> Vec<(&'a str, Align)> {
    let named = names.iter().map(|name| (*name, Align::Right));
    std::iter::once(("", Align::Left)).chain(named).collect()
}

fn next(page: &mut Page, simulation: &Simulation) {
    let Some(column) = simulation.columns.iter().skip(1).min_by_key(|column| {
        let got = &column.simulated;
        (got.cut + got.drop, got.peak.entries)
    }) else {
        let from = simulation.from.as_deref().map_or("FILE".into(), shell_quoted);
        return page.lines(&format!("  $ ctlens simulate --from {from} --set syn_sent=35\n"));
    };
    let set = column
        .profile
        .timeouts
        .iter()
        .map(|(timer, secs)| format!("--set {}={secs}", timer.name()));
    let set = set.collect::<Vec<_>>().join(" ");
    match set.is_empty() {
        true => page.again("  ", "ctlens recommend"),
        false => page.again("  ", &format!("ctlens apply {set}")),
    }
}
