//! Only one direction of the connections passes the firewall; and packets without an entry that mean nothing.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use libtest_mimic::Trial;

use super::healthy::accuses_nobody;
use super::{HURRIED, trial};
use crate::lab::Family::{self, V4, V6};
use crate::packet::{ACK, Forged, RST, SYN, stranger};
use crate::stage::{PATIENCE, Routed, Stage};
use crate::traffic::{Clients, chatter, churn, closing_server, forge, holding_server};
use crate::verdict::{Verdict, diagnose};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("asymmetric-routing/answers-elsewhere", V4, 100, answers_elsewhere),
        trial("asymmetric-routing/answers-elsewhere", V4, 400, answers_elsewhere),
        trial("asymmetric-routing/answers-elsewhere", V6, 200, answers_elsewhere),
        trial(
            "asymmetric-routing/answers-elsewhere-dropped",
            V4,
            200,
            answers_elsewhere_dropped,
        ),
        trial("asymmetric-routing/syns-elsewhere", V4, 50, syns_elsewhere),
        trial("asymmetric-routing/syns-elsewhere", V4, 400, syns_elsewhere),
        trial("asymmetric-routing/syns-elsewhere", V6, 200, syns_elsewhere),
        trial(
            "asymmetric-routing/syns-elsewhere-strict",
            V4,
            200,
            syns_elsewhere_strict,
        ),
        trial(
            "asymmetric-routing/syns-elsewhere-dropped",
            V4,
            100,
            syns_elsewhere_dropped,
        ),
        trial("asymmetric-routing/long-connections", V4, 200, long_connections),
        trial("none/invalid-scan", V4, 200, invalid_scan),
        trial("none/syn-ack-echo", V4, 200, syn_ack_echo),
        trial("none/syn-ack-echo", V6, 200, syn_ack_echo),
    ]
}

fn stage(family: Family, per_second: u32, answers: bool, strict: bool) -> Stage {
    let mut routed = Routed::new(family);
    routed.other_way(answers);
    if strict {
        routed.firewall.set("net.netfilter.nf_conntrack_tcp_loose", "0");
    }
    let listener = closing_server(&routed.server, routed.service);
    let clients = churn(&routed.client, routed.service, per_second);
    routed.watch_firewall(vec![clients, listener])
}

fn one_way(verdict: &Verdict, stage: &Stage) {
    verdict
        .blames("path", "asymmetric-routing")
        .without_trigger()
        .names(stage.place);
    for other in [
        "syn-sent-hold",
        "backend-unresponsive",
        "backend-refusing",
        "syn-flood",
    ] {
        assert_eq!(verdict.finding(other), "clear", "{other}{verdict}");
    }
    assert!(verdict.confidence() >= 0.9, "{verdict}");
}

fn answers_elsewhere(family: Family, per_second: u32) {
    let mut stage = stage(family, per_second, true, false);
    stage.until_entries("SYN_SENT", 600.max(per_second as usize * 4));
    let verdict = diagnose(&stage.watched);
    one_way(&verdict, &stage);
    verdict.proves("went-on-without-answer", f64::from(per_second)..=f64::INFINITY);
    // What it says to do does what it says.
    verdict.follow_advice("Or do not track", &stage.watched);
    let more = stage.watched.count() as usize;
    let done = stage.traffic[0].done.clone();
    let until = done.load(Ordering::Relaxed) + u64::from(per_second);
    stage.watched.until("connections go on", PATIENCE, |_| {
        done.load(Ordering::Relaxed) >= until
    });
    let after = stage.watched.count() as usize;
    assert!(
        after <= more + per_second as usize / 4,
        "{more} entries, then {after}{verdict}"
    );
    stage.quiet();
}

/// None of them ends; their entries in SYN_SENT do, and what comes then is picked up in the middle.
fn long_connections(family: Family, per_second: u32) {
    let mut routed = Routed::new(family);
    routed.other_way(true);
    routed
        .firewall
        .set("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", "5");
    let listener = holding_server(&routed.server, routed.service);
    let clients = chatter(&routed.client, routed.service, per_second);
    let stage = routed.watch_firewall(vec![clients, listener]);
    stage.watched.until("entries are picked up", PATIENCE, |host| {
        host.in_state("ESTABLISHED") >= per_second as usize
    });
    one_way(&diagnose(&stage.watched), &stage);
}

fn strict(routed: &Routed) {
    routed
        .firewall
        .nft("table inet strict { chain through { type filter hook forward priority filter; ct state invalid drop; }; }");
}

/// The firewall drops what is invalid: no connection works, though each client hears the SYN/ACK.
fn answers_elsewhere_dropped(family: Family, per_second: u32) {
    let mut routed = Routed::new(family);
    routed.other_way(true);
    strict(&routed);
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients, listener]);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    one_way(&diagnose(&stage.watched), &stage);
}

fn syns_elsewhere(family: Family, per_second: u32) {
    let stage = stage(family, per_second, false, false);
    stage.watched.until("entries are picked up", PATIENCE, |host| {
        host.in_state("ESTABLISHED") >= per_second as usize
    });
    let verdict = diagnose(&stage.watched);
    one_way(&verdict, &stage);
    verdict.proves("syn-acks-without-entry", f64::from(per_second)..=f64::INFINITY);
}

/// Nothing is picked up in the middle: there is no entry at all.
fn syns_elsewhere_strict(family: Family, per_second: u32) {
    let stage = stage(family, per_second, false, true);
    until_done(&stage, u64::from(per_second));
    one_way(&diagnose(&stage.watched), &stage);
}

fn until_done(stage: &Stage, times: u64) {
    let done = stage.traffic[0].done.clone();
    stage.watched.until("packets came", PATIENCE, move |_| {
        done.load(Ordering::Relaxed) >= times
    });
}

/// The SYN/ACKs are all that ever comes, as after somebody else's flood.
fn syns_elsewhere_dropped(family: Family, per_second: u32) {
    let mut routed = Routed::new(family);
    routed.other_way(false);
    strict(&routed);
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients, listener]);
    until_done(&stage, u64::from(per_second) * 2);
    let verdict = diagnose(&stage.watched);
    verdict.blames("undecided", "undecided");
    let leans = &verdict.report["verdict"]["leans_to"]["causes"];
    assert_eq!(leans[0], "asymmetric-routing", "{verdict}");
}

/// Healthy connections, and packets that belong to none.
fn beside(family: Family, per_second: u32, make: impl Fn(SocketAddr, u32) -> Forged + Send + 'static) {
    let routed = Routed::new(family);
    let service = routed.service;
    let listener = closing_server(&routed.server, service);
    let clients = churn(&routed.client, service, per_second);
    let noise = forge(&routed.server, per_second, move |number| make(service, number));
    let stage = routed.watch_firewall(vec![noise, clients, listener]);
    stage.until_entries("TIME_WAIT", per_second as usize * 4);
    accuses_nobody(&diagnose(&stage.watched));
}

fn invalid_scan(family: Family, per_second: u32) {
    beside(family, per_second, |service, number| Forged {
        from: SocketAddr::new(service.ip(), 40_000),
        to: SocketAddr::new(stranger(service.ip(), number % 200), 1 + (number % 1000) as u16),
        seq: number,
        ack: number,
        flags: if number % 2 == 0 { RST } else { RST | ACK },
        options: Vec::new(),
    });
}

/// Somebody floods the service in the name of addresses behind this firewall, from elsewhere.
fn syn_ack_echo(family: Family, per_second: u32) {
    beside(family, per_second, |service, number| Forged {
        from: SocketAddr::new(service.ip(), 443),
        to: SocketAddr::new(stranger(service.ip(), number), 1024 + (number % 60_000) as u16),
        seq: number,
        ack: number,
        flags: SYN | ACK,
        options: Vec::new(),
    });
}
