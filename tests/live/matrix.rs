//! Truth against verdict: every look of a run, the holder and the trigger scored apart.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What is scored of a look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scored {
    /// Who holds the pile-up, or who fails.
    Holder,
    Trigger,
}

type Counts = BTreeMap<(Scored, String, String), u32>;

static LOOKS: Mutex<Counts> = Mutex::new(BTreeMap::new());

/// One answer beside the truth; `none` for no trigger.
pub fn score(scored: Scored, truth: &str, verdict: &str) {
    let mut looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    *looks
        .entry((scored, truth.to_string(), verdict.to_string()))
        .or_default() += 1;
}

/// Where README's table stands.
const BEGIN: &str = "<!-- confusion matrix: begin, made by the live tests -->\n";
const END: &str = "<!-- confusion matrix: end -->\n";

/// In one line: how many looks are on the diagonal, and how many healthy ones were accused.
pub fn summary() -> String {
    let looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |scored: Scored| {
        let rows = looks.iter().filter(move |((s, ..), _)| *s == scored);
        let all: u32 = rows.clone().map(|(_, n)| n).sum();
        let right: u32 = rows
            .filter(|((_, truth, verdict), _)| truth == verdict)
            .map(|(_, n)| n)
            .sum();
        (right, all)
    };
    let healthy = looks
        .iter()
        .filter(|((scored, truth, _), _)| *scored == Scored::Holder && truth == "none");
    let accused: u32 = healthy
        .clone()
        .filter(|((.., verdict), _)| verdict != "none")
        .map(|(_, n)| n)
        .sum();
    let healthy: u32 = healthy.map(|(_, n)| n).sum();
    let ((holder, holders), (trigger, triggers)) = (of(Scored::Holder), of(Scored::Trigger));
    format!(
        "holder: {holder} of {holders} on the diagonal; trigger: {trigger} of {triggers}; \
         false alarms: {accused} in {healthy} healthy looks"
    )
}

/// Rows truth, columns verdict: with this many causes a square would be nearly all zeros, so that a row names only the
/// verdicts that came, and how often.
fn table() -> String {
    let looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = String::from("| what was built | verdict: looks |\n|---|---|\n");
    for (scored, heading) in [(Scored::Holder, "holder"), (Scored::Trigger, "trigger")] {
        let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for ((_, truth, verdict), n) in looks.iter().filter(|((s, ..), _)| *s == scored) {
            rows.entry(truth).or_default().push(format!("{verdict}: {n}"));
        }
        for (truth, verdicts) in rows {
            let _ = writeln!(out, "| {heading} `{truth}` | {} |", verdicts.join(", "));
        }
    }
    out
}

/// Whether README tells what a whole run came to; `CTLENS_BLESS=1` writes it.
pub fn compare() -> Result<(), String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let stands = text
        .find(BEGIN)
        .zip(text.find(END))
        .filter(|(begin, end)| begin < end);
    let Some((begin, end)) = stands else {
        return Err("README.md has no place for the confusion matrix".to_string());
    };
    let wanted = format!("\n{}\n\n{}", summary(), table());
    let found = &text[begin + BEGIN.len()..end];
    if found.trim() == wanted.trim() {
        return Ok(());
    }
    if std::env::var_os("CTLENS_BLESS").is_some_and(|value| value == "1") {
        let text = format!("{}{BEGIN}{wanted}\n{}", &text[..begin], &text[end..]);
        return fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    }
    Err(format!(
        "README.md tells another confusion matrix than this run made (CTLENS_BLESS=1 writes it):\n{wanted}"
    ))
}
