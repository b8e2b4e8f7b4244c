//! What else was seen speaks against the nearest culprit: he is not named.

use ctlens::diagnose::diagnose;
use ctlens::evidence::Direction;
use ctlens::model::SegmentKind;

use crate::heap::{Figure, Heap, heap};
use crate::host::{HOST, Host, entry, segment, spread, tuple};
use crate::scene::{Queue, Refusing, Scene, Wire, finding, short};

const BACKEND: &str = "10.9.1.3:80";

#[test]
fn answers_that_this_host_eats_are_not_the_backends_silence() {
    let scene = |wire| {
        Scene {
            tap: Some(Wire { secs: 3.0, ..wire }),
            ..Scene::default()
        }
        .syn_sent(
            "forward",
            Heap {
                new_per_s: Some(Figure::Exact(50.0)),
                ..heap(6000.0, 5900.0, 100.0, "tap", BACKEND)
            },
        )
    };
    let lean = |scene: Scene| {
        let report = scene.report();
        assert_eq!(short(&report), "firewall / syn-sent-hold < undecided");
        report.verdict.trigger.unwrap().leans_to.unwrap().causes[0].name()
    };
    assert_eq!(
        lean(scene(Wire {
            syn_acks_unseen: 900,
            ..Wire::default()
        })),
        "ruleset-drop"
    );
    let refusing = |entered| {
        short(
            &scene(Wire {
                refusers: vec![Refusing {
                    at: BACKEND.into(),
                    unreachables: 3,
                    entered: Some(entered),
                    sources: 1,
                    ..Refusing::default()
                }],
                ..Wire::default()
            })
            .report(),
        )
    };
    assert_eq!(refusing(2), "firewall / syn-sent-hold < backend-refusing");
    // About packets that have no entry here.
    assert_eq!(refusing(0), "firewall / syn-sent-hold < backend-unresponsive");
}

#[test]
fn a_pile_up_that_no_rule_explains_is_not_nothing() {
    // The own INPUT chain drops the SYN/ACKs: the sockets wait, the entries say SYN_RECV.
    let scene = Scene {
        syn_sent_sockets: Some(1500),
        ..Scene::default()
    };
    let report = scene
        .syn_recv("out", heap(1500.0, 0.0, 1500.0, "sockets", BACKEND))
        .report();
    assert_eq!(short(&report), "undecided / undecided");
    let lean = report.verdict.leans_to.as_ref().unwrap();
    assert_eq!(lean.causes[0].name(), "ruleset-drop");
    assert!(lean.settle.contains("hook input"), "{}", lean.settle);
    // Two clients that never hear the SYN/ACK.
    let report = Scene::default()
        .syn_recv("forward", heap(900.0, 0.0, 900.0, "tap", BACKEND))
        .report();
    assert_eq!(
        report.verdict.leans_to.as_ref().unwrap().causes[0].name(),
        "asymmetric-routing"
    );
    // Live clients, and a listener whose queues are fine.
    let report = Scene::default()
        .syn_sent("in", heap(900.0, 0.0, 900.0, "tap", "10.0.0.1:80"))
        .report();
    assert_eq!(short(&report), "undecided / undecided");
}

#[test]
fn a_host_that_does_not_answer_itself_is_no_backend() {
    // A proxy and its backend on one host: the SYNs go out, and to nobody else.
    let own = |live: f64| Heap {
        to_self: 1.0,
        ..heap(6000.0, 6000.0 - live, live, "sockets", "127.0.0.1:8080")
    };
    let queue = Queue {
        at: "127.0.0.1:8080".into(),
        queued: 129,
        backlog: 128,
        process: Some("varnishd".into()),
    };
    let scene = Scene {
        listeners: vec![queue],
        ..Scene::default()
    }
    .net("TcpExt.ListenOverflows", 500);
    let report = scene.clone().syn_sent("out", own(20.0)).report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < listener-overflow");
    assert_eq!(
        finding(&report, "listener-overflow").entries_explained,
        Some(6000.0)
    );
    let report = scene.syn_sent("out", own(6000.0)).report();
    assert_eq!(short(&report), "proxy / listener-overflow");
    let report = Scene::default().syn_sent("out", own(6000.0)).report();
    assert_eq!(short(&report), "undecided / undecided");
    assert_eq!(
        report.verdict.leans_to.unwrap().causes[0].name(),
        "listener-overflow"
    );
}

#[test]
fn answers_that_take_another_way_are_not_silence() {
    let pile = || Heap {
        new_per_s: Some(Figure::Exact(50.0)),
        ..heap(6000.0, 5990.0, 10.0, "tap", BACKEND)
    };
    for (direction, invalid, trigger) in [
        ("forward", 400, "undecided"),
        ("forward", 20, "backend-unresponsive"),
        ("in", 400, "undecided"),
        // What this host sends itself comes back to it.
        ("out", 400, "backend-unresponsive"),
    ] {
        let report = Scene::default()
            .syn_sent(direction, pile())
            .conntrack("invalid", invalid)
            .report();
        assert_eq!(
            short(&report),
            format!("firewall / syn-sent-hold < {trigger}"),
            "{direction} {invalid}"
        );
        let lean = report.verdict.trigger.as_ref().unwrap().leans_to.as_ref();
        assert_eq!(
            lean.map(|l| l.causes[0].name()),
            (trigger == "undecided").then_some("asymmetric-routing")
        );
        let doubted = report
            .verdict
            .evidence
            .iter()
            .any(|e| e.id == "invalid-rises" && !e.supports);
        assert_eq!(doubted, trigger == "undecided");
    }
}

#[test]
fn a_sample_scales_what_it_compares() {
    let mut host = Host {
        sampled_of: Some(200_000),
        // Room enough: the closed connections beside the pile are no fault.
        max: 1_048_576,
        ..Host::default()
    };
    for n in 0..2000u16 {
        let orig = tuple(HOST, 10_000 + n, "10.9.1.3:80");
        host.flows.push(entry(orig, spread(n.into(), 2000, 100.0)));
        // Older than the tap.
        if (200..600).contains(&n) {
            host.segments
                .push(segment(SegmentKind::SynAck, orig.inverted(), 2));
        }
    }
    host.answered(18_000, "10.9.1.3:80");
    let evidence = host.evidence();
    assert_eq!(evidence.tap.as_ref().unwrap().syn_acks_unseen_by_conntrack, 4000);
    let pile = &evidence.half_open.as_ref().unwrap().syn_sent[&Direction::Out];
    assert_eq!(
        (pile.entries.value, pile.destinations[0].answered),
        (20_000.0, 180_000)
    );
    let report = diagnose(&evidence);
    let lean = report
        .verdict
        .trigger
        .as_ref()
        .unwrap()
        .leans_to
        .as_ref()
        .unwrap();
    assert_eq!(lean.causes[0].name(), "ruleset-drop");
}

/// A client that opens thousands of connections a second soon has the same port again.
#[test]
fn a_syn_ack_before_the_entry_was_for_another_connection() {
    let unseen = |age_secs: f64| {
        let mut host = Host::default();
        for n in 0..600u16 {
            let orig = tuple("10.50.0.9", 10_000 + n, "10.9.1.3:80");
            host.flows.push(entry(orig, age_secs));
            host.segments
                .push(segment(SegmentKind::SynAck, orig.inverted(), 2));
        }
        let evidence = host.evidence();
        evidence.tap.as_ref().unwrap().syn_acks_unseen_by_conntrack
    };
    assert_eq!(unseen(0.5), 0);
    assert_eq!(unseen(2.9), 0);
    assert_eq!(unseen(5.0), 600);
}
