//! Two faults at once: the graver one is the verdict, and the other is found beside it.

use std::net::SocketAddr;

use libtest_mimic::Trial;

use super::flood::SMALL;
use super::overflow::BACKLOG;
use super::{HURRIED, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::PORT;
use crate::stage::{Pair, everybody_behind};
use crate::traffic::{Clients, deaf_listener, flood};
use crate::verdict::{Verdict, diagnose};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("syn-sent-hold/dead-and-refusing", V4, 150, dead_and_refusing),
        trial("syn-sent-hold/dead-and-refusing", V6, 600, dead_and_refusing),
        trial("syn-sent-hold/dead-and-overflow", V4, 300, dead_and_overflow),
        trial("syn-sent-hold/dead-and-overflow", V6, 600, dead_and_overflow),
        trial("syn-recv-hold/flood-and-dead", V4, 300, flood_and_dead),
        trial("syn-recv-hold/flood-and-dead", V6, 600, flood_and_dead),
    ]
}

/// One backend swallows, the other is not running.
fn dead_and_refusing(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backends");
    pair.near.tracks();
    pair.far.swallows();
    let mut closed = pair.service;
    closed.set_port(PORT + 1);
    let traffic = [pair.service, closed].map(|to| Clients::new(to, per_second, HURRIED).start(&pair.near));
    let stage = pair.watch_near(traffic.into());
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
    is_beside(&verdict, "backend-refusing", closed);
}

fn is_beside(verdict: &Verdict, cause: &str, place: impl ToString) {
    assert_eq!(verdict.finding(cause), "found", "{verdict}");
    let others = verdict.report["verdict"]["others"].as_array();
    let other = others.into_iter().flatten().find(|other| other["cause"] == cause);
    let places = other.map(|other| &other["where"]);
    assert_eq!(places, Some(&serde_json::json!([place.to_string()])), "{verdict}");
}

/// A proxy whose backend swallows, and the place of its own listener, to which others come.
fn proxy(family: Family) -> (Pair, SocketAddr) {
    let pair = Pair::new(family, "proxy", "world");
    pair.near.tracks();
    pair.far.swallows();
    let own = SocketAddr::new(pair.near_address, PORT);
    (pair, own)
}

/// Three attempts die at the backend for each that finds the proxy's own queue full.
fn dead_and_overflow(family: Family, per_second: u32) {
    let (pair, own) = proxy(family);
    let listener = deaf_listener(&pair.near, own, BACKLOG);
    let inward = Clients::new(own, per_second / 3, HURRIED).start(&pair.far);
    let outward = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![inward, outward, listener]);
    stage.until_entries("SYN_SENT", per_second as usize * 6);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
    is_beside(&verdict, "listener-overflow", own);
}

/// A flood of the proxy's own service, answered by cookies, beside its dead backend.
fn flood_and_dead(family: Family, per_second: u32) {
    let (pair, own) = proxy(family);
    pair.near.ip(&everybody_behind(pair.service.ip()));
    let listener = deaf_listener(&pair.near, own, SMALL);
    let syns = flood(&pair.far, own, per_second);
    let outward = Clients::new(pair.service, per_second / 3, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![syns, outward, listener]);
    stage.until_entries("SYN_SENT", per_second as usize * 2);
    stage.until_entries("SYN_RECV", per_second as usize * 6);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-recv-hold")
        .triggered_by("client", "syn-flood", own);
    is_beside(&verdict, "syn-sent-hold", stage.place);
    is_beside(&verdict, "backend-unresponsive", stage.place);
}
