//! Packets outside the window, and who harms them.

use crate::filter::SceneRule;
use crate::scene::{Scene, Wire, finding, state};

fn scene(rules: Vec<SceneRule>) -> Scene {
    Scene {
        states: [("tcp ESTABLISHED".to_string(), 400)].into(),
        tap: Some(Wire {
            secs: 3.0,
            ..Wire::default()
        }),
        rules,
        ..Scene::default()
    }
    .conntrack("invalid", 120)
    .net("Tcp.OutRsts", 118)
}

fn rule(does: &str, invalid: bool, rise: Option<u64>) -> SceneRule {
    SceneRule {
        at: "prerouting -100".into(),
        does: does.into(),
        invalid,
        rise,
        ..SceneRule::default()
    }
}

#[test]
fn where_nothing_is_translated_nobody_resets_what_is_invalid() {
    let report = scene(Vec::new()).report();
    assert_eq!(state(&report, "window-invalid"), "clear");
    let because = &finding(&report, "window-invalid").because;
    assert!(because.contains("nobody resets or drops them"), "{because}");
    for rules in [
        vec![rule("dnat 10.9.1.3:80", false, None)],
        vec![rule("masquerade", false, None)],
    ] {
        assert_eq!(state(&scene(rules).report(), "window-invalid"), "found");
    }
    let unread = scene(Vec::new()).without("ruleset");
    assert_eq!(state(&unread.report(), "window-invalid"), "found");
}

#[test]
fn the_rule_that_drops_what_is_invalid_is_the_one_that_counted_it() {
    let with = |rise| state(&scene(vec![rule("drop", true, rise)]).report(), "window-invalid");
    assert_eq!(with(Some(100)), "found");
    assert_eq!(with(Some(3)), "clear");
    assert_eq!(with(None), "unknown");
    // It drops other packets.
    let report = scene(vec![rule("drop", false, Some(100))]).report();
    assert_eq!(state(&report, "window-invalid"), "clear");
}
