//! Entries that outlive their connections: where the fault begins, what is advised, and what that does to a real table.

use crate::commands::Namespace;
use crate::heap::{Figure, Heap, heap};
use crate::lasts::{Lasts, Local};
use crate::scene::{Scene, finding, short, state};

const BACKEND: &str = "10.9.1.3:80";

fn full_of(state: &str, entries: u64, lasting: Lasts) -> Scene {
    Scene {
        count: Some(entries),
        states: [(format!("tcp {state}"), entries)].into(),
        lasting,
        ..Scene::default()
    }
}

fn time_wait(entries: u64, others: u64) -> Scene {
    let mut scene = full_of(
        "TIME_WAIT",
        entries,
        Lasts {
            time_wait: heap(entries as f64, 0.0, 0.0, "", BACKEND),
            ..Lasts::default()
        },
    );
    scene.states.insert("tcp ESTABLISHED".into(), others);
    scene
}

fn idle(entries: f64, a_day: f64) -> Lasts {
    Lasts {
        idle: heap(entries, 0.0, 0.0, "", BACKEND),
        idle_for_a_day: Figure::Exact(a_day),
        ..Lasts::default()
    }
}

fn dead_resolver(entries: f64, place: &str) -> Scene {
    let lasting = Lasts {
        udp: [("out".to_string(), heap(entries, 0.0, 0.0, "", place))].into(),
        ..Lasts::default()
    };
    Scene {
        states: [("udp".to_string(), entries as u64)].into(),
        lasting,
        ..Scene::default()
    }
}

fn commands(scene: &Scene) -> Vec<String> {
    let fixes = scene.report().verdict.fix_first.into_iter();
    fixes.filter_map(|fix| fix.command).collect()
}

#[test]
fn closed_connections_are_a_fault_from_half_of_the_limit_on() {
    let held = "firewall / time-wait-hold";
    for (entries, others, verdict) in [
        (131_071, 0, "none / none"),
        (131_072, 0, held),
        // 80 % used, and the greater part.
        (106_000, 103_500, "none / none"),
        (106_000, 103_716, held),
        (104_000, 106_000, "none / none"),
    ] {
        let scene = time_wait(entries, others);
        assert_eq!(short(&scene.report()), verdict, "{entries} and {others}");
    }
}

#[test]
fn a_sample_astride_half_of_the_limit_accuses_nobody() {
    let mut lasting = idle(0.0, 0.0);
    lasting.idle.entries = Figure::Bounds([131_000.0, 128_000.0, 134_000.0]);
    let report = full_of("ESTABLISHED", 150_000, lasting).report();
    assert_eq!(state(&report, "established-hold"), "unknown");
    let lean = report.verdict.leans_to.expect("it is undecided");
    assert_eq!(lean.settle, "ctlens diagnose --exact");
}

#[test]
fn pools_that_wait_are_not_held_and_leftovers_are() {
    let with = |found| {
        let lasting = Lasts {
            idle_local: Some(Local {
                entries: Figure::Exact(200_000.0),
                looked_for: 512,
                found,
                unclosed: 0,
            }),
            ..idle(200_000.0, 0.0)
        };
        full_of("ESTABLISHED", 210_000, lasting).report()
    };
    assert_eq!(short(&with(512)), "none / none");
    let report = with(10);
    assert_eq!(short(&report), "firewall / established-hold");
    let found = finding(&report, "established-hold");
    assert_eq!(found.refutes_looked_for, Some(true));
    assert!(found.entries_explained.unwrap() < 200_000.0, "{found:?}");
}

#[test]
fn young_entries_of_one_direction_are_another_cause() {
    let lasting = Lasts {
        untold: Figure::Exact(200_000.0),
        untold_one_way: Figure::Exact(190_000.0),
        ..Lasts::default()
    };
    let report = full_of("ESTABLISHED", 210_000, lasting).report();
    let lean = report.verdict.leans_to.expect("it is undecided");
    let causes: Vec<&str> = lean.causes.iter().map(|c| c.name()).collect();
    assert_eq!(causes, ["asymmetric-routing", "established-hold"]);
}

#[test]
fn the_timeout_is_never_advised_below_the_floors() {
    let advised = |scene: &Scene| {
        let all = commands(scene);
        let of = |c: &String| {
            c.strip_prefix("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_")
                .map(str::to_string)
        };
        all.iter().find_map(of).expect("a timeout")
    };
    // A day is enough where most have been idle for longer.
    let old = full_of("ESTABLISHED", 200_000, idle(190_000.0, 180_000.0));
    assert_eq!(advised(&old), "established=86400");
    let young = full_of("ESTABLISHED", 200_000, idle(190_000.0, 0.0));
    assert_eq!(advised(&young), "established=7920");
    let mut slow = young.clone();
    slow.settings
        .insert("net.ipv4.tcp_keepalive_time".into(), "10000".into());
    assert_eq!(advised(&slow), "established=10680");
    let mut short = young;
    short.timeouts.insert("ESTABLISHED".into(), 7_900);
    assert!(
        !commands(&short).iter().any(|c| c.contains("tcp_timeout")),
        "{short:?}"
    );
    assert_eq!(advised(&time_wait(200_000, 0)), "time_wait=60");
    let half_closed = |timeout: u32| {
        let lasting = Lasts {
            close_wait: heap(200_000.0, 0.0, 0.0, "", BACKEND),
            ..Lasts::default()
        };
        let mut scene = full_of("CLOSE_WAIT", 200_000, lasting);
        scene.timeouts.insert("CLOSE_WAIT".into(), timeout);
        scene
    };
    // To a quarter of the limit.
    assert_eq!(advised(&half_closed(3_600)), "close_wait=1140");
    assert_eq!(advised(&half_closed(120)), "close_wait=60");
    assert!(
        !commands(&half_closed(60))
            .iter()
            .any(|c| c.contains("tcp_timeout"))
    );
}

#[test]
fn a_resolver_that_answers_others_is_not_dead() {
    let dead = dead_resolver(20_000.0, "10.9.1.53:53");
    assert_eq!(
        short(&dead.report()),
        "firewall / udp-hold < backend-unresponsive"
    );
    let mut busy = dead;
    let pile = busy.lasting.udp.get_mut("out").unwrap();
    pile.answered.insert("10.9.1.53:53".into(), 100);
    assert_eq!(short(&busy.report()), "none / none");
    // Nobody of this host's own is a backend.
    let mut own = dead_resolver(20_000.0, "10.0.0.1:53");
    let pile = own.lasting.udp.remove("out").unwrap();
    own.lasting.udp.insert("in".into(), pile);
    assert_eq!(short(&own.report()), "none / none");
}

#[test]
fn half_a_table_of_datagrams_is_a_fault_whatever_they_are() {
    let report = Scene {
        count: Some(150_000),
        ..dead_resolver(140_000.0, "10.9.1.14:514")
    }
    .report();
    // A collector of logs never answers: it is not at fault.
    assert_eq!(short(&report), "firewall / udp-hold");
    let spread = Heap {
        to: Default::default(),
        sources: 9_000,
        ..heap(140_000.0, 0.0, 0.0, "", BACKEND)
    };
    let report = Scene {
        count: Some(150_000),
        lasting: Lasts {
            udp: [("forward".to_string(), spread)].into(),
            ..Lasts::default()
        },
        states: [("udp".to_string(), 140_000)].into(),
        ..Scene::default()
    }
    .report();
    assert_eq!(short(&report), "firewall / udp-hold");
}

#[test]
fn refused_insertions_in_short_chains_are_a_question() {
    let report = Scene::default().conntrack("chaintoolong", 40).report();
    assert_eq!(state(&report, "hash-undersized"), "unknown");
    assert_eq!(report.verdict.cause.name(), "undecided");
}

#[test]
fn idle_entries_are_deleted_and_others_left() {
    let Some(namespace) = Namespace::new("idl") else {
        eprintln!("skipped: needs root, ip(8), conntrack(8) and nft(8)");
        return;
    };
    let entry = |src: &str, dst: &str, sport: u16, left: u32, status: &str| {
        namespace.run(&format!(
            "conntrack -I -p tcp -s {src} -d {dst} --sport {sport} --dport 80 --state ESTABLISHED -t {left} {status}"
        ));
    };
    let answered = "-u ASSURED,SEEN_REPLY";
    let fill = || {
        entry("10.0.0.1", "10.9.1.3", 1, 80_000, answered);
        entry("10.0.0.1", "10.9.1.4", 2, 80_000, "");
        // Data that is not acknowledged, and one that has just been touched.
        entry("10.0.0.1", "10.9.1.5", 3, 299, answered);
        entry("10.0.0.1", "10.9.1.6", 4, 431_000, answered);
        entry("fd00::1", "fd00:9::3", 5, 80_000, answered);
    };
    fill();
    let both = Lasts {
        idle: Heap {
            v6_share: 0.5,
            ..heap(200_000.0, 0.0, 0.0, "", BACKEND)
        },
        ..Lasts::default()
    };
    let deletes = |lasting: Lasts| {
        let mut out = commands(&full_of("ESTABLISHED", 200_000, lasting));
        out.retain(|c| c.starts_with("conntrack"));
        out
    };
    let all = deletes(both.clone());
    assert_eq!(all.len(), 2, "{all:?}");
    for command in &all {
        namespace.run(command);
    }
    assert_eq!(
        namespace.left(),
        ["10.9.1.5:80 ESTABLISHED", "10.9.1.6:80 ESTABLISHED"]
    );
    namespace.run("conntrack -F");
    fill();
    let one_way = Lasts {
        one_way: Figure::Exact(190_000.0),
        idle: heap(200_000.0, 0.0, 0.0, "", BACKEND),
        ..both
    };
    namespace.run(&deletes(one_way)[0]);
    assert_eq!(namespace.left().len(), 4);
    assert!(!namespace.left().contains(&"10.9.1.4:80 ESTABLISHED".to_string()));
}

#[test]
fn datagrams_to_one_place_get_a_timeout_of_their_own() {
    let Some(namespace) = Namespace::new("udp") else {
        eprintln!("skipped: needs root, ip(8), conntrack(8) and nft(8)");
        return;
    };
    namespace.run("ip link set lo up");
    for (place, family, host) in [("127.0.0.53:53", "ip", "127.0.0.53"), ("[::1]:53", "ip6", "::1")] {
        let all = commands(&dead_resolver(20_000.0, place));
        let nft = all.iter().find(|c| c.starts_with("nft ")).expect("a policy");
        namespace.run(nft);
        namespace.run(&format!(
            "conntrack -D -p udp 2>/dev/null; timeout 1 bash -c 'echo > /dev/udp/{host}/53'; true"
        ));
        let family_of = if family == "ip" { "ipv4" } else { "ipv6" };
        let listed = namespace.run(&format!("conntrack -L -f {family_of} -p udp"));
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let left: u32 = text
            .split_whitespace()
            .nth(2)
            .and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no entry: {text}"));
        assert!((8..=10).contains(&left), "{text}");
        namespace.run(&format!("nft delete table {family} ctlens_udp"));
    }
    for command in commands(&dead_resolver(20_000.0, "10.9.1.53:53")) {
        if command.starts_with("conntrack") {
            namespace.run(&format!(
                "conntrack -I -p udp -s 10.0.0.1 -d 10.9.1.53 --sport 9 --dport 53 -t 30; {command}"
            ));
        }
    }
}

#[test]
fn a_table_with_room_hides_no_fault_that_takes_room() {
    let causes = [
        "established-hold",
        "close-wait-hold",
        "time-wait-hold",
        "udp-hold",
    ];
    for (count, answer) in [(13_000, "clear"), (200_000, "unknown")] {
        let report = Scene {
            count: Some(count),
            ..Scene::default()
        }
        .without("lasting")
        .without("states")
        .report();
        for cause in causes {
            assert_eq!(state(&report, cause), answer, "{cause} of {count}");
        }
    }
}
