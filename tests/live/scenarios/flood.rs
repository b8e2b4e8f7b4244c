//! Spoofed SYNs, and clients that never hear the answer.

use libtest_mimic::Trial;

use super::{HURRIED, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::PORT;
use crate::stage::{Pair, Routed, Stage, everybody_behind};
use crate::traffic::{Clients, deaf_listener, flood};
use crate::verdict::{Verdict, diagnose};

/// Beyond this the server answers with SYN cookies and keeps nothing.
const SMALL: i32 = 64;
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
