//! What `ctlens events` hears, against what was done.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

use super::{HURRIED, trial};
use crate::filler::{Filler, SYN_SENT};
use crate::inside::{run, there};
use crate::lab::Family::{self, V4, V6};
use crate::lab::Host;
use crate::pace::after;
use crate::stage::{PATIENCE, Pair};
use crate::traffic::{Clients, closing_server};
use crate::verdict::ctlens;

/// Whoever listens for longer has missed something.
const BOUND: &str = "--for=20s";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("events/as-it-happens", V4, 40, as_it_happens),
        trial("events/as-it-happens", V6, 200, as_it_happens),
        trial("events/filtered", V4, 100, filtered),
        trial("events/lost", V4, 20_000, lost),
        trial("events/every-one", V4, 4_000, every_one),
    ]
}

type Heard = thread::JoinHandle<(i32, String, String)>;

/// The program, once it has joined its groups.
fn listening(host: &Host, options: &[&str]) -> Heard {
    let mut arguments = vec!["events", "--netns", &host.netns, "--format", "json"];
    arguments.extend(options);
    let arguments: Vec<String> = arguments.into_iter().map(String::from).collect();
    let heard = thread::spawn(move || ctlens(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    host.until("somebody listens", PATIENCE, |host| {
        there(&host.netns, joined_groups) > 0
    });
    heard
}

/// Sockets of NETLINK_NETFILTER, 12, that are in a group.
fn joined_groups() -> usize {
    let text = fs::read_to_string("/proc/thread-self/net/netlink").unwrap_or_default();
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1) == Some(&"12") && row.get(3).is_some_and(|groups| *groups != "00000000"))
        .count()
}

fn rows(heard: Heard) -> (Vec<Value>, String) {
    let (exit, stdout, stderr) = heard.join().expect("the thread only waits");
    assert_eq!(exit, 0, "{stderr}");
    let rows = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    (rows.collect(), stderr)
}

fn count(rows: &[Value], event: &str, key: &str, value: &str) -> usize {
    let fits = |row: &&Value| row["event"] == event && row[key] == value;
    rows.iter().filter(fits).count()
}

/// Closed, refused and silent: each connection comes, goes through its states, and goes for its reason.
fn as_it_happens(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    for state in ["syn_sent", "time_wait"] {
        pair.near
            .set(&format!("net.netfilter.nf_conntrack_tcp_timeout_{state}"), "1");
    }
    let server = closing_server(&pair.far, pair.service);
    let (mut closed, mut silent) = (pair.service, pair.service);
    closed.set_port(81);
    silent.set_port(82);
    pair.far
        .nft("table inet quiet { chain c { type filter hook input priority 0; tcp dport 82 drop; }; }");
    let heard = listening(&pair.near, &["--kinds", "new,update,destroy", "--for=8s"]);
    let attempts =
        [pair.service, closed, silent].map(|to| Clients::new(to, per_second, HURRIED).start(&pair.near));
    // Whoever reads the table collects what has expired; the kernel's collector comes once a minute to a host with few entries.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        pair.near.table();
        after(Duration::from_millis(500));
    }
    let (rows, _) = rows(heard);
    drop((attempts, server));
    for state in ["SYN_RECV", "ESTABLISHED", "TIME_WAIT"] {
        assert!(
            count(&rows, "update", "state", state) > per_second as usize,
            "{state}"
        );
    }
    for (port, reason) in [(81, "refused"), (82, "expired")] {
        let gone: Vec<&Value> = rows
            .iter()
            .filter(|row| row["event"] == "destroy" && row["orig"]["dport"] == port)
            .collect();
        assert!(gone.len() > per_second as usize, "{port}: {} went", gone.len());
        for row in gone {
            assert_eq!(row["gone"], reason, "{row}");
        }
    }
    assert_eq!(rows.iter().filter(|row| row["event"] == "lost").count(), 0);
}

/// The kernel's filter leaves nothing out and lets nothing in.
fn filtered(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    let server = closing_server(&pair.far, pair.service);
    let mut closed = pair.service;
    closed.set_port(81);
    let place = pair.service.ip().to_string();
    let options = [
        "--proto", "tcp", "--dst", &place, "--dport", "81", "--limit", "200", BOUND,
    ];
    let heard = listening(&pair.near, &options);
    let attempts = [pair.service, closed].map(|to| Clients::new(to, per_second, HURRIED).start(&pair.near));
    let (rows, _) = rows(heard);
    drop((attempts, server));
    assert_eq!(rows.len(), 200);
    for row in &rows {
        assert_eq!(row["orig"]["dport"], 81, "{row}");
    }
    assert!(count(&rows, "destroy", "gone", "refused") > 50);
}

/// Made at once, faster than anybody reads: what is missing is counted to the last one.
fn lost(family: Family, entries: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    let heard = listening(&pair.near, &["--kinds=new", "--buffer=4K", "--for=4s"]);
    fill(&pair, entries);
    let (rows, stderr) = rows(heard);
    let (new, lost) = (
        rows.iter().filter(|row| row["event"] == "new").count() as u64,
        rows.iter().filter_map(|row| row["events"].as_u64()).sum::<u64>(),
    );
    assert!(lost > 0, "{stderr}");
    assert_eq!(new + lost, u64::from(entries), "{stderr}");
    assert!(stderr.contains(&format!(" {lost} lost")), "{stderr}");
}

/// The buffer that it has by default is enough for these, and for their end.
fn every_one(family: Family, entries: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    let limit = format!("--limit={}", entries * 2);
    let heard = listening(&pair.near, &[&limit, BOUND]);
    fill(&pair, entries);
    there(&pair.near.netns, || run("conntrack", &["-F"], "")).expect("root may flush");
    let (rows, stderr) = rows(heard);
    assert_eq!(rows.len() as u32, entries * 2, "{stderr}");
    assert_eq!(count(&rows, "destroy", "gone", "deleted") as u32, entries);
}

fn fill(pair: &Pair, entries: u32) {
    let (from, to) = match (pair.near_address, pair.service.ip()) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) => (from, to),
        _ => unreachable!("the pair is an IPv4 one"),
    };
    there(&pair.near.netns, move || {
        Filler::new(from, to, 9).and_then(|mut filler| filler.add(SYN_SENT, entries.into()))
    })
    .unwrap_or_else(|error| panic!("filling the table: {error}"));
}
