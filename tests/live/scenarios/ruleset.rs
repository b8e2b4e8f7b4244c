//! The host's own packet filter drops SYNs, or the answers to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use libtest_mimic::Trial;

use super::{HURRIED, PATIENT, trial};
use crate::lab::Family::{self, V4, V6};
use crate::lab::{Host, PORT};
use crate::stage::{Pair, Routed, Stage};
use crate::traffic::{Clients, closing_server, scan};
use crate::verdict::diagnose;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ruleset-drop/output", V4, 150, output),
        trial("ruleset-drop/output", V6, 600, output),
        trial("ruleset-drop/output-uncounted", V4, 300, output_uncounted),
        trial("ruleset-drop/output-policy", V4, 300, output_policy),
        trial("ruleset-drop/answers-at-input", V4, 150, answers_at_input),
        trial("ruleset-drop/answers-at-input", V6, 600, answers_at_input),
        trial(
            "syn-recv-hold/answers-at-input",
            V4,
            300,
            hurried_answers_at_input,
        ),
        trial("ruleset-drop/answers-in-raw", V4, 150, answers_in_raw),
        trial("ruleset-drop/answers-in-raw", V4, 600, answers_in_raw),
        trial("syn-sent-hold/answers-in-raw", V6, 300, hurried_answers_in_raw),
        trial("ruleset-drop/forwarded", V4, 150, forwarded),
        trial("ruleset-drop/forwarded", V6, 600, forwarded),
        trial("ruleset-drop/answers-forwarded", V4, 150, answers_forwarded),
        trial("ruleset-drop/answers-forwarded", V4, 600, answers_forwarded),
        trial("none/drop-rule-of-scans", V4, 300, scans),
    ]
}

fn guarded(host: &Host, chain: &str, rule: &str) {
    host.nft(&format!(
        "table inet guard {{ chain c {{ type filter hook {chain}; {rule}; }}; }}"
    ));
}

/// The only rule of the table `guard`.
const RULE: &str = "inet guard c handle 2";

fn until_tried(stage: &Stage, attempts: u64) {
    let done = stage.traffic[0].done.clone();
    stage.watched.until(
        &format!("{attempts} attempts"),
        Duration::from_secs(30),
        move |_| done.load(Ordering::Relaxed) >= attempts,
    );
}

fn proxy(family: Family, per_second: u32, patience: Duration, chain: &str, rule: &str) -> Stage {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    guarded(&pair.near, chain, rule);
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, patience).start(&pair.near);
    pair.watch_near(vec![clients, listener])
}

fn output(family: Family, per_second: u32) {
    let rule = format!("tcp dport {PORT} counter drop");
    let stage = proxy(family, per_second, PATIENT, "output priority 0", &rule);
    until_tried(&stage, u64::from(per_second) * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "ruleset-drop")
        .without_trigger()
        .names(RULE)
        .proves("rule-counter-rises", f64::from(per_second)..=f64::INFINITY);
    verdict.follow_advice("Look at it", &stage.watched);
}

fn output_uncounted(family: Family, per_second: u32) {
    let rule = format!("tcp dport {PORT} drop");
    let stage = proxy(family, per_second, PATIENT, "output priority 0", &rule);
    until_tried(&stage, u64::from(per_second) * 4);
    let uncounted = diagnose(&stage.watched);
    uncounted.blames("firewall", "ruleset-drop").names(RULE);
    assert!(uncounted.confidence() < 0.97, "{uncounted}");
    uncounted.follow_advice("Take it out", &stage.watched);
    stage.until_entries("CLOSE_WAIT", per_second as usize / 4);
}

fn output_policy(family: Family, per_second: u32) {
    let stage = proxy(
        family,
        per_second,
        PATIENT,
        "output priority 0; policy drop",
        "udp dport 53 accept",
    );
    until_tried(&stage, u64::from(per_second) * 4);
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .names("inet guard c policy");
}

/// The proxy's own rule drops what its backend answers.
pub fn answers_eaten(family: Family, per_second: u32) -> Stage {
    let rule = format!("tcp sport {PORT} counter drop");
    proxy(family, per_second, PATIENT, "input priority 0", &rule)
}

fn answers_at_input(family: Family, per_second: u32) {
    let stage = answers_eaten(family, per_second);
    stage.until_entries("SYN_RECV", per_second as usize * 4);
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .without_trigger()
        .names(RULE)
        .names(stage.place);
}

fn hurried_answers_at_input(family: Family, per_second: u32) {
    let rule = format!("tcp sport {PORT} counter drop");
    let stage = proxy(family, per_second, HURRIED, "input priority 0", &rule);
    stage.until_entries("SYN_RECV", per_second as usize * 6);
    diagnose(&stage.watched)
        .blames("firewall", "syn-recv-hold")
        .triggered_by("firewall", "ruleset-drop", RULE);
}

fn answers_in_raw(family: Family, per_second: u32) {
    let rule = format!("tcp sport {PORT} counter drop");
    let stage = proxy(family, per_second, PATIENT, "prerouting priority raw", &rule);
    stage.until_entries("SYN_SENT", per_second as usize * 4);
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .without_trigger()
        .names(RULE);
}

fn hurried_answers_in_raw(family: Family, per_second: u32) {
    let rule = format!("tcp sport {PORT} counter drop");
    let stage = proxy(family, per_second, HURRIED, "prerouting priority raw", &rule);
    stage.until_entries("SYN_SENT", per_second as usize * 6);
    diagnose(&stage.watched)
        .blames("firewall", "syn-sent-hold")
        .triggered_by("firewall", "ruleset-drop", RULE);
}

fn forwarded(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    guarded(
        &routed.firewall,
        "forward priority 0",
        &format!("tcp dport {PORT} counter drop"),
    );
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, HURRIED).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients, listener]);
    until_tried(&stage, u64::from(per_second));
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .without_trigger()
        .names(RULE)
        .names(stage.place);
}

fn answers_forwarded(family: Family, per_second: u32) {
    let routed = Routed::new(family);
    guarded(
        &routed.firewall,
        "forward priority 0",
        &format!("tcp sport {PORT} counter drop"),
    );
    let listener = closing_server(&routed.server, routed.service);
    let clients = Clients::new(routed.service, per_second, PATIENT).start(&routed.client);
    let stage = routed.watch_firewall(vec![clients, listener]);
    stage.until_entries("SYN_RECV", per_second as usize * 4);
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .without_trigger()
        .names(RULE);
}

/// What a policy is there for: each port is tried once or twice.
fn scans(family: Family, per_second: u32) {
    let pair = Pair::new(family, "scanner", "server");
    pair.far.tracks();
    guarded(
        &pair.far,
        "input priority 0; policy drop",
        "ct state established accept",
    );
    let listener = closing_server(&pair.far, pair.service);
    let scanner = scan(&pair.near, pair.service.ip(), per_second);
    let stage = pair.watch_far(vec![scanner, listener]);
    until_tried(&stage, u64::from(per_second));
    diagnose(&stage.watched).blames("none", "none").without_trigger();
}
