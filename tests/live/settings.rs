//! What the audit says of values and names, held against the kernel that runs.
//!
//! Only settings of a namespace of its own are written.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ctlens::model::version;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::lab::Lab;
use crate::verdict::ctlens;

/// Names without `net.`, and values: some that are taken, some that are not.
const TRIED: [(&str, &[&str]); 21] = [
    (
        "ipv4.ip_local_port_range",
        &[
            "1024 65535",
            "1024 65536",
            "0 1024",
            "512 65535",
            "60000 1024",
            "1024",
            "1024-65535",
            "1024,65535",
            "a b",
            "1024 65535 # ports",
        ],
    ),
    (
        "ipv4.ip_local_reserved_ports",
        &[
            "8080",
            "8080,9000-9100",
            "8080 9000",
            "70000",
            "9100-9000",
            "8080 # x",
            "",
        ],
    ),
    (
        "netfilter.nf_conntrack_udp_timeout",
        &[
            "0",
            "-1",
            "60",
            "60s",
            "1m",
            "1.5",
            "1e3",
            "0x10",
            "010",
            "09",
            "60 # x",
            "60;",
            "99999999",
            "4294967296",
            "",
        ],
    ),
    (
        "netfilter.nf_conntrack_tcp_timeout_established",
        &["86400", "8589934", "30000000", "5d"],
    ),
    ("netfilter.nf_conntrack_acct", &["0", "1", "2", "yes"]),
    ("netfilter.nf_conntrack_timestamp", &["1", "2"]),
    ("netfilter.nf_conntrack_checksum", &["0", "2"]),
    ("netfilter.nf_conntrack_tcp_loose", &["0", "2"]),
    ("netfilter.nf_conntrack_tcp_be_liberal", &["1", "2"]),
    ("netfilter.nf_conntrack_tcp_ignore_invalid_rst", &["1", "2"]),
    ("netfilter.nf_conntrack_events", &["0", "1", "2", "3"]),
    ("netfilter.nf_conntrack_log_invalid", &["6", "255", "256", "-1"]),
    ("netfilter.nf_conntrack_tcp_max_retrans", &["0", "255", "256"]),
    (
        "ipv4.tcp_syncookies",
        &["0", "1", "2", "255", "256", "-1", "true"],
    ),
    ("ipv4.tcp_tw_reuse", &["0", "1", "2", "3", "-1"]),
    ("ipv4.tcp_timestamps", &["0", "3", "256"]),
    ("ipv4.tcp_syn_retries", &["0", "1", "127", "128"]),
    ("ipv4.tcp_synack_retries", &["0", "255", "256"]),
    ("ipv4.tcp_fin_timeout", &["0", "60", "60s", "99999999"]),
    (
        "ipv4.tcp_rmem",
        &[
            "4096 87380 16777216",
            "0 1 2",
            "4096 87380",
            "1 2 99999999999",
            "a",
            "",
        ],
    ),
    (
        "core.somaxconn",
        &["0", "65536", "2147483647", "2147483648", "-1", "4k"],
    ),
];

/// Names that the audit calls gone.
const GONE: [&str; 8] = [
    "ipv4.tcp_tw_recycle",
    "ipv4.tcp_frto_response",
    "ipv4.tcp_abc",
    "ipv4.tcp_thin_dupack",
    "ipv4.netfilter.ip_conntrack_max",
    "netfilter.nf_conntrack_helper",
    "netfilter.nf_conntrack_dccp_loose",
    "netfilter.nf_conntrack_tcp_no_window_check",
];

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("audit/what-the-kernel-rejects", || {
            rejected();
            Ok(())
        }),
        Trial::test("audit/names-that-are-gone", || {
            gone();
            Ok(())
        }),
        Trial::test("audit/local-ports-meet-nat", || {
            ports_meet();
            Ok(())
        }),
    ]
}

/// The release on which what the audit says was tried: about older ones it may be silent.
const TRIED_ON: (u32, u32) = (6, 18);

/// Lines of `text` that the audit has under one of these codes, and whether it knows all of this kernel.
fn found(text: &str, codes: &[&str]) -> (BTreeSet<usize>, bool) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ctlens"))
        .args(["audit", "--kernel", release.trim(), "--format", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let findings = report["findings"].as_array().expect("a list").iter();
    let lines = findings
        .filter(|finding| codes.contains(&finding["code"].as_str().unwrap_or("")))
        .map(|finding| finding["line"].as_u64().expect("a line") as usize);
    let known = version(&release).is_some_and(|release| release >= TRIED_ON);
    (lines.collect(), known)
}

fn rejected() {
    let mut lab = Lab::new();
    let host = lab.host("knobs");
    let lines: Vec<(&str, &str)> = TRIED
        .iter()
        .flat_map(|(name, values)| values.iter().map(|value| (*name, *value)))
        .collect();
    let text: String = lines
        .iter()
        .map(|(name, value)| format!("net.{name} = {value}\n"))
        .collect();
    let (said, known) = found(&text, &["AU001"]);
    let mut wrong = Vec::new();
    for (index, (name, value)) in lines.iter().enumerate() {
        let taken = host.takes(&format!("net.{name}"), value);
        let refused = said.contains(&(index + 1));
        if taken && refused || known && !taken && !refused {
            wrong.push(format!(
                "net.{name} = {value}: taken {taken}, called refused {refused}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn gone() {
    let text: String = GONE.iter().map(|name| format!("net.{name} = 1\n")).collect();
    let (said, known) = found(&text, &["AU002", "AU003", "AU024"]);
    for (index, name) in GONE.iter().enumerate() {
        let there = Path::new(&format!("/proc/sys/net/{}", name.replace('.', "/"))).exists();
        let called_gone = said.contains(&(index + 1));
        assert!(!(there && called_gone), "net.{name} is there");
        assert!(called_gone || there || !known, "net.{name} is gone");
    }
}

/// The rules of the namespace are read.
fn ports_meet() {
    let mut lab = Lab::new();
    let host = lab.host("gateway");
    let codes = || {
        let (_, out, _) = ctlens(&["audit", "--netns", &host.netns, "--format", "json"]);
        let report: Value = serde_json::from_str(&out).expect("a document");
        let findings = report["findings"].as_array().expect("a list").iter();
        findings
            .map(|finding| finding["code"].as_str().expect("a code").to_string())
            .collect::<Vec<_>>()
    };
    host.tracks();
    assert!(!codes().contains(&"AU023".to_string()));
    host.nft(
        "table ip nat { chain post { type nat hook postrouting priority 100; \
         meta l4proto tcp masquerade to :40000-49999; }; }",
    );
    let got = codes();
    assert!(
        got.contains(&"AU023".to_string()) && got.contains(&"AU041".to_string()),
        "{got:?}"
    );
    host.set("net.ipv4.ip_local_port_range", "10240 39999");
    assert!(!codes().contains(&"AU023".to_string()));
}
