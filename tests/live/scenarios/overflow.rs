//! Clients come in, and this host's own listener has no room for them.

use std::net::SocketAddr;

use libtest_mimic::Trial;

use super::{HURRIED, PATIENT, trial};
use crate::lab::Family::{self, V4, V6};
use crate::stage::{Pair, Stage};
use crate::traffic::{Clients, deaf_listener};
use crate::verdict::diagnose;

pub const BACKLOG: i32 = 8;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("listener-overflow/clients-give-up", V4, 150, clients_give_up),
        trial("listener-overflow/clients-give-up", V4, 600, clients_give_up),
        trial("listener-overflow/clients-give-up", V6, 300, clients_give_up),
        trial("listener-overflow/clients-wait", V4, 150, clients_wait),
        trial("listener-overflow/clients-wait", V6, 600, clients_wait),
        trial("listener-overflow/own-clients", V4, 300, own_clients),
        trial("listener-overflow/own-clients", V6, 150, own_clients),
        trial("listener-overflow/no-pile-up", V4, 20, no_pile_up),
        trial("listener-overflow/no-pile-up", V6, 50, no_pile_up),
    ]
}

/// The program never calls accept(); the clients have this patience.
pub fn queue_is_full(family: Family, per_second: u32, patience: std::time::Duration) -> Stage {
    let pair = Pair::new(family, "client", "proxy");
    pair.far.tracks();
    let listener = deaf_listener(&pair.far, pair.service, BACKLOG);
    let clients = Clients::new(pair.service, per_second, patience);
    let traffic = vec![clients.start(&pair.near), listener];
    pair.watch_far(traffic)
}

fn clients_give_up(family: Family, per_second: u32) {
    let stage = queue_is_full(family, per_second, HURRIED);
    let entries = per_second as usize * 5;
    stage.until_entries("SYN_SENT", entries);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("proxy", "listener-overflow", stage.place)
        .proves("held-silent-on-wire", entries as f64 * 0.8..=f64::INFINITY)
        .proves("listen-overflows", f64::from(per_second)..=f64::INFINITY)
        .proves("queue-full", f64::from(BACKLOG)..=f64::from(BACKLOG + 1));
}

fn clients_wait(family: Family, per_second: u32) {
    let stage = queue_is_full(family, per_second, PATIENT);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("proxy", "listener-overflow")
        .without_trigger()
        .names(stage.place);
    assert_eq!(verdict.finding("syn-sent-hold"), "clear", "{verdict}");
}

/// The proxy's own backend, on the same host: nobody else is to blame.
fn own_clients(family: Family, per_second: u32) {
    let pair = Pair::new(family, "peer", "proxy");
    pair.far.tracks();
    let loopback = if family == V4 { "127.0.0.1" } else { "::1" };
    let place = SocketAddr::new(loopback.parse().expect("an address"), pair.service.port());
    let listener = deaf_listener(&pair.far, place, BACKLOG);
    let clients = Clients::new(place, per_second, HURRIED).start(&pair.far);
    let stage = pair.watch_far(vec![clients, listener]);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("proxy", "listener-overflow", place);
}

fn no_pile_up(family: Family, per_second: u32) {
    let stage = queue_is_full(family, per_second, HURRIED);
    stage.until_entries("SYN_SENT", per_second as usize * 2);
    diagnose(&stage.watched)
        .blames("proxy", "listener-overflow")
        .without_trigger()
        .names(stage.place);
}
