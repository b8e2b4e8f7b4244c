//! Spoofed SYNs, and clients that never hear the answer.

use libtest_mimic::Trial;

use super::healthy::{ONE_WAY, accuses_nobody, stays_healthy};
use super::{HURRIED, PATIENT, trial};
use crate::inside::there;
use crate::lab::Family::{self, V4, V6};
use crate::lab::PORT;
use crate::stage::{Pair, Routed, Stage, everybody_behind};
use crate::traffic::{Clients, churn, closing_server, closing_server_of, deaf_listener, flood};
use crate::verdict::{Verdict, diagnose};

/// Beyond this the server answers with SYN cookies and keeps nothing.
pub const SMALL: i32 = 64;
/// Room for every half-open connection of a scenario.
const LARGE: i32 = 4096;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("syn-flood/server", V4, 150, server_sends_cookies),
        trial("syn-flood/server", V4, 600, server_sends_cookies),
        trial("syn-flood/server", V6, 300, server_sends_cookies),
        trial("syn-flood/forwarded", V4, 150, firewall_forwards_cookies),
        trial("syn-flood/forwarded", V4, 600, firewall_forwards_cookies),
        trial("syn-flood/forwarded", V6, 300, firewall_forwards_cookies),
        trial("syn-flood/server-has-room", V4, 150, server_has_room),
        trial("syn-flood/server-has-room", V4, 400, server_has_room),
        trial(
            "syn-flood/forwarded-server-has-room",
            V4,
            150,
            forwarded_server_has_room,
        ),
        trial(
            "syn-flood/forwarded-server-has-room",
            V6,
            400,
            forwarded_server_has_room,
        ),
        trial("syn-flood/dead-place", V4, 150, dead_place),
        trial("syn-flood/dead-place", V6, 600, dead_place),
        trial("syn-flood/full-syn-queue", V4, 150, full_syn_queue),
        trial("syn-flood/full-syn-queue", V6, 600, full_syn_queue),
        trial("backend-unresponsive/many-clients", V4, 300, many_clients),
        trial("none/burst", V4, 700, burst),
        trial("none/burst-forwarded", V6, 400, burst_forwarded),
        trial("none/sudden-burst", V4, 4000, sudden_burst),
        trial("none/cookies-come-back", V4, 700, cookies_come_back),
        trial("syn-recv-hold/server", V4, 150, answers_are_lost),
        trial("syn-recv-hold/server", V6, 600, answers_are_lost),
        trial("syn-recv-hold/forwarded", V4, 150, forwarded_answers_are_lost),
        trial("syn-recv-hold/forwarded", V4, 600, forwarded_answers_are_lost),
    ]
}

/// The server itself is watched.
fn server(family: Family, per_second: u32, backlog: i32) -> Stage {
    let pair = Pair::new(family, "client", "server");
    pair.far.tracks();
    pair.far.ip(&everybody_behind(pair.near_address));
    let listener = deaf_listener(&pair.far, pair.service, backlog);
    let syns = flood(&pair.near, pair.service, per_second);
    pair.watch_far(vec![syns, listener])
}

/// The firewall in front of it is.
pub fn forwarded(family: Family, per_second: u32, backlog: i32) -> Stage {
    let routed = Routed::new(family);
    let listener = deaf_listener(&routed.server, routed.service, backlog);
    let syns = flood(&routed.client, routed.service, per_second);
    routed.watch_firewall(vec![syns, listener])
}

/// A flood whose half-open connections the server does not keep.
pub fn cookies(family: Family, per_second: u32) -> Stage {
    server(family, per_second, SMALL)
}

fn seen(stage: &Stage, per_second: u32) -> Verdict {
    stage.until_entries("SYN_RECV", per_second as usize * 5);
    diagnose(&stage.watched)
}

fn server_sends_cookies(family: Family, per_second: u32) {
    let stage = cookies(family, per_second);
    seen(&stage, per_second)
        .blames("firewall", "syn-recv-hold")
        .triggered_by("client", "syn-flood", stage.place)
        .proves("cookies-sent", f64::from(per_second)..=f64::INFINITY)
        .proves("one-shot-sources", f64::from(per_second)..=f64::INFINITY);
}

fn firewall_forwards_cookies(family: Family, per_second: u32) {
    let stage = forwarded(family, per_second, SMALL);
    seen(&stage, per_second)
        .blames("firewall", "syn-recv-hold")
        .triggered_by("client", "syn-flood", stage.place);
}

fn server_has_room(family: Family, per_second: u32) {
    let stage = server(family, per_second, LARGE);
    let verdict = seen(&stage, per_second);
    verdict
        .blames("client", "syn-flood")
        .without_trigger()
        .names(stage.place);
    assert_eq!(verdict.finding("syn-recv-hold"), "clear", "{verdict}");
}

fn forwarded_server_has_room(family: Family, per_second: u32) {
    let stage = forwarded(family, per_second, LARGE);
    let verdict = seen(&stage, per_second);
    verdict
        .blames("client", "syn-flood")
        .without_trigger()
        .names(stage.place);
    assert_eq!(verdict.finding("syn-recv-hold"), "clear", "{verdict}");
}

/// Nobody answers the flood either.
fn dead_place(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.server.swallows();
    let syns = flood(&routed.client, routed.service, per_second);
    let stage = routed.watch_firewall(vec![syns]);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("client", "syn-flood", stage.place)
        .proves("one-shot-sources", f64::from(per_second)..=f64::INFINITY);
}

/// Without cookies the server drops what its SYN queue has no room for.
fn full_syn_queue(family: Family, per_second: u32) {
    let stage = server(family, per_second, SMALL);
    stage.watched.set("net.ipv4.tcp_syncookies", "0");
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("client", "syn-flood", stage.place);
}

/// Each from an address of its own, and each tries again: the backend is dead, and nobody floods it.
fn many_clients(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.client.is_everybody();
    routed.server.swallows();
    let clients = Clients::new(routed.service, per_second, PATIENT).with_many_sources();
    let traffic = vec![clients.start(&routed.client)];
    let stage = routed.watch_firewall(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("backend", "backend-unresponsive")
        .without_trigger()
        .names(stage.place);
    assert_eq!(verdict.finding("syn-flood"), "clear", "{verdict}");
}

/// Hundreds of clients a second, each from an address of its own, and each is served.
fn burst(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.far.tracks();
    pair.near.is_everybody();
    pair.far.ip(&everybody_behind(pair.near_address));
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, HURRIED).with_many_sources();
    let traffic = vec![clients.start(&pair.near), listener];
    all_served(&pair.watch_far(traffic), per_second);
}

fn burst_forwarded(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.client.is_everybody();
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).with_many_sources();
    let traffic = vec![clients.start(&routed.client), listener];
    all_served(&routed.watch_firewall(traffic), per_second);
}

fn all_served(stage: &Stage, per_second: u32) {
    stage.until_entries("TIME_WAIT", per_second as usize * 4);
    accuses_nobody(&diagnose(&stage.watched));
}

/// Thousands within a second, then a few; the first look meets them coming in.
fn sudden_burst(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.far.tracks();
    pair.near.is_everybody();
    pair.far.ip(&everybody_behind(pair.near_address));
    let listener = closing_server_of(&pair.far, pair.service, LARGE);
    let client = pair.near.clone();
    let usual = churn(&client, pair.service, 20);
    let mut stage = pair.watch_far(vec![usual, listener]);
    stage.until_entries("TIME_WAIT", 20);
    let clients = Clients::new(stage.place, per_second, HURRIED).with_many_sources();
    stage
        .traffic
        .push(clients.up_to(u64::from(per_second)).start(&client));
    stays_healthy(&stage);
    stage.until_entries("TIME_WAIT", per_second as usize);
}

/// They come from afar, and more at once than the SYN queue holds: the cookies bring them in all the same.
fn cookies_come_back(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "client", "server", ONE_WAY);
    pair.far.tracks();
    pair.near.is_everybody();
    pair.far.ip(&everybody_behind(pair.near_address));
    let listener = closing_server_of(&pair.far, pair.service, SMALL);
    let clients = Clients::new(pair.service, per_second, ONE_WAY * 4).with_many_sources();
    let traffic = vec![clients.start(&pair.near), listener, way];
    let stage = pair.watch_far(traffic);
    all_served(&stage, per_second);
    let cookies = there(&stage.watched.netns, || {
        std::fs::read_to_string("/proc/thread-self/net/netstat")
    });
    let cookies = cookies.expect("counters");
    let sent = cookies
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    assert!(sent.is_some_and(|sent| sent > 100), "{cookies}");
}

/// The client's host eats every SYN/ACK, as a wrong route or rule would.
fn deaf_client() -> String {
    format!(
        "table inet deaf {{ chain pre {{ type filter hook prerouting priority raw; tcp sport {PORT} drop; }}; }}"
    )
}

fn answers_are_lost(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.far.tracks();
    pair.near.nft(&deaf_client());
    let listener = deaf_listener(&pair.far, pair.service, SMALL);
    let attempts = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_far(vec![attempts, listener]);
    one_client_is_no_flood(&seen(&stage, per_second), &stage);
}

fn forwarded_answers_are_lost(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.client.nft(&deaf_client());
    let listener = deaf_listener(&routed.server, routed.service, SMALL);
    let attempts = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![attempts, listener]);
    one_client_is_no_flood(&seen(&stage, per_second), &stage);
}

fn one_client_is_no_flood(verdict: &Verdict, stage: &Stage) {
    verdict
        .blames("firewall", "syn-recv-hold")
        .triggered_by("undecided", "undecided", stage.place);
    assert_eq!(verdict.finding("syn-flood"), "clear", "{verdict}");
    let leans = &verdict.report["verdict"]["trigger"]["leans_to"]["causes"];
    assert_eq!(leans[0], "asymmetric-routing", "{verdict}");
}
