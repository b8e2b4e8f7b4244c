//! Runs the real program and asserts on its JSON.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::inside::{run, there};
use crate::lab::Host;
use crate::matrix::{Scored, score};
use crate::pace::until;

/// A look takes the window or the tap, and the reading of a table; beyond this it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// What `ctlens diagnose` said.
#[derive(Debug)]
pub struct Verdict {
    pub exit: i32,
    pub report: Value,
    pub stderr: String,
}

pub fn diagnose(host: &Host) -> Verdict {
    diagnose_with(host, &[])
}

pub fn diagnose_with(host: &Host, more: &[&str]) -> Verdict {
    let arguments = ["diagnose", "--netns", &host.netns, "--format", "json"];
    let (exit, stdout, stderr) = ctlens(&[&arguments, more].concat());
    let report = if stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{stdout}\n{stderr}"))
    };
    Verdict { exit, report, stderr }
}

/// Exit code, stdout and stderr of the program under test.
pub fn ctlens(arguments: &[&str]) -> (i32, String, String) {
    ran(
        Command::new(env!("CARGO_BIN_EXE_ctlens")).args(arguments),
        arguments,
    )
}

/// The same where no file may grow beyond a block: what a full disk is to a recording.
pub fn ctlens_without_room(arguments: &[&str]) -> (i32, String, String) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]);
    ran(shell.arg(env!("CARGO_BIN_EXE_ctlens")).args(arguments), arguments)
}

fn ran(command: &mut Command, arguments: &[&str]) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting ctlens: {error}"));
    let stdout = drained(child.stdout.take());
    let stderr = drained(child.stderr.take());
    let exit = ended(&mut child, arguments);
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader of a pipe does not panic");
    (exit, text(stdout), text(stderr))
}

fn drained(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn ended(child: &mut Child, arguments: &[&str]) -> i32 {
    let called = arguments.join(" ");
    let mut status = None;
    let ended = until(HANGS, || {
        status = child
            .try_wait()
            .unwrap_or_else(|error| panic!("waiting for ctlens {called}: {error}"));
        status.is_some()
    });
    if !ended {
        let _ = child.kill();
        panic!("ctlens {called}: not done after {HANGS:?}");
    }
    status
        .and_then(|status| status.code())
        .unwrap_or_else(|| panic!("ctlens {called}: {status:?}"))
}

impl Verdict {
    /// Who holds the pile-up, or who fails.
    #[track_caller]
    pub fn blames(&self, side: &str, cause: &str) -> &Verdict {
        let got = (self.word("bottleneck"), self.word("cause"));
        score(Scored::Holder, cause, got.1);
        assert_eq!(got, (side, cause), "the verdict{self}");
        let expected = i32::from(cause != "none");
        assert_eq!(self.exit, expected, "the exit code{self}");
        self
    }

    /// Who leaves the SYNs unanswered, and the places named for it.
    #[track_caller]
    pub fn triggered_by(&self, side: &str, cause: &str, place: impl ToString) -> &Verdict {
        let trigger = &self.report["verdict"]["trigger"];
        let got = (
            trigger["side"].as_str().unwrap_or("absent"),
            trigger["cause"].as_str().unwrap_or("absent"),
        );
        score(Scored::Trigger, cause, got.1);
        assert_eq!(got, (side, cause), "the trigger{self}");
        let places = serde_json::json!([place.to_string()]);
        assert_eq!(trigger["where"], places, "the trigger's place{self}");
        self
    }

    #[track_caller]
    pub fn without_trigger(&self) -> &Verdict {
        let got = self.report["verdict"]["trigger"]["cause"].as_str();
        score(Scored::Trigger, "none", got.unwrap_or("none"));
        assert_eq!(
            self.report["verdict"]["trigger"],
            Value::Null,
            "the trigger{self}"
        );
        self
    }

    /// The headline names it.
    #[track_caller]
    pub fn names(&self, place: impl ToString) -> &Verdict {
        let (headline, place) = (self.word("headline"), place.to_string());
        assert!(headline.contains(&place), "{place} is not in the headline{self}");
        self
    }

    /// A piece of evidence for the verdict, by its id, and that its figure is in this range.
    #[track_caller]
    pub fn proves(&self, id: &str, range: std::ops::RangeInclusive<f64>) -> &Verdict {
        let items = self.report["verdict"]["evidence"].as_array();
        let item = items.into_iter().flatten().find(|item| item["id"] == id);
        let value = item
            .filter(|item| item["supports"] == true)
            .and_then(|item| item["value"].as_f64());
        assert!(
            value.is_some_and(|value| range.contains(&value)),
            "{id} is {value:?}, not in {range:?}{self}"
        );
        self
    }

    /// Runs the command of the fix that begins with `what`, in the namespace that was looked into.
    #[track_caller]
    pub fn follow_advice(&self, what: &str, host: &Host) {
        let fixes = self.report["verdict"]["fix_first"].as_array();
        let fix = fixes
            .into_iter()
            .flatten()
            .find(|fix| fix["what"].as_str().is_some_and(|text| text.starts_with(what)));
        let command = fix.and_then(|fix| fix["command"].as_str());
        let command = command
            .unwrap_or_else(|| panic!("no such advice{self}"))
            .to_string();
        there(&host.netns, move || run("sh", &["-c", &command], ""))
            .unwrap_or_else(|why| panic!("{why}{self}"));
    }

    pub fn confidence(&self) -> f64 {
        self.report["verdict"]["confidence"].as_f64().unwrap_or(0.0)
    }

    /// `found`, `clear` or `unknown`.
    pub fn finding(&self, cause: &str) -> &str {
        let findings = self.report["findings"].as_array();
        let finding = findings
            .into_iter()
            .flatten()
            .find(|finding| finding["name"] == cause);
        finding.and_then(|f| f["state"].as_str()).unwrap_or("absent")
    }

    fn word(&self, field: &str) -> &str {
        self.report["verdict"][field].as_str().unwrap_or("absent")
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            " of exit {}\n{}\ntable: {}\ngaps: {}\n{}",
            self.exit,
            serde_json::to_string_pretty(&self.report["verdict"]).unwrap_or_default(),
            self.report["table"],
            self.report["gaps"],
            self.stderr
        )
    }
}
