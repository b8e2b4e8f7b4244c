//! What an audit found: text for people, SARIF 2.1.0 for code scanning.

use serde_json::{Value, json};

use super::page::Page;
use super::style::{Paint, Style, shell_quoted};
use crate::diagnose::{AuditReport, Remark};
use crate::evidence::{Severity, lints};

pub fn audit_text(report: &AuditReport, style: &Style) -> String {
    let mut page = Page::new(style);
    headline(&mut page, report);
    for finding in &report.findings {
        page.gap();
        one(&mut page, finding);
    }
    next(&mut page, report);
    page.finish()
}

/// `1 error, 2 notes in sysctl.conf (15 settings)`
fn headline(page: &mut Page, report: &AuditReport) {
    let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let counts: Vec<String> = [
        (report.errors, "error"),
        (report.warnings, "warning"),
        (report.notes, "note"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| of(count, word))
    .collect();
    let colour = match (report.errors, report.warnings) {
        (0, 0) => Paint::Green,
        (0, _) => Paint::Yellow,
        _ => Paint::Red,
    };
    let found = match counts.is_empty() {
        true => "Nothing to change".to_string(),
        false => counts.join(", "),
    };
    let kernel = report
        .kernel
        .as_ref()
        .map_or(String::new(), |kernel| format!(", for Linux {kernel}"));
    let settings = of(report.settings, "setting");
    let place = match report.audited.join(", ").as_str() {
        "this host" => "on this host".to_string(),
        "-" => "in standard input".to_string(),
        names => format!("in {names}"),
    };
    let rest = format!(" {place} ({settings}{kernel})");
    page.accent("", &found, &rest, colour);
}

fn one(page: &mut Page, finding: &Remark) {
    let rest = format!(" {} {}", finding.code, place(finding));
    page.accent("", name(finding.severity), &rest, paint(finding.severity));
    page.text("  ", &as_it_stands(finding), Paint::Plain);
    page.text("  ", &finding.why, Paint::Plain);
    match (&finding.instead, finding.delete) {
        (Some(line), _) if finding.line == 0 => page.command("  ", &set(line)),
        (Some(line), _) => page.text("  write:  ", line, Paint::Plain),
        (None, true) if finding.line > 0 => page.text("  ", "delete the line", Paint::Plain),
        (None, _) => {}
    }
    page.text("  source: ", finding.source, Paint::Dim);
}

/// As a command for a running kernel.
fn set(line: &str) -> String {
    match line.split_once(" = ") {
        Some((name, value)) if value.contains(' ') => format!("sysctl -w {name}={}", shell_quoted(value)),
        Some((name, value)) => format!("sysctl -w {name}={value}"),
        None => line.to_string(),
    }
}

fn next(page: &mut Page, report: &AuditReport) {
    let Some(first) = report.findings.first() else {
        return;
    };
    page.heading("Next");
    if report.findings.iter().all(|finding| finding.line == 0) {
        let why = "What is set so is gone after a restart: write it into a file of /etc/sysctl.d too.";
        page.text("  ", why, Paint::Plain);
        page.again("  ", "ctlens diagnose");
        return;
    }
    let deleted = match report.findings.iter().any(|finding| finding.delete) {
        true => "; what a deleted line set stays until a restart",
        false => "",
    };
    let one = report.audited.len() == 1 && first.file == report.audited[0] && first.file != "-";
    match one
        && report
            .findings
            .iter()
            .all(|finding| !finding.name.starts_with("options "))
    {
        true => {
            let command = format!(
                "sysctl -p {}   # when it is mended{deleted}",
                shell_quoted(&first.file)
            );
            page.command("  ", &command);
        }
        false => page.command("  ", &format!("sysctl --system   # when it is mended{deleted}")),
    }
    page.command("  ", "ctlens audit   # what is in force then");
}

/// `sysctl.conf:12`, and the host's name alone where the kernel was asked.
fn place(finding: &Remark) -> String {
    match finding.line {
        0 => finding.file.clone(),
        line => format!("{}:{line}", finding.file),
    }
}

fn as_it_stands(finding: &Remark) -> String {
    match finding.name.as_str() {
        "" => finding.value.clone(),
        name if name.starts_with("options ") => format!("{name}={}", finding.value),
        name => format!("{name} = {}", finding.value),
    }
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn paint(severity: Severity) -> Paint {
    match severity {
        Severity::Error => Paint::Red,
        Severity::Warning => Paint::Yellow,
        Severity::Note => Paint::Dim,
    }
}

/// SARIF 2.1.0, one run with all rules. Files are named as they were given, so that paths stay relative to where it ran.
pub fn audit_sarif(report: &AuditReport) -> String {
    let lints = lints();
    let rules: Vec<Value> = lints
        .iter()
        .map(|lint| {
            json!({
                "id": lint.code,
                "name": lint.code,
                "shortDescription": { "text": lint.title },
                "fullDescription": { "text": format!("{}. {}", lint.title, lint.source) },
                "help": { "text": format!("Source: {}", lint.source) },
                "defaultConfiguration": { "level": name(lint.severity) },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| result(finding, lints.iter().position(|lint| lint.code == finding.code)))
        .collect();
    super::document(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ctlens",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    }))
}

fn result(finding: &Remark, rule: Option<usize>) -> Value {
    let instead = match (&finding.instead, finding.delete) {
        (Some(line), _) => format!("; write instead: {line}"),
        (None, true) => "; delete the line".to_string(),
        (None, false) => String::new(),
    };
    json!({
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": name(finding.severity),
        "message": { "text": format!("{}: {}{instead} ({})", as_it_stands(finding), finding.why, finding.source) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(finding) },
                "region": { "startLine": finding.line.max(1) },
            },
        }],
    })
}

/// A relative one, but for a file that was named by its whole path.
fn uri(finding: &Remark) -> String {
    let path = match (finding.line, finding.file.as_str()) {
        (0, _) => format!("proc/sys/{}", finding.name.replace('.', "/")),
        (_, "-") => "stdin".to_string(),
        (_, file) => file.trim_start_matches("./").to_string(),
    };
    let mut out = if path.starts_with('/') {
        "file://".to_string()
    } else {
        String::new()
    };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
