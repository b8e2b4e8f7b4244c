//! Hosts on which there is nothing to find, and nobody may be accused.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{HURRIED, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::{Host, address};
use crate::stage::{Pair, Routed, Stage, everybody_behind};
use crate::traffic::{Clients, churn, closing_server};
use crate::verdict::{Verdict, ctlens_without_room, diagnose, diagnose_with};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("none/proxy", V4, 100, proxy),
        trial("none/proxy", V4, 400, proxy),
        trial("none/server", V4, 100, server),
        trial("none/server", V6, 400, server),
        trial("none/firewall", V4, 400, firewall),
        trial("none/firewall", V6, 100, firewall),
        trial("none/few-fail", V4, 10, few_fail),
        trial("none/few-fail", V4, 30, few_fail),
        trial("none/far-backend", V4, 700, far_backend),
        trial("none/far-clients", V4, 700, far_clients),
        trial("none/far-visitors", V4, 700, far_visitors),
        trial("none/far-visitors-forwarded", V6, 700, far_visitors_forwarded),
        trial("none/far-backend-forwarded", V6, 700, far_backend_forwarded),
        trial("none/far-clients-forwarded", V4, 700, far_clients_forwarded),
        trial("none/slow-clients", V4, 150, slow_clients),
        trial("none/slow-clients", V6, 350, slow_clients),
        trial("none/slow-clients-forwarded", V4, 300, slow_clients_forwarded),
        trial("none/slow-backend", V4, 300, slow_backend),
        trial("none/ipv6-only", V6, 200, ipv6_only),
        trial("none/idle", V4, 0, idle),
        trial("none/disk-full", V4, 0, disk_full),
        trial("not-tracking", V4, 0, not_tracking),
        trial("not-tracking", V4, 100, not_tracking),
    ]
}

/// The connections are closed as fast as they come.
pub fn closing(family: Family, per_second: u32, watch_near: bool) -> Stage {
    let pair = Pair::new(family, "client", "server");
    if watch_near { &pair.near } else { &pair.far }.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second);
    let traffic = vec![clients, listener];
    if watch_near {
        pair.watch_near(traffic)
    } else {
        pair.watch_far(traffic)
    }
}

fn nothing(stage: &Stage, per_second: u32) {
    stage.until_entries("TIME_WAIT", per_second as usize * 8);
    accuses_nobody(&diagnose(&stage.watched));
}

/// Each look at another moment, and over another span.
const LOOKS: [&[&str]; 4] = [
    &[],
    &["--window", "1s"],
    &["--window", "4s", "--exact"],
    &["--tap", "1s"],
];

/// At no moment may anybody be accused.
pub fn stays_healthy(stage: &Stage) {
    for more in LOOKS {
        accuses_nobody(&diagnose_with(&stage.watched, more));
    }
}

pub fn accuses_nobody(verdict: &Verdict) {
    verdict.blames("none", "none").without_trigger();
    assert!(verdict.confidence() >= 0.9, "{verdict}");
    let findings = verdict.report["findings"].as_array();
    assert!(findings.is_some_and(|findings| findings.len() == 21), "{verdict}");
    for finding in findings.into_iter().flatten() {
        assert_eq!(finding["state"], "clear", "{finding}{verdict}");
    }
}

fn proxy(family: Family, per_second: u32) {
    nothing(&closing(family, per_second, true), per_second);
}

fn server(family: Family, per_second: u32) {
    nothing(&closing(family, per_second, false), per_second);
}

fn firewall(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    let listener = closing_server(&routed.server, routed.service);
    let clients = churn(&routed.client, routed.service, per_second);
    let stage = routed.watch_firewall(vec![clients, listener]);
    nothing(&stage, per_second);
}

/// Nearly a second there and back, which no SYN is repeated in: hundreds of half-open entries at any moment.
pub const ONE_WAY: Duration = Duration::from_millis(440);

fn from_afar(to: std::net::SocketAddr, per_second: u32) -> Clients {
    Clients::new(to, per_second, ONE_WAY * 4)
}

/// Every handshake is completed, only late.
fn nothing_half_open(stage: &Stage, state: &'static str) {
    stage.until_entries("TIME_WAIT", 1000);
    stage.until_entries(state, 510);
    accuses_nobody(&diagnose(&stage.watched));
}

fn far_backend(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "proxy", "backend", ONE_WAY);
    pair.near.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let clients = from_afar(pair.service, per_second).start(&pair.near);
    nothing_half_open(&pair.watch_near(vec![clients, listener, way]), "SYN_SENT");
}

fn far_clients(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "client", "server", ONE_WAY);
    pair.far.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let clients = from_afar(pair.service, per_second).start(&pair.near);
    nothing_half_open(&pair.watch_far(vec![clients, listener, way]), "SYN_RECV");
}

/// Each from an address of its own, as on any busy site.
fn far_visitors(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "client", "server", ONE_WAY);
    pair.far.tracks();
    pair.near.is_everybody();
    pair.far.ip(&everybody_behind(pair.near_address));
    let listener = closing_server(&pair.far, pair.service);
    let clients = from_afar(pair.service, per_second).with_many_sources();
    let traffic = vec![clients.start(&pair.near), listener, way];
    nothing_half_open(&pair.watch_far(traffic), "SYN_RECV");
}

fn far_visitors_forwarded(family: Family, per_second: u32) {
    let (routed, way) = Routed::far_apart(family, true, ONE_WAY);
    routed.client.is_everybody();
    let listener = closing_server(&routed.server, routed.service);
    let clients = from_afar(routed.service, per_second).with_many_sources();
    let traffic = vec![clients.start(&routed.client), listener, way];
    nothing_half_open(&routed.watch_firewall(traffic), "SYN_RECV");
}

fn far_backend_forwarded(family: Family, per_second: u32) {
    forwarded_afar(family, per_second, false, "SYN_SENT");
}

fn far_clients_forwarded(family: Family, per_second: u32) {
    forwarded_afar(family, per_second, true, "SYN_RECV");
}

fn forwarded_afar(family: Family, per_second: u32, clients: bool, state: &'static str) {
    let (routed, way) = Routed::far_apart(family, clients, ONE_WAY);
    let listener = closing_server(&routed.server, routed.service);
    let attempts = from_afar(routed.service, per_second).start(&routed.client);
    nothing_half_open(&routed.watch_firewall(vec![attempts, listener, way]), state);
}

/// Seconds there and back: each SYN is repeated before its answer has come, and each SYN/ACK before its ACK.
const SLOW: Duration = Duration::from_millis(1250);

/// Joins the traffic once the neighbours know each other, and looks several times: who answers over so long a way loses
/// what does not fit into the queue of a neighbour that is still asked for its address, and that is no healthy host.
fn slow_but_healthy(mut stage: Stage, from: &Host, crowd: Clients, state: &'static str, per_second: u32) {
    stage.traffic.push(slow(stage.place, 1).start(from));
    stage.until_entries("CLOSE_WAIT", 1);
    stage.traffic.push(crowd.start(from));
    stage.until_entries("CLOSE_WAIT", per_second as usize * 4);
    stage.until_entries(state, per_second as usize * 2);
    stays_healthy(&stage);
}

fn slow(to: std::net::SocketAddr, per_second: u32) -> Clients {
    Clients::new(to, per_second, SLOW * 8)
}

fn slow_clients(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "client", "server", SLOW);
    pair.far.tracks();
    pair.near.is_everybody();
    pair.far.ip(&everybody_behind(pair.near_address));
    let listener = closing_server(&pair.far, pair.service);
    let (crowd, from) = (
        slow(pair.service, per_second).with_many_sources(),
        pair.near.clone(),
    );
    slow_but_healthy(
        pair.watch_far(vec![listener, way]),
        &from,
        crowd,
        "SYN_RECV",
        per_second,
    );
}

fn slow_clients_forwarded(family: Family, per_second: u32) {
    let (routed, way) = Routed::far_apart(family, true, SLOW);
    routed.client.is_everybody();
    let listener = closing_server(&routed.server, routed.service);
    let (crowd, from) = (
        slow(routed.service, per_second).with_many_sources(),
        routed.client.clone(),
    );
    slow_but_healthy(
        routed.watch_firewall(vec![listener, way]),
        &from,
        crowd,
        "SYN_RECV",
        per_second,
    );
}

fn slow_backend(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "proxy", "backend", SLOW);
    pair.near.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let (crowd, from) = (slow(pair.service, per_second), pair.near.clone());
    slow_but_healthy(
        pair.watch_near(vec![listener, way]),
        &from,
        crowd,
        "SYN_SENT",
        per_second,
    );
}

/// Some attempts die, too few to pile up.
fn few_fail(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let clients = Clients::new(pair.service, per_second, HURRIED);
    let traffic = vec![clients.start(&pair.near)];
    let stage = pair.watch_near(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    accuses_nobody(&diagnose(&stage.watched));
}

/// No IPv4 address on either end.
fn ipv6_only(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    for (host, end) in [(&pair.near, 1), (&pair.far, 2)] {
        host.ip(&format!("addr del {}/24 dev w1", address(V4, 1, end)));
    }
    pair.far.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second);
    let stage = pair.watch_far(vec![clients, listener]);
    stage.until_entries("TIME_WAIT", per_second as usize * 5);
    stays_healthy(&stage);
}

fn idle(family: Family, _: u32) {
    let pair = Pair::new(family, "host", "peer");
    pair.near.tracks();
    let stage = pair.watch_near(Vec::new());
    accuses_nobody(&diagnose(&stage.watched));
}

/// The recording fails; what was seen is told all the same, with its own exit code.
fn disk_full(family: Family, _: u32) {
    let pair = Pair::new(family, "host", "peer");
    pair.near.tracks();
    let stage = pair.watch_near(Vec::new());
    let netns = stage.watched.netns.as_str();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("r.pcapng").display().to_string();
    for (command, exit) in [("diagnose", 0), ("status", 0), ("list", 0), ("record", 2)] {
        let arguments: &[&str] = match command {
            "record" => &["record", &file, "--netns", netns, "--window", "0"],
            "list" => &[
                "list", "--record", &file, "--netns", netns, "--format", "json", "--top", "dst",
            ],
            _ => &[
                command, "--record", &file, "--netns", netns, "--window", "0", "--format", "json",
            ],
        };
        let (got, stdout, stderr) = ctlens_without_room(arguments);
        assert_eq!(got, exit, "{command}: {stdout}{stderr}");
        assert!(
            stderr.contains("recording into") && stderr.contains("make room"),
            "{command}: {stderr}"
        );
        assert_eq!(
            stdout.starts_with('{'),
            command != "record",
            "{command}: {stdout}"
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "{command}"
        );
    }
}

/// No rule tracks: the empty table is not a healthy one, however much goes through.
fn not_tracking(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    let listener = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second);
    let done = clients.done.clone();
    let stage = pair.watch_far(vec![clients, listener]);
    stage
        .watched
        .until("connections pass", Duration::from_secs(10), |_| {
            done.load(std::sync::atomic::Ordering::Relaxed) >= u64::from(per_second) / 2
        });
    let verdict = diagnose(&stage.watched);
    assert_eq!(verdict.exit, 2, "{verdict}");
    assert!(verdict.stderr.contains("not tracking"), "{verdict}");
    assert!(
        verdict.report.is_null(),
        "no verdict where none can be given{verdict}"
    );
}
