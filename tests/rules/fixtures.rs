//! fixtures/rules/<cause>/{fires,clear,unknown}.json: each rule's three answers.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use ctlens::cli::args::Cli;
use ctlens::diagnose::{Report, pages};
use ctlens::render::{Style, diagnose_text, explain_text};

use crate::scene::{Scene, finding, short};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rules")
}

/// Causes that have a folder.
fn causes() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("fixtures/rules is readable");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

fn read(cause: &str, name: &str) -> Scene {
    let path = folder().join(cause).join(format!("{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn check(name: &str, state: &str) {
    for cause in &causes() {
        let scene = read(cause, name);
        let report = scene.report();
        let found = finding(&report, cause);
        let at = format!("{cause}/{name}: {}", found.because);
        let json = serde_json::to_value(found).unwrap();
        assert_eq!(json["state"], state, "{at}");
        let expect = &scene.expect;
        for words in &expect.says {
            assert!(found.because.contains(words), "{at}: lacks {words:?}");
        }
        if let (Some(side), Some(cause)) = (&expect.bottleneck, &expect.cause) {
            let trigger = expect
                .trigger
                .as_ref()
                .map_or(String::new(), |t| format!(" < {t}"));
            assert_eq!(short(&report), format!("{side} / {cause}{trigger}"), "{at}");
        }
        if let Some(place) = &expect.place {
            let trigger = report.verdict.trigger.as_ref();
            assert_eq!(
                &trigger.map(|t| t.place.clone()).unwrap_or_default(),
                place,
                "{at}"
            );
        }
        assert_eq!(found.entries_explained, expect.entries_explained, "{at}");
        assert_eq!(found.confidence.is_some(), state == "found", "{at}");
    }
}

#[test]
fn each_rule_fires() {
    check("fires", "found");
}

#[test]
fn each_rule_clears() {
    check("clear", "clear");
}

#[test]
fn each_rule_says_when_it_cannot_know() {
    check("unknown", "unknown");
}

#[test]
fn every_rule_has_its_folder_and_no_other_has_one() {
    let report = Scene::default().report();
    let mut names: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.name.name())
        .collect();
    names.sort();
    assert_eq!(causes(), names);
}

/// What it says to type next, as a shell gives it to ctlens.
fn own_commands(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("$ "))
        .filter_map(|line| line.split("   # ").next())
        .filter(|line| line.trim_start_matches("sudo ").starts_with("ctlens "))
        .map(|line| {
            let line = line.split([';', '|', '>']).next().unwrap_or(line);
            line.split_whitespace()
                .filter(|word| *word != "sudo")
                .map(String::from)
                .collect()
        })
        .collect()
}

#[test]
fn what_to_type_next_is_understood() {
    let style = Style {
        again: "--netns edge".into(),
        inside: "ip netns exec edge".into(),
        ..Style::default()
    };
    let mut texts: Vec<String> = pages().iter().map(|page| explain_text(page, &style)).collect();
    for cause in &causes() {
        for name in ["fires", "clear", "unknown"] {
            let report: Report = read(cause, name).report();
            texts.push(diagnose_text(&report, &style));
        }
    }
    let commands: Vec<Vec<String>> = texts.iter().flat_map(|text| own_commands(text)).collect();
    assert!(commands.len() > causes().len() * 3, "few say what to type next");
    for words in commands {
        if let Err(error) = Cli::try_parse_from(&words) {
            panic!("{}: {error}", words.join(" "));
        }
    }
}
