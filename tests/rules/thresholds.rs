//! Where a pile-up begins, and from which share on it is held: just below, just above, and a sample astride.

use crate::heap::{Figure, Heap, heap};
use crate::scene::{Scene, finding, short};

const BACKEND: &str = "10.9.1.1:80";

fn half_open(entries: f64, max: Option<u64>) -> Scene {
    Scene {
        max,
        ..Scene::default()
    }
    .syn_sent("out", heap(entries, entries, 0.0, "sockets", BACKEND))
}

#[test]
fn a_pile_up_is_min_of_500_and_one_percent_of_max() {
    for (max, from) in [
        (Some(262_144), 500.0),
        (Some(50_000), 500.0),
        (Some(20_000), 200.0),
        // Unlimited, and not known: no percentage to take.
        (Some(0), 500.0),
        (None, 500.0),
    ] {
        let below = half_open(from - 1.0, max).report();
        assert_eq!(short(&below), "none / none", "{max:?}");
        assert_eq!(
            serde_json::to_value(finding(&below, "syn-sent-hold")).unwrap()["state"],
            "clear"
        );
        let at = half_open(from, max).report();
        assert_eq!(
            short(&at),
            "firewall / syn-sent-hold < backend-unresponsive",
            "{max:?}"
        );
    }
}

#[test]
fn four_fifths_are_the_large_majority() {
    for (held, verdict) in [
        (790.0, "backend / backend-unresponsive"),
        (799.0, "backend / backend-unresponsive"),
        (800.0, "firewall / syn-sent-hold < backend-unresponsive"),
        (810.0, "firewall / syn-sent-hold < backend-unresponsive"),
    ] {
        let scene = Scene::default().syn_sent("out", heap(1000.0, held, 1000.0 - held, "sockets", BACKEND));
        assert_eq!(short(&scene.report()), verdict, "{held} of 1000 held");
    }
}

#[test]
fn a_sample_astride_the_share_accuses_nobody() {
    let astride = Heap {
        entries: Figure::Bounds([40_000.0, 39_000.0, 41_000.0]),
        held: Figure::Bounds([33_000.0, 31_500.0, 34_500.0]),
        live: Figure::Bounds([7_000.0, 6_300.0, 7_900.0]),
        ..heap(0.0, 0.0, 0.0, "sockets", BACKEND)
    };
    let astride = Heap {
        unclear: Figure::Exact(0.0),
        to: [(BACKEND.to_string(), astride.entries)].into(),
        ..astride
    };
    let scene = Scene {
        count: Some(200_000),
        sampled_of: Some(200_000),
        ..Scene::default()
    };
    let report = scene.clone().syn_sent("out", astride.clone()).report();
    assert_eq!(short(&report), "undecided / undecided < backend-unresponsive");
    let lean = report.verdict.leans_to.as_ref().unwrap();
    assert_eq!(lean.causes[0].name(), "syn-sent-hold");
    assert!(lean.because.contains("between 80 and 85 %"), "{}", lean.because);
    assert_eq!(lean.settle, "ctlens diagnose --exact");

    let surely = Heap {
        live: Figure::Bounds([3_000.0, 2_500.0, 3_500.0]),
        ..astride
    };
    let report = scene.syn_sent("out", surely).report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
}

#[test]
fn a_sample_astride_the_pile_up_accuses_nobody() {
    let sample = |low: f64, value: f64, high: f64, held: bool| {
        let entries = Figure::Bounds([value, low, high]);
        let (held, live) = if held {
            (entries, Figure::default())
        } else {
            (Figure::default(), entries)
        };
        Heap {
            entries,
            held,
            live,
            unclear: Figure::default(),
            to: [(BACKEND.to_string(), entries)].into(),
            ..heap(0.0, 0.0, 0.0, "sockets", BACKEND)
        }
    };
    let scene = Scene {
        count: Some(200_000),
        sampled_of: Some(200_000),
        ..Scene::default()
    };
    for held in [true, false] {
        let report = scene
            .clone()
            .syn_sent("out", sample(380.0, 510.0, 680.0, held))
            .report();
        assert_eq!(report.verdict.cause.name(), "undecided", "held: {held}");
        assert_eq!(
            report.verdict.leans_to.as_ref().unwrap().settle,
            "ctlens diagnose --exact"
        );
        let report = scene
            .clone()
            .syn_sent("out", sample(280.0, 380.0, 499.0, held))
            .report();
        assert_eq!(report.verdict.cause.name(), "none", "held: {held}");
        let report = scene
            .clone()
            .syn_sent("out", sample(500.0, 640.0, 820.0, held))
            .report();
        let cause = if held {
            "syn-sent-hold"
        } else {
            "backend-unresponsive"
        };
        assert_eq!(report.verdict.cause.name(), cause);
    }
}

#[test]
fn a_flood_in_a_sample_astride_is_not_called_one() {
    let entries = Figure::Bounds([510.0, 380.0, 680.0]);
    let flood = Heap {
        entries,
        live: entries,
        unclear: Figure::default(),
        sources: 500,
        one_shot: Some(1.0),
        ..Heap::default()
    };
    let scene = Scene {
        count: Some(200_000),
        sampled_of: Some(200_000),
        ..Scene::default()
    };
    let report = scene
        .syn_recv(
            "forward",
            Heap {
                basis: "tap".into(),
                ..flood
            },
        )
        .report();
    assert_eq!(short(&report), "undecided / undecided");
    assert_eq!(
        report.verdict.leans_to.as_ref().unwrap().causes[0].name(),
        "syn-flood"
    );
}

#[test]
fn entries_whose_fate_is_open_are_neither_held_nor_live() {
    // Ten are held for sure; the rest is younger than the look.
    let young = heap(6000.0, 10.0, 0.0, "sockets", BACKEND);
    let report = Scene::default().syn_sent("out", young).report();
    assert_eq!(short(&report), "undecided / undecided < backend-unresponsive");
    let unclear = heap(6000.0, 5500.0, 0.0, "sockets", BACKEND);
    let report = Scene::default().syn_sent("out", unclear).report();
    assert_eq!(short(&report), "firewall / syn-sent-hold < backend-unresponsive");
}

#[test]
fn three_overflows_are_a_fault_and_two_a_hiccup() {
    for (rise, cause) in [(2, "none"), (3, "listener-overflow")] {
        let report = Scene::default().net("TcpExt.ListenOverflows", rise).report();
        assert_eq!(report.verdict.cause.name(), cause, "{rise}");
    }
}

#[test]
fn ports_run_out_at_the_very_end_of_the_range() {
    for (used, cause) in [(27_600, "none"), (27_700, "ephemeral-ports-exhausted")] {
        let ports = crate::scene::Ports {
            from: "10.0.0.1".into(),
            to: BACKEND.into(),
            used,
            range: 28_232,
            by_state: [("ESTABLISHED".to_string(), used)].into(),
        };
        let report = Scene {
            ports: vec![ports],
            ..Scene::default()
        }
        .report();
        assert_eq!(report.verdict.cause.name(), cause, "{used}");
    }
}

#[test]
fn a_flood_has_200_sources_of_which_four_fifths_come_once() {
    for (sources, one_shot, cause) in [
        (199, 1.0, "undecided"),
        (200, 0.8, "syn-flood"),
        (4000, 0.79, "undecided"),
        (4000, 0.81, "syn-flood"),
    ] {
        let flood = Heap {
            sources,
            one_shot: Some(one_shot),
            ..heap(5000.0, 0.0, 5000.0, "tap", BACKEND)
        };
        let report = Scene::default().syn_recv("forward", flood).report();
        assert_eq!(
            report.verdict.cause.name(),
            cause,
            "{sources} sources, {one_shot} once"
        );
    }
}
