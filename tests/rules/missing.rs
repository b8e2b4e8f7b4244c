//! What was not seen is never called fine, and lowers the confidence.

use ctlens::model::Gap;

use crate::any::NEEDS;
use crate::heap::{Figure, Heap, heap};
use crate::scene::{Queue, Scene, short, state};

const BACKEND: &str = "10.9.1.3:80";

#[test]
fn each_need_is_real() {
    for (cause, needs) in NEEDS.iter().copied() {
        assert_eq!(state(&Scene::default().report(), cause), "clear", "{cause}");
        for need in needs {
            assert_eq!(
                state(&Scene::default().without(need).report(), cause),
                "unknown",
                "{cause} without {need}"
            );
        }
    }
}

#[test]
fn totals_since_boot_clear_no_counter_rule() {
    let boot = Scene {
        window_s: 0.0,
        ..Scene::default()
    };
    let full = Scene {
        count: Some(262_144),
        ..boot.clone()
    };
    for rise in [0, 1_000_000] {
        let report = boot.clone().net("TcpExt.ListenOverflows", rise as i64).report();
        assert_eq!(state(&report, "listener-overflow"), "unknown", "{rise}");
        let report = full.clone().conntrack("drop", rise).report();
        assert_eq!(state(&report, "table-full"), "unknown", "{rise}");
    }
    let report = full.report();
    assert_eq!(
        report.verdict.leans_to.as_ref().unwrap().settle,
        "ctlens diagnose --window 5s"
    );
    // No damage counter speaks either.
    assert_eq!(
        short(&boot.conntrack("insert_failed", 99_999).report()),
        "none / none"
    );
    let queue = Queue {
        at: "10.0.0.1:80".into(),
        queued: 128,
        backlog: 128,
        process: None,
    };
    let report = Scene {
        window_s: 0.0,
        listeners: vec![queue],
        ..Scene::default()
    }
    .report();
    assert_eq!(
        report.verdict.leans_to.as_ref().unwrap().causes[0].name(),
        "listener-overflow"
    );
}

#[test]
fn one_of_two_counters_is_not_both() {
    for missing in ["TcpExt.ListenOverflows", "TcpExt.TCPReqQFullDrop"] {
        let mut evidence = Scene::default().evidence();
        evidence.net.as_mut().unwrap().remove(missing);
        assert_eq!(
            state(&ctlens::diagnose::diagnose(&evidence), "listener-overflow"),
            "unknown",
            "without {missing}"
        );
    }
}

#[test]
fn without_sockets_local_attempts_are_undecided() {
    let scene = Scene {
        syn_sent_sockets: None,
        sockets_without_entry: None,
        ..Scene::default()
    };
    let report = scene
        .without("sockets")
        .syn_sent("out", heap(6000.0, 0.0, 0.0, "nothing", BACKEND))
        .report();
    assert_eq!(short(&report), "undecided / undecided < backend-unresponsive");
    assert!(
        report
            .verdict
            .leans_to
            .as_ref()
            .unwrap()
            .settle
            .starts_with("ss -Htn state syn-sent")
    );
}

#[test]
fn without_a_tap_forwarded_attempts_stand_on_ages() {
    let ages = |held: f64, live: f64| {
        let likely = Heap {
            held: Figure::Bounds([held, held / 2.0, 6000.0]),
            live: Figure::Bounds([live, 0.0, 3000.0]),
            ..heap(6000.0, held, live, "ages", BACKEND)
        };
        Scene {
            gaps: vec!["tap".into()],
            ..Scene::default()
        }
        .syn_sent("forward", likely)
        .report()
    };
    let report = ages(5600.0, 400.0);
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
    assert!(
        (0.5..0.7).contains(&report.verdict.confidence),
        "{}",
        report.verdict.confidence
    );
    assert_eq!(ages(4000.0, 2000.0).verdict.cause.name(), "undecided");
    // Most ages are unknown: the few that are known decide nothing.
    let few = Heap {
        held: Figure::Exact(500.0),
        ..heap(6000.0, 500.0, 0.0, "ages", BACKEND)
    };
    let report = Scene::default().syn_sent("forward", few).report();
    assert_eq!(report.verdict.cause.name(), "undecided");
    assert!(
        report
            .verdict
            .leans_to
            .as_ref()
            .unwrap()
            .settle
            .contains("nf_conntrack_timestamp=1")
    );
}

#[test]
fn without_addresses_nobody_is_named() {
    let report = Scene {
        gaps: vec!["addresses".into()],
        ..Scene::default()
    }
    .syn_sent("unknown", heap(6000.0, 5900.0, 0.0, "tap", BACKEND))
    .report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < undecided");
    assert_eq!(state(&report, "backend-unresponsive"), "unknown");
    let report = Scene::default()
        .syn_recv("unknown", heap(6000.0, 0.0, 6000.0, "tap", BACKEND))
        .report();
    assert_eq!(state(&report, "syn-flood"), "unknown");
    assert_eq!(report.verdict.cause.name(), "undecided");
}

#[test]
fn without_the_table_there_is_no_verdict() {
    let report = Scene {
        gaps: vec!["ctnetlink".into()],
        ..Scene::default()
    }
    .without("half_open")
    .report();
    assert_eq!(short(&report), "undecided / undecided");
    let causes = &report.verdict.leans_to.as_ref().unwrap().causes;
    assert!(causes.is_empty(), "no fact leans anywhere: {causes:?}");
    assert_eq!(report.gaps.len(), 1);
}

#[test]
fn a_weaker_basis_and_each_gap_lower_the_confidence() {
    let sure = |basis: &str, gaps: &[&str]| {
        let gaps = gaps.iter().map(|g| g.to_string()).collect();
        let scene = Scene {
            gaps,
            ..Scene::default()
        }
        .syn_sent("forward", heap(6000.0, 6000.0, 0.0, basis, BACKEND));
        let report = scene.report();
        assert_eq!(report.verdict.cause.name(), "syn-sent-hold", "{basis}");
        report.verdict.confidence
    };
    let all = [
        sure("sockets", &[]),
        sure("sockets", &["tap"]),
        sure("tap", &["cttimeout"]),
        sure("tap", &["cttimeout", "/proc/net/netstat"]),
        sure("ages", &[]),
        sure("ages", &["tap"]),
    ];
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "{all:?}");
    assert!(sure("sockets", &[]) > sure("tap", &[]) && sure("tap", &[]) > sure("ages", &[]));
    assert!(all.iter().all(|c| *c > 0.0 && *c < 1.0), "{all:?}");
    let none = |gaps: &[&str]| {
        Scene {
            gaps: gaps.iter().map(|g| g.to_string()).collect(),
            ..Scene::default()
        }
        .report()
        .verdict
        .confidence
    };
    assert!(none(&[]) > none(&["tap"]) && none(&["tap"]) > none(&["tap", "inet_diag"]));
}

#[test]
fn a_gap_of_the_evidence_is_one_of_the_report() {
    let mut evidence = Scene::default().evidence();
    evidence
        .gaps
        .push(Gap::new("inet_diag", "not permitted", "run as root"));
    let report = ctlens::diagnose::diagnose(&evidence);
    assert_eq!(
        (report.gaps[0].source.as_str(), report.gaps[0].remedy.as_str()),
        ("inet_diag", "run as root")
    );
    assert!(
        report
            .verdict
            .evidence
            .iter()
            .any(|e| e.id == "not-seen" && !e.supports)
    );
}

#[test]
fn an_empty_table_of_which_nobody_knows_whether_anything_fills_it_is_not_decided() {
    let mut evidence = Scene {
        count: Some(0),
        ..Scene::default()
    }
    .evidence();
    assert_eq!(short(&ctlens::diagnose::diagnose(&evidence)), "none / none");
    evidence.tracking_unknown = true;
    let report = ctlens::diagnose::diagnose(&evidence);
    assert_eq!(short(&report), "undecided / undecided");
    let lean = report.verdict.leans_to.as_ref().expect("a way to settle it");
    assert!(lean.settle.contains("nft list ruleset"), "{lean:?}");
}

#[test]
fn a_backlog_that_is_not_known_is_neither_full_nor_roomy() {
    let mut evidence = Scene {
        listeners: vec![Queue {
            at: "10.0.0.1:80".into(),
            queued: 300,
            backlog: 128,
            process: None,
        }],
        ..Scene::default()
    }
    .net("TcpExt.ListenOverflows", 50)
    .evidence();
    let ids = |evidence: &ctlens::evidence::Evidence| {
        let report = ctlens::diagnose::diagnose(evidence);
        let items = report.verdict.evidence.iter();
        items.map(|item| item.id.to_string()).collect::<Vec<_>>()
    };
    assert!(ids(&evidence).contains(&"queue-full".to_string()));
    for (queued, roomy) in [(300, false), (0, true)] {
        let listener = &mut evidence.listeners.as_mut().unwrap()[0];
        (listener.backlog, listener.queued) = (None, queued);
        let ids = ids(&evidence);
        assert!(!ids.contains(&"queue-full".to_string()), "{ids:?}");
        assert_eq!(ids.contains(&"no-queue-full-now".to_string()), roomy, "{ids:?}");
    }
}
