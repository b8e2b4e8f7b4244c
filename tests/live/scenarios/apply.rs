//! `ctlens apply`: in force, kept, taken back, whatever happens to it; and held entries deleted one by one.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use tempfile::TempDir;

use super::{HURRIED, PATIENT, trial};
use crate::inside::inside;
use crate::lab::Family::{self, V4, V6};
use crate::lab::Host;
use crate::pace::{after, until};
use crate::packet::{ACK, Forged, SYN};
use crate::stage::{PATIENCE, Pair};
use crate::traffic::{Clients, forge, holding_server, pool};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("apply/confirmed", V4, 20, confirmed),
        trial("apply/not-confirmed", V4, 0, not_confirmed),
        trial("apply/killed", V4, 0, killed),
        trial("apply/damage", V4, 50, damage),
        trial("apply/flush-held", V4, 200, flushes),
        trial("apply/flush-held", V6, 200, flushes),
        trial("apply/shorten-held", V4, 200, shortens),
        trial("apply/target", V4, 20, targets),
        trial("apply/refused", V4, 0, refused),
    ]
}

pub(super) const SYSCTL: &str = "net.netfilter.nf_conntrack_tcp_timeout_syn_sent";

/// The program with a state and a log of its own.
pub(super) struct Applying {
    host: Host,
    pub(super) folder: TempDir,
}

impl Applying {
    pub(super) fn on(host: &Host) -> Applying {
        Applying {
            host: host.clone(),
            folder: tempfile::tempdir().expect("a folder for state and log"),
        }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctlens"));
        command
            .args(arguments)
            .args(["--netns", &self.host.netns])
            .env("RUNTIME_DIRECTORY", self.folder.path())
            .env("LOGS_DIRECTORY", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> (i32, String) {
        told(self.command(arguments).output().expect("the program runs"))
    }

    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program runs")
    }

    pub(super) fn value(&self) -> String {
        sysctl(&self.host, SYSCTL)
    }

    pub(super) fn until_value(&self, wanted: &str) {
        assert!(
            until(PATIENCE, || self.value() == wanted),
            "it is {} and not {wanted}",
            self.value()
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("changes.log")).unwrap_or_default()
    }
}

pub(super) fn told(output: Output) -> (i32, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.code().unwrap_or(-1), all)
}

pub(super) fn sysctl(host: &Host, name: &str) -> String {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let text = inside(&host.netns, move || fs::read_to_string(path).unwrap_or_default()).join();
    text.expect("the thread reads").trim().to_string()
}

/// Kept by another process; new flows get the new timeout; then taken back.
fn confirmed(_: Family, per_second: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let applying = Applying::on(&pair.near);
    let set = [
        "apply",
        "--set",
        "syn_sent=9",
        "--yes",
        "--baseline",
        "0",
        "--confirm-within",
        "60s",
    ];
    let waiting = applying.start(&set);
    applying.until_value("9");
    // What waits is not begun anew, nor taken back behind its back.
    for words in [&set[..], &["rollback", "--yes"]] {
        let (exit, said) = applying.run(words);
        assert_eq!(exit, 2, "{said}");
    }
    let clients = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    pair.near
        .until("new flows have the new timeout", PATIENCE, |host| {
            host.in_state("SYN_SENT") > 5
        });
    let longest = pair.near.table().iter().map(|entry| entry.timeout_secs).max();
    assert!(longest.is_some_and(|secs| secs <= 9), "{longest:?}");
    drop(clients);
    let (exit, said) = applying.run(&["confirm"]);
    assert_eq!(exit, 0, "{said}");
    let (exit, said) = told(waiting.wait_with_output().expect("it ends"));
    assert!(
        exit == 0 && said.contains("Kept: confirmed by ctlens confirm"),
        "{said}"
    );
    assert_eq!(applying.value(), "9");
    let log = applying.log();
    assert!(
        log.contains("\"old\":\"120\",\"new\":\"9\",\"result\":\"done\""),
        "{log}"
    );
    // Somebody changes it: that stays, unless it is forced.
    pair.near.set(SYSCTL, "50");
    let (exit, said) = applying.run(&["rollback", "--yes"]);
    assert!(exit == 2 && said.contains("somebody has changed it"), "{said}");
    let (exit, said) = applying.run(&["rollback", "--yes", "--force"]);
    assert_eq!((exit, applying.value().as_str()), (0, "120"), "{said}");
    let (exit, said) = applying.run(&["rollback", "--yes"]);
    assert!(exit == 2 && said.contains("nothing was applied"), "{said}");
}

fn not_confirmed(_: Family, _: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    let applying = Applying::on(&pair.near);
    let set = [
        "apply",
        "--set",
        "syn_sent=9",
        "--yes",
        "--baseline",
        "0",
        "--confirm-within",
        "2s",
    ];
    let (exit, said) = applying.run(&set);
    assert!(
        exit == 1 && said.contains("Taken back: not confirmed within 2 s"),
        "{said}"
    );
    assert_eq!(applying.value(), "120");
    // Nothing rises: kept without a word.
    let (exit, said) = applying.run(&[&set[..], &["--keep-if-quiet"]].concat());
    assert!(exit == 0 && said.contains("Kept: no damage rose"), "{said}");
    assert_eq!(applying.value(), "9");
    let (exit, said) = applying.run(&set);
    assert!(exit == 0 && said.contains("Nothing to do"), "{said}");
}

/// kill -9 while it waits: the watchdog restores, and leaves nothing behind.
fn killed(_: Family, _: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    let applying = Applying::on(&pair.near);
    let set = [
        "apply",
        "--set",
        "syn_sent=9",
        "--set",
        "time_wait=60",
        "--yes",
        "--baseline",
        "0",
    ];
    let mut waiting = applying.start(&set);
    applying.until_value("9");
    waiting.kill().expect("it is there to be killed");
    waiting.wait().expect("it is dead");
    applying.until_value("120");
    let time_wait = "net.netfilter.nf_conntrack_tcp_timeout_time_wait";
    assert!(until(PATIENCE, || sysctl(&pair.near, time_wait) == "120"));
    assert!(
        until(PATIENCE, || applying.log().contains("its parent died")),
        "{}",
        applying.log()
    );
    assert!(until(PATIENCE, || applying.run(&["confirm"]).0 == 2));
}

/// Packets that conntrack calls invalid begin to come: it is taken back, and says why.
fn damage(_: Family, per_second: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    let applying = Applying::on(&pair.near);
    let waiting = applying.start(&["apply", "--set", "syn_sent=9", "--yes", "--baseline", "1s"]);
    applying.until_value("9");
    let (from, to) = (pair.service, SocketAddr::new(pair.near_address, 9_999));
    let answers = forge(&pair.far, per_second, move |number| Forged {
        from,
        to: SocketAddr::new(to.ip(), 10_000 + (number % 20_000) as u16),
        seq: number,
        ack: 1,
        flags: SYN | ACK,
        options: Vec::new(),
    });
    let (exit, said) = told(waiting.wait_with_output().expect("it ends"));
    drop(answers);
    assert!(
        exit == 1 && said.contains("Taken back: invalid rose by"),
        "{said}"
    );
    assert_eq!(applying.value(), "120");
}

/// A port that answers, beside the one that does not.
fn answers(pair: &Pair) -> SocketAddr {
    SocketAddr::new(pair.service.ip(), pair.service.port() + 1)
}

const LIVE: usize = 25;
const ESTABLISHED: usize = 60;

/// Entries that are held, others that somebody waits for, and connections.
fn mixed(pair: &Pair, per_second: u32) -> Vec<crate::traffic::Traffic> {
    pair.near.tracks();
    pair.far.swallows();
    let server = holding_server(&pair.far, answers(pair));
    let connections = pool(&pair.near, answers(pair), 100, ESTABLISHED);
    let hurried = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    pair.near.until("entries pile up", PATIENCE, |host| {
        host.in_state("SYN_SENT") >= 600
    });
    drop(hurried);
    let patient = Clients::new(pair.service, 100, PATIENT)
        .up_to(LIVE as u64)
        .start(&pair.near);
    pair.near.until("connections stand", PATIENCE, |host| {
        host.in_state("ESTABLISHED") == ESTABLISHED
    });
    // Younger entries tell nothing.
    after(Duration::from_secs(4));
    vec![server, connections, patient]
}

fn flushes(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    let traffic = mixed(&pair, per_second);
    let applying = Applying::on(&pair.near);
    let (exit, said) = applying.run(&["apply", "--flush-held", "--yes"]);
    assert!(exit == 0 && said.contains("held entries are deleted"), "{said}");
    assert_eq!(
        (pair.near.in_state("SYN_SENT"), pair.near.in_state("ESTABLISHED")),
        (LIVE, ESTABLISHED),
        "{said}"
    );
    let (exit, said) = applying.run(&["apply", "--flush-held", "--yes"]);
    assert!(
        exit == 0 && said.contains("no entry is held for certain"),
        "{said}"
    );
    drop(traffic);
}

fn shortens(_: Family, per_second: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    let traffic = mixed(&pair, per_second);
    let applying = Applying::on(&pair.near);
    let (exit, said) = applying.run(&["apply", "--shorten-held", "2", "--yes"]);
    assert!(
        exit == 0 && said.contains("held entries expire within 2 s"),
        "{said}"
    );
    pair.near
        .until("held ones have expired, live ones stay", PATIENCE, |host| {
            host.in_state("SYN_SENT") == LIVE
        });
    assert_eq!(pair.near.in_state("ESTABLISHED"), ESTABLISHED);
    drop(traffic);
}

/// Flows to one place get timeouts of their own, all others keep theirs.
fn targets(_: Family, per_second: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    pair.far.nft(
        "table inet deaf { chain pre { type filter hook prerouting priority raw; tcp dport 8080-8081 drop; }; }",
    );
    let applying = Applying::on(&pair.near);
    let profile = applying.folder.path().join("profile.json");
    let text = format!(
        r#"{{"schema": "ctlens.profile/1", "targets": [{{"proto": "tcp", "dst": "{}", "dport": {}, "timeouts": {{"syn_sent": 7}}}}]}}"#,
        pair.service.ip(),
        pair.service.port()
    );
    fs::write(&profile, text).expect("the profile is written");
    let file = profile.display().to_string();
    let (exit, said) = applying.run(&["apply", &file, "--yes", "--confirm-within", "0"]);
    assert_eq!(exit, 0, "{said}");
    let longest = |to: SocketAddr| {
        let clients = Clients::new(to, per_second, HURRIED).start(&pair.near);
        pair.near
            .until("flows come", PATIENCE, |host| host.in_state("SYN_SENT") > 5);
        drop(clients);
        let longest = pair.near.table().iter().map(|entry| entry.timeout_secs).max();
        pair.near.until("they are gone", PATIENCE, |host| {
            host.table().iter().all(|entry| entry.timeout_secs > 7)
        });
        longest.unwrap_or(0)
    };
    let (there, elsewhere) = (longest(pair.service), longest(answers(&pair)));
    assert!(
        there <= 7 && elsewhere > 100,
        "{there} s there, {elsewhere} s elsewhere"
    );
    let (exit, said) = applying.run(&["rollback", "--yes"]);
    assert_eq!(exit, 0, "{said}");
    assert!(longest(pair.service) > 100);
}

/// Nothing is written where something of it could not be.
fn refused(_: Family, _: u32) {
    let pair = Pair::new(V4, "proxy", "backend");
    pair.near.tracks();
    let applying = Applying::on(&pair.near);
    let profile = applying.folder.path().join("too-much.conf");
    let text = "net.netfilter.nf_conntrack_tcp_timeout_syn_sent = 9\nnet.netfilter.nf_conntrack_max = 1000\n";
    fs::write(&profile, text).expect("the profile is written");
    let file = profile.display().to_string();
    for (words, says) in [
        (
            &["apply", &file, "--yes"][..],
            "only the initial network namespace",
        ),
        (&["apply", "--set", "syn_sent=9"], "say --yes"),
        (
            &["apply", "--set", "syn_sent=9", "--yes", "--persist"],
            "sysctl.d is read for the initial",
        ),
        (&["apply", "--yes"], "nothing to apply"),
        (&["apply", "/no/such/file", "--yes"], "reading /no/such/file"),
        (&["rollback", "--yes"], "nothing was applied"),
        (&["confirm"], "no apply waits"),
    ] {
        let (exit, said) = applying.run(words);
        assert!(exit == 2 && said.contains(says), "{words:?}: {said}");
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let arguments = ["apply", "--set", "syn_sent=9", "--yes"];
    let netns = pair.near.netns.clone();
    let output = inside(&netns, move || {
        nobody
            .arg(env!("CARGO_BIN_EXE_ctlens"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
    });
    let (exit, said) = told(output.join().expect("the thread ends").expect("setpriv runs"));
    assert!(
        exit == 2 && said.contains("cannot be written: permission denied"),
        "{said}"
    );
    assert_eq!((applying.value().as_str(), applying.log().as_str()), ("120", ""));
}
