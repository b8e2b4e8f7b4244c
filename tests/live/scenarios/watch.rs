//! `ctlens watch` on a host where something goes on, against what went on.

use std::fs;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};
use serde_json::Value;

use super::full::{ELSEWHERE, filled, limit};
use super::hold::{clients_give_up, proxy_gives_up};
use super::{alone, trial};
use crate::filler::{ESTABLISHED, Filler, SYN_SENT};
use crate::inside::inside;
use crate::lab::Family::{self, V4, V6};
use crate::lab::Host;
use crate::pace::{after, tick, until};
use crate::stage::{PATIENCE, Pair};
use crate::terminal::Terminal;
use crate::traffic::{churn, closing_server};
use crate::verdict::ctlens;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("watch/churn", V4, 100, churns),
        trial("watch/churn", V6, 400, churns),
        trial("watch/lost-and-found", V4, 30_000, lost_and_found),
        trial("watch/alerts", V4, 200, alerts),
        trial("watch/forwarded", V4, 200, forwarded),
        trial("watch/large", V4, 120_000, large),
        trial("watch/screen", V4, 200, screen),
    ]
}

pub fn alone_trials() -> Vec<Trial> {
    vec![alone("watch/fills", 20_000, fills), alone("watch/hot", 6000, hot)]
}

fn watched(host: &Host, options: &[&str]) -> (i32, Vec<Value>, String) {
    let arguments = ["watch", "--netns", &host.netns, "--format", "json"];
    let (exit, stdout, stderr) = ctlens(&[&arguments, options].concat());
    let frames = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    (exit, frames.collect(), stderr)
}

fn number(frame: &Value, path: &str) -> f64 {
    frame.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// After minutes that are compressed into seconds the ledger is what the table is.
fn churns(family: Family, per_second: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    pair.near
        .set("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "3");
    let server = closing_server(&pair.far, pair.service);
    let clients = churn(&pair.near, pair.service, per_second);
    let (exit, frames, stderr) = watched(
        &pair.near,
        &["--interval", "1s", "--for", "12s", "--updates", "1s/2s"],
    );
    drop((clients, server));
    assert_eq!(exit, 0, "{stderr}");
    let last = frames.last().unwrap_or_else(|| panic!("no look: {stderr}"));
    assert_eq!(last["source"], "events", "{last}");
    assert_eq!(number(last, "/heard/lost"), 0.0, "{last}");
    let held = number(last, "/heard/held/value");
    let drift = number(last, "/heard/drift/missed") + number(last, "/heard/drift/stale");
    assert!(
        held > 0.0 && drift <= (held * 0.02).max(5.0),
        "{drift} of {held}: {last}"
    );
    let rate = number(last, "/heard/came_per_s");
    assert!(
        (0.5..1.5).contains(&(rate / f64::from(per_second))),
        "{rate} instead of {per_second} a second: {last}"
    );
    assert!(number(last, "/heard/went/expired") > 0.0, "{last}");
    assert!(number(last, "/heard/stayed_ms/expired/p50") >= 2500.0, "{last}");
    assert!(number(last, "/heard/handshake_ms/count") > 0.0, "{last}");
    // What waited from one window of updates to the next would have taken a second.
    assert!(number(last, "/heard/handshake_ms/p99") < 500.0, "{last}");
    assert_eq!(
        number(last, "/holders/0/dport"),
        f64::from(pair.service.port()),
        "{last}"
    );
}

/// Far more at once than the buffer holds: it is told, and the next reading of the table puts it right.
fn lost_and_found(family: Family, entries: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    let host = pair.near.netns.clone();
    let (std::net::IpAddr::V4(from), to) = (pair.near_address, ELSEWHERE) else {
        unreachable!("the pair is an IPv4 one")
    };
    let filler = inside(&host, move || {
        until(PATIENCE, || {
            let text = fs::read_to_string("/proc/thread-self/net/netlink").unwrap_or_default();
            text.lines().any(|line| {
                let row: Vec<&str> = line.split_whitespace().collect();
                row.get(1) == Some(&"12") && row.get(3).is_some_and(|groups| *groups != "00000000")
            })
        });
        // Between two looks.
        after(Duration::from_millis(1500));
        Filler::new(from, to, 9)?.add(SYN_SENT, entries.into())
    });
    let options = [
        "--interval",
        "1s",
        "--for",
        "8s",
        "--buffer",
        "4K",
        "--events",
        "always",
    ];
    let (exit, frames, stderr) = watched(&pair.near, &options);
    filler
        .join()
        .expect("the filler ends")
        .expect("entries can be made");
    assert_eq!(exit, 0, "{stderr}");
    let lost: f64 = frames.iter().map(|frame| number(frame, "/heard/lost")).sum();
    assert!(lost > 0.0, "{stderr}");
    let last = frames.last().expect("looks");
    let (held, count) = (number(last, "/heard/held/value"), number(last, "/table/count"));
    assert_eq!((held, count), (f64::from(entries), f64::from(entries)), "{last}");
    assert_eq!(number(last, "/heard/held/low"), held, "{last}");
}

fn alerts(family: Family, per_second: u32) {
    let stage = proxy_gives_up(family, per_second);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alerts").display().to_string();
    let command = format!("echo \"$CTLENS_ALERT: $CTLENS_HEADLINE\" >> {file}");
    let options = [
        "--interval",
        "1s",
        "--for",
        "30s",
        "--until",
        "SYN_SENT>1500",
        "--alert",
        "SYN_SENT>600",
        "--on-alert",
        &command,
    ];
    let (exit, frames, stderr) = watched(&stage.watched, &options);
    assert_eq!(exit, 1, "{stderr}");
    assert!(stderr.contains("SYN_SENT>1500 holds"), "{stderr}");
    let told = || fs::read_to_string(&file).unwrap_or_default();
    assert!(until(PATIENCE, || !told().is_empty()), "no alert: {stderr}");
    assert_eq!(told().lines().count(), 1, "{}", told());
    assert!(told().starts_with("SYN_SENT>600: "), "{}", told());
    let last = frames.last().expect("looks");
    assert_eq!(last["verdict"]["cause"], "syn-sent-hold", "{last}");
    // 120 s of arrivals: where it is heading.
    let plateau = number(last, "/forecast/plateau");
    let wanted = f64::from(per_second) * 120.0;
    assert!(
        (plateau / wanted - 1.0).abs() < 0.2,
        "{plateau} instead of {wanted}: {last}"
    );
}

/// A table of which a look reads only a sample is read whole to begin the ledger.
fn large(family: Family, entries: u32) {
    let pair = Pair::new(family, "client", "server");
    pair.near.tracks();
    filled(&pair.near, pair.service.ip(), ESTABLISHED, entries.into());
    let (exit, frames, stderr) = watched(&pair.near, &["--interval", "1s", "--for", "6s"]);
    assert_eq!(exit, 0, "{stderr}");
    let last = frames.last().unwrap_or_else(|| panic!("no look: {stderr}"));
    assert!(number(last, "/table/sampled_of") > 0.0, "{last}");
    assert_eq!(
        (
            number(last, "/heard/held/value"),
            number(last, "/holders/0/entries")
        ),
        (f64::from(entries), f64::from(entries)),
        "{last}"
    );
}

/// A firewall has no sockets to ask: what the wire told stands while it is not listened to.
fn forwarded(family: Family, per_second: u32) {
    let stage = clients_give_up(family, per_second);
    let options = ["--interval", "1s", "--for", "40s", "--until", "SYN_SENT>4500"];
    let (_, frames, stderr) = watched(&stage.watched, &options);
    let named = frames
        .iter()
        .position(|frame| frame["verdict"]["cause"] == "syn-sent-hold")
        .unwrap_or_else(|| panic!("nobody was named: {stderr}"));
    assert!(number(&frames[named], "/at_s") < 20.0, "{}", frames[named]);
    assert_eq!(
        frames[named]["verdict"]["as_told_ago_s"],
        Value::Null,
        "{}",
        frames[named]
    );
    let after = &frames[named + 1..];
    assert!(after.len() >= 5, "{stderr}");
    for frame in after {
        assert_eq!(frame["verdict"]["cause"], "syn-sent-hold", "{frame}");
    }
    let stood = after
        .iter()
        .filter(|frame| number(frame, "/verdict/as_told_ago_s") > 0.0);
    assert!(stood.count() >= 5, "{stderr}");
}

/// On a terminal: it is drawn, keys are heard, and the terminal is left as it was found, by `q` and by a signal.
fn screen(family: Family, per_second: u32) {
    let stage = proxy_gives_up(family, per_second);
    let arguments = ["watch", "--netns", &stage.watched.netns, "--interval", "1s"];
    let mut terminal = Terminal::start(&arguments);
    assert!(
        until(PATIENCE, || terminal.shows("syn-sent-hold")),
        "{}",
        terminal.text()
    );
    terminal.press("?");
    assert!(until(PATIENCE, || terminal.shows("keys")), "{}", terminal.text());
    terminal.press("?");
    terminal.press("q");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.text());
    let mut terminal = Terminal::start(&arguments);
    assert!(
        until(PATIENCE, || terminal.shows("holders")),
        "{}",
        terminal.text()
    );
    terminal.terminate();
    assert_eq!(terminal.end(), Some(0), "{}", terminal.text());
}

/// When it will be full, told in time.
fn fills(per_second: u32) -> Completion {
    let (max, _guard) = match limit() {
        Ok(limit) => limit,
        Err(why) => return Completion::ignored_with(why),
    };
    let pair = Pair::new(V4, "client", "server");
    pair.near.tracks();
    let std::net::IpAddr::V4(from) = pair.near_address else {
        unreachable!("the pair is an IPv4 one")
    };
    // Some are there before.
    filled(&pair.near, pair.service.ip(), ESTABLISHED, max / 10);
    let rate = u64::from(per_second).min(max / 25);
    let filler = inside(&pair.near.netns, move || -> std::io::Result<()> {
        let mut filler = Filler::new(from, ELSEWHERE, 9)?;
        let (began, mut made) = (Instant::now(), 0);
        while made < max && began.elapsed() < Duration::from_secs(40) {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            filler.add(ESTABLISHED, due.saturating_sub(made))?;
            made = made.max(due);
            tick();
        }
        Ok(())
    });
    let options = ["--interval", "1s", "--for", "40s", "--until", "fill>=0.999"];
    let (exit, frames, stderr) = watched(&pair.near, &options);
    drop(filler);
    assert_eq!(exit, 1, "it was never full: {stderr}");
    let at = |frame: &Value| number(frame, "/at_s");
    let full_at = at(frames.last().expect("looks"));
    let foretold: Vec<(f64, f64)> = frames
        .iter()
        // Three looks tell a growth.
        .skip(2)
        .filter(|frame| (0.3..0.8).contains(&number(frame, "/table/fill")))
        .map(|frame| (full_at - at(frame), number(frame, "/forecast/full_in_s")))
        .collect();
    assert!(foretold.len() >= 5, "{foretold:?} {stderr}");
    for (truth, said) in &foretold {
        // A look is a second long.
        assert!(
            (said - truth).abs() <= (truth * 0.15).max(1.0),
            "{said} s instead of {truth} s: {foretold:?}"
        );
    }
    Completion::Completed
}

/// Too many flows to hear of each: it stops listening, and says so.
fn hot(per_second: u32) -> Completion {
    let pair = Pair::new(V4, "client", "server");
    pair.near.tracks();
    let std::net::IpAddr::V4(from) = pair.near_address else {
        unreachable!("the pair is an IPv4 one")
    };
    let filler = inside(&pair.near.netns, move || -> std::io::Result<()> {
        let mut filler = Filler::new(from, ELSEWHERE, 9)?;
        let (began, mut made) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(7) {
            let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
            filler.add(SYN_SENT, due.saturating_sub(made))?;
            made = made.max(due);
            tick();
        }
        Ok(())
    });
    let (exit, frames, stderr) = watched(&pair.near, &["--interval", "1s", "--for", "6s"]);
    filler
        .join()
        .expect("the filler ends")
        .expect("entries can be made");
    assert_eq!(exit, 0, "{stderr}");
    assert_eq!(frames[0]["source"], "events", "{}", frames[0]);
    let last = frames.last().expect("looks");
    assert_eq!(last["source"], "summaries", "{last}");
    assert_eq!(last["heard"], Value::Null, "{last}");
    Completion::Completed
}
