//! The house rules that a compiler does not hold: floors, purity, sizes, opening sentences.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and the modules on lower floors that it may use.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("wire", &["model"]),
    ("kernel", &["model"]),
    ("collect", &["model", "wire", "kernel"]),
    ("evidence", &["model"]),
    ("diagnose", &["model", "evidence"]),
    ("tune", &["model", "evidence"]),
    ("render", &["model", "evidence", "diagnose", "tune"]),
    ("tui", &["model", "evidence", "diagnose", "tune", "render"]),
    (
        "cli",
        &[
            "model", "wire", "kernel", "collect", "evidence", "diagnose", "tune", "render", "tui",
        ],
    ),
];

/// These know neither files nor clocks nor sockets: what they need is an argument.
const PURE: [&str; 7] = [
    "model", "wire", "collect", "evidence", "diagnose", "tune", "render",
];
const IMPURE_WORDS: [&str; 13] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "io::std",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "UdpSocket",
    "libc::",
    "netlink_sys",
    "unsafe ",
    "println!",
];
/// The only place that may say `unsafe`.
const UNSAFE_UNDER: &str = "kernel/live";
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const MAP_LINES: usize = 80;
const EMPTY_NAMES: [&str; 4] = ["utils", "common", "helpers", "manager"];

struct Source {
    /// From src/ on.
    name: String,
    text: String,
}

impl Source {
    /// The floor's module; `None` for lib.rs and main.rs.
    fn module(&self) -> Option<&str> {
        let first = self.name.split('/').next()?;
        MAY_USE.iter().map(|(module, _)| *module).find(|m| *m == first)
    }

    /// Without unit tests, which may look at other floors, and without comments.
    fn code(&self) -> String {
        let end = self
            .text
            .find("#[cfg(test)]\nmod tests")
            .unwrap_or(self.text.len());
        let lines = self.text[..end].lines();
        lines.map(|line| format!("{}\n", without_comment(line))).collect()
    }
}

/// Up to `//` outside of quotes. A character literal of a quote, or a string over several lines, is not understood: such
/// a line stays as it is, comment and all.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'/' if !quoted && line[at..].starts_with("//") => return &line[..at],
            _ => {}
        }
    }
    line
}

#[test]
fn comments_end_no_string() {
    assert_eq!(without_comment("let a = 1; // std::fs"), "let a = 1; ");
    assert_eq!(without_comment("//! a \"b\""), "");
    let line = r#"let a = "https://x"; std::fs"#;
    assert_eq!(without_comment(line), line);
    assert_eq!(without_comment(r#"f("a\"//"); // b"#), r#"f("a\"//"); "#);
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("src is readable");
        let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry of src").path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path.strip_prefix(&root).expect("below src").display().to_string();
                let text = fs::read_to_string(&path).expect("a source file is text");
                found.push(Source { name, text });
            }
        }
    }
    assert!(found.len() > 40, "the sources were not found");
    found
}

fn expect_none(what: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

#[test]
fn no_arrow_runs_up_a_floor() {
    let allowed: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    let mut offenders = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let code = source.code();
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let used: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if used != module && !allowed[module].contains(&used.as_str()) {
                offenders.push(format!("{} uses crate::{used}", source.name));
            }
        }
    }
    expect_none("uses that run up a floor, or past the map", offenders);
}

#[test]
fn every_module_is_on_the_map() {
    let strays = sources()
        .iter()
        .filter(|s| s.module().is_none() && !["lib.rs", "main.rs"].contains(&s.name.as_str()))
        .map(|s| s.name.clone())
        .collect();
    expect_none("sources that stand on no floor", strays);
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let mut offenders = Vec::new();
    for source in sources()
        .iter()
        .filter(|s| s.module().is_some_and(|m| PURE.contains(&m)))
    {
        let code = source.code();
        for word in IMPURE_WORDS.iter().filter(|word| code.contains(**word)) {
            offenders.push(format!("{} says {word}", source.name));
        }
    }
    expect_none("a pure module touches the outside", offenders);
}

#[test]
fn unsafe_stays_in_one_place_and_says_why() {
    let mut offenders = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !without_comment(line).contains("unsafe {") {
                continue;
            }
            let explained = lines[index.saturating_sub(4)..index]
                .iter()
                .any(|l| l.contains("// SAFETY:"));
            if !source.name.starts_with(UNSAFE_UNDER) || !explained {
                offenders.push(format!("{}:{}", source.name, index + 1));
            }
        }
    }
    expect_none("unsafe out of place or without its reason", offenders);
}

#[test]
fn a_recording_is_no_special_case() {
    let asks = |s: &&Source| s.text.contains("is_live");
    let offenders = sources().iter().filter(asks).map(|s| s.name.clone()).collect();
    expect_none("code that asks whether it runs live", offenders);
}

#[test]
fn modules_open_with_a_sentence_and_have_names() {
    let mut offenders = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            offenders.push(format!("{} does not say what it does", source.name));
        }
        let stem = source
            .name
            .trim_end_matches(".rs")
            .rsplit('/')
            .next()
            .unwrap_or("");
        if EMPTY_NAMES.contains(&stem) {
            offenders.push(format!("{} has a name that says nothing", source.name));
        }
    }
    expect_none("modules that a stranger cannot place", offenders);
}

#[test]
fn files_and_functions_stay_small() {
    let mut offenders = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            offenders.push(format!("{} has {lines} lines", source.name));
        }
        offenders.extend(long_functions(&source));
    }
    expect_none("too long", offenders);
}

/// rustfmt closes a function with a brace at the indentation of its first line.
fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        let words = ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn "];
        if !words.iter().any(|word| body.starts_with(word)) {
            continue;
        }
        let close = format!("{indent}}}");
        let end = lines[start..].iter().position(|l| *l == close).unwrap_or(0);
        if end + 1 > FUNCTION_LINES {
            found.push(format!("{}:{} is {} lines long", source.name, start + 1, end + 1));
        }
    }
    found
}

#[test]
fn the_map_is_short_and_whole() {
    let lib = sources()
        .into_iter()
        .find(|s| s.name == "lib.rs")
        .expect("src/lib.rs");
    let lines = lib
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .count();
    assert!(
        (20..=MAP_LINES).contains(&lines),
        "the map in src/lib.rs has {lines} lines"
    );
    for (module, _) in MAY_USE {
        assert!(
            lib.text.contains(&format!("`{module}`")),
            "the map in src/lib.rs lacks `{module}`"
        );
    }
}
