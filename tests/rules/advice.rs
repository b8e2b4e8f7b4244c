//! What to change first: the order, the commands, and what each of them promises.

use ctlens::diagnose::Fix;

use crate::filter::SceneRule;
use crate::heap::{Heap, heap};
use crate::scene::{Ports, Queue, Scene, short};

const BACKEND: &str = "10.9.1.3:80";

fn fixes(scene: &Scene) -> Vec<Fix> {
    scene.report().verdict.fix_first
}

fn commands(scene: &Scene) -> Vec<String> {
    fixes(scene).into_iter().filter_map(|fix| fix.command).collect()
}

fn held(direction: &str, place: &str) -> Scene {
    Scene::default().syn_sent(direction, heap(6000.0, 5900.0, 100.0, "sockets", place))
}

#[test]
fn relief_comes_first_and_says_what_it_costs() {
    let fixes = fixes(&held("out", BACKEND));
    assert_eq!(
        fixes[0].command.as_deref(),
        Some("conntrack -D -p tcp --state SYN_SENT --reply-src 10.9.1.3 --reply-port-src 80 >/dev/null")
    );
    assert!(
        fixes[0]
            .effect
            .contains("a sysctl does not shorten entries already there"),
        "{fixes:?}"
    );
    assert!(
        fixes[0].what.contains("live ones"),
        "conntrack(8) cannot spare them: {fixes:?}"
    );
    assert_eq!(
        fixes[1].command.as_deref(),
        Some("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_syn_sent=35")
    );
    assert_eq!(
        fixes[1].effect,
        "new entries only: those present drain over 120 s"
    );
    assert!(
        fixes[2].what.starts_with("Take 10.9.1.3:80 out of rotation"),
        "the backend is not ours: {fixes:?}"
    );
}

#[test]
fn the_trigger_comes_first_where_it_is_on_this_host() {
    let queue = Queue {
        at: "10.0.0.1:80".into(),
        queued: 129,
        backlog: 128,
        process: Some("varnishd".into()),
    };
    let mut scene = held("in", "10.0.0.1:80").net("TcpExt.ListenOverflows", 700);
    scene.listeners = vec![queue];
    scene.settings = [("net.core.somaxconn".to_string(), "128".to_string())].into();
    let commands = commands(&scene);
    assert_eq!(commands[0], "sysctl -w net.core.somaxconn=4096");
    assert!(
        commands
            .iter()
            .any(|c| c.starts_with("conntrack -D -p tcp --state SYN_SENT")),
        "{commands:?}"
    );
    // A backlog below the cap is the program's own.
    scene.settings = [("net.core.somaxconn".to_string(), "4096".to_string())].into();
    let first = &fixes(&scene)[0];
    assert!(
        first.command.is_none() && first.what.contains("varnishd asks for"),
        "{first:?}"
    );
}

#[test]
fn a_timeout_stays_above_the_silence_of_a_live_client() {
    let shorter = |direction: &str, settings: &[(&str, &str)]| {
        let mut scene = held(direction, BACKEND);
        scene.settings = settings
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        commands(&scene)
            .into_iter()
            .find_map(|c| c.split_once("timeout_syn_sent=").map(|(_, n)| n.to_string()))
    };
    let few = ("net.ipv4.tcp_syn_retries", "3");
    assert_eq!(shorter("out", &[]).as_deref(), Some("35"));
    assert_eq!(shorter("out", &[few]).as_deref(), Some("7"));
    // Other hosts' clients go by their own settings.
    assert_eq!(shorter("forward", &[few]).as_deref(), Some("35"));
    assert_eq!(
        shorter("out", &[few, ("net.ipv4.ip_forward", "1")]).as_deref(),
        Some("35")
    );
    let mut scene = held("out", BACKEND);
    scene.timeouts.insert("SYN_SENT".into(), 30);
    assert!(
        commands(&scene).iter().all(|c| !c.contains("timeout_syn_sent")),
        "it is short enough"
    );
}

#[test]
fn a_deletion_names_its_destination_and_its_family() {
    let six = commands(&held("out", "[fd00:9::3]:443"));
    assert_eq!(
        six[0],
        "conntrack -D -f ipv6 -p tcp --state SYN_SENT --reply-src fd00:9::3 --reply-port-src 443 >/dev/null"
    );
    let spread = |v6_share: f64| {
        let mut pile = heap(6000.0, 6000.0, 0.0, "sockets", BACKEND);
        pile.to = [(BACKEND.to_string(), crate::heap::Figure::Exact(100.0))].into();
        pile.v6_share = v6_share;
        commands(&Scene::default().syn_sent("out", pile))
            .into_iter()
            .filter(|command| command.contains(" -D "))
            .collect::<Vec<_>>()
    };
    let four = "conntrack -D -p tcp --state SYN_SENT >/dev/null";
    let six = "conntrack -D -f ipv6 -p tcp --state SYN_SENT >/dev/null";
    assert_eq!(spread(0.0), [four]);
    assert_eq!(spread(1.0), [six]);
    // One command each: what runs a command in a namespace runs just the first of several.
    assert_eq!(spread(0.5), [four, six]);
}

#[test]
fn every_named_destination_has_its_deletion() {
    let mut pile = heap(6000.0, 6000.0, 0.0, "sockets", BACKEND);
    pile.to = [
        (BACKEND.to_string(), crate::heap::Figure::Exact(3500.0)),
        ("[fd00:9::3]:443".to_string(), crate::heap::Figure::Exact(2500.0)),
    ]
    .into();
    let all = commands(&Scene::default().syn_sent("out", pile));
    assert!(
        all[0].contains("--reply-src 10.") && all[1].contains("--reply-src fd00:9::3"),
        "{all:?}"
    );
}

#[test]
fn a_flood_is_limited_where_it_goes_and_cookies_are_the_servers() {
    let flood = |direction: &str, place: &str| {
        let pile = Heap {
            sources: 5000,
            one_shot: Some(1.0),
            ..heap(5000.0, 5000.0, 0.0, "tap", place)
        };
        Scene::default().syn_recv(direction, pile)
    };
    let scene = flood("forward", BACKEND);
    assert_eq!(short(&scene.report()), "firewall / syn-recv-hold < syn-flood");
    let fixes = fixes(&scene);
    assert!(
        fixes[0]
            .command
            .as_ref()
            .unwrap()
            .starts_with("conntrack -D -p tcp --state SYN_RECV --reply-src 10.9.1.3")
    );
    assert!(fixes[0].what.contains("handshakes under way"), "{fixes:?}");
    assert_eq!(
        fixes[1].command.as_deref(),
        Some("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_syn_recv=32")
    );
    let limit = fixes
        .iter()
        .find(|f| f.what.starts_with("Limit new SYNs"))
        .unwrap();
    assert!(
        limit
            .command
            .as_ref()
            .unwrap()
            .contains("ip daddr 10.9.1.3 tcp dport 80 "),
        "{limit:?}"
    );
    let cookies = fixes.iter().find(|f| f.what.contains("SYN cookies")).unwrap();
    assert!(
        cookies.command.is_none() && cookies.what.starts_with("On the server"),
        "{cookies:?}"
    );
    // Here this host is the server.
    let mut scene = flood("in", "[fd00::1]:80");
    assert!(
        commands(&scene)
            .iter()
            .any(|c| c.contains("ip6 daddr fd00::1 tcp dport 80 "))
    );
    assert!(commands(&scene).contains(&"sysctl -w net.ipv4.tcp_syncookies=1".to_string()));
    scene.settings = [("net.ipv4.tcp_syncookies".to_string(), "1".to_string())].into();
    assert!(
        commands(&scene).iter().all(|c| !c.contains("tcp_syncookies")),
        "they are on"
    );
}

#[test]
fn a_wider_range_is_wider() {
    let widen = |range: &str| {
        let ports = Ports {
            from: "10.0.0.1".into(),
            to: BACKEND.into(),
            used: 60_000,
            range: 60_000,
            by_state: [
                ("TIME_WAIT".to_string(), 59_000),
                ("ESTABLISHED".to_string(), 1000),
            ]
            .into(),
        };
        let settings = [("net.ipv4.ip_local_port_range".to_string(), range.to_string())].into();
        let commands = commands(&Scene {
            ports: vec![ports],
            settings,
            ..Scene::default()
        });
        assert_eq!(commands[0], "sysctl -w net.ipv4.tcp_tw_reuse=1");
        commands
            .into_iter()
            .find_map(|c| c.split_once("ip_local_port_range=").map(|(_, r)| r.to_string()))
    };
    assert_eq!(widen("32768 60999").as_deref(), Some("\"10240 65000\""));
    assert_eq!(widen("1024 60999").as_deref(), Some("\"1024 65000\""));
    assert_eq!(widen("20000 65535").as_deref(), Some("\"10240 65535\""));
    assert_eq!(widen("1024 65535"), None);
}

#[test]
fn syn_queue_drops_without_cookies_are_overflows() {
    let mut scene = Scene::default().net("TcpExt.ListenDrops", 500);
    assert_eq!(
        short(&scene.report()),
        "none / none",
        "ListenDrops alone has many causes"
    );
    scene.settings = [("net.ipv4.tcp_syncookies".to_string(), "0".to_string())].into();
    let report = scene.report();
    assert_eq!(short(&report), "proxy / listener-overflow");
    assert!(
        report.verdict.headline.contains("has a full SYN queue"),
        "{}",
        report.verdict.headline
    );
    assert_eq!(
        report.verdict.fix_first[0].command.as_deref(),
        Some("sysctl -w net.ipv4.tcp_syncookies=1")
    );
}

#[test]
fn a_rule_is_passed_by_before_it_is_taken_out() {
    let waiting = |does: &str| Scene {
        syn_sent_sockets: Some(1011),
        sockets_without_entry: Some(1011),
        without_entry_to: [(BACKEND.to_string(), 1011)].into(),
        rules: vec![
            SceneRule {
                at: "output 0".into(),
                does: does.into(),
                rise: Some(300),
                ..SceneRule::default()
            },
            // It makes the kernel track.
            SceneRule {
                at: "input 0".into(),
                does: "accept".into(),
                invalid: true,
                ..SceneRule::default()
            },
        ],
        ..Scene::default()
    };
    let accept = "ip daddr 10.9.1.3 tcp dport 80 counter accept";
    assert_eq!(
        commands(&waiting("drop"))[1..],
        [
            format!("nft insert rule inet filter output handle 1 {accept}"),
            "nft delete rule inet filter output handle 1".to_string()
        ]
    );
    assert_eq!(
        commands(&waiting("policy drop"))[1..],
        [format!("nft add rule inet filter output {accept}")]
    );
}
