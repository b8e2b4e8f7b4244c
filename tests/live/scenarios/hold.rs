//! The firewall keeps SYN_SENT entries of attempts that were given up long ago.

use libtest_mimic::Trial;

use super::{HURRIED, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::PORT;
use crate::stage::{PATIENCE, Pair, Routed, Stage};
use crate::traffic::{Clients, churn, closing_server};
use crate::verdict::diagnose;

/// nf_conntrack_tcp_timeout_syn_sent of a new namespace.
const SYN_SENT_SECS: u32 = 120;
/// How long ago the burst was.
const CALM_SECS: u32 = 4;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("syn-sent-hold/proxy", V4, 150, on_the_proxy),
        trial("syn-sent-hold/proxy", V4, 600, on_the_proxy),
        trial("syn-sent-hold/proxy", V6, 600, on_the_proxy),
        trial("syn-sent-hold/one-backend-of-two", V4, 300, one_of_two),
        trial("syn-sent-hold/forwarded", V4, 150, on_the_firewall),
        trial("syn-sent-hold/forwarded", V4, 600, on_the_firewall),
        trial("syn-sent-hold/forwarded", V6, 300, on_the_firewall),
        trial("syn-sent-hold/burst-is-over", V4, 150, after_the_burst),
        trial("syn-sent-hold/burst-is-over", V6, 600, after_the_burst),
    ]
}

/// A proxy gives up after 0.3 s; its backend swallows the SYNs.
pub fn proxy_gives_up(family: Family, per_second: u32) -> Stage {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let clients = Clients {
        to: pair.service,
        per_second,
        patience: HURRIED,
        at_most: u64::from(per_second) * 30,
    };
    let traffic = vec![clients.start(&pair.near)];
    pair.watch_near(traffic)
}

/// The same seen from a firewall in between, which has no sockets to ask.
pub fn clients_give_up(family: Family, per_second: u32) -> Stage {
    let routed = Routed::new(family);
    routed.server.swallows();
    let clients = Clients {
        to: routed.service,
        per_second,
        patience: HURRIED,
        at_most: u64::from(per_second) * 30,
    };
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
}

fn one_of_two(family: Family, per_second: u32) {
    let mut stage = proxy_gives_up(family, per_second);
    let mut answering = stage.place;
    answering.set_port(PORT + 1);
    let server = closing_server(&stage.serving, answering);
    let clients = churn(&stage.watched, answering, per_second, u64::from(per_second) * 30);
    stage.traffic.extend([clients, server]);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
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

fn after_the_burst(family: Family, per_second: u32) {
    let mut stage = proxy_gives_up(family, per_second);
    let entries = per_second as usize * 4;
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
        .triggered_by("backend", "backend-unresponsive", stage.place)
        .proves("held-without-socket", entries as f64..=f64::INFINITY);
    let amplification = &verdict.report["verdict"]["amplification"];
    assert!(
        amplification.is_null(),
        "nothing is live, so there is no factor{verdict}"
    );
}
