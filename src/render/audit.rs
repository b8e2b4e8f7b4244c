//! What an audit found: text for people, SARIF 2.1.0 for code scanning.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::page::Page;
use super::style::{Paint, Style};
use crate::diagnose::{AuditReport, Remark};
use crate::evidence::Severity;

pub fn audit_text(report: &AuditReport, style: &Style) -> String {
    let mut page = Page::new(style);
    let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (word, colour) = match (report.errors, report.warnings) {
        (0, 0) => ("FINE", Paint::Green),
        (0, _) => ("WARNINGS", Paint::Yellow),
        _ => ("ERRORS", Paint::Red),
    };
    let rest = format!(
        ": {}, {}, {} in {} of {}",
        of(report.errors, "error"),
        of(report.warnings, "warning"),
        of(report.notes, "note"),
        of(report.settings, "setting"),
        report.audited.join(", ")
    );
    page.accent("", word, &rest, colour);
    for finding in &report.findings {
        page.gap();
        let severity = name(finding.severity);
        let rest = format!(
            " {} {}: {} = {}",
            finding.code,
            place(finding),
            finding.name,
            finding.value
        );
        page.accent("", severity, &rest, paint(finding.severity));
        page.text("  ", &finding.why, Paint::Plain);
        match &finding.instead {
            Some(line) => page.text("  instead: ", line, Paint::Plain),
            None => page.text("  instead: ", "delete the line", Paint::Plain),
        }
        page.text("  source:  ", finding.source, Paint::Dim);
    }
    if !report.findings.is_empty() {
        page.heading("Next");
        match report.findings.iter().find(|finding| finding.line > 0) {
            Some(finding) if finding.file != "-" => {
                page.command("  ", &format!("sysctl -p {}   # when it is mended", finding.file));
            }
            _ => page.again("  ", "ctlens diagnose"),
        }
    }
    page.finish()
}

/// `sysctl.conf:12`, and the host's name alone where the kernel was asked.
fn place(finding: &Remark) -> String {
    match finding.line {
        0 => finding.file.clone(),
        line => format!("{}:{line}", finding.file),
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

/// SARIF 2.1.0, one run. Files are named as they were given, so that paths stay relative to where it ran.
pub fn audit_sarif(report: &AuditReport) -> String {
    let mut rules: BTreeMap<&str, &Remark> = BTreeMap::new();
    for finding in &report.findings {
        rules.entry(finding.code).or_insert(finding);
    }
    let rules: Vec<Value> = rules
        .into_iter()
        .map(|(code, finding)| {
            json!({
                "id": code,
                "shortDescription": { "text": finding.source },
                "defaultConfiguration": { "level": name(finding.severity) },
            })
        })
        .collect();
    let results: Vec<Value> = report.findings.iter().map(result).collect();
    super::document(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ctlens",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
        }],
    }))
}

fn result(finding: &Remark) -> Value {
    let instead = match &finding.instead {
        Some(line) => format!("write instead: {line}"),
        None => "delete the line".to_string(),
    };
    json!({
        "ruleId": finding.code,
        "level": name(finding.severity),
        "message": { "text": format!("{} = {}: {}; {instead}", finding.name, finding.value, finding.why) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": finding.file },
                "region": { "startLine": finding.line.max(1) },
            },
        }],
    })
}
