//! Truth against verdict: every look of a run, the holder and the trigger scored apart.
//!
//! A look whose facts tell no more is expected to be `undecided`; that never counts as right.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libtest_mimic::Trial;

/// What is scored of a look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scored {
    /// Who holds the pile-up, or who fails.
    Holder,
    Trigger,
}

/// The truth of a trigger that no cause names: what this host cannot see.
const OUT_OF_SIGHT: &str = "out of sight";
const UNDECIDED: &str = "undecided";
const NONE: &str = "none";

struct Look {
    scored: Scored,
    truth: String,
    verdict: String,
    /// Its name: `<true cause>/<variant>/<family>/<rate>`.
    scenario: String,
    needs_machine: bool,
}

#[derive(Default)]
struct Matrix {
    looks: Vec<Look>,
    /// Scenarios that this machine does not let be built, and why not.
    skipped: BTreeMap<String, String>,
}

static RUN: Mutex<Matrix> = Mutex::new(Matrix {
    looks: Vec::new(),
    skipped: BTreeMap::new(),
});

thread_local! {
    /// Each scenario runs in a thread; this is the one of this thread, and whether it may change the machine's limits.
    static SCENARIO: RefCell<(String, bool)> = const { RefCell::new((String::new(), false)) };
}

fn run() -> MutexGuard<'static, Matrix> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is scored in this thread from here on is this scenario's.
pub fn begin(scenario: &str) {
    SCENARIO.set((scenario.to_string(), false));
}

/// The scenario of this thread may have to change a limit of the whole machine.
pub fn needs_machine() {
    SCENARIO.with_borrow_mut(|scenario| scenario.1 = true);
}

pub fn skipped(scenario: &str, why: &str) {
    run().skipped.insert(scenario.to_string(), why.to_string());
}

/// One answer beside what is expected; `none` for no trigger.
pub fn score(scored: Scored, expected: &str, verdict: &str) {
    let (scenario, needs_machine) = SCENARIO.with_borrow(Clone::clone);
    run().looks.push(Look {
        scored,
        truth: truth(scored, expected, &scenario).to_string(),
        verdict: verdict.to_string(),
        scenario,
        needs_machine,
    });
}

/// Nothing is in truth undecided: then the scenario's name tells what it built.
fn truth<'a>(scored: Scored, expected: &'a str, scenario: &'a str) -> &'a str {
    match scored {
        _ if expected != UNDECIDED => expected,
        Scored::Holder => scenario.split('/').next().unwrap_or(expected),
        Scored::Trigger => OUT_OF_SIGHT,
    }
}

/// In one line each: how many looks are on the diagonal, how many healthy hosts were accused, what was not built.
pub fn summary() -> String {
    let run = run();
    let mut out = run.summary();
    for (scenario, why) in &run.skipped {
        let _ = write!(out, "\nskipped: {scenario}: {why}");
    }
    out
}

impl Matrix {
    fn of(&self, scored: Scored) -> impl Iterator<Item = &Look> {
        self.looks.iter().filter(move |look| look.scored == scored)
    }

    fn diagonal(&self, scored: Scored) -> String {
        let tally = Tally::of(self.of(scored));
        let mut out = format!("{} of {} on the diagonal", tally.right, tally.all());
        if tally.undecided > 0 {
            let _ = write!(out, ", {} undecided", tally.undecided);
        }
        out
    }

    fn summary(&self) -> String {
        let healthy = Tally::of(self.of(Scored::Holder).filter(|look| look.truth == NONE));
        format!(
            "holder: {}; trigger: {}; false alarms: {} in {} healthy looks",
            self.diagonal(Scored::Holder),
            self.diagonal(Scored::Trigger),
            healthy.all() - healthy.right,
            healthy.all()
        )
    }

    /// Rows truth, columns how it was answered. A square of so many causes would be nearly all zeros: a row names the
    /// wrong verdicts instead.
    fn table(&self) -> String {
        let mut out = String::new();
        for (scored, heading) in [
            (Scored::Holder, "who holds it, or fails"),
            (Scored::Trigger, "what set it off"),
        ] {
            let mut rows: BTreeMap<&str, Vec<&Look>> = BTreeMap::new();
            for look in self.of(scored) {
                rows.entry(&look.truth).or_default().push(look);
            }
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(
                out,
                "| {heading} | scenarios | a second | looks | right | undecided | wrong, as |\n\
                 |---|--:|--:|--:|--:|--:|---|"
            );
            for (truth, looks) in rows {
                let _ = writeln!(out, "{}", row(truth, &looks));
            }
            out.push('\n');
        }
        if self.looks.iter().any(|look| look.needs_machine) {
            out.push_str(FOOTNOTE);
        }
        out
    }
}

const FOOTNOTE: &str = "¹ Built only where a limit of the whole machine is low, or `CTLENS_TEST_GLOBAL=1` lets it be \
                        lowered.\n\n";

fn row(truth: &str, looks: &[&Look]) -> String {
    let tally = Tally::of(looks.iter().copied());
    let scenarios: BTreeSet<&str> = looks.iter().map(|look| look.scenario.as_str()).collect();
    let rates: BTreeSet<u32> = scenarios.iter().filter_map(|name| rate(name)).collect();
    let rates = match (rates.first(), rates.last()) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        (Some(only), _) => only.to_string(),
        _ => String::new(),
    };
    let mark = if looks.iter().all(|look| look.needs_machine) {
        " ¹"
    } else {
        ""
    };
    let name = if truth == OUT_OF_SIGHT {
        truth.to_string()
    } else {
        format!("`{truth}`")
    };
    format!(
        "| {name}{mark} | {} | {rates} | {} | {} | {} | {} |",
        scenarios.len(),
        tally.all(),
        tally.right,
        tally.undecided,
        tally.wrong()
    )
}

/// `…/600-per-s`
fn rate(scenario: &str) -> Option<u32> {
    scenario.rsplit('/').next()?.strip_suffix("-per-s")?.parse().ok()
}

#[derive(Default)]
struct Tally<'a> {
    right: u32,
    undecided: u32,
    /// By what was said instead.
    wrong: BTreeMap<&'a str, u32>,
}

impl<'a> Tally<'a> {
    fn of(looks: impl Iterator<Item = &'a Look>) -> Tally<'a> {
        let mut tally = Tally::default();
        for look in looks {
            match look.verdict.as_str() {
                verdict if verdict == look.truth => tally.right += 1,
                UNDECIDED => tally.undecided += 1,
                verdict => *tally.wrong.entry(verdict).or_default() += 1,
            }
        }
        tally
    }

    fn all(&self) -> u32 {
        self.right + self.undecided + self.wrong.values().sum::<u32>()
    }

    fn wrong(&self) -> String {
        match self.wrong.is_empty() {
            true => "0".to_string(),
            false => {
                let each = self.wrong.iter().map(|(verdict, n)| format!("{n} `{verdict}`"));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// Where README's table stands.
const BEGIN: &str = "<!-- confusion matrix: begin, made by the live tests -->\n";
const END: &str = "<!-- confusion matrix: end -->\n";

/// Into the file that `CTLENS_MATRIX` names, whatever was run and however it ended.
pub fn write(whole: bool) -> Result<(), String> {
    let Some(path) = std::env::var_os("CTLENS_MATRIX") else {
        return Ok(());
    };
    let what = if whole { "" } else { "Not a whole run.\n\n" };
    let text = format!("{what}{}\n\n{}", summary(), run().table());
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
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
    let wanted = format!("\n{}\n\n{}", summary(), run().table());
    let found = &text[begin + BEGIN.len()..end];
    if found.trim() == wanted.trim() {
        return Ok(());
    }
    if std::env::var_os("CTLENS_BLESS").is_some_and(|value| value == "1") {
        let text = format!("{}{BEGIN}{wanted}{}", &text[..begin], &text[end..]);
        return fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    }
    Err(format!(
        "README.md tells another confusion matrix than this run made (CTLENS_BLESS=1 writes it):\n{wanted}"
    ))
}

/// The scoring is itself put to the test: nobody is right who was not.
pub fn trial() -> Trial {
    Trial::test("scaffold/the-matrix-counts-what-came", || {
        let look = |scored, scenario: &str, expected: &str, verdict: &str| Look {
            scored,
            truth: truth(scored, expected, scenario).to_string(),
            verdict: verdict.to_string(),
            scenario: scenario.to_string(),
            needs_machine: scenario.starts_with("table-full"),
        };
        let (held, open) = (
            "syn-flood/server/ipv4/150-per-s",
            "syn-flood/closed-port/ipv6/600-per-s",
        );
        let matrix = Matrix {
            looks: vec![
                look(Scored::Holder, held, "syn-flood", "syn-flood"),
                look(Scored::Holder, held, "syn-flood", "table-full"),
                look(Scored::Holder, open, UNDECIDED, UNDECIDED),
                look(Scored::Holder, "none/idle/ipv4/0-per-s", NONE, NONE),
                look(Scored::Holder, "none/idle/ipv4/0-per-s", NONE, UNDECIDED),
                look(
                    Scored::Holder,
                    "table-full/drops/ipv4/150-per-s",
                    "table-full",
                    "table-full",
                ),
                look(Scored::Trigger, held, NONE, NONE),
                look(Scored::Trigger, held, UNDECIDED, UNDECIDED),
            ],
            ..Matrix::default()
        };
        assert_eq!(
            matrix.summary(),
            "holder: 3 of 6 on the diagonal, 2 undecided; trigger: 1 of 2 on the diagonal, 1 undecided; \
             false alarms: 1 in 2 healthy looks"
        );
        let table = matrix.table();
        for row in [
            "| `syn-flood` | 2 | 150 to 600 | 3 | 1 | 1 | 1 `table-full` |",
            "| `none` | 1 | 0 | 2 | 1 | 1 | 0 |",
            "| `table-full` ¹ | 1 | 150 | 1 | 1 | 0 | 0 |",
            "| `none` | 1 | 150 | 1 | 1 | 0 | 0 |",
            "| out of sight | 1 | 150 | 1 | 0 | 1 | 0 |",
            FOOTNOTE.trim(),
        ] {
            assert!(table.lines().any(|line| line == row), "{row}\n{table}");
        }
        Ok(())
    })
}
