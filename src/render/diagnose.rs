//! `diagnose` as text: the answer first, then what to do, then the proof.

use super::figures::{bounds, percent};
use super::page::Page;
use super::style::{Paint, Style};
use super::verdict::{coded, gaps_by_remedy, is_elsewhere, list_command, missed, opening, paint, read};
use crate::diagnose::{
    Cause, EvidenceItem, FindingDoc, FindingState, Fix, Lean, Other, Report, Trigger, count, either, listed,
    whole,
};
use crate::evidence::Table;
use crate::model::Estimate;

pub fn diagnose_text(report: &Report, style: &Style) -> String {
    let mut page = Page::new(style);
    let verdict = &report.verdict;
    opening(&mut page, verdict);
    if let Some(lean) = &verdict.leans_to {
        settle(&mut page, lean);
    }
    if let Some(trigger) = &verdict.trigger {
        set_off(&mut page, verdict.cause, trigger);
    }
    others(&mut page, &verdict.others);
    fixes(&mut page, &verdict.fix_first);
    evidence(&mut page, &verdict.evidence);
    refuted_by(&mut page, report);
    ruled_out(&mut page, report);
    not_judged(&mut page, report);
    dead_settings(&mut page, report);
    gaps(&mut page, report);
    looked_at(&mut page, report);
    next(&mut page, report);
    page.finish()
}

fn settle(page: &mut Page, lean: &Lean) {
    page.heading("This would settle it");
    page.command("  ", &lean.settle);
}

fn set_off(page: &mut Page, cause: Cause, trigger: &Trigger) {
    let who = match cause {
        Cause::SynRecvHold => "who leaves handshakes unfinished",
        Cause::TableFull => "who sets it off",
        _ => "who leaves the SYNs unanswered",
    };
    page.heading(&format!("Trigger: {who}"));
    let at = match trigger.place.as_slice() {
        [] => String::new(),
        places => format!(" at {}", places.join(", ")),
    };
    let sure = format!("confidence {:.2}", trigger.confidence);
    let side = trigger.side.name().to_uppercase();
    let rest = match &trigger.leans_to {
        Some(lean) => {
            let causes: Vec<String> = lean.causes.iter().map(|cause| coded(*cause)).collect();
            format!("{at}, {sure}: leans to {}", either(&causes))
        }
        None => format!(": {}{at}, {sure}", coded(trigger.cause)),
    };
    page.accent("  ", &side, &rest, paint(trigger.side));
    page.text("  ", &trigger.because, Paint::Plain);
    if let Some(lean) = &trigger.leans_to {
        page.text("  ", "This would settle it:", Paint::Plain);
        page.command("    ", &lean.settle);
    }
}

/// Faults beside the bottleneck and its trigger, each with what to type for it.
fn others(page: &mut Page, others: &[Other]) {
    if others.is_empty() {
        return;
    }
    page.heading("Also found, gravest first");
    for other in others {
        let explains = match other.entries_explained {
            Some(entries) => format!(", explains {} entries", whole(entries)),
            None => String::new(),
        };
        let rest = format!(
            ": {}, confidence {:.2}{explains}",
            coded(other.cause),
            other.confidence
        );
        page.accent("  ", &other.side.name().to_uppercase(), &rest, paint(other.side));
        page.text("  ", &other.headline, Paint::Plain);
        if let Some(command) = other.fix_first.iter().find_map(|fix| fix.command.as_deref()) {
            page.command("  ", command);
        }
    }
}

/// What would show that the verdict is wrong, and whether that was looked for.
fn refuted_by(page: &mut Page, report: &Report) {
    let verdict = report
        .findings
        .iter()
        .find(|finding| finding.name == report.verdict.cause);
    let Some((finding, seen)) = verdict.and_then(|finding| Some((finding, finding.refutes_seen.as_ref()?)))
    else {
        return;
    };
    let how = match finding.refutes_looked_for {
        Some(true) => "looked for",
        _ => "not looked for",
    };
    page.gap();
    page.text(
        "",
        &format!("Would refute it: {} ({how}: {seen}).", finding.refutes),
        Paint::Plain,
    );
}

/// Rules whose facts were not seen. What the verdict leans to is told above.
fn not_judged(page: &mut Page, report: &Report) {
    let verdict = &report.verdict;
    let leans = |cause: Cause| {
        verdict
            .leans_to
            .as_ref()
            .is_some_and(|lean| lean.causes.contains(&cause))
    };
    let unknown = |finding: &&FindingDoc| finding.state == FindingState::Unknown && !leans(finding.name);
    let all = report.findings.iter().filter(unknown);
    in_full_or_by_name(
        page,
        "Not judged, for want of facts",
        all.map(|finding| (finding.name, finding.because.as_str())),
    );
}

/// What half-open entries are most often put down to is told in full; of the others, the names.
const USUAL: [Cause; 7] = [
    Cause::SynSentHold,
    Cause::SynRecvHold,
    Cause::TableFull,
    Cause::ListenerOverflow,
    Cause::EphemeralPortsExhausted,
    Cause::BackendUnresponsive,
    Cause::SynFlood,
];

fn in_full_or_by_name<'a>(page: &mut Page, heading: &str, causes: impl Iterator<Item = (Cause, &'a str)>) {
    let (usual, rest): (Vec<_>, Vec<_>) = causes.partition(|(cause, _)| USUAL.contains(cause));
    if usual.is_empty() && rest.is_empty() {
        return;
    }
    page.heading(heading);
    for (cause, because) in &usual {
        page.item(&format!("{}: {because}", cause.name()), Paint::Dim);
    }
    let names: Vec<String> = rest.iter().map(|(cause, _)| cause.name().to_string()).collect();
    if !names.is_empty() {
        let before = if usual.is_empty() { "" } else { "and " };
        page.item(
            &format!("{before}{} (--format json says why)", listed(&names)),
            Paint::Dim,
        );
    }
}

fn fixes(page: &mut Page, fixes: &[Fix]) {
    if fixes.is_empty() {
        return;
    }
    page.heading("Fix first");
    for (index, fix) in fixes.iter().enumerate() {
        page.text(&format!("  {}. ", index + 1), &fix.what, Paint::Plain);
        if let Some(command) = &fix.command {
            page.command("     ", command);
        }
        page.text("     ", &fix.effect, Paint::Dim);
    }
}

/// What rules could not examine is told in a section of its own.
const NOT_EXAMINED: &str = "not-examined";

fn evidence(page: &mut Page, items: &[EvidenceItem]) {
    let items = items.iter().filter(|item| item.id != NOT_EXAMINED);
    let against = items.clone().any(|item| !item.supports);
    let mut some = false;
    for item in items {
        if !some {
            page.heading(if against {
                "Evidence (+ for, - against)"
            } else {
                "Evidence"
            });
        }
        some = true;
        page.text(
            if item.supports { "  + " } else { "  - " },
            &with_bounds(item),
            Paint::Plain,
        );
    }
}

/// The text names the figure; the bounds of an estimate stand behind it.
fn with_bounds(item: &EvidenceItem) -> String {
    let (Some(value), Some(low), Some(high)) = (item.value, item.low, item.high) else {
        return item.text.clone();
    };
    let figure = Estimate { value, low, high };
    // Bounds of a share are for programs: as whole figures they would say nothing.
    if figure.high - figure.low < 1.0 {
        return item.text.clone();
    }
    let named = count(figure);
    match item.text.find(&named) {
        Some(at) => {
            let (head, tail) = item.text.split_at(at + named.len());
            format!("{head} {}{tail}", bounds(figure))
        }
        None => format!("{} {}", item.text, bounds(figure)),
    }
}

fn ruled_out(page: &mut Page, report: &Report) {
    let all = report.verdict.ruled_out.iter();
    // Where nothing is wrong nobody asks why it is not this or that.
    if report.verdict.cause == Cause::None {
        let names: Vec<String> = all.map(|out| out.cause.name().to_string()).collect();
        if !names.is_empty() {
            page.heading("Ruled out (--format json says why)");
            page.item(&listed(&names), Paint::Dim);
        }
        return;
    }
    in_full_or_by_name(
        page,
        "Ruled out",
        all.map(|out| (out.cause, out.because.as_str())),
    );
}

fn dead_settings(page: &mut Page, report: &Report) {
    if report.dead_settings.is_empty() {
        return;
    }
    page.heading("Settings that do nothing, or harm");
    for dead in &report.dead_settings {
        let setting = format!("{} = {}", dead.name, dead.value);
        page.item(&format!("{setting} ({}): {}", dead.file, dead.why), Paint::Plain);
    }
}

fn gaps(page: &mut Page, report: &Report) {
    if report.gaps.is_empty() {
        return;
    }
    page.heading("Could not be seen");
    for (remedy, sources) in gaps_by_remedy(report) {
        for (source, reason) in sources {
            page.item(&missed(source, reason), Paint::Plain);
        }
        page.remedy(remedy);
    }
}

fn looked_at(page: &mut Page, report: &Report) {
    page.heading("Looked at");
    match &report.table {
        Some(table) => page.text("  ", &table_figures(table), Paint::Dim),
        None => page.text("  ", "the table's size is not known", Paint::Dim),
    }
    let counters = match (report.window_s > 0.0, report.counters.is_some()) {
        (true, true) => format!("counters watched for {:.1} s", report.window_s),
        (true, false) => format!("counters not read, in a window of {:.1} s", report.window_s),
        (false, true) => {
            "counters are totals since boot, so rules that need a rise are unknown (--window 2s)".into()
        }
        (false, false) => "no counter was watched, so rules that need a rise are unknown".to_string(),
    };
    page.text("  ", &counters, Paint::Dim);
    let host = [
        report
            .host
            .kernel
            .as_ref()
            .map(|kernel| format!("kernel {kernel}")),
        report
            .host
            .netns
            .as_ref()
            .map(|netns| format!("network namespace {netns}")),
        report.taken.clone(),
    ];
    let host: Vec<String> = host.into_iter().flatten().collect();
    if !host.is_empty() {
        page.text("  ", &host.join(", "), Paint::Dim);
    }
}

/// `6,258 of 262,144 entries (2.4 % full); read: all 6,248 over ctnetlink`
fn table_figures(table: &Table) -> String {
    let size = match (table.count, table.max) {
        (Some(count), Some(max)) => format!("{} of {} entries", whole(count as f64), whole(max as f64)),
        (Some(count), None) => format!("{} entries, the limit is not known", whole(count as f64)),
        (None, Some(max)) => format!(
            "a limit of {} entries, their count is not known",
            whole(max as f64)
        ),
        (None, None) => "the table's size is not known".to_string(),
    };
    let fill = table
        .fill
        .map_or(String::new(), |fill| format!(" ({} full)", percent(fill)));
    format!("{size}{fill}; {}", read(table))
}

fn next(page: &mut Page, report: &Report) {
    let verdict = &report.verdict;
    if verdict.leans_to.is_some() {
        return; // what would settle it comes first, and is told above
    }
    page.heading("Next");
    if is_elsewhere(report) {
        page.text("  ", "On the host itself:", Paint::Plain);
        return page.command("  ", "sudo ctlens diagnose");
    }
    let told = |command: &str| {
        verdict
            .fix_first
            .iter()
            .any(|fix| fix.command.as_deref() == Some(command))
    };
    let wanted = [list_command(verdict.cause), Some("ctlens status")];
    for command in wanted.into_iter().flatten().filter(|command| !told(command)) {
        page.again("  ", command);
    }
    if let Some(code) = verdict.cause.code() {
        page.command("  ", &format!("ctlens explain {code}"));
    }
}
