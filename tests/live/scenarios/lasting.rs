//! Entries that outlive their connections: loaded beside real traffic, and real datagrams that nobody answers.

use std::net::SocketAddr;

use libtest_mimic::{Completion, Trial};

use super::full::{ELSEWHERE, LARGEST, filled, limit, limit_in_force};
use super::healthy::{accuses_nobody, stays_healthy};
use super::{alone, perhaps, trial};
use crate::filler::{CLOSE_WAIT, IDLE, Kind, PICKED_UP, TIME_WAIT};
use crate::lab::Family::{self, V4, V6};
use crate::lab::{Host, PORT};
use crate::stage::{PATIENCE, Pair, Routed, Stage};
use crate::traffic::{answering_server, churn, closing_server, holding_server, pool, questions};
use crate::verdict::{Verdict, diagnose};

pub fn trials() -> Vec<Trial> {
    vec![
        perhaps("udp-hold/dead-resolver", V4, 1000, dead_resolver),
        perhaps("udp-hold/dead-resolver", V6, 2500, dead_resolver),
        perhaps(
            "udp-hold/dead-resolver-forwarded",
            V4,
            1500,
            dead_resolver_forwarded,
        ),
        trial("none/busy-udp", V4, 1000, busy_udp),
        trial("none/busy-udp", V6, 300, busy_udp),
        trial("none/one-way-udp", V4, 1000, one_way_udp),
        trial("none/idle-pools", V4, 200, idle_pools),
        trial("none/time-wait", V4, 600, time_wait_with_room),
    ]
}

/// Their shares of the limit are the host's: they have the machine to themselves.
pub fn alone_trials() -> Vec<Trial> {
    vec![
        alone("established-hold/60-percent", 100, |n| idle(IDLE, 0.6, n)),
        alone("established-hold/85-percent-picked-up", 100, |n| {
            idle(PICKED_UP, 0.85, n)
        }),
        alone("close-wait-hold/60-percent", 100, |n| half_closed(0.6, n)),
        alone("close-wait-hold/85-percent", 400, |n| half_closed(0.85, n)),
        alone("time-wait-hold/62-percent", 100, |n| closed(0.62, n)),
        alone("time-wait-hold/87-percent", 400, |n| closed(0.87, n)),
    ]
}

const RESOLVER_PORT: u16 = 53;
/// From this share of the limit on one silent resolver is a fault.
const SILENT_SHARE: f64 = 0.05;

fn at_port(service: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(service.ip(), port)
}

/// Datagrams to the port vanish before anybody could refuse them.
fn swallows_udp(host: &Host, port: u16) {
    host.nft(&format!(
        "table inet dumb {{ chain pre {{ type filter hook prerouting priority raw; udp dport {port} drop; }}; }}"
    ));
}

fn until_count(stage: &Stage, entries: u64) {
    stage
        .watched
        .until(&format!("{entries} entries"), PATIENCE, |host| {
            host.count() >= entries
        });
}

/// Others run beside it: the limit is left as it is.
fn is_udp_hold(stage: &Stage, resolver: SocketAddr) -> Completion {
    let max = match limit_in_force() {
        Ok(max) if max <= LARGEST => max,
        Ok(max) => return Completion::ignored_with(format!("nf_conntrack_max is {max}, above {LARGEST}")),
        Err(why) => return Completion::ignored_with(why),
    };
    let least = (max as f64 * SILENT_SHARE) as u64;
    // Those of the last seconds are questions under way.
    until_count(stage, least + 10_000);
    diagnose(&stage.watched)
        .blames("firewall", "udp-hold")
        .triggered_by("backend", "backend-unresponsive", resolver)
        .names(resolver)
        .proves("answers-nobody", least as f64..=f64::INFINITY);
    Completion::Completed
}

fn dead_resolver(family: Family, per_second: u32) -> Completion {
    let pair = Pair::new(family, "proxy", "resolver");
    pair.near.tracks();
    pair.near.set("net.netfilter.nf_conntrack_udp_timeout", "120");
    let resolver = at_port(pair.service, RESOLVER_PORT);
    swallows_udp(&pair.far, RESOLVER_PORT);
    let asking = questions(&pair.near, resolver, per_second);
    is_udp_hold(&pair.watch_near(vec![asking]), resolver)
}

fn dead_resolver_forwarded(family: Family, per_second: u32) -> Completion {
    let routed = Routed::new(family);
    let resolver = at_port(routed.service, RESOLVER_PORT);
    swallows_udp(&routed.server, RESOLVER_PORT);
    let asking = questions(&routed.client, resolver, per_second);
    is_udp_hold(&routed.watch_firewall(vec![asking]), resolver)
}

fn busy_udp(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "resolver");
    pair.near.tracks();
    let resolver = at_port(pair.service, RESOLVER_PORT);
    let answering = answering_server(&pair.far, resolver);
    let asking = questions(&pair.near, resolver, per_second);
    let stage = pair.watch_near(vec![asking, answering]);
    until_count(&stage, u64::from(per_second) * 10);
    accuses_nobody(&diagnose(&stage.watched));
}

/// Logs: nobody ever answers, and nobody waits for it.
fn one_way_udp(family: Family, per_second: u32) {
    let pair = Pair::new(family, "host", "collector");
    pair.near.tracks();
    let collector = at_port(pair.service, 514);
    swallows_udp(&pair.far, 514);
    let logging = questions(&pair.near, collector, per_second);
    let stage = pair.watch_near(vec![logging]);
    until_count(&stage, u64::from(per_second) * 15);
    accuses_nobody(&diagnose(&stage.watched));
}

/// Connections that wait for work, for four hours by what is left of their timeout.
fn idle_pools(family: Family, per_second: u32) {
    const KEPT: usize = 1000;
    let pair = Pair::new(family, "app", "database");
    pair.near.tracks();
    let listener = holding_server(&pair.far, pair.service);
    let clients = pool(&pair.near, pair.service, per_second, KEPT);
    let stage = pair.watch_near(vec![clients, listener]);
    stage.until_entries("ESTABLISHED", KEPT);
    stage
        .watched
        .set("net.netfilter.nf_conntrack_tcp_timeout_established", "446400");
    stays_healthy(&stage);
    let verdict = diagnose(&stage.watched);
    let rows = verdict.report["states"].as_array();
    let idle = rows
        .into_iter()
        .flatten()
        .find(|row| row["state"] == "ESTABLISHED");
    let median = idle.and_then(|row| row["median_s"].as_u64());
    assert!(median.is_some_and(|secs| secs >= 14_000), "{verdict}");
}

fn time_wait_with_room(family: Family, per_second: u32) {
    let stage = super::healthy::closing(family, per_second, true);
    stage.until_entries("TIME_WAIT", per_second as usize * 12);
    stays_healthy(&stage);
}

/// Real connections come and go beside so large a share of the limit in entries of this kind.
fn beside(kind: Kind, share: f64, per_second: u32, prepare: fn(&Host)) -> Result<(Stage, f64), String> {
    let (max, _guard) = limit()?;
    let pair = Pair::new(V4, "client", "server");
    pair.far.tracks();
    prepare(&pair.far);
    let listener = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second);
    let entries = (max as f64 * share) as u64;
    // From the server's own address: the ends are local, and have no socket.
    let _filler = filled(&pair.far, pair.service.ip(), kind, entries);
    let stage = pair.watch_far(vec![clients, listener]);
    until_count(&stage, entries);
    stage.until_entries("TIME_WAIT", per_second as usize);
    Ok((stage, entries as f64))
}

fn scenario(
    made: Result<(Stage, f64), String>,
    check: impl FnOnce(&Verdict, std::ops::RangeInclusive<f64>),
) -> Completion {
    match made {
        Err(why) => Completion::ignored_with(why),
        Ok((stage, entries)) => {
            check(&diagnose(&stage.watched), entries * 0.9..=entries * 1.1);
            Completion::Completed
        }
    }
}

fn idle(kind: Kind, share: f64, per_second: u32) -> Completion {
    scenario(beside(kind, share, per_second, |_| {}), |verdict, entries| {
        verdict
            .blames("firewall", "established-hold")
            .without_trigger()
            .proves("idle", entries.clone())
            .proves("idle-for-three-days", entries.clone())
            .proves("share-of-limit", share * 0.9..=share * 1.1);
        if kind.is_one_way() {
            verdict.proves("one-way", entries);
        } else {
            verdict.names(format!("{ELSEWHERE}:{PORT}"));
        }
    })
}

fn half_closed(share: f64, per_second: u32) -> Completion {
    let raised: fn(&Host) = |host| host.set("net.netfilter.nf_conntrack_tcp_timeout_close_wait", "3600");
    scenario(beside(CLOSE_WAIT, share, per_second, raised), |verdict, _| {
        verdict
            .blames("firewall", "close-wait-hold")
            .without_trigger()
            .names(format!("{ELSEWHERE}:{PORT}"))
            .proves("share-of-limit", share * 0.9..=share * 1.1)
            .proves("half-closed-without-socket", 0.9..=1.0)
            .proves("timeout-raised", 3600.0..=3600.0);
    })
}

fn closed(share: f64, per_second: u32) -> Completion {
    scenario(beside(TIME_WAIT, share, per_second, |_| {}), |verdict, _| {
        verdict
            .blames("firewall", "time-wait-hold")
            .without_trigger()
            .names(format!("{ELSEWHERE}:{PORT}"))
            .proves("share-of-limit", share * 0.85..=share * 1.1);
    })
}
