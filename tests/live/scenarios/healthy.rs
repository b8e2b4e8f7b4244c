//! Hosts on which there is nothing to find, and nobody may be accused.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{HURRIED, trial};
use crate::lab::Family::{self, V4, V6};
use crate::stage::{Pair, Routed, Stage};
use crate::traffic::{Clients, churn, closing_server};
use crate::verdict::{Verdict, diagnose};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("none/proxy", V4, 100, proxy),
        trial("none/proxy", V4, 400, proxy),
        trial("none/server", V4, 100, server),
        trial("none/server", V6, 400, server),
        trial("none/firewall", V4, 400, firewall),
        trial("none/firewall", V6, 100, firewall),
        trial("none/few-fail", V4, 10, few_fail),
        trial("none/few-fail", V4, 30, few_fail),
        trial("none/idle", V4, 0, idle),
        trial("not-tracking", V4, 0, not_tracking),
        trial("not-tracking", V4, 100, not_tracking),
    ]
}

fn at_most(per_second: u32) -> u64 {
    u64::from(per_second) * 40
}

/// The connections are closed as fast as they come.
pub fn closing(family: Family, per_second: u32, watch_near: bool) -> Stage {
    let pair = Pair::new(family, "client", "server");
    if watch_near { &pair.near } else { &pair.far }.tracks();
    let listener = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second, at_most(per_second));
    let traffic = vec![clients, listener];
    if watch_near {
        pair.watch_near(traffic)
    } else {
        pair.watch_far(traffic)
    }
}

fn nothing(stage: &Stage, per_second: u32) {
    stage.until_entries("TIME_WAIT", per_second as usize * 8);
    accuses_nobody(&diagnose(&stage.watched));
}

fn accuses_nobody(verdict: &Verdict) {
    verdict.blames("none", "none").without_trigger();
    assert!(verdict.confidence() >= 0.9, "{verdict}");
    for cause in [
        "syn-sent-hold",
        "syn-recv-hold",
        "table-full",
        "listener-overflow",
        "ephemeral-ports-exhausted",
        "backend-unresponsive",
        "syn-flood",
    ] {
        assert_eq!(verdict.finding(cause), "clear", "{cause}{verdict}");
    }
}

fn proxy(family: Family, per_second: u32) {
    nothing(&closing(family, per_second, true), per_second);
}

fn server(family: Family, per_second: u32) {
    nothing(&closing(family, per_second, false), per_second);
}

fn firewall(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    let listener = closing_server(&routed.server, routed.service);
    let clients = churn(&routed.client, routed.service, per_second, at_most(per_second));
    let stage = routed.watch_firewall(vec![clients, listener]);
    nothing(&stage, per_second);
}

/// Some attempts die, too few to pile up.
fn few_fail(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let clients = Clients {
        to: pair.service,
        per_second,
        patience: HURRIED,
        at_most: at_most(per_second),
    };
    let traffic = vec![clients.start(&pair.near)];
    let stage = pair.watch_near(traffic);
    stage.until_entries("SYN_SENT", per_second as usize * 5);
    accuses_nobody(&diagnose(&stage.watched));
}

fn idle(family: Family, _: u32) {
    let pair = Pair::new(family, "host", "peer");
    pair.near.tracks();
    let stage = pair.watch_near(Vec::new());
    accuses_nobody(&diagnose(&stage.watched));
}

/// No rule tracks: the empty table is not a healthy one, however much goes through.
fn not_tracking(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    let listener = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second, at_most(per_second));
    let done = clients.done.clone();
    let stage = pair.watch_far(vec![clients, listener]);
    stage
        .watched
        .until("connections pass", Duration::from_secs(10), |_| {
            done.load(std::sync::atomic::Ordering::Relaxed) >= u64::from(per_second) / 2
        });
    let verdict = diagnose(&stage.watched);
    assert_eq!(verdict.exit, 2, "{verdict}");
    assert!(verdict.stderr.contains("not tracking"), "{verdict}");
    assert!(
        verdict.report.is_null(),
        "no verdict where none can be given{verdict}"
    );
}
