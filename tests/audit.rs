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

/// What SARIF 2.1.0 requires (sections 3.13 to 3.30, 3.49), and what code scanning wants beside it.
#[test]
fn sarif_has_what_the_standard_requires() {
    let got = json(&audit(&["--format", "sarif", "-"], BAD));
    assert_eq!(got["version"], "2.1.0");
    let schema = got["$schema"].as_str().expect("a schema");
    assert!(schema.starts_with("https://") && schema.contains("sarif-2.1.0"));
    assert_eq!(got["runs"].as_array().map(Vec::len), Some(1));
    let run = &got["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "ctlens");
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let mut ids = Vec::new();
    for rule in rules {
        let text = |key: &str| rule[key]["text"].as_str().unwrap_or("");
        assert!(
            ["shortDescription", "fullDescription", "help"]
                .iter()
                .all(|key| !text(key).is_empty()),
            "{rule}"
        );
        assert!(is_level(&rule["defaultConfiguration"]["level"]), "{rule}");
        ids.push(rule["id"].as_str().expect("an id"));
    }
    assert!(ids.is_sorted() && ids.len() > 30, "{ids:?}");
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), 2);
    for result in results {
        let rule = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(result["ruleId"], ids[rule]);
        assert!(is_level(&result["level"]), "{result}");
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

fn is_level(level: &Value) -> bool {
    ["error", "warning", "note"].contains(&level.as_str().unwrap_or(""))
}

/// Relative as they were named, and escaped as a URI is.
#[test]
fn sarif_names_files_by_uris() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("99 tuned.conf"), BAD).expect("a file");
    let run = |name: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ctlens"))
            .current_dir(folder.path())
            .args(["audit", "--format", "sarif", name])
            .output()
            .expect("the program runs");
        let uri = &json(&output)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
            ["uri"];
        uri.as_str().expect("a URI").to_string()
    };
    assert_eq!(run("./99 tuned.conf"), "99%20tuned.conf");
    let whole = folder.path().join("99 tuned.conf").display().to_string();
    assert_eq!(run(&whole), format!("file://{}", whole.replace(' ', "%20")));
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
        file("20.conf", "# more\nnet.core.somaxconn = 1024\n"),
    );
    let got = json(&audit(&["--format", "json", &first, &second], ""));
    assert_eq!(got["findings"].as_array().map(Vec::len), Some(1));
    assert_eq!(got["findings"][0]["code"], "AU006");
    assert_eq!(got["findings"][0]["file"], first.as_str());
    let why = got["findings"][0]["why"].as_str().expect("a reason");
    assert!(
        why.contains(&format!("{second}:2")) && why.contains("1024"),
        "{why}"
    );
    let same = file("30.conf", "net.core.somaxconn = 1024\n");
    let got = json(&audit(&["--format", "json", &second, &same], ""));
    assert!(
        got["findings"][0]["why"]
            .as_str()
            .is_some_and(|why| why.contains("the same again"))
    );
}

#[test]
fn a_directory_stands_for_its_fragments() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().display().to_string();
    assert_eq!(audit(&[&name], "").status.code(), Some(2));
    for (file, text) in [
        ("20-b.conf", BAD),
        ("10-a.conf", CLEAN),
        ("README", "no settings"),
    ] {
        std::fs::write(folder.path().join(file), text).expect("a file");
    }
    let got = json(&audit(&["--format", "json", &name], ""));
    assert_eq!(
        got["audited"],
        serde_json::json!([format!("{name}/10-a.conf"), format!("{name}/20-b.conf")])
    );
    assert!(got["errors"].as_u64() == Some(1), "{got}");
}

#[test]
fn the_kernel_is_told_or_seen() {
    let helper = "net.netfilter.nf_conntrack_helper = 0\n";
    let errors = |arguments: &[&str]| {
        let mut all = vec!["--format", "json"];
        all.extend(arguments);
        let got = json(&audit(&all, helper));
        (got["errors"].as_u64(), got["kernel"].as_str().map(str::to_string))
    };
    assert_eq!(
        errors(&["--kernel", "5.10.0-28-amd64", "-"]),
        (Some(0), Some("5.10".into()))
    );
    assert_eq!(errors(&["--kernel", "6.1", "-"]), (Some(1), Some("6.1".into())));
    assert_eq!(errors(&["-"]), (Some(1), None));
    assert_eq!(audit(&["--kernel", "six", "-"], helper).status.code(), Some(2));
}

#[test]
fn recordings_and_pasted_text_tell_of_other_hosts() {
    let recorded = audit(
        &[
            "--format",
            "json",
            "--from",
            "fixtures/recordings/healthy.pcapng.zst",
        ],
        "",
    );
    let got = json(&recorded);
    assert!(got["settings"].as_u64().is_some_and(|count| count > 20), "{got}");
    assert!(got["kernel"].is_string(), "{got}");
    let pasted = audit(&["--format", "json", "--from", "fixtures/founding/varnish"], "");
    let direct = audit(&["--format", "json", "fixtures/founding/varnish/sysctl.conf"], "");
    let codes = |output: &Output| -> Vec<String> {
        let findings = json(output)["findings"].as_array().expect("a list").clone();
        findings
            .iter()
            .map(|finding| finding["code"].to_string())
            .collect()
    };
    assert_eq!(codes(&pasted), codes(&direct));
}

#[test]
fn this_host_needs_no_privilege() {
    let output = audit(&["--format", "json"], "");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    assert!(json(&output)["settings"].as_u64().is_some_and(|count| count > 5));
}
