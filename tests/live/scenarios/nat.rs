//! Source NAT runs out of ports, and entries keep mappings that no rule gives any more.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::{Completion, Trial};

use super::healthy::stays_healthy;
use super::{HURRIED, alone, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::address;
use crate::stage::{Routed, Stage};
use crate::traffic::{Clients, again_and_again, churn, closing_server, racing};
use crate::verdict::{diagnose, diagnose_with};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("nat-ports-exhausted/masquerade", V4, 150, masquerade),
        trial("nat-ports-exhausted/masquerade", V6, 400, masquerade),
        trial("nat-ports-exhausted/snat", V4, 300, snat),
        trial("none/nat-light-load", V4, 100, light_load),
        trial("none/nat-full-of-time-wait", V4, 300, full_of_time_wait),
        trial("stale-nat-entry/udp", V4, 5, stale_udp),
        trial("stale-nat-entry/udp", V6, 50, stale_udp),
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
    ]
}

/// Two clients take the same source port in the same moment: both get it translated to itself, and one entry fails.
fn clash(per_second: u32) -> Completion {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Completion::ignored_with("a race takes two processors");
    }
    let routed = Routed::new(V4);
    let listener = closing_server(&routed.server, routed.service);
    translates(&routed, "masquerade");
    let sources = [200, 201].map(|end| address(V4, 1, end));
    let racers = racing(&routed.client, sources, routed.service, per_second);
    let stage = routed.watch_firewall(vec![racers, listener]);
    stage
        .watched
        .until("entries", Duration::from_secs(10), |host| host.count() >= 100);
    let verdict = diagnose_with(&stage.watched, &["--window", "6s"]);
    verdict
        .blames("firewall", "insert-clash")
        .without_trigger()
        .proves("insert-failed-rises", 6.0..=f64::INFINITY);
    verdict.follow_advice("Add `fully-random`", &stage.watched);
    Completion::Completed
}

/// A client sends from one port from before the service moved, and goes on.
fn stale_udp(family: Family, _: u32) {
    let routed = Routed::new(family);
    let service = SocketAddr::new(routed.service.ip(), 514);
    let any: IpAddr = if service.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0u16; 8].into()
    };
    // Nobody listens there; what refuses them never comes back.
    routed.server.nft(
        "table inet deaf { chain pre { type filter hook prerouting priority raw; udp dport 514 drop; }; }",
    );
    let mut socket = None;
    let client = again_and_again(&routed.client, move || {
        let socket = socket.get_or_insert_with(|| UdpSocket::bind((any, 5140)).expect("a port"));
        let _ = socket.send_to(b"<13>still here", service);
    });
    let stage = routed.watch_firewall(vec![client]);
    stage
        .watched
        .until("an entry", Duration::from_secs(10), |host| host.count() >= 1);
    let family = if service.is_ipv4() { "ip" } else { "ip6" };
    let moved = if service.is_ipv4() {
        "10.77.2.9:5140"
    } else {
        "[fd77:2::9]:5140"
    };
    stage.watched.nft(&format!(
        "table {family} nat {{ chain pre {{ type nat hook prerouting priority dstnat; \
         {family} daddr {} udp dport 514 dnat to {moved}; }}; }}",
        service.ip()
    ));
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "stale-nat-entry")
        .without_trigger()
        .names(service)
        .names(moved);
    verdict.follow_advice("Delete the entry by its tuple", &stage.watched);
    stage
        .watched
        .until("the mapping of today", Duration::from_secs(10), |host| {
            maps(host, moved)
        });
}

fn maps(host: &crate::lab::Host, moved: &str) -> bool {
    let to: SocketAddr = moved.parse().expect("address:port");
    let list = crate::verdict::ctlens(&["list", "--netns", &host.netns, "--format", "json"]).1;
    list.contains(&format!("\"{}\"", to.ip()))
}
