//! The page of a cause as text, and the list of all.

use super::page::Page;
use super::style::{Paint, Style};
use super::verdict::paint;
use crate::diagnose::{CausePage, Part};

/// How the confidence of any finding comes about.
const ARITHMETIC: &str = "Each piece of evidence in a report has a weight in nats (+2.3 makes the odds ten times better); \
                          the weights add up to log-odds, and confidence = 1 / (1 + e^-sum), at most 0.99. Weights are \
                          judgement, stated in the code; gaps and contradictions weigh against.";

pub fn explain_text(page: &CausePage, style: &Style) -> String {
    let mut out = Page::new(style);
    let rest = format!(" ({}), a fault of the {}", page.code, page.side.name());
    out.accent("", page.name.name(), &rest, paint(page.side));
    for section in &page.sections {
        out.heading(section.title);
        for part in &section.parts {
            match part {
                Part::Prose(text) => out.text("  ", &capital(text), Paint::Plain),
                Part::Command(command) => out.command("  ", command),
            }
        }
    }
    out.heading("What would refute it");
    out.text("  ", &capital(page.refutes), Paint::Plain);
    out.heading("How sure");
    out.text("  ", ARITHMETIC, Paint::Dim);
    out.heading("See also");
    for cause in &page.related {
        out.command("  ", &format!("ctlens explain {}", cause.name()));
    }
    out.finish()
}

/// A line for each: code, name, side, and how the page begins.
pub fn causes_text(pages: &[CausePage], style: &Style) -> String {
    let mut out = Page::new(style);
    for page in pages {
        let side = page.side.name();
        let rest = format!("  {:<26}{side}", page.name.name());
        out.accent("", &page.code, &rest, paint(page.side));
        if let Some(Part::Prose(what)) = page.sections.first().and_then(|section| section.parts.first()) {
            out.text("       ", &capital(first_sentence(what)), Paint::Dim);
        }
    }
    out.heading("Next");
    out.command("  ", "ctlens explain CODE");
    out.finish()
}

/// With a capital where it begins with a plain word: not a name, an option or a counter.
fn capital(text: &str) -> String {
    let word = text.split([' ', ',']).next().unwrap_or("");
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '\'');
    match text.chars().next() {
        Some(first) if plain => format!("{}{}", first.to_ascii_uppercase(), &text[first.len_utf8()..]),
        _ => text.to_string(),
    }
}

/// Up to the first full stop or colon that ends a word.
fn first_sentence(text: &str) -> &str {
    let end = [". ", ": "].iter().filter_map(|stop| text.find(stop)).min();
    &text[..end.unwrap_or(text.len())]
}
