//! connect() finds no local port any more.

use std::sync::atomic::Ordering;

use libtest_mimic::Trial;

use super::{PATIENT, trial};
use crate::lab::Family::{self, V4, V6};
use crate::stage::{PATIENCE, Pair};
use crate::traffic::{Clients, holding_server};
use crate::verdict::{Verdict, diagnose};

const FIRST: u32 = 40_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ephemeral-ports-exhausted/held", V4, 100, held_connections),
        trial("ephemeral-ports-exhausted/held", V4, 400, held_connections),
        trial("ephemeral-ports-exhausted/held", V6, 200, held_connections),
        trial("ephemeral-ports-exhausted/waiting", V4, 200, waiting_connections),
    ]
}

/// A range of two seconds' worth of connections.
fn exhaust(pair: &Pair, per_second: u32) -> crate::traffic::Traffic {
    let last = FIRST + per_second * 2 - 1;
    pair.near
        .set("net.ipv4.ip_local_port_range", &format!("{FIRST} {last}"));
    let clients = Clients::new(pair.service, per_second, PATIENT);
    clients.start(&pair.near)
}

fn held_connections(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    let server = holding_server(&pair.far, pair.service);
    let clients = exhaust(&pair, per_second);
    let portless = clients.portless.clone();
    let stage = pair.watch_near(vec![clients, server]);
    stage.watched.until("connect() fails", PATIENCE, |_| {
        portless.load(Ordering::Relaxed) >= 10
    });
    let verdict = exhausted(diagnose(&stage.watched), stage.place);
    verdict.without_trigger();
}

/// All ports wait for a backend that does not answer: it is the one to mend.
fn waiting_connections(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    // Room for a pile-up.
    let clients = exhaust(&pair, per_second * 2);
    let portless = clients.portless.clone();
    let stage = pair.watch_near(vec![clients]);
    stage.watched.until("connect() fails", PATIENCE, |_| {
        portless.load(Ordering::Relaxed) >= 10
    });
    let verdict = exhausted(diagnose(&stage.watched), stage.place);
    verdict.triggered_by("backend", "backend-unresponsive", stage.place);
}

fn exhausted(verdict: Verdict, place: std::net::SocketAddr) -> Verdict {
    verdict
        .blames("proxy", "ephemeral-ports-exhausted")
        .names(place)
        .proves("ports-in-use", 0.98..=1.0);
    verdict
}
