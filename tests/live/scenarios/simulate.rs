//! `ctlens simulate` against the kernel: a load is recorded under one profile and foretold under another; then the same
//! load runs under that one for real.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

use super::{HURRIED, trial};
use crate::lab::Family::{self, V4};
use crate::lab::Host;
use crate::pace::after;
use crate::stage::Pair;
use crate::traffic::{Clients, Traffic, churn, closing_server, holding_server, pool, questions};
use crate::verdict::ctlens;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("simulate/held-syn-sent", V4, 250, held),
        trial("simulate/churn-time-wait", V4, 200, closing),
        trial("simulate/udp-dead-resolver", V4, 250, unanswered),
        trial("simulate/idle-established", V4, 200, idle),
    ]
}

/// What is loaded, and what is changed.
struct Shape {
    name: &'static str,
    timeout: &'static str,
    sysctl: &'static str,
    /// As /proc/net/nf_conntrack names the state; `-` for UDP.
    state: &'static str,
    secs: u32,
    load: fn(&Pair, u32) -> Vec<Traffic>,
}

/// Fewer are not compared.
const LEAST: f64 = 1_000.0;
const LASTING: Duration = Duration::from_secs(15);
const LOOKED_EVERY: Duration = Duration::from_millis(400);

fn held(_: Family, per_second: u32) {
    compare(
        &Shape {
            name: "held SYN_SENT",
            timeout: "syn_sent",
            sysctl: "net.netfilter.nf_conntrack_tcp_timeout_syn_sent",
            state: "SYN_SENT",
            secs: 6,
            load: |pair, per_second| {
                pair.far.swallows();
                vec![Clients::new(pair.service, per_second, HURRIED).start(&pair.near)]
            },
        },
        per_second,
    );
}

fn closing(_: Family, per_second: u32) {
    compare(
        &Shape {
            name: "churn with TIME_WAIT",
            timeout: "time_wait",
            sysctl: "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
            state: "TIME_WAIT",
            secs: 6,
            load: |pair, per_second| {
                let server = closing_server(&pair.far, pair.service);
                vec![churn(&pair.near, pair.service, per_second), server]
            },
        },
        per_second,
    );
}

fn unanswered(_: Family, per_second: u32) {
    compare(
        &Shape {
            name: "UDP to a dead resolver",
            timeout: "udp",
            sysctl: "net.netfilter.nf_conntrack_udp_timeout",
            state: "-",
            secs: 6,
            load: |pair, per_second| {
                pair.far.nft(
                    "table inet deaf { chain pre { type filter hook prerouting priority raw; meta l4proto udp drop; }; }",
                );
                vec![questions(&pair.near, pair.service, per_second)]
            },
        },
        per_second,
    );
}

fn idle(_: Family, per_second: u32) {
    compare(
        &Shape {
            name: "idle ESTABLISHED",
            timeout: "established",
            sysctl: "net.netfilter.nf_conntrack_tcp_timeout_established",
            state: "ESTABLISHED",
            secs: 7,
            load: |pair, per_second| {
                let server = holding_server(&pair.far, pair.service);
                vec![pool(&pair.near, pair.service, per_second, 6_000), server]
            },
        },
        per_second,
    );
}

fn compare(shape: &Shape, per_second: u32) {
    let foretold = foretell(shape, per_second);
    let real = [(); 2].map(|()| measure(shape, per_second));
    let mean = (real[0] + real[1]) / 2.0;
    let spread = (real[0] - real[1]).abs() / mean;
    let error = (foretold - mean) / mean;
    let row = format!(
        "| {} | {} | {:.0} | {:.0}, {:.0} | {:+.1} % |",
        shape.name,
        shape.secs,
        foretold,
        real[0],
        real[1],
        error * 100.0
    );
    println!("{row}");
    if let Some(path) = std::env::var_os("CTLENS_SIMULATED") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{row}"))
            .expect("the row is written where CTLENS_SIMULATED says");
    }
    assert!(mean >= LEAST, "only {mean} entries: too few to compare");
    assert!(error.abs() <= (2.0 * spread).max(0.05), "{row}");
}

/// The peak that the program foretells from what it recorded under the defaults.
fn foretell(shape: &Shape, per_second: u32) -> f64 {
    let pair = Pair::new(Family::V4, "sima", "simb");
    pair.near.tracks();
    let folder = tempfile::tempdir().expect("a folder for the recording");
    let file = folder.path().join("load.pcapng.zst").display().to_string();
    let load = (shape.load)(&pair, per_second);
    let window = format!("{}s", LASTING.as_secs());
    let observing = [
        "--netns",
        &pair.near.netns,
        "--window",
        &window,
        "--interval",
        "3s",
    ];
    let (exit, _, stderr) = ctlens(&[&["recommend", "--record", &file][..], &observing].concat());
    drop(load);
    assert!(exit <= 1, "{stderr}");
    let set = format!("{}={}", shape.timeout, shape.secs);
    let (exit, stdout, stderr) = ctlens(&["simulate", "--from", &file, "--set", &set, "--format", "json"]);
    assert_eq!(exit, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("a document");
    let peak = document.pointer(&format!("/profiles/1/peaks/{}/entries", shape.timeout));
    peak.and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no peak of {}: {document}", shape.timeout))
}

/// The most that the table really held.
fn measure(shape: &Shape, per_second: u32) -> f64 {
    let pair = Pair::new(Family::V4, "sima", "simb");
    pair.near.tracks();
    pair.near.set(shape.sysctl, &shape.secs.to_string());
    let load = (shape.load)(&pair, per_second);
    let (began, mut most) = (Instant::now(), 0);
    while began.elapsed() < LASTING {
        most = most.max(entries(&pair.near, shape.state));
        after(LOOKED_EVERY);
    }
    drop(load);
    most as f64
}

fn entries(host: &Host, state: &str) -> usize {
    host.in_state(state)
}
