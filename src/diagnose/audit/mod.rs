//! Lints of conntrack and TCP settings: each alone, and those at odds with each other.

mod lints;
mod timeouts;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::evidence::{Severity, judge_settings};
use crate::model::{Ruleset, Setting, current_name};
use lints::LINTS;

pub const AUDIT_SCHEMA: &str = "ctlens.audit/1";

/// `--format json` of `audit`: schema `ctlens.audit/1`.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    pub schema: &'static str,
    /// Files in the order in which they apply, or what was looked at.
    pub audited: Vec<String>,
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
    pub severity: Severity,
    pub file: String,
    /// 0 where it was read of a running kernel.
    pub line: usize,
    pub name: String,
    pub value: String,
    pub why: String,
    /// Where that can be read.
    pub source: &'static str,
    /// The line to write instead; absent: delete it.
    pub instead: Option<String>,
}

/// What lints may look at.
pub struct Context<'a> {
    /// In force in the end, by today's names: the last one of each.
    last: BTreeMap<String, &'a Setting>,
    all: &'a [Setting],
    rules: Option<&'a Ruleset>,
}

impl<'a> Context<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Setting> {
        self.last.get(name).copied()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.value.trim().parse().ok()
    }

    pub fn pair(&self, name: &str) -> Option<(u64, u64)> {
        let mut words = self.get(name)?.value.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }

    /// All settings in their order.
    pub fn all(&self) -> &'a [Setting] {
        self.all
    }

    pub fn rules(&self) -> Option<&'a Ruleset> {
        self.rules
    }

    /// Settings whose name in today's words begins so, the last one of each.
    pub fn beginning<'b>(&'b self, start: &'b str) -> impl Iterator<Item = (&'b str, &'a Setting)> {
        self.last
            .iter()
            .filter_map(move |(name, setting)| Some((name.strip_prefix(start)?, *setting)))
    }
}

/// A lint over settings together.
pub struct Lint {
    pub code: &'static str,
    pub severity: Severity,
    pub source: &'static str,
    pub check: fn(&Context) -> Vec<Said>,
}

/// What a lint says of one setting.
pub struct Said {
    pub name: String,
    pub why: String,
    pub instead: Option<String>,
    /// Graver, or less grave, than the lint usually is.
    pub severity: Option<Severity>,
}

/// `audited`: the files, or the host, by name. `rules`: where they could be read.
pub fn audit(audited: Vec<String>, settings: &[Setting], rules: Option<&Ruleset>) -> AuditReport {
    let mut findings: Vec<Remark> = judge_settings(settings)
        .into_iter()
        .map(|judged| Remark {
            code: judged.code,
            severity: judged.severity,
            file: judged.dead.file,
            line: judged.line,
            name: judged.dead.name,
            value: judged.dead.value,
            why: judged.dead.why,
            source: judged.source,
            instead: judged.instead,
        })
        .collect();
    let rejected = |setting: &&Setting| {
        !findings.iter().any(|f| {
            f.code == "AU001" && (&f.file, f.line, &f.name) == (&setting.file, setting.line, &setting.name)
        })
    };
    let last = settings
        .iter()
        .filter(rejected)
        .map(|setting| (current_name(&setting.name).into_owned(), setting));
    let context = Context {
        last: last.collect(),
        all: settings,
        rules,
    };
    for lint in LINTS {
        for said in (lint.check)(&context) {
            let Some(setting) = context.get(&said.name) else {
                continue;
            };
            findings.push(Remark {
                code: lint.code,
                severity: said.severity.unwrap_or(lint.severity),
                file: setting.file.clone(),
                line: setting.line,
                name: setting.name.clone(),
                value: setting.value.clone(),
                why: said.why,
                source: lint.source,
                instead: said.instead,
            });
        }
    }
    let order = |file: &str| audited.iter().position(|name| name == file);
    findings.sort_by_key(|f| {
        (
            std::cmp::Reverse(f.severity),
            order(&f.file),
            f.line,
            f.code,
            f.name.clone(),
        )
    });
    let count = |wanted: Severity| findings.iter().filter(|f| f.severity == wanted).count();
    AuditReport {
        schema: AUDIT_SCHEMA,
        settings: settings.len(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        audited,
        findings,
    }
}

/// Names that an audit of a running kernel reads.
pub const AUDITED: [&str; 44] = [
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rfc1337",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_recycle",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_events",
    "net.netfilter.nf_conntrack_generic_timeout",
    "net.netfilter.nf_conntrack_helper",
    "net.netfilter.nf_conntrack_icmp_timeout",
    "net.netfilter.nf_conntrack_icmpv6_timeout",
    "net.netfilter.nf_conntrack_log_invalid",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_tcp_timeout_close",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_fin_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_last_ack",
    "net.netfilter.nf_conntrack_tcp_timeout_max_retrans",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_recv",
    "net.netfilter.nf_conntrack_tcp_timeout_syn_sent",
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[(&str, &str)]) -> Vec<Setting> {
        let setting = |(index, (name, value)): (usize, &(&str, &str))| Setting {
            file: "sysctl.conf".into(),
            line: index + 1,
            name: (*name).into(),
            value: (*value).into(),
            in_force: false,
        };
        lines.iter().enumerate().map(setting).collect()
    }

    fn codes(lines: &[(&str, &str)]) -> Vec<(&'static str, usize)> {
        let report = audit(vec!["sysctl.conf".into()], &settings(lines), None);
        report.findings.iter().map(|f| (f.code, f.line)).collect()
    }

    #[test]
    fn a_good_file_says_nothing() {
        let good = [
            ("net.netfilter.nf_conntrack_max", "1048576"),
            ("net.netfilter.nf_conntrack_buckets", "1048576"),
            ("net.netfilter.nf_conntrack_tcp_timeout_established", "86400"),
            ("net.ipv4.ip_local_port_range", "10240 65000"),
            ("net.core.somaxconn", "4096"),
            ("net.ipv4.tcp_max_syn_backlog", "4096"),
        ];
        assert_eq!(codes(&good), []);
    }

    #[test]
    fn each_lint_meets_what_it_is_for() {
        const CT: &str = "net.netfilter.nf_conntrack_";
        for (code, lines) in [
            (
                "AU001",
                vec![("net.ipv4.ip_local_port_range".to_string(), "1024 65536")],
            ),
            ("AU002", vec![("net.ipv4.tcp_tw_recycle".to_string(), "1")]),
            (
                "AU003",
                vec![("net.ipv4.netfilter.ip_conntrack_max".to_string(), "262144")],
            ),
            ("AU004", vec![(format!("{CT}tcp_timeout_syn_sent"), "120")]),
            (
                "AU005",
                vec![("net.ipv4.tcp_mem".to_string(), "4096 87380 16777216")],
            ),
            (
                "AU006",
                vec![
                    ("net.core.somaxconn".to_string(), "512"),
                    ("net.core.somaxconn".to_string(), "1024"),
                ],
            ),
            (
                "AU007",
                vec![(format!("{CT}max"), "1048576"), (format!("{CT}buckets"), "16384")],
            ),
            ("AU008", vec![(format!("{CT}max"), "4194304")]),
            (
                "AU009",
                vec![
                    ("net.core.somaxconn".to_string(), "128"),
                    ("net.ipv4.tcp_max_syn_backlog".to_string(), "65536"),
                ],
            ),
            ("AU010", vec![("net.ipv4.tcp_syncookies".to_string(), "0")]),
            ("AU011", vec![("net.ipv4.tcp_abort_on_overflow".to_string(), "1")]),
            (
                "AU012",
                vec![
                    ("net.ipv4.tcp_tw_reuse".to_string(), "1"),
                    ("net.ipv4.tcp_timestamps".to_string(), "0"),
                ],
            ),
            (
                "AU013",
                vec![("net.ipv4.ip_local_port_range".to_string(), "1024 65535")],
            ),
            ("AU014", vec![("net.core.rmem_max".to_string(), "212992")]),
            ("AU015", vec![(format!("{CT}tcp_timeout_established"), "600")]),
            ("AU016", vec![(format!("{CT}udp_timeout"), "0")]),
            ("AU017", vec![(format!("{CT}tcp_timeout_fin_wait"), "120000")]),
            ("AU018", vec![(format!("{CT}helper"), "1")]),
            ("AU019", vec![(format!("{CT}checksum"), "0")]),
            ("AU020", vec![(format!("{CT}log_invalid"), "6")]),
            ("AU021", vec![(format!("{CT}max"), "0")]),
            ("AU022", vec![("net.ipv4.tcp_rfc1337".to_string(), "1")]),
        ] {
            let lines: Vec<(&str, &str)> = lines
                .iter()
                .map(|(name, value)| (name.as_str(), *value))
                .collect();
            let got = codes(&lines);
            assert!(
                got.iter().any(|(got, _)| *got == code),
                "{code} not in {got:?} of {lines:?}"
            );
        }
    }

    #[test]
    fn the_gravest_comes_first_and_every_finding_has_its_source() {
        let report = audit(
            vec!["sysctl.conf".into()],
            &settings(&[
                ("net.netfilter.nf_conntrack_tcp_timeout_syn_recv", "60"),
                ("net.ipv4.tcp_tw_recycle", "1"),
            ]),
            None,
        );
        let codes: Vec<&str> = report.findings.iter().map(|f| f.code).collect();
        assert_eq!(codes, ["AU002", "AU004"]);
        assert_eq!((report.errors, report.warnings, report.notes), (1, 0, 1));
        assert!(report.findings.iter().all(|f| !f.source.is_empty()));
    }

    #[test]
    fn codes_are_given_once() {
        let mut codes: Vec<&str> = LINTS.iter().map(|lint| lint.code).collect();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), LINTS.len());
        assert!(
            codes.iter().all(|code| *code > "AU005"),
            "the first five are of single settings"
        );
    }

    #[test]
    fn local_ports_and_translated_ones_must_not_meet() {
        use crate::model::{Action, Engine, Family, FilterRule, Mapping};
        let rule = FilterRule {
            engine: Engine::NfTables,
            family: Family::Ip,
            table: "nat".into(),
            chain: "post".into(),
            handle: Some(4),
            number: 1,
            when: Vec::new(),
            then: Action::Masquerade(Mapping {
                ports: Some((40_000, 49_999)),
                ..Mapping::default()
            }),
            counter: None,
            text: "masquerade to :40000-49999".into(),
        };
        let rules = Ruleset {
            rules: vec![rule],
            ..Ruleset::default()
        };
        let settings = settings(&[("net.ipv4.ip_local_port_range", "32768 60999")]);
        let report = audit(vec!["sysctl.conf".into()], &settings, Some(&rules));
        assert_eq!(
            report.findings.iter().map(|f| f.code).collect::<Vec<_>>(),
            ["AU023"]
        );
        assert!(audit(vec![], &settings, None).findings.is_empty());
    }
}
