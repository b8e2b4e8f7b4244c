//! A flood, or many clients: who tries again, and who completes.

use crate::heap::{Figure, Heap, heap};
use crate::scene::{Scene, short, state};

const BACKEND: &str = "10.9.1.3:80";

fn crowd(heap: Heap) -> Heap {
    Heap {
        sources: 5900,
        one_shot: Some(0.98),
        ..heap
    }
}

#[test]
fn clients_of_a_dead_backend_try_again() {
    let scene = |live: f64, basis: &str| {
        let heap = crowd(heap(6000.0, 6000.0 - live, live, basis, BACKEND));
        Scene::default().syn_sent("forward", heap).report()
    };
    assert_eq!(
        short(&scene(100.0, "tap")),
        "firewall / syn-sent-hold < syn-flood"
    );
    assert_eq!(
        short(&scene(900.0, "tap")),
        "firewall / syn-sent-hold < backend-unresponsive"
    );
    assert_eq!(short(&scene(5900.0, "tap")), "backend / backend-unresponsive");
    // Ages do not tell whether anybody tries again.
    assert_eq!(state(&scene(100.0, "ages"), "syn-flood"), "clear");
}

#[test]
fn a_scan_of_everywhere_floods_nobody() {
    let mut heap = crowd(heap(6000.0, 6000.0, 0.0, "tap", BACKEND));
    heap.to = (1..=10)
        .map(|n| (format!("10.9.1.{n}:80"), Figure::Exact(10.0)))
        .collect();
    let report = Scene::default().syn_sent("forward", heap).report();
    assert_eq!(state(&report, "syn-flood"), "clear");
}

#[test]
fn a_slow_listener_is_not_flooded() {
    let scene = |accept| {
        let heap = crowd(heap(6000.0, 6000.0, 0.0, "tap", "10.0.0.1:80"));
        Scene::default()
            .syn_sent("in", heap)
            .net("TcpExt.TCPReqQFullDrop", 500)
            .net("TcpExt.ListenOverflows", accept)
            .report()
    };
    assert_eq!(short(&scene(0)), "firewall / syn-sent-hold < syn-flood");
    assert_eq!(short(&scene(100)), "firewall / syn-sent-hold < listener-overflow");
}

#[test]
fn cookies_that_come_back_are_those_of_clients() {
    let scene = |back| {
        let heap = crowd(heap(6000.0, 0.0, 6000.0, "sockets", "10.0.0.1:80"));
        let report = Scene::default()
            .syn_recv("in", heap)
            .net("TcpExt.SyncookiesSent", 1000)
            .net("TcpExt.SyncookiesRecv", back)
            .report();
        state(&report, "syn-flood")
    };
    assert_eq!((scene(0).as_str(), scene(400).as_str()), ("found", "found"));
    assert_eq!(scene(500), "clear");
}

fn slow(heap: Heap, old: f64, answered_lately: f64) -> Heap {
    Heap {
        old: Some(Figure::Exact(old)),
        answered_lately: Some(Figure::Exact(answered_lately)),
        ..heap
    }
}

#[test]
fn slow_clients_are_no_flood() {
    let scene = |old: f64, lately: f64| {
        let heap = slow(crowd(heap(6000.0, 300.0, 5700.0, "tap", BACKEND)), old, lately);
        short(&Scene::default().syn_recv("forward", heap).report())
    };
    assert_eq!(scene(600.0, 12_000.0), "none / none");
    assert_eq!(scene(601.0, 12_000.0), "client / syn-flood");
    assert_eq!(scene(600.0, 11_999.0), "client / syn-flood");
}

/// They may hear nothing; but who sends a SYN again waits for its answer.
#[test]
fn who_insists_floods_nobody() {
    let scene = |insist: f64| {
        let heap = Heap {
            insist: Some(Figure::Exact(insist)),
            ..crowd(heap(6000.0, 300.0, 5700.0, "tap", BACKEND))
        };
        Scene::default().syn_recv("forward", heap).report()
    };
    let report = scene(3000.0);
    assert_eq!(short(&report), "undecided / undecided");
    assert!(
        report.verdict.headline.contains("very many clients"),
        "{}",
        report.verdict.headline
    );
    assert_eq!(short(&scene(2999.0)), "client / syn-flood");
}

#[test]
fn a_slow_backend_is_not_silent() {
    let scene = |old: f64, lately: f64| {
        let heap = slow(heap(600.0, 0.0, 600.0, "sockets", BACKEND), old, lately);
        short(&Scene::default().syn_sent("out", heap).report())
    };
    assert_eq!(scene(60.0, 1200.0), "none / none");
    assert_eq!(scene(61.0, 1200.0), "backend / backend-unresponsive");
    assert_eq!(scene(60.0, 1199.0), "backend / backend-unresponsive");
}
