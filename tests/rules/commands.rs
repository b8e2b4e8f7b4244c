//! The commands of `fix_first`, run in a network namespace of the test's own: each does what its text says, and no more.

use std::process::{Command, Output};

use crate::heap::{Heap, heap};
use crate::scene::Scene;

/// Deleted with all that is in it, also where a test fails.
pub struct Namespace(String);

impl Namespace {
    /// `None` where namespaces or the tools are not to be had.
    pub fn new(name: &str) -> Option<Namespace> {
        let name = format!("ctrul{name}{}", std::process::id());
        let tools = ["conntrack", "nft", "sysctl"];
        let has = |tool: &&str| {
            Command::new("sh")
                .args(["-c", &format!("command -v {tool}")])
                .output()
                .is_ok_and(ok)
        };
        if !tools.iter().all(has) {
            return None;
        }
        let made = Command::new("ip")
            .args(["netns", "add", &name])
            .output()
            .is_ok_and(ok);
        made.then_some(Namespace(name))
    }

    pub fn run(&self, command: &str) -> Output {
        let mut ip = Command::new("ip");
        let out = ip
            .args(["netns", "exec", &self.0, "sh", "-c", command])
            .output()
            .expect("ip(8) was there");
        assert!(
            out.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        out
    }

    fn entry(&self, state: &str, src: &str, dst: &str, dport: u16, sport: u16) {
        let status = if state == "ESTABLISHED" {
            "-u ASSURED,SEEN_REPLY"
        } else {
            ""
        };
        self.run(&format!(
            "conntrack -I -p tcp -s {src} -d {dst} --sport {sport} --dport {dport} --state {state} -t 100 {status}"
        ));
    }

    /// Destination and state of what is left.
    pub fn left(&self) -> Vec<String> {
        let mut out: Vec<String> = ["ipv4", "ipv6"]
            .iter()
            .flat_map(|family| {
                let listed = self.run(&format!("conntrack -L -f {family}"));
                let text = String::from_utf8_lossy(&listed.stdout).into_owned();
                text.lines().map(brief).collect::<Vec<_>>()
            })
            .collect();
        out.sort();
        out
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn ok(output: Output) -> bool {
    output.status.success()
}

/// `tcp 6 99 SYN_SENT src=… dst=… sport=… dport=…` → `dst:dport STATE`.
fn brief(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let field = |name: &str| words.iter().find_map(|w| w.strip_prefix(name)).unwrap_or("?");
    format!("{}:{} {}", field("dst="), field("dport="), words[3])
}

fn commands(scene: &Scene) -> Vec<String> {
    scene
        .report()
        .verdict
        .fix_first
        .into_iter()
        .filter_map(|fix| fix.command)
        .collect()
}

/// Two of each, so that both are seen to go.
fn fill(namespace: &Namespace) {
    for sport in [1001, 1002] {
        namespace.entry("SYN_SENT", "10.0.0.1", "10.9.1.3", 80, sport);
        namespace.entry("SYN_SENT", "10.0.0.1", "10.9.1.3", 81, sport);
        namespace.entry("SYN_SENT", "fd00::1", "fd00:9::3", 80, sport);
        namespace.entry("SYN_RECV", "10.0.0.9", "10.9.1.3", 80, sport);
    }
    namespace.entry("ESTABLISHED", "10.0.0.1", "10.9.1.3", 80, 1009);
}

#[test]
fn a_deletion_takes_what_it_names() {
    let Some(namespace) = Namespace::new("del") else {
        eprintln!("skipped: needs root, ip(8), conntrack(8) and nft(8)");
        return;
    };
    fill(&namespace);
    assert_eq!(namespace.left().len(), 9);
    let one = Scene::default().syn_sent("out", heap(6000.0, 6000.0, 0.0, "sockets", "10.9.1.3:80"));
    namespace.run(&commands(&one)[0]);
    let left = namespace.left();
    assert_eq!(left.len(), 7, "{left:?}");
    assert!(!left.contains(&"10.9.1.3:80 SYN_SENT".to_string()), "{left:?}");
    let six = Scene::default().syn_sent("out", heap(6000.0, 6000.0, 0.0, "sockets", "[fd00:9::3]:80"));
    namespace.run(&commands(&six)[0]);
    assert_eq!(namespace.left().len(), 5);
    // Spread over both families: all of the state, and nothing else.
    // An entry cannot be made twice.
    namespace.run("conntrack -F");
    fill(&namespace);
    let mut pile = heap(6000.0, 6000.0, 0.0, "sockets", "10.9.1.3:80");
    (pile.to, pile.v6_share) = (Default::default(), 0.5);
    // conntrack(8) answers 1 where a family had nothing left to delete.
    let both = commands(&Scene::default().syn_sent("out", pile))[0].clone();
    namespace.run(&format!("{both}; true"));
    assert_eq!(
        namespace.left(),
        [
            "10.9.1.3:80 ESTABLISHED",
            "10.9.1.3:80 SYN_RECV",
            "10.9.1.3:80 SYN_RECV"
        ]
    );
    let flood = Heap {
        sources: 5000,
        one_shot: Some(1.0),
        ..heap(5000.0, 5000.0, 0.0, "tap", "10.9.1.3:80")
    };
    namespace.run(&commands(&Scene::default().syn_recv("forward", flood))[0]);
    assert_eq!(namespace.left(), ["10.9.1.3:80 ESTABLISHED"]);
}

#[test]
fn the_other_commands_load() {
    let Some(namespace) = Namespace::new("set") else {
        eprintln!("skipped: needs root, ip(8), conntrack(8) and nft(8)");
        return;
    };
    let mut run = 0;
    let flood = |place: &str| {
        let pile = Heap {
            sources: 5000,
            one_shot: Some(1.0),
            ..heap(5000.0, 5000.0, 0.0, "tap", place)
        };
        Scene::default().syn_recv("in", pile)
    };
    let ports = crate::scene::Ports {
        from: "10.0.0.1".into(),
        to: "10.9.1.3:80".into(),
        used: 28_232,
        range: 28_232,
        by_state: [("TIME_WAIT".to_string(), 28_232)].into(),
    };
    let queue = crate::scene::Queue {
        at: "10.0.0.1:80".into(),
        queued: 129,
        backlog: 128,
        process: None,
    };
    let settings = [
        (
            "net.ipv4.ip_local_port_range".to_string(),
            "32768 60999".to_string(),
        ),
        ("net.core.somaxconn".to_string(), "128".to_string()),
    ];
    let scenes = [
        flood("10.9.1.3:80"),
        flood("[fd00::3]:80"),
        Scene::default().syn_sent("out", heap(6000.0, 6000.0, 0.0, "sockets", "10.9.1.3:80")),
        Scene {
            ports: vec![ports],
            settings: settings.clone().into(),
            ..Scene::default()
        },
        Scene {
            listeners: vec![queue],
            settings: settings.into(),
            ..Scene::default()
        }
        .net("TcpExt.ListenOverflows", 50),
    ];
    for command in scenes.iter().flat_map(commands) {
        // Only what is this namespace's own: nf_conntrack_max and _buckets are the host's.
        let own = command.starts_with("nft ") || command.starts_with("sysctl -w net.");
        assert!(
            !command.contains("nf_conntrack_max") && !command.contains("_buckets"),
            "{command}"
        );
        if own {
            namespace.run(&command);
            run += 1;
        }
    }
    assert!(run >= 8, "only {run} commands were run");
    let rules = namespace.run("nft list table inet ctlens_guard");
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(
        rules.contains("ip daddr 10.9.1.3") && rules.contains("ip6 daddr fd00::3"),
        "{rules}"
    );
    namespace.run("nft delete table inet ctlens_guard");
    // What settles an open question runs too.
    namespace.run("sysctl -w net.netfilter.nf_conntrack_timestamp=1");
    namespace.run("nft list ruleset | { grep -E 'hook output|drop|reject|notrack' || true; }");
}
