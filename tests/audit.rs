//! `ctlens audit` on files: exit status, JSON, SARIF, and what is no file of settings.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn audit(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ctlens"))
        .arg("audit")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have ended without reading.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("a document")
}

const CLEAN: &str = "net.ipv4.tcp_syncookies = 1\n";
const BAD: &str = "# tuned\nnet.ipv4.tcp_tw_recycle = 1\nnet.ipv4.tcp_syncookies = 0\n";

#[test]
fn the_exit_status_says_whether_something_is_to_do() {
    for (input, status) in [(CLEAN, 0), (BAD, 1), ("hello\n", 2), ("", 2)] {
        assert_eq!(audit(&["-"], input).status.code(), Some(status), "{input:?}");
    }
    assert_eq!(audit(&["/no/such/file"], "").status.code(), Some(2));
}

#[test]
fn what_cannot_be_read_is_one_clear_line() {
    for (arguments, words) in [(["-"], "line 1"), (["/no/such/file"], "/no/such/file")] {
        let output = audit(&arguments, "hello\n");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn json_counts_what_it_lists() {
    let got = json(&audit(&["--format", "json", "-"], BAD));
    assert_eq!(got["schema"], "ctlens.audit/1");
    let of = |severity: &str| {
        let findings = got["findings"].as_array().expect("a list");
        findings.iter().filter(|f| f["severity"] == severity).count()
    };
    assert_eq!((got["errors"].as_u64(), of("error")), (Some(1), 1));
    assert_eq!((got["warnings"].as_u64(), of("warning")), (Some(1), 1));
    assert_eq!(got["findings"][0]["line"], 2);
}

/// What SARIF 2.1.0 requires, and what code scanning wants beside it.
#[test]
fn sarif_has_what_the_standard_requires() {
    let got = json(&audit(&["--format", "sarif", "-"], BAD));
    assert_eq!(got["version"], "2.1.0");
    assert!(
        got["$schema"]
            .as_str()
            .is_some_and(|schema| schema.contains("sarif-2.1.0"))
    );
    let run = &got["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "ctlens");
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), 2);
    for result in results {
        assert!(
            rules.iter().any(|rule| rule["id"] == result["ruleId"]),
            "{result}"
        );
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap_or("")));
        assert!(
            result["message"]["text"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        let location = &result["locations"][0]["physicalLocation"];
        assert!(location["artifactLocation"]["uri"].is_string());
        assert!(
            location["region"]["startLine"]
                .as_u64()
                .is_some_and(|line| line >= 1)
        );
    }
}

#[test]
fn the_last_file_wins_and_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (first, second) = (
        file("10.conf", "net.core.somaxconn = 128\n"),
        file("20.conf", "net.core.somaxconn = 1024\n"),
    );
    let got = json(&audit(&["--format", "json", &first, &second], ""));
    assert_eq!(got["findings"][0]["code"], "AU006");
    assert_eq!(got["findings"][0]["file"], second.as_str());
    assert!(
        got["findings"][0]["why"]
            .as_str()
            .is_some_and(|why| why.contains("128"))
    );
}

#[test]
fn this_host_needs_no_privilege() {
    let output = audit(&["--format", "json"], "");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert!(json(&output)["settings"].as_u64().is_some_and(|count| count > 5));
}
