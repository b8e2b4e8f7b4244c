//! `status` as text: the table on one screen.

use super::columns::{Align, columns, widest};
use super::figures::{age, bar, compact, middle, percent, plus_minus, rate};
use super::page::{Page, WIDTH};
use super::style::{Paint, Style};
use super::verdict::{coded, is_elsewhere, missed, opening, read, with_expired};
use crate::diagnose::{Report, Side, whole};
use crate::evidence::{StateRow, Table};
use crate::model::Estimate;

/// Gaps told here; `diagnose` tells all.
const MAX_GAPS: usize = 3;

pub fn status_text(report: &Report, style: &Style) -> String {
    let mut page = Page::new(style);
    opening(&mut page, &report.verdict);
    if let Some(trigger) = report
        .verdict
        .trigger
        .as_ref()
        .filter(|t| t.side != Side::Undecided)
    {
        let at = match trigger.place.as_slice() {
            [] => String::new(),
            places => format!(" at {}", places.join(", ")),
        };
        page.item(&format!("Trigger: {}{at}", coded(trigger.cause)), Paint::Plain);
    }
    page.gap();
    table(&mut page, report.table.as_ref());
    match &report.states {
        Some(rows) if rows.is_empty() => page.text("       ", "no entries", Paint::Plain),
        Some(rows) => {
            page.gap();
            page.lines(&states(rows));
        }
        None => no_rows(&mut page, report),
    }
    counters(&mut page, report);
    gaps(&mut page, report);
    page.gap();
    match (&report.verdict.leans_to, report.verdict.bottleneck) {
        (Some(lean), _) => page.command("Next: ", &lean.settle),
        _ if is_elsewhere(report) => page.command("Next: ", "sudo ctlens diagnose   # on the host itself"),
        (_, Side::None) => page.again("Next: ", "ctlens list --top dst:dport"),
        _ => page.again("Next: ", "ctlens diagnose"),
    }
    page.finish()
}

fn table(page: &mut Page, table: Option<&Table>) {
    let Some(table) = table else {
        return page.text("Table  ", "its size is not known", Paint::Plain);
    };
    let fill = table.fill.map_or(String::new(), |fill| {
        format!("{} {} full, ", bar(fill), percent(fill))
    });
    let size = match (table.count, table.max) {
        (Some(count), Some(max)) => format!("{} of {} entries", whole(count as f64), whole(max as f64)),
        (Some(count), None) => format!("{} entries, limit not known", whole(count as f64)),
        (None, Some(max)) => format!("limit {}, count not known", whole(max as f64)),
        (None, None) => "count and limit not known".to_string(),
    };
    page.text("Table  ", &format!("{fill}{size}"), Paint::Plain);
    let mut more = Vec::new();
    if let Some(buckets) = table.buckets {
        more.push(format!("{} buckets", whole(buckets as f64)));
    }
    if let Some(chain) = table.mean_chain {
        more.push(match chain {
            chain if chain > 0.0 && chain < 0.005 => "mean chain <0.01".to_string(),
            chain => format!("mean chain {chain:.2} (all namespaces)"),
        });
    }
    if !more.is_empty() {
        page.text("       ", &more.join(", "), Paint::Plain);
    }
    match table.sampled_of {
        Some(of) => {
            let text = format!(
                "a sample of {} of {} entries (+- at 95 %); --exact reads all",
                whole(table.dumped.unwrap_or(0) as f64),
                whole(of as f64)
            );
            page.text("       ", &text, Paint::Yellow);
            if let Some(text) = with_expired(table) {
                page.text("       ", &text, Paint::Yellow);
            }
        }
        None => page.text("       ", &read_exactly(table), Paint::Dim),
    }
}

/// The pass in words, and why it and `count` differ.
fn read_exactly(table: &Table) -> String {
    let mut text = read(table);
    if let (Some(count), Some(dumped)) = (table.count, table.dumped)
        && table.source != Some("pasted")
    {
        let differ = whole(count.abs_diff(dumped) as f64);
        if count > dumped {
            text.push_str(&format!(
                "; count has {differ} more: expired entries not yet collected, or gone since"
            ));
        } else if count < dumped {
            text.push_str(&format!("; {differ} came after count was read"));
        }
    }
    if let Some(bad) = table.malformed.filter(|bad| *bad > 0) {
        text.push_str(&format!("; {} could not be decoded", whole(bad as f64)));
    }
    text
}

fn states(rows: &[StateRow]) -> String {
    let sampled = rows.iter().any(|row| !row.entries.is_exact());
    let full = state_columns(rows, sampled, middle);
    if widest(&full) <= WIDTH {
        return full;
    }
    state_columns(rows, sampled, |value| compact(value.value))
}

fn state_columns(rows: &[StateRow], sampled: bool, figure: fn(Estimate) -> String) -> String {
    let mut titles = vec![("state", Align::Left), ("entries", Align::Right)];
    if sampled {
        titles.push(("+-", Align::Right));
    }
    titles.extend(["share", "timeout", "new/s", "median", "oldest", "evictable"].map(|t| (t, Align::Right)));
    let none = || "-".to_string();
    let cells = rows.iter().map(|row| {
        let name = match &row.state {
            Some(state) => format!("{} {state}", row.proto),
            None => row.proto.clone(),
        };
        let mut cells = vec![name, figure(row.entries)];
        if sampled {
            cells.push(plus_minus(row.entries));
        }
        let at_least = if row.oldest_at_least { ">=" } else { "" };
        cells.extend([
            percent(row.share),
            row.timeout_s.map_or_else(none, |secs| format!("{secs}s")),
            row.new_per_s
                .map_or_else(none, |estimate| rate(estimate.rounded().value)),
            row.median_s.map_or_else(none, age),
            row.oldest_s
                .map_or_else(none, |secs| format!("{at_least}{}", age(secs))),
            figure(row.evictable),
        ]);
        cells
    });
    let cells: Vec<_> = cells.collect();
    let roomy = columns(&titles, &cells, 2);
    if widest(&roomy) <= WIDTH {
        roomy
    } else {
        columns(&titles, &cells, 1)
    }
}

/// Sources whose refusal leaves no rows.
const ENTRY_SOURCES: [&str; 2] = ["ctnetlink", "/proc/net/nf_conntrack"];

fn no_rows(page: &mut Page, report: &Report) {
    page.gap();
    let mut because = report
        .gaps
        .iter()
        .filter(|gap| ENTRY_SOURCES.contains(&gap.source.as_str()))
        .peekable();
    if because.peek().is_none() {
        page.text("", "No rows per state: the entries were not read.", Paint::Yellow);
    }
    for gap in because {
        let text = format!("No rows per state: {}", missed(&gap.source, &gap.reason));
        page.text("", &text, Paint::Yellow);
        page.text("  -> ", &gap.remedy, Paint::Plain);
    }
}

/// Damage first, in the order of how much it hurts; the last ones are no damage.
const COUNTERS: [(&str, Paint); 10] = [
    ("drop", Paint::Red),
    ("early_drop", Paint::Red),
    ("insert_failed", Paint::Red),
    ("invalid", Paint::Yellow),
    ("error", Paint::Yellow),
    ("chaintoolong", Paint::Red),
    ("clash_resolve", Paint::Plain),
    ("search_restart", Paint::Plain),
    ("found", Paint::Plain),
    ("insert", Paint::Plain),
];

fn counters(page: &mut Page, report: &Report) {
    page.gap();
    let Some(counters) = &report.counters else {
        return page.text("Counters  ", "not read", Paint::Plain);
    };
    let watched = report.window_s > 0.0;
    let lead = if watched {
        format!("Counters in {:.1} s: ", report.window_s)
    } else {
        "Counters since boot (totals say nothing about now): ".to_string()
    };
    let known = COUNTERS
        .iter()
        .filter_map(|(name, paint)| Some((*name, *paint, *counters.get(name)?)));
    let (zero, risen): (Vec<_>, Vec<_>) = known.partition(|(.., n)| *n == 0);
    let mut line = lead.clone();
    let mut width = lead.len();
    for (index, (name, paint, n)) in risen.iter().enumerate() {
        let comma = if index + 1 < risen.len() { ", " } else { "" };
        let text = format!("{name} {}", whole(*n as f64));
        if width + text.len() + comma.trim_end().len() > WIDTH {
            line.truncate(line.trim_end().len());
            line.push_str("\n  ");
            width = 2;
        }
        width += text.len() + comma.len();
        line.push_str(&page.paint(if watched { *paint } else { Paint::Plain }, &text));
        line.push_str(comma);
    }
    if risen.is_empty() {
        line.push_str(if watched { "none rose" } else { "all zero" });
    }
    line.push('\n');
    page.lines(&line);
    let zero = zero.iter().filter(|(_, paint, _)| *paint != Paint::Plain);
    let names: Vec<&str> = zero.map(|(name, ..)| *name).collect();
    if !names.is_empty() {
        page.text("  ", &format!("zero: {}", names.join(", ")), Paint::Dim);
    }
}

fn gaps(page: &mut Page, report: &Report) {
    let told = |source: &str| report.states.is_none() && ENTRY_SOURCES.contains(&source);
    let gaps: Vec<_> = report.gaps.iter().filter(|gap| !told(&gap.source)).collect();
    if gaps.is_empty() {
        return;
    }
    page.gap();
    for gap in gaps.iter().take(MAX_GAPS) {
        page.text("Not seen: ", &missed(&gap.source, &gap.reason), Paint::Dim);
    }
    if gaps.len() > MAX_GAPS {
        let more = gaps.len() - MAX_GAPS;
        page.text(
            "Not seen: ",
            &format!("{more} more; ctlens diagnose tells all, with remedies"),
            Paint::Dim,
        );
    }
}
