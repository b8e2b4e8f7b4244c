//! Several faults at once: which one is named, what set it off, and how much each explains.

use crate::heap::{Heap, heap};
use crate::scene::{Ports, Queue, Scene, Wire, finding, short};

const BACKEND: &str = "10.9.1.3:80";

fn full() -> Scene {
    Scene {
        count: Some(262_144),
        states: [
            ("tcp SYN_SENT".to_string(), 200_000),
            ("tcp ESTABLISHED".to_string(), 62_144),
        ]
        .into(),
        ..Scene::default()
    }
}

#[test]
fn a_dead_backend_fills_the_table() {
    let report = full()
        .syn_sent("out", heap(200_000.0, 199_400.0, 600.0, "sockets", BACKEND))
        .conntrack("early_drop", 800)
        .report();
    assert_eq!(short(&report), "firewall / table-full < backend-unresponsive");
    assert_eq!(report.verdict.trigger.as_ref().unwrap().place, [BACKEND]);
    assert_eq!(finding(&report, "table-full").entries_explained, Some(262_144.0));
    assert_eq!(
        finding(&report, "syn-sent-hold").entries_explained,
        Some(199_400.0)
    );
    assert_eq!(
        finding(&report, "backend-unresponsive").entries_explained,
        Some(200_000.0)
    );
    let commands: Vec<&str> = report
        .verdict
        .fix_first
        .iter()
        .filter_map(|f| f.command.as_deref())
        .collect();
    assert!(commands[0].contains("nf_conntrack_max=524288"), "{commands:?}");
    assert!(
        commands
            .iter()
            .any(|c| c.starts_with("conntrack -D -p tcp --state SYN_SENT")),
        "{commands:?}"
    );
    assert!(
        report.verdict.headline.contains("evicts half-open connections"),
        "{}",
        report.verdict.headline
    );
}

#[test]
fn full_is_told_by_its_damage() {
    let assured = Scene {
        states: [("tcp ESTABLISHED".to_string(), 262_144)].into(),
        ..full()
    };
    let drops = assured.clone().conntrack("drop", 40).report();
    assert_eq!(short(&drops), "firewall / table-full");
    assert!(
        drops.verdict.headline.contains("it drops new connections"),
        "{}",
        drops.verdict.headline
    );
    let quiet = assured.clone().report();
    assert_eq!(short(&quiet), "firewall / table-full");
    assert!(
        quiet.verdict.headline.contains("the next spike"),
        "{}",
        quiet.verdict.headline
    );
    assert!(quiet.verdict.confidence < drops.verdict.confidence);
    let nearly = Scene {
        count: Some(240_000),
        ..assured.clone()
    };
    assert_eq!(short(&nearly.report()), "none / none");
    assert_eq!(
        short(&nearly.conntrack("drop", 40).report()),
        "firewall / table-full"
    );
    // Room, and yet losses: not the table, and not nothing.
    let low = Scene {
        count: Some(100_000),
        ..assured.clone()
    };
    let report = low
        .clone()
        .conntrack("drop", 400)
        .conntrack("insert_failed", 400)
        .report();
    assert_eq!(short(&report), "firewall / insert-clash");
    assert_eq!(
        serde_json::to_value(finding(&report, "table-full")).unwrap()["state"],
        "clear"
    );
    let unseen = low
        .clone()
        .without("nat")
        .conntrack("insert_failed", 400)
        .report();
    assert_eq!(
        unseen.verdict.leans_to.as_ref().unwrap().causes[0].name(),
        "nat-ports-exhausted"
    );
    let report = low.clone().conntrack("insert_failed", 400).report();
    assert_eq!(short(&report), "firewall / insert-clash");
    let report = low.clone().conntrack("early_drop", 400).report();
    assert_eq!(
        report.verdict.leans_to.as_ref().unwrap().causes[0].name(),
        "table-full"
    );
    assert_eq!(short(&low.conntrack("insert_failed", 1).report()), "none / none");
}

#[test]
fn expired_entries_do_not_fill_a_table() {
    let scene = Scene {
        dumped: Some(90_000),
        ..full()
    };
    assert_eq!(short(&scene.clone().report()), "none / none");
    assert_eq!(
        short(&scene.conntrack("drop", 9).report()),
        "firewall / table-full"
    );
}

#[test]
fn an_unlimited_table_is_never_full() {
    let report = Scene {
        max: Some(0),
        ..full()
    }
    .report();
    assert_eq!(short(&report), "none / none");
    assert!(finding(&report, "table-full").because.contains("no limit"));
}

fn flood() -> Heap {
    Heap {
        sources: 12_000,
        one_shot: Some(0.99),
        ..heap(12_517.0, 12_517.0, 0.0, "sockets", "10.0.0.1:80")
    }
}

#[test]
fn a_flood_overflows_the_own_syn_queue() {
    let dropped = Heap {
        sources: 6000,
        one_shot: Some(0.99),
        ..heap(6000.0, 5990.0, 0.0, "tap", "10.0.0.1:80")
    };
    let report = Scene {
        tap: Some(Wire {
            secs: 3.0,
            ..Wire::default()
        }),
        ..Scene::default()
    }
    .syn_recv("in", flood())
    .syn_sent("in", dropped.clone())
    .net("TcpExt.TCPReqQFullDrop", 5000)
    .report();
    assert_eq!(short(&report), "firewall / syn-recv-hold < syn-flood");
    for (cause, entries) in [
        ("syn-recv-hold", 12_517.0),
        ("syn-flood", 12_517.0),
        ("syn-sent-hold", 5990.0),
        ("listener-overflow", 6000.0),
    ] {
        assert_eq!(
            finding(&report, cause).entries_explained,
            Some(entries),
            "{cause}"
        );
    }
    // Only what was dropped is left: the sources say flood, and the accept queue has room.
    let left = |basis: &str| {
        let heap = Heap {
            basis: basis.into(),
            ..dropped.clone()
        };
        Scene::default()
            .syn_sent("in", heap)
            .net("TcpExt.TCPReqQFullDrop", 5000)
            .report()
    };
    assert_eq!(short(&left("tap")), "firewall / syn-sent-hold < syn-flood");
    // Nobody listened whether they try again.
    let report = left("ages");
    assert_eq!(short(&report), "firewall / syn-sent-hold < undecided");
    let lean = report.verdict.trigger.as_ref().unwrap().leans_to.clone().unwrap();
    assert_eq!(lean.causes[0].name(), "syn-flood");
    assert!(
        !lean.because.contains("no listen queue overflowed"),
        "{}",
        lean.because
    );
}

#[test]
fn a_flood_that_the_server_waits_for_is_the_clients_doing() {
    let live = Heap {
        held: Default::default(),
        live: flood().entries,
        ..flood()
    };
    let scene = Scene::default().syn_recv("in", live);
    let syn_queue = scene.clone().net("TcpExt.TCPReqQFullDrop", 900).report();
    assert_eq!(short(&syn_queue), "client / syn-flood");
    // A program that accepts nothing is at fault, whoever knocks.
    let accept_queue = scene.net("TcpExt.ListenOverflows", 900).report();
    assert_eq!(short(&accept_queue), "proxy / listener-overflow");
}

#[test]
fn a_silent_backend_uses_the_ports_up() {
    let ports = Ports {
        from: "10.0.0.1".into(),
        to: BACKEND.into(),
        used: 28_232,
        range: 28_232,
        by_state: [("SYN_SENT".to_string(), 28_000), ("ESTABLISHED".to_string(), 232)].into(),
    };
    let report = Scene {
        ports: vec![ports],
        syn_sent_sockets: Some(28_000),
        ..Scene::default()
    }
    .syn_sent("out", heap(28_000.0, 0.0, 28_000.0, "sockets", BACKEND))
    .report();
    assert_eq!(
        short(&report),
        "proxy / ephemeral-ports-exhausted < backend-unresponsive"
    );
}

#[test]
fn a_slow_listener_beside_a_dead_backend() {
    let report = Scene {
        listeners: vec![Queue {
            at: "10.0.0.1:80".into(),
            queued: 129,
            backlog: 128,
            process: None,
        }],
        ..Scene::default()
    }
    .syn_sent("out", heap(6000.0, 5900.0, 100.0, "sockets", BACKEND))
    .syn_sent("in", heap(700.0, 690.0, 10.0, "tap", "10.0.0.1:80"))
    .net("TcpExt.ListenOverflows", 50)
    .report();
    // The larger pile goes out: its destination is the trigger, and the queue is still a finding.
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
    assert_eq!(
        finding(&report, "listener-overflow").entries_explained,
        Some(700.0)
    );
}

#[test]
fn an_overflowing_listener_is_no_bottleneck_before_its_pile_is_understood() {
    let open = heap(6000.0, 0.0, 0.0, "nothing", "10.0.0.1:80");
    let scene = Scene {
        gaps: vec!["tap".into()],
        ..Scene::default()
    }
    .net("TcpExt.ListenOverflows", 50);
    let report = scene.clone().syn_sent("in", open).report();
    assert_eq!(short(&report), "undecided / undecided < listener-overflow");
    let live = heap(6000.0, 0.0, 6000.0, "tap", "10.0.0.1:80");
    assert_eq!(
        short(&scene.syn_sent("in", live).report()),
        "proxy / listener-overflow"
    );
}

#[test]
fn what_else_is_wrong_is_told_by_its_damage() {
    let report = full()
        .syn_sent("out", heap(200_000.0, 199_400.0, 600.0, "sockets", BACKEND))
        .syn_sent("in", heap(700.0, 690.0, 10.0, "tap", "10.0.0.1:80"))
        .conntrack("drop", 800)
        .net("TcpExt.ListenOverflows", 50)
        .report();
    assert_eq!(short(&report), "firewall / table-full < backend-unresponsive");
    let others = report.verdict.others.iter();
    let others: Vec<(&str, Option<f64>)> = others.map(|o| (o.cause.name(), o.entries_explained)).collect();
    assert_eq!(
        others,
        [
            ("syn-sent-hold", Some(200_090.0)),
            ("listener-overflow", Some(700.0))
        ]
    );
    let text = ctlens::render::diagnose_text(&report, &Default::default());
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("no {words:?} in\n{text}"))
    };
    assert!(at("Also found, gravest first") < at("explains 200,090 entries"));
    assert!(at("explains 200,090 entries") < at("explains 700 entries"));
    assert!(at("explains 700 entries") < at("Fix first"));
}

#[test]
fn a_finding_says_what_would_refute_it_and_whether_that_was_looked_for() {
    let by = |basis: &str| {
        let report = Scene::default()
            .syn_sent("out", heap(6000.0, 5900.0, 100.0, basis, BACKEND))
            .report();
        let found = finding(&report, "syn-sent-hold");
        (
            found.refutes_looked_for,
            found.refutes_seen.clone().unwrap_or_default(),
        )
    };
    let sockets = by("sockets");
    assert_eq!(sockets.0, Some(true));
    assert!(sockets.1.contains("100 of 6,000"), "{}", sockets.1);
    assert_eq!(by("ages").0, Some(false));
    let clear = Scene::default().report();
    assert_eq!(finding(&clear, "syn-sent-hold").refutes_looked_for, None);
}
