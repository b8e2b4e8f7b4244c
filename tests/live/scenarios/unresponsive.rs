//! The attempts behind the entries are alive: who does not answer is the bottleneck, the firewall holds nothing.

use libtest_mimic::Trial;

use super::{PATIENT, trial};
use crate::lab::Family::{self, V4, V6};
use crate::stage::{Pair, Routed};
use crate::traffic::Clients;
use crate::verdict::diagnose;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("backend-unresponsive/proxy", V4, 150, on_the_proxy),
        trial("backend-unresponsive/proxy", V4, 600, on_the_proxy),
        trial("backend-unresponsive/proxy", V6, 300, on_the_proxy),
        trial("backend-unresponsive/forwarded", V4, 150, on_the_firewall),
        trial("backend-unresponsive/forwarded", V4, 600, on_the_firewall),
        trial("backend-unresponsive/forwarded", V6, 300, on_the_firewall),
        trial("backend-unresponsive/older-clients", V4, 300, older_clients),
    ]
}

fn on_the_proxy(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let traffic = vec![Clients::new(pair.service, per_second, PATIENT).start(&pair.near)];
    let stage = pair.watch_near(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("backend", "backend-unresponsive")
        .without_trigger()
        .names(stage.place)
        .proves("live-sockets", f64::from(per_second) * 4.0..=f64::INFINITY);
    assert_eq!(verdict.finding("syn-sent-hold"), "clear", "{verdict}");
}

fn on_the_firewall(family: Family, per_second: u32) {
    forwarded(Routed::new(family), per_second, 4);
}

/// Their SYNs come again after 1, 3, 7, 15 s: a tap of 3 s sees fewer of them.
fn older_clients(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.client.set("net.ipv4.tcp_syn_linear_timeouts", "0");
    forwarded(routed, per_second, 8);
}

fn forwarded(routed: Routed, per_second: u32, secs: usize) {
    routed.server.swallows();
    let traffic = vec![Clients::new(routed.service, per_second, PATIENT).start(&routed.client)];
    let stage = routed.watch_firewall(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * secs);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("backend", "backend-unresponsive")
        .without_trigger()
        .names(stage.place);
    assert_eq!(verdict.finding("syn-sent-hold"), "clear", "{verdict}");
}
