//! Source NAT runs out of ports, or gives the same one twice.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libtest_mimic::{Completion, Trial};

use super::healthy::stays_healthy;
use super::{HURRIED, alone, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::{Host, address};
use crate::stage::{Routed, Stage};
use crate::traffic::{Clients, Traffic, answering_server, churn, closing_server, racing, racing_datagrams};
use crate::verdict::{diagnose, diagnose_with};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("nat-ports-exhausted/masquerade", V4, 150, masquerade),
        trial("nat-ports-exhausted/masquerade", V6, 400, masquerade),
        trial("nat-ports-exhausted/snat", V4, 120, snat),
        trial("nat-ports-exhausted/snat", V4, 300, snat),
        trial("none/nat-light-load", V4, 100, light_load),
        trial("none/nat-full-of-time-wait", V4, 300, full_of_time_wait),
    ]
}

/// What translates: the rule's ports make a range that a test can fill.
fn translates(routed: &Routed, verb: &str) {
    let family = if routed.service.is_ipv4() { "ip" } else { "ip6" };
    routed.firewall.nft(&format!(
        "table {family} nat {{ chain post {{ type nat hook postrouting priority 100; tcp dport {} {verb}; }}; }}",
        routed.service.port()
    ));
}

/// Ports that the rules of these scenarios give.
const RANGE: u32 = 500;

/// Clients of a silent server use the gateway's ports up.
pub fn exhausting(family: Family, per_second: u32, verb: &str) -> Stage {
    let routed = Routed::new(family);
    routed.server.swallows();
    translates(&routed, verb);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    routed.watch_firewall(vec![clients])
}

fn exhausted(family: Family, per_second: u32, verb: &str) {
    let stage = exhausting(family, per_second, verb);
    stage.until_entries("SYN_SENT", RANGE as usize - 5);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "nat-ports-exhausted")
        .triggered_by("backend", "backend-unresponsive", stage.place)
        .names(stage.place)
        .proves("nat-ports-in-use", 450.0..=500.0)
        .proves("syns-lost", f64::from(per_second)..=f64::INFINITY);
    verdict.follow_advice("Let connections to", &stage.watched);
    let wider = diagnose(&stage.watched);
    assert_eq!(
        wider.finding("nat-ports-exhausted"),
        "clear",
        "any port now{wider}"
    );
    verdict.follow_advice("Delete the half-open entries", &stage.watched);
}

fn masquerade(family: Family, per_second: u32) {
    exhausted(family, per_second, "masquerade to :5000-5499");
}

fn snat(family: Family, per_second: u32) {
    // The firewall's own address towards the server.
    exhausted(family, per_second, "snat to 10.77.2.2:5000-5499");
}

fn light_load(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    translates(&routed, "masquerade");
    let listener = closing_server(&routed.server, routed.service);
    let clients = churn(&routed.client, routed.service, per_second);
    let stage = routed.watch_firewall(vec![clients, listener]);
    stage.until_entries("TIME_WAIT", per_second as usize * 5);
    stays_healthy(&stage);
}

/// As many connections as ports, all of them closed: the kernel takes the closing ones' ports.
fn full_of_time_wait(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    translates(&routed, "masquerade to :5000-5499");
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients, listener]);
    stage
        .watched
        .until("as many entries as ports", Duration::from_secs(20), |host| {
            host.count() >= u64::from(RANGE) * 95 / 100
        });
    let verdict = diagnose(&stage.watched);
    verdict.blames("none", "none").without_trigger();
}

pub fn alone_trials() -> Vec<Trial> {
    vec![
        alone("insert-clash/masquerade", 200, clash),
        alone("insert-clash/masquerade", 800, clash),
        alone("insert-clash/masquerade-udp", 800, clash_of_datagrams),
        alone("none/udp-races-settled", 800, settled),
    ]
}

/// Two clients take the same source port in the same moment: both get it translated to itself, and one entry fails.
fn clash(per_second: u32) -> Completion {
    races(per_second, racing, |stage| {
        let verdict = diagnose_with(&stage.watched, &["--window", "6s"]);
        verdict
            .blames("firewall", "insert-clash")
            .without_trigger()
            .proves("insert-failed-rises", 6.0..=f64::INFINITY);
        verdict.follow_advice("Pick ports at random", &stage.watched);
        let random = diagnose(&stage.watched);
        assert_eq!(
            random.finding("insert-clash"),
            "clear",
            "ports are random now{random}"
        );
    })
}

fn clash_of_datagrams(per_second: u32) -> Completion {
    races(per_second, racing_datagrams, |stage| {
        diagnose_with(&stage.watched, &["--window", "6s"])
            .blames("firewall", "insert-clash")
            .proves("insert-failed-rises", 6.0..=f64::INFINITY);
    })
}

type Race = fn(&Host, [IpAddr; 2], SocketAddr, u32) -> Traffic;

fn races(per_second: u32, race: Race, look: fn(&Stage)) -> Completion {
    if one_processor() {
        return Completion::ignored_with("a race takes two processors");
    }
    let routed = Routed::new(V4);
    let listener = closing_server(&routed.server, routed.service);
    let answers = answering_server(&routed.server, routed.service);
    routed
        .firewall
        .nft("table ip nat { chain post { type nat hook postrouting priority 100; masquerade; }; }");
    let sources = [200, 201].map(|end| address(V4, 1, end));
    let racers = race(&routed.client, sources, routed.service, per_second);
    let stage = routed.watch_firewall(vec![racers, listener, answers]);
    until_hundred(&stage);
    look(&stage);
    Completion::Completed
}

/// Two datagrams of one flow meet: the kernel keeps one entry for both, and no packet is lost.
fn settled(per_second: u32) -> Completion {
    if one_processor() {
        return Completion::ignored_with("a race takes two processors");
    }
    let routed = Routed::new(V4);
    let answers = answering_server(&routed.server, routed.service);
    let client = address(V4, 1, 1);
    let racers = racing_datagrams(&routed.client, [client; 2], routed.service, per_second);
    let stage = routed.watch_firewall(vec![racers, answers]);
    until_hundred(&stage);
    let verdict = diagnose_with(&stage.watched, &["--window", "6s"]);
    verdict.blames("none", "none").without_trigger();
    let settled = verdict.report["counters"]["clash_resolve"].as_u64();
    assert!(settled.is_some_and(|races| races > 0), "nothing raced{verdict}");
    Completion::Completed
}

fn one_processor() -> bool {
    std::thread::available_parallelism().map_or(1, usize::from) < 2
}

fn until_hundred(stage: &Stage) {
    let entries = |host: &Host| host.count() >= 100;
    stage.watched.until("entries", Duration::from_secs(10), entries);
}
