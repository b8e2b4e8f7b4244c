//! `ctlens audit`'s report: what the lints say, gravest first.

use serde::Serialize;

use crate::evidence::{Around, Severity, lint};
use crate::model::Setting;

pub const AUDIT_SCHEMA: &str = "ctlens.audit/1";

/// `--format json` of `audit`: schema `ctlens.audit/1`.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    pub schema: &'static str,
    /// Files in the order in which they apply, or what was looked at.
    pub audited: Vec<String>,
    /// The kernel that the settings are for, where it is known: `6.1`.
    pub kernel: Option<String>,
    pub settings: usize,
    pub errors: usize,
    pub warnings: usize,
    pub notes: usize,
    /// Gravest first, then in the order of files and lines.
    pub findings: Vec<Remark>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// `AU001` …, for good.
    pub code: &'static str,
    pub title: &'static str,
    pub severity: Severity,
    pub file: String,
    /// 0 where it was read of a running kernel.
    pub line: usize,
    /// Empty where the line is no setting; its text is the value then.
    pub name: String,
    pub value: String,
    pub why: String,
    /// Where that can be read.
    pub source: &'static str,
    /// The line to write instead.
    pub instead: Option<String>,
    /// The line shall go.
    pub delete: bool,
}

/// `audited`: the files, or the host, by name, in the order of `settings`.
pub fn audit(audited: Vec<String>, settings: &[Setting], around: &Around) -> AuditReport {
    let mut findings: Vec<(usize, Remark)> = lint(settings, around)
        .into_iter()
        .map(|(lint, said)| {
            let setting = &settings[said.index];
            let remark = Remark {
                code: lint.code,
                title: lint.title,
                severity: said.severity.unwrap_or(lint.severity),
                file: setting.file.clone(),
                line: setting.line,
                name: setting.name.clone(),
                value: setting.value.clone(),
                why: said.why,
                source: said.source.unwrap_or(lint.source),
                instead: said.instead,
                delete: said.delete,
            };
            (said.index, remark)
        })
        .collect();
    findings.sort_by_key(|(index, remark)| (std::cmp::Reverse(remark.severity), *index, remark.code));
    let findings: Vec<Remark> = findings.into_iter().map(|(_, remark)| remark).collect();
    let count = |wanted: Severity| findings.iter().filter(|f| f.severity == wanted).count();
    AuditReport {
        schema: AUDIT_SCHEMA,
        settings: settings.iter().filter(|setting| !setting.name.is_empty()).count(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        kernel: around.kernel.map(|(major, minor)| format!("{major}.{minor}")),
        audited,
        findings,
    }
}
