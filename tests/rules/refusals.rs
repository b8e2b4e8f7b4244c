//! Who refuses, and when that means nothing.

use crate::heap::heap;
use crate::scene::{Refusing, Scene, Wire, finding, short, state};

const BACKEND: &str = "10.9.1.3:80";

fn seen(refusing: Refusing) -> Scene {
    let refusers = vec![Refusing {
        at: if refusing.at.is_empty() {
            BACKEND.into()
        } else {
            refusing.at
        },
        sources: refusing.sources.max(1),
        ..refusing
    }];
    Scene {
        tap: Some(Wire {
            secs: 2.0,
            refusers,
            ..Wire::default()
        }),
        ..Scene::default()
    }
}

fn resets(resets: u64) -> Refusing {
    Refusing {
        resets,
        ..Refusing::default()
    }
}

#[test]
fn a_few_refusals_are_normal() {
    assert_eq!(state(&seen(resets(9)).report(), "backend-refusing"), "clear");
    assert_eq!(short(&seen(resets(10)).report()), "backend / backend-refusing");
    let answers = Refusing {
        answered: 41,
        ..resets(10)
    };
    assert_eq!(short(&seen(answers).report()), "none / none");
}

#[test]
fn resets_that_nobody_asked_for_are_an_echo() {
    let scene = |asked| seen(Refusing { asked, ..resets(100) }).conntrack("invalid", 100);
    assert_eq!(state(&scene(0).report(), "backend-refusing"), "unknown");
    assert_eq!(short(&scene(100).report()), "backend / backend-refusing");
    let own = scene(0).net("Tcp.AttemptFails", 100);
    assert_eq!(short(&own.report()), "backend / backend-refusing");
}

#[test]
fn a_refusal_over_the_loopback_is_this_hosts_own() {
    let looped = |own| {
        seen(Refusing {
            looped: 100,
            own,
            ..resets(100)
        })
        .report()
    };
    let rule = looped(false);
    assert_eq!(short(&rule), "undecided / undecided");
    assert_eq!(
        rule.verdict.leans_to.as_ref().unwrap().causes[0].name(),
        "ruleset-drop"
    );
    let own = looped(true);
    assert!(
        own.verdict.headline.contains("this host itself"),
        "{}",
        own.verdict.headline
    );
}

#[test]
fn the_sender_of_an_error_is_named_where_it_is_a_router() {
    let scene = |sender: Option<&str>| {
        let refusing = Refusing {
            unreachables: 3,
            sender: sender.map(str::to_string),
            ..Refusing::default()
        };
        let report = seen(refusing)
            .syn_sent("forward", heap(6000.0, 200.0, 5800.0, "tap", BACKEND))
            .report();
        assert_eq!(short(&report), "backend / backend-refusing");
        assert_eq!(
            finding(&report, "backend-refusing").entries_explained,
            Some(6000.0)
        );
        report.verdict.headline
    };
    assert!(scene(None).starts_with("10.9.1.3:80 refuses connections with ICMP (port unreachable)"));
    assert!(
        scene(Some("10.9.0.1"))
            .starts_with("10.9.0.1 says of 10.9.1.3:80 by ICMP: that host is unreachable.")
    );
}

#[test]
fn without_the_wire_only_this_hosts_own_counter_tells() {
    let scene = |failed| Scene::default().net("Tcp.AttemptFails", failed);
    assert_eq!(state(&scene(3).report(), "backend-refusing"), "clear");
    let report = scene(300).report();
    assert_eq!(short(&report), "undecided / undecided");
    assert_eq!(
        report.verdict.leans_to.unwrap().settle,
        "ctlens diagnose --tap 3s"
    );
    let mut forwards = scene(0);
    forwards.settings.insert("net.ipv4.ip_forward".into(), "1".into());
    assert_eq!(state(&forwards.report(), "backend-refusing"), "unknown");
    let report = Scene::default().without("net").report();
    assert_eq!(state(&report, "backend-refusing"), "unknown");
}

#[test]
fn another_place_that_is_silent_is_still_named() {
    let mut heap = heap(6000.0, 5900.0, 0.0, "tap", BACKEND);
    heap.to = [
        (BACKEND.to_string(), crate::heap::Figure::Exact(2000.0)),
        ("10.9.1.4:80".to_string(), crate::heap::Figure::Exact(4000.0)),
    ]
    .into();
    let refusing = Refusing {
        unreachables: 3,
        ..Refusing::default()
    };
    let report = seen(refusing).syn_sent("forward", heap).report();
    let silent = &finding(&report, "backend-unresponsive").because;
    assert!(silent.starts_with("10.9.1.4:80 does not answer"), "{silent}");
}
