//! Connections of which one direction comes by.

use crate::filter::SceneRule;
use crate::heap::{Figure, Heap, heap};
use crate::scene::{Halves, Scene, Wire, finding, short, state};

const BACKEND: &str = "10.9.1.3:80";

fn held(entries: f64) -> Heap {
    Heap {
        new_per_s: Some(Figure::Exact(50.0)),
        ..heap(entries, entries, 0.0, "tap", BACKEND)
    }
}

fn scene(one_way: Halves, syn_acks_unseen: u64) -> Scene {
    Scene {
        tap: Some(Wire {
            secs: 2.0,
            syn_acks_unseen,
            ..Wire::default()
        }),
        one_way,
        ..Scene::default()
    }
    .conntrack("invalid", 400)
}

fn ended(began: u64, went_on: u64) -> Halves {
    Halves {
        began,
        went_on_to: [(BACKEND.to_string(), went_on)].into(),
        ..Halves::default()
    }
}

#[test]
fn entries_of_connections_that_go_on_are_not_held() {
    let report = scene(ended(100, 60), 0)
        .syn_sent("forward", held(6000.0))
        .report();
    assert_eq!(short(&report), "path / asymmetric-routing");
    for cause in ["syn-sent-hold", "backend-unresponsive"] {
        assert_eq!(state(&report, cause), "clear", "{cause}");
    }
    // Another place is dead: its entries are held.
    let mut both = held(9000.0);
    both.to = [
        (BACKEND.to_string(), Figure::Exact(2000.0)),
        ("10.9.1.4:80".to_string(), Figure::Exact(7000.0)),
    ]
    .into();
    let report = scene(ended(100, 20), 0).syn_sent("forward", both).report();
    assert_eq!(state(&report, "syn-sent-hold"), "found");
    assert_eq!(
        finding(&report, "asymmetric-routing").entries_explained,
        Some(2000.0)
    );
    let silent = &finding(&report, "backend-unresponsive").because;
    assert!(silent.starts_with("10.9.1.4:80 does not answer"), "{silent}");
}

#[test]
fn answers_that_come_by_took_no_other_way() {
    let report = scene(ended(100, 60), 60)
        .syn_sent("forward", held(6000.0))
        .report();
    assert_eq!(state(&report, "asymmetric-routing"), "clear");
    // synproxy answered them itself; who is dead is the backend.
    let mut proxied = scene(ended(100, 60), 0).syn_sent("forward", held(6000.0));
    proxied.rules.push(SceneRule {
        at: "input 0".into(),
        does: "synproxy".into(),
        ..SceneRule::default()
    });
    assert_eq!(state(&proxied.report(), "asymmetric-routing"), "clear");
    let few = scene(ended(100, 4), 0).syn_sent("forward", held(6000.0)).report();
    assert_ne!(state(&few, "asymmetric-routing"), "found");
}

#[test]
fn what_nobody_tracks_is_no_other_way() {
    let strays = Halves {
        strays_from: [(BACKEND.to_string(), 200)].into(),
        stray_clients: 4,
        picked_up: 500,
        picked_up_from: [(BACKEND.to_string(), 500)].into(),
        ..Halves::default()
    };
    let report = scene(strays.clone(), 0).report();
    assert_eq!(short(&report), "path / asymmetric-routing");
    let mut untracked = scene(strays, 0);
    untracked.conntrack.insert("invalid".into(), 20);
    assert_eq!(state(&untracked.report(), "asymmetric-routing"), "clear");
}

#[test]
fn without_a_tap_a_pile_of_others_is_not_cleared() {
    let alone = Scene::default();
    assert_eq!(state(&alone.report(), "asymmetric-routing"), "clear");
    let piled = alone.syn_sent("forward", heap(6000.0, 5600.0, 400.0, "ages", BACKEND));
    assert_eq!(state(&piled.report(), "asymmetric-routing"), "unknown");
}
