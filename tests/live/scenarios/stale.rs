//! Entries keep mappings that no rule gives any more, and rules that their packets never come to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;

use super::{PATIENT, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::{Host, address};
use crate::stage::{Routed, Stage};
use crate::traffic::{Clients, Traffic, again_and_again};
use crate::verdict::{ctlens, diagnose};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("stale-nat-entry/udp", V4, 1, udp),
        trial("stale-nat-entry/udp", V4, 40, udp),
        trial("stale-nat-entry/udp", V6, 1, udp),
        trial("stale-nat-entry/udp", V6, 40, udp),
        trial("stale-nat-entry/syn", V4, 5, syn),
        trial("stale-nat-entry/syn", V6, 40, syn),
        trial("none/nat-rule-for-others", V4, 5, rule_for_others),
        trial("none/nat-rule-for-others", V6, 40, rule_for_others),
        trial("none/nat-accepted-before", V4, 40, accepted_before),
        trial("none/nat-rule-of-output", V4, 40, rule_of_output),
    ]
}

/// Nobody listens there; what refuses datagrams never comes back.
fn deaf(host: &Host) {
    host.nft(
        "table inet deaf { chain pre { type filter hook prerouting priority raw; udp dport 514 drop; }; }",
    );
}

/// So many clients that send from one port each, and go on.
fn senders(host: &Host, to: SocketAddr, clients: u32) -> Traffic {
    let any: IpAddr = match to.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut sockets = Vec::new();
    again_and_again(host, move || {
        while sockets.len() < clients as usize {
            sockets.push(UdpSocket::bind((any, 5140 + sockets.len() as u16)).expect("a port"));
        }
        for socket in &sockets {
            let _ = socket.send_to(b"<13>still here", to);
        }
    })
}

/// `what` of the service now goes elsewhere.
fn moves(host: &Host, to: SocketAddr, what: &str, hook: &str, before: &str) -> SocketAddr {
    let (family, moved) = match to.is_ipv4() {
        true => ("ip", "10.77.2.9:5140"),
        false => ("ip6", "[fd77:2::9]:5140"),
    };
    host.nft(&format!(
        "table {family} nat {{ chain pre {{ type nat hook {hook} priority -100; {before} \
         {family} daddr {} {what} dport {} dnat to {moved}; }}; }}",
        to.ip(),
        to.port(),
    ));
    moved.parse().expect("address:port")
}

fn until_entries(stage: &Stage, entries: u32) {
    stage
        .watched
        .until("an entry each", Duration::from_secs(10), |host| {
            host.count() >= u64::from(entries)
        });
}

/// Clients send from before the service moved, and go on.
fn udp(family: Family, clients: u32) {
    let routed = Routed::new(family);
    let service = SocketAddr::new(routed.service.ip(), 514);
    deaf(&routed.server);
    let traffic = senders(&routed.client, service, clients);
    let stage = routed.watch_firewall(vec![traffic]);
    until_entries(&stage, clients);
    let moved = moves(&stage.watched, service, "udp", "prerouting", "");
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "stale-nat-entry")
        .without_trigger()
        .names(service)
        .names(moved)
        .proves("mapping-not-given", f64::from(clients)..=f64::from(clients));
    verdict.follow_advice("Delete the entry by its tuple", &stage.watched);
    stage
        .watched
        .until("the mapping of today", Duration::from_secs(10), |host| {
            maps(host, moved)
        });
}

fn maps(host: &Host, moved: SocketAddr) -> bool {
    let list = ctlens(&["list", "--netns", &host.netns, "--format", "json"]).1;
    list.contains(&format!("\"{}\"", moved.ip()))
}

/// Connections begun before the service moved: each SYN that is sent again goes where the first one went.
fn syn(family: Family, clients: u32) {
    let routed = Routed::new(family);
    routed.server.swallows();
    let service = routed.service;
    let traffic = Clients::new(service, clients, PATIENT).start(&routed.client);
    let stage = routed.watch_firewall(vec![traffic]);
    until_entries(&stage, clients);
    let moved = moves(&stage.watched, service, "tcp", "prerouting", "");
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "stale-nat-entry")
        .names(service)
        .names(moved);
    verdict.follow_advice("Delete the entry by its tuple", &stage.watched);
}

/// The host's own packets do not come to the rules for those that it forwards.
fn rule_for_others(family: Family, clients: u32) {
    not_met(family, clients, true, "prerouting", |_| String::new());
}

fn accepted_before(family: Family, clients: u32) {
    not_met(family, clients, false, "prerouting", |client| {
        format!("ip saddr {client} accept;")
    });
}

fn rule_of_output(family: Family, clients: u32) {
    not_met(family, clients, false, "output", |_| String::new());
}

/// A rule for the same destination that the clients' packets never come to. `own`: they are the firewall's.
fn not_met(family: Family, clients: u32, own: bool, hook: &str, before: fn(IpAddr) -> String) {
    let routed = Routed::new(family);
    let service = SocketAddr::new(routed.service.ip(), 514);
    deaf(&routed.server);
    let moved = moves(
        &routed.firewall,
        service,
        "udp",
        hook,
        &before(address(family, 1, 1)),
    );
    let sender = if own { &routed.firewall } else { &routed.client };
    let traffic = senders(sender, service, clients);
    let stage = routed.watch_firewall(vec![traffic]);
    until_entries(&stage, clients);
    assert!(!maps(&stage.watched, moved), "the rule is not met");
    diagnose(&stage.watched).blames("none", "none").without_trigger();
}
