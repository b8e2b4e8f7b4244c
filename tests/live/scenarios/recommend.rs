//! `ctlens recommend` on real traffic, and each format by the tool that it is for: loaded, and in force for new flows.

use std::fs;
use std::process::Command;

use libtest_mimic::{Completion, Trial};
use serde_json::Value;

use super::{HURRIED, perhaps, trial};
use crate::inside::inside;
use crate::lab::Family::{self, V4};
use crate::lab::Host;
use crate::pace::until;
use crate::stage::{PATIENCE, Pair};
use crate::traffic::{Clients, Traffic, churn, closing_server};
use crate::verdict::ctlens;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("recommend/measured", V4, 150, measured),
        perhaps("recommend/formats", V4, 60, formats),
    ]
}

/// Connections that are answered, and attempts at a place that does not.
fn load(pair: &Pair, per_second: u32) -> Vec<Traffic> {
    pair.near.tracks();
    pair.far.swallows();
    let answering = std::net::SocketAddr::new(pair.service.ip(), pair.service.port() + 1);
    vec![
        Clients::new(pair.service, per_second, HURRIED).start(&pair.near),
        churn(&pair.near, answering, per_second),
        closing_server(&pair.far, answering),
    ]
}

fn recommended(host: &Host, more: &[&str]) -> Value {
    let words = [
        "recommend",
        "--netns",
        &host.netns,
        "--interval",
        "2s",
        "--format",
        "json",
    ];
    let (exit, stdout, stderr) = ctlens(&[&words, more].concat());
    assert!(exit <= 1, "{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn row<'a>(document: &'a Value, timeout: &str) -> &'a Value {
    let rows = document["states"].as_array().expect("states");
    rows.iter()
        .find(|row| row["timeout"] == timeout)
        .unwrap_or_else(|| panic!("no row of {timeout}: {document}"))
}

fn measured(_: Family, per_second: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    let traffic = load(&pair, per_second);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("seen.pcapng.zst").display().to_string();
    let got = recommended(
        &pair.near,
        &["--window", "32s", "--record", &file, "--headroom", "20"],
    );
    drop(traffic);
    let syn_sent = row(&got, "syn_sent");
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let (arrivals, share) = (
        number(&syn_sent["arrivals_per_s"]),
        number(&syn_sent["by_timeout"]),
    );
    let both = f64::from(per_second) * 2.0;
    assert!(
        (0.8..1.2).contains(&(arrivals / both)),
        "{arrivals} of {both}: {syn_sent}"
    );
    // Half of them are answered.
    assert!((0.4..0.6).contains(&share), "{syn_sent}");
    assert!(number(&syn_sent["moved_s"]["count"]) >= 1_000.0, "{syn_sent}");
    assert_eq!(
        (&syn_sent["change"], &syn_sent["recommended_s"]),
        (&"target".into(), &10.into())
    );
    assert_eq!(number(&syn_sent["price"]["cut"]), 0.0, "{syn_sent}");
    assert_eq!(row(&got, "time_wait")["recommended_s"], 60);
    let target = &got["profile"]["targets"][0];
    assert_eq!(
        (&target["dport"], &target["timeouts"]["syn_sent"]),
        (&8080.into(), &10.into())
    );
    assert_eq!(got["everywhere"]["timeouts"]["syn_sent"], 10);
    // The recording says the same again.
    let (_, again, stderr) = ctlens(&[
        "recommend",
        "--from",
        &file,
        "--headroom",
        "20",
        "--format",
        "json",
    ]);
    let again: Value = serde_json::from_str(&again).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    assert_eq!(again, got);
}

/// The longest timeout among new flows to the service.
fn new_flows(pair: &Pair, per_second: u32) -> u32 {
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let enough = |host: &Host| host.in_state("SYN_SENT") > 5;
    pair.near.until("flows come", PATIENCE, enough);
    drop(clients);
    let longest = pair.near.table().iter().map(|entry| entry.timeout_secs).max();
    longest.unwrap_or(0)
}

fn there(host: &Host, program: &str, arguments: &[&str], folder: &std::path::Path) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    let output = inside(&host.netns, move || command.output())
        .join()
        .map_err(|_| "the thread died".to_string())?
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program} {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// A recording once, and from it each format into a namespace of its own.
fn formats(_: Family, per_second: u32) -> Completion {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("seen.pcapng.zst").display().to_string();
    {
        let pair = Pair::new(V4, "proxy", "backend");
        let traffic = load(&pair, 200);
        recommended(
            &pair.near,
            &["--window", "32s", "--record", &file, "--headroom", "20"],
        );
        drop(traffic);
    }
    let mut missing = Vec::new();
    for (format, program, arguments) in [
        ("sysctl", "sysctl", &["-q", "-p", "made"][..]),
        ("nft", "nft", &["-f", "made"]),
        ("iptables", "sh", &["-e", "made"]),
        (
            "ansible",
            "ansible-playbook",
            &["-i", "localhost,", "-c", "local", "play.yml"],
        ),
    ] {
        let needed = if format == "iptables" { "nfct" } else { program };
        if Command::new("sh")
            .args(["-c", &format!("command -v {needed}")])
            .output()
            .map_or(true, |o| !o.status.success())
        {
            missing.push(needed);
            continue;
        }
        let (_, text, stderr) = ctlens(&[
            "recommend",
            "--from",
            &file,
            "--headroom",
            "20",
            "--format",
            format,
        ]);
        assert!(!text.is_empty(), "{stderr}");
        fs::write(folder.path().join("made"), &text).expect("the file is written");
        fs::write(folder.path().join("play.yml"), PLAY).expect("the playbook is written");
        let pair = Pair::new(V4, "proxy", "backend");
        pair.near.tracks();
        pair.far.swallows();
        assert!(new_flows(&pair, per_second) > 100, "before {format}");
        there(&pair.near, program, arguments, folder.path())
            .unwrap_or_else(|why| panic!("{format}: {why}\n{text}"));
        // Those that are there keep their time.
        crate::inside::run("ip", &["netns", "exec", &pair.near.netns, "conntrack", "-F"], "")
            .expect("conntrack -F");
        assert!(until(PATIENCE, || pair.near.count() == 0));
        let longest = new_flows(&pair, per_second);
        assert!(longest <= 10, "{format}: a new flow has {longest} s\n{text}");
        if format == "iptables" {
            // The policies outlive the rules, and the namespace that made them only while something holds it.
            let _ = there(&pair.near, "iptables", &["-t", "raw", "-F"], folder.path());
        }
    }
    match missing.is_empty() {
        true => Completion::Completed,
        false => Completion::ignored_with(format!("tried all formats but those of {}", missing.join(", "))),
    }
}

/// What the comment in the variables' file says, by a module that every ansible has.
const PLAY: &str = r#"
- hosts: localhost
  gather_facts: false
  vars_files: [made]
  tasks:
    - name: conntrack
      ansible.builtin.command: "sysctl -w {{ item.key }}={{ item.value }}"
      loop: "{{ ctlens_sysctl | dict2items }}"
"#;
