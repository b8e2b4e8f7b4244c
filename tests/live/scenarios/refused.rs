//! Backends, and routers before them, that refuse the SYNs; and refusals that mean nothing.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use libtest_mimic::Trial;

use super::healthy::accuses_nobody;
use super::{HURRIED, PATIENT, trial};
use crate::lab::Family::{self, V4, V6};
use crate::packet::{ACK, Forged, RST, nobodies, stranger};
use crate::stage::{PATIENCE, Pair, Routed, Stage, everybody_behind};
use crate::traffic::{Clients, churn, closing_server, flood, forge};
use crate::verdict::{Verdict, diagnose, diagnose_with};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("backend-refusing/reset", V4, 50, reset),
        trial("backend-refusing/reset", V4, 600, reset),
        trial("backend-refusing/reset", V6, 300, reset),
        trial("backend-refusing/reset-forwarded", V4, 50, reset_forwarded),
        trial("backend-refusing/reset-forwarded", V4, 600, reset_forwarded),
        trial("backend-refusing/reset-forwarded", V6, 300, reset_forwarded),
        trial("backend-refusing/unreachable", V4, 150, unreachable),
        trial("backend-refusing/unreachable", V4, 600, unreachable),
        trial("backend-refusing/unreachable", V6, 300, unreachable),
        trial(
            "backend-refusing/unreachable-forwarded",
            V4,
            150,
            unreachable_forwarded,
        ),
        trial(
            "backend-refusing/unreachable-forwarded",
            V6,
            600,
            unreachable_forwarded,
        ),
        trial("backend-refusing/unreachable-patient", V4, 300, patient),
        trial("backend-refusing/router", V4, 300, router),
        trial("backend-refusing/own-loopback", V4, 100, own_loopback),
        trial("ruleset-drop/own-reject", V4, 100, own_reject),
        trial("syn-flood/closed-port", V4, 150, closed_port),
        trial("syn-flood/closed-port", V6, 600, closed_port),
        trial("none/some-refused", V4, 100, some_refused),
        trial("none/some-refused-forwarded", V4, 100, some_refused_forwarded),
        trial("none/reset-echo", V4, 200, reset_echo),
    ]
}

/// Attempts leave no entry to wait for.
fn until_tried(stage: &Stage, attempts: u64) {
    let done = stage.traffic[0].done.clone();
    stage.watched.until("attempts were made", PATIENCE, move |_| {
        done.load(Ordering::Relaxed) >= attempts
    });
}

fn refuses(verdict: &Verdict, stage: &Stage) {
    verdict
        .blames("backend", "backend-refusing")
        .without_trigger()
        .names(stage.place);
    assert_eq!(verdict.finding("backend-unresponsive"), "clear", "{verdict}");
    assert_eq!(verdict.finding("asymmetric-routing"), "clear", "{verdict}");
    assert!(verdict.confidence() >= 0.9, "{verdict}");
}

fn reset(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![clients]);
    until_tried(&stage, u64::from(per_second).max(50));
    let verdict = diagnose(&stage.watched);
    refuses(&verdict, &stage);
    verdict.proves("syns-reset", f64::from(per_second)..=f64::INFINITY);
}

fn reset_forwarded(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients]);
    until_tried(&stage, u64::from(per_second));
    refuses(&diagnose(&stage.watched), &stage);
}

fn unreachable(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.rejects();
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![clients]);
    stage.until_entries("SYN_SENT", per_second as usize * 6);
    diagnose_with(&stage.watched, &["--tap", "3s"])
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-refusing", stage.place)
        .proves("syns-unreachable", 1.0..=f64::INFINITY);
}

fn unreachable_forwarded(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.server.rejects();
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients]);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-refusing", stage.place);
}

/// One ICMP error a second to each address: most clients are told nothing, and wait.
fn patient(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.server.rejects();
    let clients = Clients::new(routed.service, per_second, PATIENT).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients]);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    let verdict = diagnose(&stage.watched);
    refuses(&verdict, &stage);
    verdict.proves("entries-stay", f64::from(per_second) * 4.0..=f64::INFINITY);
}

/// The router before the backend says that it is not allowed there.
fn router(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "router");
    pair.near.tracks();
    pair.far.forwards();
    // A missing route would not do: ip_error() and icmp_send() draw on the same tokens, and soon none is left for both.
    pair.far.nft(
        "table inet strict { chain through { type filter hook forward priority filter; reject with icmpx admin-prohibited; }; }",
    );
    pair.far
        .ip(&format!("route add {} dev w1", nobodies(family == V4)));
    pair.near.ip(&everybody_behind(pair.service.ip()));
    let place = SocketAddr::new(stranger(pair.service.ip(), 7), pair.service.port());
    let router = pair.service.ip();
    let clients = Clients::new(place, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![clients]);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    let verdict = diagnose_with(&stage.watched, &["--tap", "3s"]);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-refusing", place);
    let because = verdict.report["verdict"]["trigger"]["because"]
        .as_str()
        .unwrap_or("");
    assert!(because.starts_with(&router.to_string()), "{verdict}");
}

/// The proxy's own backend, on the same host, is not running.
fn own_loopback(_: Family, per_second: u32) {
    let pair = Pair::new(V4, "proxy", "peer");
    pair.near.tracks();
    let place = SocketAddr::new([127, 0, 0, 1].into(), pair.service.port());
    let clients = Clients::new(place, per_second, HURRIED).start(&pair.near);
    let mut stage = pair.watch_near(vec![clients]);
    stage.place = place;
    until_tried(&stage, u64::from(per_second));
    refuses(&diagnose(&stage.watched), &stage);
}

/// It is not the backend that refuses: it never heard of it.
fn own_reject(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.nft(&format!(
        "table inet strict {{ chain out {{ type filter hook output priority filter; ct state invalid counter; \
         tcp dport {} reject with tcp reset; }}; }}",
        pair.service.port()
    ));
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![clients, listener]);
    until_tried(&stage, u64::from(per_second));
    let verdict = diagnose(&stage.watched);
    assert_ne!(verdict.finding("backend-refusing"), "found", "{verdict}");
    verdict.blames("undecided", "undecided");
    let leans = &verdict.report["verdict"]["leans_to"]["causes"];
    assert_eq!(leans[0], "ruleset-drop", "{verdict}");
}

/// Clients of a dead service, or spoofed SYNs: nothing here tells.
fn closed_port(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    let syns = flood(&routed.client, routed.service, per_second);
    let stage = routed.watch_firewall(vec![syns]);
    until_tried(&stage, u64::from(per_second));
    let verdict = diagnose(&stage.watched);
    verdict.blames("undecided", "undecided");
    let leans = &verdict.report["verdict"]["leans_to"]["causes"];
    assert_eq!(
        leans,
        &serde_json::json!(["backend-refusing", "syn-flood"]),
        "{verdict}"
    );
}

/// A health check, a second address that does not work yet: what is normal.
fn some_refused(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    let mut closed = pair.service;
    closed.set_port(closed.port() + 1);
    let listener = closing_server(&pair.far, pair.service);
    let refused = Clients::new(closed, 2, HURRIED).start(&pair.near);
    let clients = churn(&pair.near, pair.service, per_second);
    let stage = pair.watch_near(vec![clients, refused, listener]);
    stage.until_entries("TIME_WAIT", per_second as usize * 4);
    accuses_nobody(&diagnose_with(&stage.watched, &["--tap", "3s"]));
}

/// One of ten attempts at the same place is refused.
fn some_refused_forwarded(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.server.nft(&format!(
        "table inet strict {{ chain in {{ type filter hook input priority filter; tcp dport {} tcp flags & (syn|ack) \
         == syn numgen inc mod 10 0 reject with tcp reset; }}; }}",
        routed.service.port()
    ));
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients, listener]);
    stage.until_entries("TIME_WAIT", per_second as usize * 4);
    accuses_nobody(&diagnose(&stage.watched));
}

/// Somebody floods another site with SYNs in our name, and its RSTs come here.
fn reset_echo(family: Family, per_second: u32) {
    let pair = Pair::new(family, "server", "site");
    pair.near.tracks();
    let listener = closing_server(
        &pair.near,
        SocketAddr::new(pair.near_address, pair.service.port()),
    );
    let (from, to) = (pair.service, pair.near_address);
    let resets = forge(&pair.far, per_second, move |number| Forged {
        from,
        to: SocketAddr::new(to, 1024 + (number % 60_000) as u16),
        seq: 0,
        ack: number,
        flags: RST | ACK,
        options: Vec::new(),
    });
    let stage = pair.watch_near(vec![resets, listener]);
    until_tried(&stage, u64::from(per_second));
    let verdict = diagnose(&stage.watched);
    verdict.blames("none", "none");
    assert_ne!(verdict.finding("backend-refusing"), "found", "{verdict}");
}
