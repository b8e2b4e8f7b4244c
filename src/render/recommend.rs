//! `recommend` as text and as a document.

use serde::Serialize;

use super::columns::{Align, columns};
use super::figures::{age, compact, percent, rate};
use super::json::document;
use super::page::Page;
use super::profile::ProfileDoc;
use super::room::{adaptive, room};
use super::style::{Paint, Style};
use crate::diagnose::{Report, whole};
use crate::tune::{Change, Quantiles, Recommendation, Row, Switch};

pub const RECOMMEND_SCHEMA: &str = "ctlens.recommend/1";

/// What was asked beside the recommendation itself.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    pub report: &'a Report,
    pub adaptive: bool,
    /// Of a recording: its files, as they are typed.
    pub from: &'a str,
    /// Where the host was recorded while it was observed.
    pub recorded: Option<&'a str>,
}

#[derive(Serialize)]
struct Doc<'a> {
    schema: &'static str,
    host: &'a crate::diagnose::HostDoc,
    taken: &'a Option<String>,
    cause: crate::diagnose::Cause,
    #[serde(flatten)]
    recommendation: &'a Recommendation,
    profile: ProfileDoc,
    /// With sysctls alone.
    everywhere: ProfileDoc,
    adaptive: Option<AdaptiveDoc>,
    gaps: &'a [crate::diagnose::GapDoc],
}

#[derive(Serialize)]
struct AdaptiveDoc {
    switch: Switch,
    calm: ProfileDoc,
    spike: ProfileDoc,
}

pub fn recommend_json(recommendation: &Recommendation, told: Told) -> String {
    document(&Doc {
        schema: RECOMMEND_SCHEMA,
        host: &told.report.host,
        taken: &told.report.taken,
        cause: told.report.verdict.cause,
        recommendation,
        profile: ProfileDoc::from(&recommendation.profile),
        everywhere: ProfileDoc::from(&recommendation.everywhere),
        adaptive: told.adaptive.then(|| AdaptiveDoc {
            switch: recommendation.adaptive.switch,
            calm: ProfileDoc::from(&recommendation.adaptive.calm),
            spike: ProfileDoc::from(&recommendation.adaptive.spike),
        }),
        gaps: &told.report.gaps,
    })
}

pub fn recommend_text(recommendation: &Recommendation, told: Told, style: &Style) -> String {
    let mut page = Page::new(style);
    headline(&mut page, recommendation);
    if !recommendation.states.is_empty() {
        page.gap();
        page.lines(&table(&recommendation.states));
    }
    why(&mut page, recommendation);
    page.heading("Room");
    room(&mut page, recommendation);
    for advice in &recommendation.advice {
        let now = advice.now.as_deref().unwrap_or("?");
        let text = format!("{} {now} -> {}: {}", advice.name, advice.value, advice.because);
        page.item(&text, Paint::Plain);
    }
    if told.adaptive {
        adaptive(&mut page, recommendation);
    }
    observed(&mut page, recommendation, told);
    next(&mut page, recommendation, told);
    page.finish()
}

fn changes(recommendation: &Recommendation) -> impl Iterator<Item = &Row> {
    recommendation
        .states
        .iter()
        .filter(|row| row.change != Change::Keep)
}

fn headline(page: &mut Page, recommendation: &Recommendation) {
    let size = &recommendation.size;
    let only = |row: &Row| {
        let mine = recommendation
            .targets
            .iter()
            .filter(|trouble| trouble.timeout == row.timer.name());
        let to: Vec<&str> = mine.map(|trouble| trouble.to.as_str()).collect();
        match row.change {
            Change::Target => format!(" for {} alone", to.join(" and ")),
            _ => String::new(),
        }
    };
    let named = changes(recommendation).map(|row| format!("{}{}", step(row), only(row)));
    let named: Vec<String> = named.collect();
    let mut sizes = Vec::new();
    if let Some(max) = size.recommended_max {
        sizes.push(format!("nf_conntrack_max to {}", whole(max as f64)));
    }
    if recommendation.states.is_empty() {
        let text = format!(": no entry was met in {:.0} s.", recommendation.observed.secs);
        return page.accent("", "Nothing was seen", &text, Paint::Yellow);
    }
    if named.is_empty() && sizes.is_empty() {
        let why = match recommendation.observe_s {
            Some(_) => "what was seen asks for no change, and leaves some of it open",
            None => "what was seen asks for no change",
        };
        return page.accent("", "Keep it as it is", &format!(": {why}."), Paint::Green);
    }
    page.accent(
        "",
        "Set",
        &format!(" {}.", [named, sizes].concat().join(", ")),
        Paint::Yellow,
    );
    let cut: u64 = changes(recommendation).map(|row| row.price.cut).sum();
    let of: u64 = changes(recommendation).map(|row| row.price.of).sum();
    let share = |entries: f64| {
        let limit = size.max.filter(|max| *max > 0);
        limit.map_or(String::new(), |max| {
            format!(" ({})", percent(entries / max as f64))
        })
    };
    let price = match of {
        0 => "; what it would have cut off was not measured".to_string(),
        _ => format!(
            "; of {} stays and silences that were measured this would have cut off {}",
            whole(of as f64),
            whole(cut as f64)
        ),
    };
    let text = format!(
        "In the long run {}{} entries become {}{} at the observed rate{price}.",
        whole(size.heading_for),
        share(size.heading_for),
        whole(size.recommended_for),
        share(size.recommended_for)
    );
    page.text("  ", &text, Paint::Plain);
}

/// `syn_sent 120 -> 10 s`
fn step(row: &Row) -> String {
    let secs = |secs: Option<u32>| secs.map_or("?".to_string(), |secs| whole(f64::from(secs)));
    format!(
        "{} {} -> {} s",
        row.timer.name(),
        secs(row.now_s),
        secs(row.recommended_s)
    )
}

fn table(rows: &[Row]) -> String {
    let titles = [
        ("timeout", Align::Left),
        ("now", Align::Right),
        ("then", Align::Right),
        ("in/s", Align::Right),
        ("p50", Align::Right),
        ("p99", Align::Right),
        ("p99.9", Align::Right),
        ("longest", Align::Right),
        ("timed out", Align::Right),
        ("entries", Align::Right),
        ("then", Align::Right),
    ];
    let none = || "-".to_string();
    let cells = rows.iter().map(|row| {
        let live = match row.timer.is_renewed() {
            true => row.silences_s,
            false => row.moved_s,
        };
        let quantile = |of: fn(&Quantiles) -> f64| live.as_ref().map_or_else(none, |live| brief(of(live)));
        let star = if row.change == Change::Target { "*" } else { "" };
        vec![
            row.timer.name().to_string(),
            row.now_s.map_or_else(none, age),
            row.recommended_s
                .map_or_else(none, |secs| format!("{}{star}", age(secs))),
            row.arrivals_per_s.map_or_else(none, rate),
            quantile(|live| live.p50),
            quantile(|live| live.p99),
            quantile(|live| live.p999),
            quantile(|live| live.max),
            row.by_timeout.map_or_else(none, percent),
            compact(row.fill.now),
            compact(row.fill.then),
        ]
    });
    columns(&titles, &cells.collect::<Vec<_>>(), 1)
}

/// `4ms`, `1.2s`, `35s`, `2.1h`.
fn brief(secs: f64) -> String {
    match secs {
        s if s < 0.9995 => format!("{:.0}ms", (s * 1000.0).max(1.0)),
        s if s < 9.95 => format!("{s:.1}s"),
        s => age(s as u32),
    }
}

fn why(page: &mut Page, recommendation: &Recommendation) {
    let (changed, kept): (Vec<&Row>, Vec<&Row>) = recommendation
        .states
        .iter()
        .partition(|row| row.change != Change::Keep);
    if !changed.is_empty() {
        page.heading("Why");
    }
    for row in changed {
        page.item(&format!("{}: {}", step(row), row.because), Paint::Plain);
        if !row.because.contains(&row.floor_source) {
            page.text(
                "      floor ",
                &format!("{} s: {}", row.floor_s, row.floor_source),
                Paint::Dim,
            );
        }
        page.text("      price ", &price(row), Paint::Plain);
        if let Some(below) = row.below {
            page.text("      below ", below, Paint::Yellow);
        }
    }
    if !recommendation.targets.is_empty() {
        page.heading("* Only for");
        for trouble in &recommendation.targets {
            let text = format!(
                "{}: {} entries, {} {} -> {} s; all others keep what they have",
                trouble.to,
                whole(trouble.entries),
                trouble.timeout,
                trouble.now_s,
                trouble.secs
            );
            page.item(&text, Paint::Plain);
        }
    }
    if !kept.is_empty() {
        page.heading("Kept");
    }
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in kept {
        match reasons.iter_mut().find(|(because, _)| *because == row.because) {
            Some((_, names)) => names.push(row.timer.name()),
            None => reasons.push((&row.because, vec![row.timer.name()])),
        }
    }
    for (because, names) in reasons {
        page.item(&format!("{}: {because}", names.join(", ")), Paint::Plain);
    }
    if !recommendation.unseen.is_empty() {
        page.text("  not seen: ", &recommendation.unseen.join(", "), Paint::Dim);
    }
}

fn price(row: &Row) -> String {
    let price = &row.price;
    if price.of == 0 {
        return "not measured".to_string();
    }
    let mut out = format!(
        "{} of {} would have been cut",
        whole(price.cut as f64),
        whole(price.of as f64)
    );
    if !price.to.is_empty() {
        let named = price.to.iter().map(|(place, n)| format!("{place} ({n})"));
        out.push_str(&format!(": {}", named.collect::<Vec<_>>().join(", ")));
    }
    if let Some(most) = price.most_per_hour {
        out.push_str(&format!("; at most {} an hour (95 %)", whole(most.ceil())));
    }
    out
}

fn observed(page: &mut Page, recommendation: &Recommendation, told: Told) {
    let seen = &recommendation.observed;
    page.heading("Observed");
    page.item(
        &format!(
            "{:.0} s, readings: {}; {} events in {:.0} s of listening, {} lost",
            seen.secs,
            seen.readings,
            whole(seen.events as f64),
            seen.heard_secs,
            whole(seen.lost as f64)
        ),
        Paint::Plain,
    );
    for note in &recommendation.notes {
        page.item(note, Paint::Yellow);
    }
    for gap in &told.report.gaps {
        page.item(&format!("not seen: {}: {}", gap.source, gap.reason), Paint::Dim);
    }
}

fn next(page: &mut Page, recommendation: &Recommendation, told: Told) {
    page.heading("Next");
    let file = told.recorded.map(str::to_string);
    let source = match (told.from.is_empty(), &file) {
        (false, _) => Some(format!("--from {}", told.from)),
        (true, Some(file)) => Some(format!("--from {file}")),
        (true, None) => None,
    };
    if let Some(secs) = recommendation.observe_s.filter(|_| told.from.is_empty()) {
        let window = match secs {
            s if s < 7_200.0 => format!("{:.0}m", (s / 60.0).ceil().max(1.0)),
            s => format!("{:.0}h", (s / 3_600.0).ceil()),
        };
        page.again(
            "  ",
            &format!("ctlens recommend --window {window} --record seen.pcapng.zst"),
        );
        page.text("    ", "to tell what this could not", Paint::Dim);
    }
    let changes = changes(recommendation).next().is_some() || !recommendation.profile.is_empty();
    match source {
        Some(source) if changes => {
            page.lines(&format!(
                "  $ ctlens recommend {source} --format json > profile.json\n"
            ));
            page.lines(&format!("  $ ctlens simulate {source} --profile profile.json\n"));
            page.again("  ", "ctlens apply profile.json");
        }
        None if changes => {
            page.again(
                "  ",
                "ctlens recommend --record seen.pcapng.zst --format json > profile.json",
            );
            page.lines("  $ ctlens simulate --from seen.pcapng.zst --profile profile.json\n");
            page.again("  ", "ctlens apply profile.json");
        }
        _ => page.again("  ", "ctlens watch"),
    }
}
