//! Any host at all: whatever is missing, the report keeps its promises.

use clap::Parser;
use ctlens::cli::args::Cli;
use ctlens::evidence::{Basis, Evidence};
use ctlens::model::Estimate;
use proptest::prelude::*;

use crate::heap::{Figure, Heap, heap};
use crate::lasts::{Lasts, Local};
use crate::scene::{Halves, INPUTS, Ports, Refusing, Scene, Wire, state};

/// What each rule cannot do without.
pub const NEEDS: &[(&str, &[&str])] = &[
    ("syn-sent-hold", &["half_open"]),
    ("syn-recv-hold", &["half_open"]),
    ("established-hold", &["table"]),
    ("close-wait-hold", &["table"]),
    ("time-wait-hold", &["table"]),
    ("udp-hold", &["table"]),
    ("table-full", &["table"]),
    ("hash-undersized", &["table", "host_entries"]),
    ("nat-ports-exhausted", &["nat"]),
    ("insert-clash", &["conntrack"]),
    ("ruleset-drop", &["half_open"]),
    ("stale-nat-entry", &["stale_nat"]),
    ("window-invalid", &["conntrack"]),
    ("listener-overflow", &["net"]),
    ("ephemeral-ports-exhausted", &["ports"]),
    ("paws-drop", &["net"]),
    ("backend-unresponsive", &["half_open"]),
    // The wire, or this host's own counter.
    ("backend-refusing", &[]),
    ("syn-flood", &["half_open"]),
    ("asymmetric-routing", &["one_way"]),
    ("rp-filter-drop", &["net"]),
];

fn figures() -> impl Strategy<Value = Estimate> {
    let sizes = prop_oneof![Just(0.0), 0.0..2000.0, 0.0..2_000_000.0f64];
    (sizes, 0.0..0.5f64).prop_map(|(value, spread)| Estimate {
        value: value.floor(),
        low: (value * (1.0 - spread)).floor(),
        high: (value * (1.0 + spread)).ceil(),
    })
}

fn heaps() -> impl Strategy<Value = (Heap, [Estimate; 4], Option<f64>)> {
    let parts = [figures(), figures(), figures(), figures()];
    let place = prop_oneof![Just("10.9.1.3:80"), Just("[fd00::3]:443")];
    (
        parts,
        0u64..20_000,
        proptest::option::of(0.0..1.0f64),
        0.0..1.0f64,
        place,
    )
        .prop_map(|(parts, sources, one_shot, v6_share, place)| {
            (
                Heap {
                    sources,
                    one_shot,
                    v6_share,
                    ..heap(parts[0].value, 0.0, 0.0, "", place)
                },
                parts,
                one_shot,
            )
        })
}

fn lasts(some: u64, others: u64) -> Lasts {
    let of = |n: u64, place| heap(n as f64, 0.0, 0.0, "", place);
    Lasts {
        idle: of(some, "10.9.1.3:80"),
        idle_for_a_day: Figure::Exact((some / 2) as f64),
        untold: Figure::Exact(others as f64),
        idle_local: Some(Local {
            entries: Figure::Exact((some / 3) as f64),
            looked_for: (some / 3).min(512),
            found: (some / 9).min(256),
            unclosed: 0,
        }),
        close_wait: of(others, "[fd00::3]:443"),
        time_wait: of(some, "10.9.1.3:80"),
        udp: [("forward".to_string(), of(others, "10.9.1.53:53"))].into(),
        ..Lasts::default()
    }
}

/// Any host: piles of any size, counters, and inputs missing at random.
fn hosts() -> impl Strategy<Value = (Evidence, Vec<String>)> {
    let directions = prop_oneof![Just("out"), Just("in"), Just("forward"), Just("unknown")];
    let piles = proptest::collection::vec((any::<bool>(), directions, heaps(), 0usize..4), 0..5);
    let counters = (0u64..5000, 0u64..5000, 0i64..5000, 0i64..5000, 0i64..500);
    let missing = proptest::collection::vec(any::<bool>(), INPUTS.len());
    let sizes = (
        0u64..400_000,
        prop_oneof![Just(None), Just(Some(0)), (1u64..600_000).prop_map(Some)],
    );
    let window = prop_oneof![Just(0.0), 0.1..60.0f64];
    let tap = proptest::option::of((0.1..60.0f64, 0u64..5000, 0u64..5000));
    let ports = (0u64..40_000, 0u64..40_000);
    (piles, counters, missing, sizes, window, tap, ports).prop_map(
        |(piles, counters, missing, (count, max), window_s, tap, (used, range))| {
            let mut scene = Scene {
                count: Some(count),
                max,
                window_s,
                tap: tap.map(|(secs, syn_acks_unseen, unreachables)| Wire {
                    secs,
                    syn_acks_unseen,
                    unreachables,
                    refusers: vec![Refusing {
                        at: "10.9.1.3:80".into(),
                        resets: syn_acks_unseen,
                        unreachables,
                        entered: Some(unreachables / 2),
                        sources: used,
                        ..Refusing::default()
                    }],
                    ..Wire::default()
                }),
                ports: vec![Ports {
                    from: "10.0.0.1".into(),
                    to: "10.9.1.3:80".into(),
                    used,
                    range,
                    by_state: [("SYN_SENT".to_string(), used)].into(),
                }],
                one_way: Halves {
                    picked_up: used,
                    picked_up_from: [("10.9.1.3:80".to_string(), used)].into(),
                    began: counters.0,
                    went_on_to: [("10.9.1.3:80".to_string(), counters.1)].into(),
                    strays_from: [("10.9.1.3:80".to_string(), range)].into(),
                    stray_clients: used,
                    ..Halves::default()
                },
                states: [
                    ("tcp SYN_SENT".to_string(), count),
                    ("tcp ESTABLISHED".to_string(), used),
                    ("tcp CLOSE_WAIT".to_string(), range),
                    ("tcp TIME_WAIT".to_string(), used),
                ]
                .into(),
                lasting: lasts(used, range),
                ..Scene::default()
            }
            .conntrack("drop", counters.0)
            .conntrack("insert_failed", counters.1)
            .net("TcpExt.ListenOverflows", counters.2)
            .net("TcpExt.TCPReqQFullDrop", counters.3)
            .net("TcpExt.SyncookiesSent", counters.4);
            let mut real = Vec::new();
            for (answered, direction, (heap, parts, _), basis) in piles {
                real.push((answered, direction, parts, basis));
                scene = match answered {
                    true => scene.syn_recv(direction, heap),
                    false => scene.syn_sent(direction, heap),
                };
            }
            let absent: Vec<String> = INPUTS
                .iter()
                .zip(missing)
                .filter(|(_, gone)| *gone)
                .map(|(name, _)| name.to_string())
                .collect();
            scene.absent = absent.clone();
            scene.gaps = absent.clone();
            let mut evidence = scene.evidence();
            if let Some(half_open) = &mut evidence.half_open {
                for (answered, direction, [entries, held, live, unclear], basis) in real {
                    let piles = if answered {
                        &mut half_open.syn_recv
                    } else {
                        &mut half_open.syn_sent
                    };
                    let pile = piles
                        .iter_mut()
                        .find(|(d, _)| format!("{d:?}").to_lowercase() == direction);
                    let (_, pile) = pile.expect("it was put there");
                    (pile.entries, pile.held, pile.live, pile.unclear) = (entries, held, live, unclear);
                    pile.new_per_s = Some(live).filter(|_| basis % 2 == 0);
                    pile.basis = [Basis::Sockets, Basis::Tap, Basis::Ages, Basis::Nothing][basis];
                }
            }
            (evidence, absent)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_clear_that_was_not_seen((evidence, absent) in hosts()) {
        let report = ctlens::diagnose::diagnose(&evidence);
        for (cause, needs) in NEEDS.iter().copied() {
            if needs.iter().any(|need| absent.iter().any(|a| a == need)) {
                let unlimited = cause == "table-full" && evidence.table.as_ref().is_some_and(|t| t.max == Some(0));
                prop_assert!(state(&report, cause) != "clear" || unlimited, "{} without {:?}", cause, absent);
            }
        }
        if evidence.window_secs == 0.0 {
            prop_assert_ne!(state(&report, "listener-overflow"), "clear");
            prop_assert_ne!(state(&report, "listener-overflow"), "found");
        }
        if evidence.half_open.is_none() {
            prop_assert_ne!(report.verdict.cause.name(), "none");
        }
    }

    #[test]
    fn the_report_is_whole((evidence, _) in hosts()) {
        let report = ctlens::diagnose::diagnose(&evidence);
        let json = serde_json::to_string(&report).unwrap();
        for word in ["NaN", "inf ", "inf%", " inf", "-0 "] {
            prop_assert!(!json.contains(word), "{word:?} in {json}");
        }
        // serde_json writes NaN and infinities as null: a figure that has a bound has a value.
        for item in &report.verdict.evidence {
            for figure in [item.value, item.low, item.high].into_iter().flatten() {
                prop_assert!(figure.is_finite(), "{}: {figure}", item.id);
            }
        }
        let verdict = &report.verdict;
        prop_assert!((0.0..=0.99).contains(&verdict.confidence));
        prop_assert_eq!(verdict.bottleneck, verdict.cause.side());
        prop_assert_eq!(verdict.leans_to.is_some(), verdict.cause.name() == "undecided");
        let found = report.findings.iter().filter(|f| f.confidence.is_some()).count();
        prop_assert!(found > 0 || ["none", "undecided"].contains(&verdict.cause.name()));
        prop_assert!(found == 0 || verdict.cause.name() != "none");
        prop_assert!(verdict.headline.ends_with('.'), "{}", verdict.headline);
        let again = serde_json::to_string(&ctlens::diagnose::diagnose(&evidence)).unwrap();
        prop_assert_eq!(json, again);
    }

    /// Only ours; the others are tried in namespaces.
    #[test]
    fn every_ctlens_command_is_one((evidence, _) in hosts()) {
        let report = ctlens::diagnose::diagnose(&evidence);
        let verdict = &report.verdict;
        let leans = [verdict.leans_to.as_ref(), verdict.trigger.as_ref().and_then(|t| t.leans_to.as_ref())];
        let settles = leans.into_iter().flatten().map(|lean| lean.settle.as_str());
        for line in settles.chain(verdict.fix_first.iter().filter_map(|fix| fix.command.as_deref())) {
            for command in line.split("; ").map(|c| c.split("   #").next().unwrap()) {
                let words: Vec<&str> = command.split_whitespace().skip_while(|w| *w == "sudo").collect();
                if words.first() == Some(&"ctlens") {
                    prop_assert!(Cli::try_parse_from(&words).is_ok(), "{command}");
                }
            }
        }
    }
}
