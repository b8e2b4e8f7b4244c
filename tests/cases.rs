//! Real incidents as people pasted them: who is at fault, or what it leans to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases")
}

fn cases() -> Vec<(String, Value)> {
    let entries = fs::read_dir(folder()).expect("fixtures/cases is readable");
    let names = entries.map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name")
    });
    let mut out: Vec<(String, Value)> = names
        .filter_map(|name| Some(name.strip_suffix(".json")?.to_string()))
        .map(|name| {
            let text = fs::read_to_string(folder().join(format!("{name}.json"))).expect("a case is text");
            let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, case)
        })
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(out.len() >= 10, "the cases were not found");
    out
}

fn diagnosed(name: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_ctlens"))
        .args(["diagnose", "--format", "json", "--from"])
        .arg(folder().join(name))
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}: {stderr}"))
}

#[test]
fn the_right_side_is_named_or_leant_to() {
    for (name, case) in cases() {
        let report = diagnosed(&name);
        let verdict = &report["verdict"];
        assert_eq!(verdict["bottleneck"], case["bottleneck"], "{name}: {verdict}");
        match case["cause"].as_str() {
            Some(cause) => assert_eq!(verdict["cause"], cause, "{name}: {verdict}"),
            None => {
                let leans = verdict["leans_to"]["causes"].as_array().expect("it leans");
                let wanted = case["leans"].as_array().expect("causes");
                assert!(
                    !wanted.is_empty() && leans.starts_with(wanted),
                    "{name}: {verdict}"
                );
                let settle = verdict["leans_to"]["settle"].as_str();
                assert!(settle.is_some_and(|command| !command.is_empty()), "{name}");
            }
        }
    }
}

#[test]
fn each_case_has_its_source_its_text_and_our_reading() {
    let table = fs::read_to_string(folder().join("README.md")).expect("the table of cases");
    for (name, case) in cases() {
        for field in ["title", "url", "published", "reading"] {
            assert!(
                case[field].as_str().is_some_and(|text| text.len() > 5),
                "{name}: {field}"
            );
        }
        assert!(
            case["url"].as_str().is_some_and(|url| url.starts_with("http")),
            "{name}"
        );
        let listed: BTreeSet<&str> = case["pasted"]
            .as_array()
            .expect("files")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let entries = fs::read_dir(folder().join(&name)).expect("a folder of what was pasted");
        let there: BTreeSet<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        assert_eq!(
            there.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            listed,
            "{name}"
        );
        assert!(
            table.contains(&format!("({name}.json)")),
            "{name} is not in the table"
        );
    }
}
