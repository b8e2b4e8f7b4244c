//! `apply` and `rollback` as text, and as a document.

use serde::Serialize;

use super::columns::{Align, columns};
use super::json::document;
use super::page::Page;
use super::style::{Paint, Style};
use crate::diagnose::whole;

pub const APPLY_SCHEMA: &str = "ctlens.apply/1";

/// One setting, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingChange {
    pub name: String,
    pub now: String,
    pub then: String,
}

/// What became of held entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flushed {
    pub held: u64,
    /// Deleted, or shortened.
    pub done: u64,
    /// Gone, or no longer in that state, when their turn came.
    pub changed: u64,
    pub refused: u64,
    /// It was stopped before.
    pub left: u64,
}

#[derive(Serialize)]
pub struct Applied<'a> {
    pub changes: &'a [SettingChange],
    /// Already in force.
    pub same: &'a [String],
    pub policies: Option<&'a str>,
    /// The file for the next boot.
    pub persists: Option<&'a str>,
    /// Held entries that were found; `None`: nobody asked.
    pub held: Option<u64>,
    #[serde(skip)]
    pub more_held: bool,
    /// They are not deleted, but expire in so many seconds.
    #[serde(skip)]
    pub shorten_secs: Option<u32>,
    /// planned, dry-run, nothing, kept, rolled-back
    pub outcome: &'static str,
    pub because: String,
    pub flushed: Option<Flushed>,
}

impl Applied<'_> {
    /// Something beside entries is to be written.
    fn writes(&self) -> bool {
        !self.changes.is_empty() || self.policies.is_some() || self.persists.is_some()
    }
}

#[derive(Serialize)]
struct Doc<'a> {
    schema: &'static str,
    #[serde(flatten)]
    applied: &'a Applied<'a>,
}

pub fn apply_json(applied: &Applied) -> String {
    document(&Doc {
        schema: APPLY_SCHEMA,
        applied,
    })
}

/// Before anything is done.
pub fn apply_text(applied: &Applied, style: &Style) -> String {
    let mut page = Page::new(style);
    if !applied.writes() && applied.held.is_none_or(|held| held == 0) {
        let text = match applied.held {
            Some(_) => "no entry is held for certain, and all settings are in force already.",
            None => "all of it is in force already.",
        };
        page.accent("", "Nothing to do", &format!(": {text}"), Paint::Green);
        return page.finish();
    }
    if !applied.changes.is_empty() {
        let rows = applied.changes.iter().map(|change| {
            let cells = [&change.name, &change.now, &change.then];
            cells.map(String::clone).to_vec()
        });
        let titles = [
            ("setting", Align::Left),
            ("now", Align::Right),
            ("then", Align::Right),
        ];
        page.lines(&columns(&titles, &rows.collect::<Vec<_>>(), 2));
        page.heading("That is");
        for change in applied.changes {
            page.command("  ", &format!("sysctl -w {}={}", change.name, change.then));
        }
        if applied.changes.iter().any(lowered) && applied.held.is_none() {
            page.text(
                "  ",
                "Entries that are there keep their time: they drain over one old timeout. --flush-held deletes those that \
                 nobody waits for.",
                Paint::Dim,
            );
        }
    }
    for name in applied.same {
        page.text("  in force already: ", name, Paint::Dim);
    }
    if let Some(text) = applied.policies {
        page.heading("Loaded by nft -f (table inet ctlens, and nothing else)");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            page.lines(&format!("  {}\n", line.replace('\t', "  ")));
        }
    }
    for_next_boot(&mut page, applied);
    if let Some(held) = applied.held {
        page.gap();
        let how = match applied.shorten_secs {
            Some(secs) => format!("will expire in {secs} s"),
            None => "will be deleted, each by its whole tuple".to_string(),
        };
        let more = if applied.more_held { "; there are more" } else { "" };
        let text = format!(
            ": {} entries that nobody waits for {how}{more}.",
            whole(held as f64)
        );
        page.accent("", "Held", &text, Paint::Yellow);
    }
    page.finish()
}

fn for_next_boot(page: &mut Page, applied: &Applied) {
    let Some(file) = applied.persists else {
        return;
    };
    page.gap();
    page.accent(
        "",
        "For the next boot",
        &format!(": {file}, once it is kept."),
        Paint::Plain,
    );
    if applied.policies.is_some() {
        let text = "Policies are not in that file: ctlens recommend --format nft gives what nft -f loads.";
        page.text("  ", text, Paint::Yellow);
    }
}

fn lowered(change: &SettingChange) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    change.name.contains("timeout")
        && number(&change.now)
            .zip(number(&change.then))
            .is_some_and(|(now, then)| then < now)
}

/// Afterwards.
pub fn applied_text(applied: &Applied, style: &Style) -> String {
    let mut page = Page::new(style);
    match applied.outcome {
        "kept" => page.accent("", "Kept", &format!(": {}.", applied.because), Paint::Green),
        _ => page.accent("", "Taken back", &format!(": {}.", applied.because), Paint::Red),
    }
    if let Some(flushed) = applied.flushed {
        let what = match applied.shorten_secs {
            Some(secs) => format!("expire within {secs} s"),
            None => "are deleted".to_string(),
        };
        let text = format!(
            "{} of {} held entries {what}; {} had changed meanwhile and stay{}{}.",
            whole(flushed.done as f64),
            whole(flushed.held as f64),
            whole(flushed.changed as f64),
            match flushed.refused {
                0 => String::new(),
                refused => format!("; {} were refused", whole(refused as f64)),
            },
            match flushed.left {
                0 => String::new(),
                left => format!("; stopped before {} more", whole(left as f64)),
            }
        );
        page.text("", &text, Paint::Plain);
    }
    if applied.outcome == "kept" && applied.writes() {
        page.again("Undo: ", "ctlens rollback");
    }
    page.again("Next: ", "ctlens status");
    page.finish()
}

/// What is to be restored.
pub fn rollback_text(time: &str, lines: &[String]) -> String {
    let mut page = Page::new(&Style::default());
    page.text("", &format!("Applied at {time}; to be restored:"), Paint::Plain);
    for line in lines {
        page.item(line, Paint::Plain);
    }
    page.finish()
}
