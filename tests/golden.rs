//! Every command on every fixture, and the commands of the README, as golden files.
//!
//! `TRYCMD=overwrite cargo test --test golden` writes what is printed now; read the difference before committing it.

use std::fs;
use std::path::Path;

/// What is run on each fixture.
const COMMANDS: [&str; 7] = [
    "diagnose",
    "diagnose --format json",
    "status",
    "status --format json",
    "list --limit 5",
    "list --limit 5 --format json",
    "list --top state:dst:dport --limit 5",
];

/// Recordings, and folders of pasted text, relative to the package.
fn fixtures() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for (folder, of_folders) in [
        ("fixtures/recordings", false),
        ("fixtures/founding", true),
        ("fixtures/pasted", true),
    ] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries.map(|e| e.expect("an entry of the fixtures")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() == of_folders && !name.ends_with(".md") {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found.sort();
    assert!(found.len() >= 6, "the fixtures were not found");
    found
}

fn golden(fixture: &str) -> String {
    let name = fixture.trim_start_matches("fixtures/").replace('/', "-");
    format!("tests/golden/{}.trycmd", name.split('.').next().unwrap_or(&name))
}

/// With `TRYCMD=overwrite`, a fixture without a file gets one.
#[test]
fn every_command_on_every_fixture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let overwrite = std::env::var("TRYCMD").is_ok_and(|value| value == "overwrite");
    for fixture in fixtures() {
        let path = root.join(golden(&fixture));
        let lines: Vec<String> = COMMANDS
            .iter()
            .map(|command| {
                let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
                format!("$ ctlens {verb} --from {fixture} {rest}")
                    .trim_end()
                    .to_string()
            })
            .collect();
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        if overwrite {
            for line in lines
                .iter()
                .filter(|line| !text.lines().any(|have| have == **line))
                .cloned()
                .collect::<Vec<_>>()
            {
                text.push_str(&format!("```\n{line}\n\n```\n\n"));
            }
            fs::write(&path, &text).expect("a golden file can be written");
        }
        for line in lines {
            assert!(
                text.lines().any(|have| have == line),
                "{} lacks: {line}",
                path.display()
            );
        }
    }
    trycmd::TestCases::new().case("tests/golden/*.trycmd").run();
}

#[test]
fn the_readme_tells_the_truth() {
    trycmd::TestCases::new().case("README.md").run();
}
