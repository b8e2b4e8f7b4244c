//! Ports of source NAT: whose they are, what holds them, and what cannot be told.

use std::collections::BTreeMap;

use crate::filter::SceneRule;
use crate::scene::{Scene, Translated, finding, short, state};

fn ports(by_state: &[(&str, u64)], range: Option<u64>) -> Scene {
    let by_state: BTreeMap<String, u64> = by_state
        .iter()
        .map(|(name, entries)| (name.to_string(), *entries))
        .collect();
    let used = Translated {
        from: "192.0.2.1".into(),
        to: "10.9.1.3:80".into(),
        by_state,
        range,
        rule: range.map(|_| 0),
        ..Translated::default()
    };
    let masquerade = SceneRule {
        at: "postrouting 100".into(),
        does: "masquerade".into(),
        ports: Some([5000, 5999]),
        ..SceneRule::default()
    };
    Scene {
        nat: vec![used],
        rules: vec![masquerade],
        ..Scene::default()
    }
}

fn loses(scene: Scene) -> Scene {
    scene.conntrack("insert_failed", 180).conntrack("drop", 180)
}

fn commands(scene: &Scene) -> Vec<String> {
    let report = scene.report();
    assert_eq!(report.verdict.cause.name(), "nat-ports-exhausted");
    let fixes = report.verdict.fix_first.iter();
    fixes.filter_map(|fix| fix.command.clone()).collect()
}

#[test]
fn an_old_kernel_waits_for_closed_connections() {
    let mut scene = loses(ports(&[("TIME_WAIT", 990), ("ESTABLISHED", 10)], Some(1000)));
    assert_eq!(
        state(&scene.report(), "nat-ports-exhausted"),
        "clear",
        "6.18 takes their ports"
    );
    scene.kernel = Some("6.1.0".into());
    assert_eq!(short(&scene.report()), "firewall / nat-ports-exhausted");
    let commands = commands(&scene);
    assert!(
        commands.iter().any(|c| c.ends_with("timeout_time_wait=60")),
        "{commands:?}"
    );
    assert!(
        commands.iter().all(|c| !c.contains("conntrack -D")),
        "{commands:?}"
    );
}

#[test]
fn the_rule_to_add_stands_before_the_one_that_gives_the_ports() {
    let scene = loses(ports(&[("ESTABLISHED", 990)], Some(1000)));
    assert_eq!(
        commands(&scene),
        ["nft insert rule inet filter postrouting handle 1 ip daddr 10.9.1.3 tcp dport 80 masquerade"]
    );
}

#[test]
fn a_range_that_is_not_known_may_be_full() {
    let lean = |entries| loses(ports(&[("SYN_SENT", entries)], None)).report();
    let many = lean(1000);
    assert_eq!(short(&many), "undecided / undecided");
    let causes = &many.verdict.leans_to.as_ref().unwrap().causes;
    let names: Vec<&str> = causes.iter().map(|cause| cause.name()).collect();
    assert_eq!(names, ["nat-ports-exhausted", "insert-clash"]);
    // So few fill no range that anybody gives.
    assert_eq!(short(&lean(100)), "firewall / insert-clash");
    assert!(
        serde_json::to_string(finding(&lean(100), "nat-ports-exhausted"))
            .unwrap()
            .contains("100 ports of 192.0.2.1"),
    );
}
