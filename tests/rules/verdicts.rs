//! The table that the verdict's words are defined by: the same measured figures must give the same verdict.

use ctlens::diagnose::Side;

use crate::heap::{Figure, Heap, heap};
use crate::scene::{Scene, Wire, finding, short};

const BACKEND: &str = "10.9.1.1:80";

/// 300 attempts a second that give up after 0.3 s.
fn given_up() -> Scene {
    let heap = Heap {
        new_per_s: Some(Figure::Exact(250.0)),
        ..heap(6248.0, 6156.0, 92.0, "sockets", BACKEND)
    };
    Scene {
        count: Some(6258),
        syn_sent_sockets: Some(92),
        ..Scene::default()
    }
    .syn_sent("out", heap)
}

#[test]
fn a_proxy_gives_up_and_the_backend_swallows_syns() {
    let report = given_up().report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
    let verdict = &report.verdict;
    let trigger = verdict.trigger.as_ref().unwrap();
    assert_eq!(
        (trigger.side, &trigger.place[..]),
        (Side::Backend, &[BACKEND.to_string()][..])
    );
    assert_eq!(verdict.amplification, Some(67.9));
    assert!(verdict.confidence >= 0.95, "{}", verdict.confidence);
    assert!(trigger.confidence >= 0.9, "{}", trigger.confidence);
    let hold = finding(&report, "syn-sent-hold");
    assert_eq!(hold.entries_explained, Some(6156.0));
    let held = verdict
        .evidence
        .iter()
        .find(|e| e.id == "held-without-socket")
        .unwrap();
    assert_eq!(
        (held.supports, held.value, held.unit),
        (true, Some(6156.0), "entries")
    );
}

#[test]
fn a_proxy_waits_and_the_backend_swallows_syns() {
    let report = Scene {
        syn_sent_sockets: Some(1502),
        sockets_without_entry: Some(2),
        ..Scene::default()
    }
    .syn_sent("out", heap(1500.0, 0.0, 1500.0, "sockets", BACKEND))
    .report();
    assert_eq!(short(&report), "backend / backend-unresponsive");
    assert_eq!(report.verdict.amplification, None);
    assert!(
        report.verdict.headline.contains(BACKEND),
        "{}",
        report.verdict.headline
    );
    assert!(
        report.verdict.headline.contains("or the path beyond this host"),
        "{}",
        report.verdict.headline
    );
    let out = &report.verdict.ruled_out;
    assert!(
        out.iter()
            .any(|r| r.cause.name() == "syn-sent-hold" && r.because.contains("only 0 of 1,500")),
        "{out:?}"
    );
}

#[test]
fn a_burst_has_ended_and_nobody_waits() {
    let heap = Heap {
        new_per_s: Some(Figure::Exact(0.0)),
        ..heap(5621.0, 5621.0, 0.0, "sockets", BACKEND)
    };
    let report = Scene::default().syn_sent("out", heap).report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
    assert_eq!(report.verdict.amplification, None, "nothing is live: no factor");
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["verdict"]["amplification"].is_null());
}

#[test]
fn clients_come_in_and_the_own_queue_is_full() {
    let report = Scene {
        tap: Some(Wire {
            secs: 3.0,
            ..Wire::default()
        }),
        listeners: vec![crate::scene::Queue {
            at: "10.0.0.1:80".into(),
            queued: 129,
            backlog: 128,
            process: Some("varnishd".into()),
        }],
        ..Scene::default()
    }
    .syn_sent("in", heap(6251.0, 6200.0, 0.0, "tap", "10.0.0.1:80"))
    .net("TcpExt.ListenOverflows", 780)
    .net("TcpExt.ListenDrops", 780)
    .report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < listener-overflow");
    let trigger = report.verdict.trigger.as_ref().unwrap();
    assert_eq!(
        (trigger.side, &trigger.place[..]),
        (Side::Proxy, &["10.0.0.1:80".to_string()][..])
    );
    assert_eq!(
        finding(&report, "listener-overflow").entries_explained,
        Some(6251.0)
    );
    assert_eq!(
        finding(&report, "backend-unresponsive").because,
        "no SYN_SENT entry goes out"
    );
}

#[test]
fn spoofed_syns_and_a_server_that_answers() {
    let heap = Heap {
        sources: 12_400,
        one_shot: Some(0.99),
        ..heap(12_517.0, 12_400.0, 0.0, "sockets", "10.9.1.1:80")
    };
    let report = Scene::default()
        .syn_recv("in", heap)
        .net("TcpExt.SyncookiesSent", 400)
        .report();
    assert_eq!(short(&report), "firewall / syn-recv-hold < syn-flood");
    let trigger = report.verdict.trigger.as_ref().unwrap();
    assert_eq!(
        (trigger.side, &trigger.place[..]),
        (Side::Client, &["10.9.1.1:80".to_string()][..])
    );
    assert!(trigger.confidence >= 0.9);
}

/// `ruleset-drop` has no rule of its own yet: the verdict leans to it and says what would settle it.
#[test]
fn an_output_rule_drops_the_syns() {
    let report = Scene {
        syn_sent_sockets: Some(1011),
        sockets_without_entry: Some(1011),
        ..Scene::default()
    }
    .report();
    assert_eq!(short(&report), "undecided / undecided");
    let lean = report.verdict.leans_to.as_ref().unwrap();
    assert_eq!(lean.causes[0].name(), "ruleset-drop");
    assert_eq!(lean.causes[0].side(), Side::Firewall);
    assert!(
        lean.because.contains("1,011 sockets wait in SYN_SENT"),
        "{}",
        lean.because
    );
    assert!(lean.settle.starts_with("nft list ruleset"), "{}", lean.settle);
}

#[test]
fn a_quiet_host_is_none() {
    let report = Scene::default().report();
    assert_eq!(short(&report), "none / none");
    assert!(report.verdict.trigger.is_none() && report.verdict.leans_to.is_none());
    assert!(report.verdict.fix_first.is_empty());
    assert!(report.verdict.confidence >= 0.9, "{}", report.verdict.confidence);
}

#[test]
fn closing_400_connections_a_second_is_arithmetic() {
    let mut scene = Scene {
        count: Some(48_300),
        ..Scene::default()
    };
    scene.states = [
        ("tcp TIME_WAIT".to_string(), 48_000),
        ("tcp ESTABLISHED".to_string(), 300),
    ]
    .into();
    let report = scene.report();
    assert_eq!(short(&report), "none / none");
    assert!(
        report.verdict.headline.contains("0 half-open of 48,300 entries"),
        "{}",
        report.verdict.headline
    );
}
