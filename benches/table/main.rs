//! A million entries: ctlens beside a bare drain of the same dump and beside `conntrack -L | awk`, in one run.
//!
//! `cargo bench --bench table` as root. It works in a network namespace of its own; `nf_conntrack_max` is one value for
//! the host, so it is raised while the benchmark runs and set back at its end, even after a kill.
//! `-- --entries N`, `-- --rounds N`, `-- --coverage TABLES` (0 = none) change its size.
#![allow(unsafe_code)]

use std::fs;
use std::process::{Child, Command, Stdio};

mod load;
mod measure;

use load::{Mix, Socket};
use measure::{Run, median, run};

const CTLENS: &str = env!("CARGO_BIN_EXE_ctlens");
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const AWK: &str = "conntrack -L 2>/dev/null | awk '{ n[$4]++ } END { for (s in n) print n[s], s }'";
/// Entries of the tables whose samples are checked against the truth, and of each sample.
const COVERAGE_ENTRIES: u64 = 100_000;
const COVERAGE_SAMPLE: &str = "5000";

struct Options {
    entries: u64,
    rounds: usize,
    coverage: u64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "drain") {
        println!("{}", load::drain());
        return;
    }
    let number = |name: &str, default: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let options = Options {
        entries: number("--entries", 1_000_000),
        rounds: number("--rounds", 5).max(1) as usize,
        coverage: number("--coverage", 100),
    };
    // Only the initial namespace may write the limit, so that comes before leaving it.
    let restore = raise_max(options.entries + options.entries / 10);
    // SAFETY: unshare takes a flag; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        println!("skipped: needs root (a network namespace of its own)");
        return;
    }
    longer_timeouts();
    speed(&options);
    if options.coverage > 0 {
        coverage(options.coverage);
    }
    drop(restore);
}

/// Sets the limit back when the pipe to it closes, however this process ends.
struct Restore {
    child: Option<Child>,
}

fn raise_max(entries: u64) -> Option<Restore> {
    let now: u64 = fs::read_to_string(MAX).ok()?.trim().parse().ok()?;
    if now >= entries {
        return None;
    }
    let child = Command::new("setsid")
        .args(["sh", "-c", &format!("read line; echo {now} > {MAX}")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a child that sets nf_conntrack_max back");
    if let Err(error) = fs::write(MAX, entries.to_string()) {
        println!("nf_conntrack_max is {now} and cannot be raised to {entries} ({error}): run as root");
    }
    Some(Restore { child: Some(child) })
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// This namespace's own, so that entries outlive the benchmark and have ages all the same.
fn longer_timeouts() {
    for state in [
        "syn_sent",
        "syn_recv",
        "fin_wait",
        "close_wait",
        "last_ack",
        "time_wait",
        "close",
    ] {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}");
        fs::write(path, load::TIMEOUT_SECS.to_string()).expect("a timeout of this namespace");
    }
}

fn speed(options: &Options) {
    let mut socket = Socket::open();
    let mix = Mix::new(1);
    let loaded = mix.load(&mut socket, options.entries);
    println!(
        "{} entries loaded, {} rounds, medians [min-max]\n",
        loaded.iter().sum::<u64>(),
        options.rounds
    );
    let own = std::env::current_exe().expect("this program's path");
    let own = own.to_str().expect("a path of text");
    let commands: [(&str, Vec<&str>); 5] = [
        ("bare drain (recv loop)", vec![own, "drain"]),
        (
            "ctlens status --window 0 --exact",
            vec![CTLENS, "status", "--window", "0", "--exact"],
        ),
        (
            "ctlens status --window 0 (sample)",
            vec![CTLENS, "status", "--window", "0"],
        ),
        (
            "ctlens list --state SYN_SENT --top dst",
            vec![CTLENS, "list", "--state", "SYN_SENT", "--top", "dst"],
        ),
        ("conntrack -L | awk (states)", vec!["sh", "-c", AWK]),
    ];
    let mut runs: Vec<Vec<Run>> = commands.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (index, (_, words)) in commands.iter().enumerate() {
            runs[index].push(run(words));
        }
    }
    let drain = median(runs[0].iter().map(|run| run.wall_s));
    println!(
        "{:<40} {:>7} {:>15} {:>6} {:>6} {:>8} {:>7}",
        "command", "wall s", "[min-max]", "user s", "sys s", "RSS MiB", "x drain"
    );
    for ((name, _), runs) in commands.iter().zip(&runs) {
        let of = |field: fn(&Run) -> f64| median(runs.iter().map(field));
        let walls = || runs.iter().map(|run| run.wall_s);
        let spread = format!(
            "[{:.2}-{:.2}]",
            walls().fold(f64::MAX, f64::min),
            walls().fold(0.0, f64::max)
        );
        println!(
            "{name:<40} {:>7.3} {spread:>15} {:>6.2} {:>6.2} {:>8.1} {:>7.3}",
            of(|run| run.wall_s),
            of(|run| run.user_s),
            of(|run| run.sys_s),
            of(|run| run.rss_mib),
            of(|run| run.wall_s) / drain
        );
    }
    socket.flush();
}

/// How often a sample's 95 % interval holds the truth: each table is loaded anew, since two samples of one table are
/// the same sample.
fn coverage(tables: u64) {
    let mut socket = Socket::open();
    let (mut held, mut asked) = (0u64, 0u64);
    for seed in 0..tables {
        let loaded = Mix::new(1_000 + seed).load(&mut socket, COVERAGE_ENTRIES);
        let out = Command::new(CTLENS)
            .args([
                "status",
                "--window",
                "0",
                "--sample",
                COVERAGE_SAMPLE,
                "--format",
                "json",
            ])
            .output()
            .expect("ctlens runs");
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("ctlens prints JSON");
        let rows = report["states"].as_array().cloned().unwrap_or_default();
        for (state, truth) in load::STATES.iter().zip(loaded) {
            let row = rows.iter().find(|row| row["state"] == state.name);
            let bound = |name: &str| row.and_then(|row| row["entries"][name].as_f64());
            let (Some(low), Some(high)) = (bound("low"), bound("high")) else {
                println!("table {seed}: no row for {}", state.name);
                asked += 1;
                continue;
            };
            asked += 1;
            held += u64::from(low <= truth as f64 && truth as f64 <= high);
        }
        socket.flush();
    }
    println!(
        "\ncoverage: {held} of {asked} intervals of {COVERAGE_SAMPLE} in {COVERAGE_ENTRIES} entries hold the truth \
         ({:.1} %; 95 % wanted)",
        held as f64 * 100.0 / asked.max(1) as f64
    );
}
