//! The firewall keeps SYN_SENT entries of attempts that were given up long ago.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{HURRIED, trial};
use crate::inside::run;
use crate::lab::Family::{self, V4, V6};
use crate::lab::PORT;
use crate::stage::{PATIENCE, Pair, Routed, Stage, everybody_behind};
use crate::traffic::{Clients, churn, closing_server};
use crate::verdict::{Verdict, diagnose};

/// nf_conntrack_tcp_timeout_syn_sent of a new namespace.
const SYN_SENT_SECS: u32 = 120;
/// One way, and nearly a second there and back.
const LATE: Duration = Duration::from_millis(440);
/// How long ago the burst was.
const CALM_SECS: u32 = 4;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("syn-sent-hold/proxy", V4, 150, on_the_proxy),
        trial("syn-sent-hold/proxy", V4, 600, on_the_proxy),
        trial("syn-sent-hold/proxy", V6, 600, on_the_proxy),
        trial("syn-sent-hold/one-backend-of-two", V4, 300, one_of_two),
        trial("syn-sent-hold/far-backend-of-two", V4, 600, far_one_of_two),
        trial("syn-sent-hold/forwarded", V4, 150, on_the_firewall),
        trial("syn-sent-hold/forwarded", V4, 600, on_the_firewall),
        trial("syn-sent-hold/forwarded", V6, 300, on_the_firewall),
        trial("syn-sent-hold/forwarded-from-a-bridge", V4, 300, from_a_bridge),
        trial("syn-sent-hold/forwarded-by-dnat", V4, 300, by_dnat),
        trial("syn-sent-hold/scan", V4, 300, scan),
        trial("syn-sent-hold/burst-is-over", V4, 150, after_the_burst),
        trial("syn-sent-hold/burst-is-over", V6, 600, after_the_burst),
        trial(
            "syn-sent-hold/forwarded-burst-is-over",
            V4,
            150,
            after_the_forwarded_burst,
        ),
    ]
}

/// A proxy gives up after 0.3 s; its backend swallows the SYNs.
pub fn proxy_gives_up(family: Family, per_second: u32) -> Stage {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let clients = Clients::new(pair.service, per_second, HURRIED);
    let traffic = vec![clients.start(&pair.near)];
    pair.watch_near(traffic)
}

/// The same seen from a firewall in between, which has no sockets to ask.
pub fn clients_give_up(family: Family, per_second: u32) -> Stage {
    let routed = Routed::new(family);
    routed.server.swallows();
    let clients = Clients::new(routed.service, per_second, HURRIED);
    let traffic = vec![clients.start(&routed.client)];
    routed.watch_firewall(traffic)
}

fn on_the_proxy(family: Family, per_second: u32) {
    let stage = proxy_gives_up(family, per_second);
    let entries = per_second as usize * 5;
    stage.until_entries("SYN_SENT", entries);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place)
        .proves("held-without-socket", entries as f64 * 0.8..=f64::INFINITY)
        .proves("amplification", 5.0..=f64::INFINITY)
        .names(stage.place);
    assert!(verdict.confidence() >= 0.9, "{verdict}");
    advice_is_sound(stage, &verdict);
}

/// What the verdict says to do first does what it says.
fn advice_is_sound(mut stage: Stage, verdict: &Verdict) {
    if run("conntrack", &["--version"], "").is_err() {
        return; // the advice names a tool that this machine does not have
    }
    stage.quiet();
    let before = stage.watched.in_state("SYN_SENT");
    verdict.follow_advice("Delete the held entries now", &stage.watched);
    let after = stage.watched.in_state("SYN_SENT");
    assert_eq!(after, 0, "of {before} entries{verdict}");
}

fn one_of_two(family: Family, per_second: u32) {
    let mut stage = proxy_gives_up(family, per_second);
    let mut answering = stage.place;
    answering.set_port(PORT + 1);
    let server = closing_server(&stage.serving, answering);
    let clients = churn(&stage.watched, answering, per_second);
    stage.traffic.extend([clients, server]);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
}

/// The other backend answers, only late: its hundreds of handshakes under way are no reason to name it.
fn far_one_of_two(family: Family, per_second: u32) {
    let (pair, way) = Pair::far_apart(family, "proxy", "backend", LATE);
    pair.near.tracks();
    pair.far.swallows();
    let mut answering = pair.service;
    answering.set_port(PORT + 1);
    let server = closing_server(&pair.far, answering);
    let late = Clients::new(answering, per_second, LATE * 4).start(&pair.near);
    let hurried = Clients::new(pair.service, per_second / 4, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![hurried, late, server, way]);
    stage.until_entries("TIME_WAIT", per_second as usize);
    stage.until_entries("SYN_SENT", per_second as usize * 2);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
}

fn on_the_firewall(family: Family, per_second: u32) {
    let stage = clients_give_up(family, per_second);
    let entries = per_second as usize * 5;
    stage.until_entries("SYN_SENT", entries);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place)
        .proves("held-silent-on-wire", entries as f64 * 0.8..=f64::INFINITY)
        .names(stage.place);
}

/// Every packet is seen twice on the firewall, on the bridge's port and on the bridge: that is no repeat.
fn from_a_bridge(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.bridges_clients();
    routed.server.swallows();
    let traffic = vec![Clients::new(routed.service, per_second, HURRIED).start(&routed.client)];
    let stage = routed.watch_firewall(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
}

/// Clients talk to an address of the firewall; who does not answer is the server behind it.
fn by_dnat(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    let public = routed.publishes();
    routed.server.swallows();
    let traffic = vec![Clients::new(public, per_second, HURRIED).start(&routed.client)];
    let stage = routed.watch_firewall(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
    advice_is_sound(stage, &verdict);
}

/// Somebody tries address after address; no single one of them is to blame.
fn scan(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed
        .firewall
        .ip(&everybody_behind(routed.service.ip()).replace("add", "replace"));
    routed.server.swallows();
    let traffic = vec![
        Clients::new(routed.service, per_second, HURRIED)
            .with_many_targets()
            .start(&routed.client),
    ];
    let stage = routed.watch_firewall(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    let verdict = diagnose(&stage.watched);
    verdict.blames("firewall", "syn-sent-hold");
    let trigger = &verdict.report["verdict"]["trigger"];
    assert_eq!(trigger["cause"], "undecided", "{verdict}");
    assert_eq!(trigger["where"], serde_json::json!([]), "{verdict}");
}

fn after_the_burst(family: Family, per_second: u32) {
    let stage = proxy_gives_up(family, per_second);
    let entries = per_second as usize * 4;
    let (_stage, verdict) = calmed(stage, entries);
    verdict.proves("held-without-socket", entries as f64..=f64::INFINITY);
    let amplification = &verdict.report["verdict"]["amplification"];
    assert!(
        amplification.is_null(),
        "nothing is live, so there is no factor{verdict}"
    );
}

/// No packet at all is on the wire: the entries are of many ages, so that not all clients can be just silent.
fn after_the_forwarded_burst(family: Family, per_second: u32) {
    let stage = clients_give_up(family, per_second);
    let entries = per_second as usize * 8;
    let (_stage, verdict) = calmed(stage, entries);
    verdict.proves("held-silent-on-wire", entries as f64..=f64::INFINITY);
}

fn calmed(mut stage: Stage, entries: usize) -> (Stage, Verdict) {
    stage.until_entries("SYN_SENT", entries);
    stage.quiet();
    stage.watched.until("the burst is over", PATIENCE, |host| {
        let table = host.table();
        let mut syn_sent = table.iter().filter(|entry| entry.state == "SYN_SENT");
        syn_sent.all(|entry| entry.timeout_secs <= SYN_SENT_SECS - CALM_SECS)
    });
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "syn-sent-hold")
        .triggered_by("backend", "backend-unresponsive", stage.place);
    (stage, verdict)
}
