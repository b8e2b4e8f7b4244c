//! Packets that a kernel drops without a rule: on the wrong interface, outside the window, or too old.

use std::net::SocketAddr;

use libtest_mimic::Trial;

use super::{HURRIED, PATIENT, trial};
use crate::lab::Family::{self, V4};
use crate::lab::{Lab, address, service, wire_name};
use crate::packet::{ACK, Forged, RST};
use crate::stage::{Pair, Routed, Stage};
use crate::traffic::{Clients, closing_server, forge, holding_server};
use crate::verdict::diagnose;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("rp-filter-drop/two-ways", V4, 150, two_ways),
        trial("rp-filter-drop/two-ways", V4, 600, two_ways),
        trial("syn-recv-hold/two-ways", V4, 300, hurried_two_ways),
        trial("none/strict-rp-filter", V4, 100, strict_but_right),
        trial("window-invalid/translated", V4, 60, window_invalid),
        trial("window-invalid/translated", V4, 300, window_invalid),
        trial("window-invalid/dropped-by-rule", V4, 200, invalid_dropped),
        trial("none/reset-scan", V4, 200, reset_scan),
        trial("paws-drop/behind-a-gateway", V4, 150, behind_a_gateway),
        trial("paws-drop/behind-a-gateway", V4, 400, behind_a_gateway),
    ]
}

/// The proxy asks over one wire, and the backend answers over the other.
fn over_two_wires(per_second: u32, patience: std::time::Duration) -> Stage {
    let mut lab = Lab::new();
    let (near, far) = (lab.host("proxy"), lab.host("backend"));
    let (asks, answers) = (lab.wire(&near, &far), lab.wire(&near, &far));
    near.tracks();
    // Else the filter drops the question who has the answers' next hop, too.
    far.set("net.ipv4.conf.all.arp_announce", "2");
    for wire in [asks, answers] {
        near.set(&format!("net.ipv4.conf.{}.rp_filter", wire_name(wire)), "1");
    }
    far.ip(&format!(
        "route add {}/32 via {} dev {}",
        address(V4, asks, 1),
        address(V4, answers, 1),
        wire_name(answers)
    ));
    let place = service(V4, asks, 2);
    let listener = closing_server(&far, place);
    let clients = Clients::new(place, per_second, patience).start(&near);
    Stage::of(lab, vec![clients, listener], near, far, place)
}

fn two_ways(_: Family, per_second: u32) {
    let stage = over_two_wires(per_second, PATIENT);
    stage.until_entries("SYN_RECV", per_second as usize * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("path", "rp-filter-drop")
        .without_trigger()
        .names("w2")
        .proves("wrong-interface", 5.0..=f64::INFINITY);
    verdict.follow_advice("Let w2 accept", &stage.watched);
    stage.until_entries("CLOSE_WAIT", per_second as usize / 4);
}

fn hurried_two_ways(_: Family, per_second: u32) {
    let stage = over_two_wires(per_second, HURRIED);
    stage.until_entries("SYN_RECV", per_second as usize * 6);
    diagnose(&stage.watched)
        .blames("firewall", "syn-recv-hold")
        .triggered_by("path", "rp-filter-drop", stage.place);
}

fn strict_but_right(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.near.set("net.ipv4.conf.all.rp_filter", "1");
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![clients, listener]);
    stage.until_entries("TIME_WAIT", per_second as usize * 4);
    diagnose(&stage.watched).blames("none", "none").without_trigger();
}

/// One translated connection, and segments of its server's that are far outside the window.
fn outside(routed: Routed, per_second: u32) -> Stage {
    routed.firewall.nft(
        "table ip nat { chain post { type nat hook postrouting priority 100; tcp dport 8080 masquerade to :7000-7019; }; }",
    );
    let listener = holding_server(&routed.server, routed.service);
    let client = Clients::new(routed.service, 1, PATIENT).start(&routed.client);
    routed
        .firewall
        .until("the connection", crate::stage::PATIENCE, |host| {
            host.in_state("ESTABLISHED") >= 1
        });
    let (from, gateway) = (routed.service, address(V4, 2, 2));
    let stray = forge(&routed.server, per_second, move |number| Forged {
        from,
        to: SocketAddr::new(gateway, 7000 + (number % 20) as u16),
        seq: 0x4000_0000 + number * 100_000,
        ack: 0x4000_0000,
        flags: ACK,
        options: Vec::new(),
    });
    routed.watch_firewall(vec![stray, client, listener])
}

fn window_invalid(family: Family, per_second: u32) {
    let stage = outside(Routed::new(family), per_second);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "window-invalid")
        .without_trigger()
        .proves("invalid-rises", 10.0..=f64::INFINITY)
        .proves("resets-sent", 10.0..=f64::INFINITY);
}

fn invalid_dropped(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed
        .firewall
        .nft("table inet guard { chain pre { type filter hook prerouting priority 0; ct state invalid counter drop; }; }");
    let stage = outside(routed, per_second);
    diagnose(&stage.watched)
        .blames("firewall", "window-invalid")
        .without_trigger()
        .proves("invalid-dropped", 10.0..=f64::INFINITY);
}

/// RSTs that belong to nobody, as any address on the Internet gets.
fn reset_scan(family: Family, per_second: u32) {
    let pair = Pair::new(family, "scanner", "server");
    pair.far.tracks();
    let listener = holding_server(&pair.far, pair.service);
    let client = Clients::new(pair.service, 5, PATIENT).start(&pair.near);
    let (from, to) = (pair.near_address, pair.service);
    let scan = forge(&pair.near, per_second, move |number| Forged {
        from: SocketAddr::new(from, 20_000 + (number % 40_000) as u16),
        to,
        seq: number,
        ack: 0,
        flags: RST,
        options: Vec::new(),
    });
    let stage = pair.watch_far(vec![scan, client, listener]);
    stage.until_entries("ESTABLISHED", 10);
    diagnose(&stage.watched).blames("none", "none").without_trigger();
}

/// A gateway with few ports in front of a server that closes first: each port comes back within its TIME_WAIT.
fn behind_a_gateway(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    routed.firewall.nft(
        "table ip nat { chain post { type nat hook postrouting priority 100; tcp dport 8080 masquerade to :7000-7099; }; }",
    );
    routed.server.tracks();
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_server(vec![clients, listener]);
    let done = stage.traffic[0].done.clone();
    stage
        .watched
        .until("ports come back", crate::stage::PATIENCE, |_| {
            done.load(std::sync::atomic::Ordering::Relaxed) >= u64::from(per_second) * 4
        });
    diagnose(&stage.watched)
        .blames("proxy", "paws-drop")
        .without_trigger()
        .proves("paws-rejects", 3.0..=f64::INFINITY);
}
