//! `ctlens apply` where something comes between: another apply, a tuple in use again, a tool that is gone.

use std::fs;
use std::time::Duration;

use libtest_mimic::Trial;

use super::apply::{Applying, SYSCTL, sysctl, told};
use super::{HURRIED, PATIENT, trial};
use crate::inside::there;
use crate::lab::Family::{self, V4, V6};
use crate::pace::{after, until};
use crate::socket::connect;
use crate::stage::{PATIENCE, Pair};
use crate::traffic::Clients;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("undone/taken-again", V4, 0, taken_again),
        trial("undone/taken-again", V6, 0, taken_again),
        trial("undone/zone", V4, 100, zone),
        trial("undone/killed-early", V4, 0, killed_early),
        trial("undone/two-at-once", V4, 0, two_at_once),
        trial("undone/entered", V4, 0, entered),
        trial("undone/stuck", V4, 0, stuck),
    ]
}

const SET: [&str; 4] = ["apply", "--set", "syn_sent=9", "--yes"];

fn pair(family: Family) -> (Pair, Applying) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.far.swallows();
    let applying = Applying::on(&pair.near);
    (pair, applying)
}

/// While it waits, the application takes the tuple of a held entry again: somebody waits for that entry now.
fn taken_again(family: Family, _: u32) {
    let (pair, applying) = pair(family);
    pair.near.set("net.ipv4.ip_local_port_range", "40000 40000");
    let (host, service) = (pair.near.netns.clone(), pair.service);
    let attempt = || there(&host, move || connect(None, service)).expect("the port is free");
    drop(attempt());
    // Younger entries tell nothing.
    after(Duration::from_secs(4));
    let more = [
        "--flush-held",
        "--baseline",
        "0",
        "--confirm-within",
        "4s",
        "--keep-if-quiet",
    ];
    let waiting = applying.start(&[&SET[..], &more].concat());
    applying.until_value("9");
    let again = attempt();
    let (exit, said) = told(waiting.wait_with_output().expect("it ends"));
    assert!(
        exit == 0 && said.contains("0 of 1 held entries are deleted; 1 had changed"),
        "{said}"
    );
    assert_eq!(pair.near.in_state("SYN_SENT"), 1, "{said}");
    drop(again);
    let (exit, said) = applying.run(&["apply", "--flush-held", "--yes"]);
    // Older than the timeout in force allows: how old it is, is not known, and it stays.
    assert_eq!((exit, pair.near.in_state("SYN_SENT")), (0, 1), "{said}");
    let (exit, said) = applying.run(&["rollback", "--yes"]);
    assert_eq!(exit, 0, "{said}");
    let (exit, said) = applying.run(&["apply", "--flush-held", "--yes"]);
    assert_eq!((exit, pair.near.in_state("SYN_SENT")), (0, 0), "{said}");
}

/// The same tuples in a zone: held ones go, others stay.
fn zone(family: Family, per_second: u32) {
    let (pair, applying) = pair(family);
    pair.near.nft(
        "table inet zoned { chain out { type filter hook output priority raw; ct zone set 7; }; \
         chain pre { type filter hook prerouting priority raw; ct zone set 7; }; }",
    );
    let hurried = Clients::new(pair.service, per_second, HURRIED).start(&pair.near);
    pair.near.until("entries pile up", PATIENCE, |host| {
        host.in_state("SYN_SENT") >= 200
    });
    drop(hurried);
    let zoned = there(&pair.near.netns, || {
        fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default()
    });
    assert!(zoned.lines().all(|line| line.contains("zone=7")), "{zoned}");
    let patient = Clients::new(pair.service, 100, PATIENT)
        .up_to(10)
        .start(&pair.near);
    after(Duration::from_secs(4));
    let (exit, said) = applying.run(&["apply", "--flush-held", "--yes"]);
    assert_eq!((exit, pair.near.in_state("SYN_SENT")), (0, 10), "{said}");
    assert!(said.contains("; 0 had changed meanwhile and stay."), "{said}");
    drop(patient);
}

/// One that dies before it has written anything leaves the way back of the one before it, and cannot be confirmed.
fn killed_early(_: Family, _: u32) {
    let (pair, applying) = pair(V4);
    let (exit, said) = applying.run(&[&SET[..], &["--confirm-within", "0"]].concat());
    assert_eq!(exit, 0, "{said}");
    let mut second = applying.start(&["apply", "--set", "syn_sent=8", "--yes", "--baseline", "60s"]);
    // It has taken its claim: a third is refused.
    assert!(until(PATIENCE, || {
        let third = [
            "apply",
            "--set",
            "syn_sent=7",
            "--yes",
            "--baseline",
            "0",
            "--confirm-within",
            "0",
        ];
        if !claims(&pair) {
            return false;
        }
        let (exit, said) = applying.run(&third);
        exit == 2 && said.contains("another apply is at work")
    }));
    let (exit, said) = applying.run(&["confirm"]);
    assert!(exit == 2 && said.contains("no apply waits"), "{said}");
    second.kill().expect("it is there to be killed");
    second.wait().expect("it is dead");
    assert_eq!(applying.value(), "9");
    let (exit, said) = applying.run(&["rollback", "--yes"]);
    assert_eq!((exit, applying.value().as_str()), (0, "120"), "{said}");
}

fn claims(pair: &Pair) -> bool {
    there(&pair.near.netns, || {
        fs::read_to_string("/proc/thread-self/net/unix").is_ok_and(|text| text.contains("@ctlens-apply"))
    })
}

/// Of two that begin together one is refused, and what was in force before comes back.
fn two_at_once(_: Family, _: u32) {
    let (pair, applying) = pair(V4);
    let both: Vec<_> = ["syn_sent=9", "syn_sent=8"]
        .iter()
        .map(|set| {
            applying.start(&[
                "apply",
                "--set",
                set,
                "--yes",
                "--baseline",
                "2s",
                "--confirm-within",
                "2s",
            ])
        })
        .collect();
    let mut exits: Vec<i32> = both
        .into_iter()
        .map(|one| told(one.wait_with_output().expect("it ends")).0)
        .collect();
    exits.sort();
    assert_eq!(exits, [1, 2]);
    assert_eq!(sysctl(&pair.near, SYSCTL), "120");
}

/// Entered by other means than --netns it is not the initial namespace either, and sysctl.d is not for it.
fn entered(_: Family, _: u32) {
    let (pair, applying) = pair(V4);
    let folder = applying.folder.path().display().to_string();
    let mut inner = std::process::Command::new(env!("CARGO_BIN_EXE_ctlens"));
    inner
        .args(SET)
        .arg(format!("--persist={folder}"))
        .env("RUNTIME_DIRECTORY", &folder)
        .env("LOGS_DIRECTORY", &folder);
    let output = there(&pair.near.netns, move || inner.output()).expect("it runs");
    let (exit, said) = told(output);
    assert!(
        exit == 2 && said.contains("sysctl.d is read for the initial"),
        "{said}"
    );
    assert_eq!(applying.value(), "120");
}

/// What could not be taken back is said so, and `rollback` can do it later.
fn stuck(_: Family, _: u32) {
    let (pair, applying) = pair(V4);
    let folder = applying.folder.path();
    let (profile, tools) = (folder.join("profile.json"), folder.join("tools"));
    let text = format!(
        r#"{{"schema": "ctlens.profile/1", "timeouts": {{"syn_sent": 9}}, "targets": [{{"proto": "tcp", "dst": "{}", "timeouts": {{"syn_sent": 7}}}}]}}"#,
        pair.service.ip()
    );
    fs::write(&profile, text).expect("the profile is written");
    fs::create_dir(&tools).expect("a folder");
    let found = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];
    let nft = found.iter().find(|path| fs::exists(path).unwrap_or(false));
    std::os::unix::fs::symlink(nft.expect("nft is somewhere"), tools.join("nft")).expect("a link");
    let words = [
        "apply",
        &profile.display().to_string(),
        "--yes",
        "--baseline",
        "0",
        "--confirm-within",
        "3s",
    ];
    let waiting = applying
        .command(&words)
        .env("PATH", &tools)
        .spawn()
        .expect("it runs");
    let loaded = || {
        let tables = there(&pair.near.netns, || {
            crate::inside::run("nft", &["list", "tables"], "")
        });
        tables.expect("nft runs").contains("inet ctlens")
    };
    assert!(until(PATIENCE, loaded));
    fs::remove_file(tools.join("nft")).expect("it was there");
    let (exit, said) = told(waiting.wait_with_output().expect("it ends"));
    assert!(
        exit == 2 && said.contains("not all of it could be taken back (not confirmed within 3 s)"),
        "{said}"
    );
    assert_eq!(applying.value(), "120");
    let (exit, said) = applying.run(&["confirm"]);
    assert!(exit == 2 && said.contains("no apply waits"), "{said}");
    let (exit, said) = applying.run(&["rollback", "--yes"]);
    assert!(exit == 0 && !loaded(), "{said}");
}
