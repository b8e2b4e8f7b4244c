//! The host's own packet filter drops SYNs, or the answers to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use libtest_mimic::{Completion, Trial};

use super::{HURRIED, PATIENT, alone, trial};
use crate::inside::{run, there};
use crate::lab::Family::{self, V4, V6};
use crate::lab::{Host, PORT, service};
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
        trial("none/drop-rule-of-one-who-insists", V4, 20, insists),
        trial("none/drop-rule-of-one-who-insists", V6, 100, insists),
        trial("ruleset-drop/output-behind-an-accept", V4, 150, behind_an_accept),
        trial("ruleset-drop/output-behind-an-accept", V4, 600, behind_an_accept),
        trial("ruleset-drop/jumped-to-by-a-map", V4, 150, jumped_to),
        trial("ruleset-drop/jumped-to-by-a-map", V6, 600, jumped_to),
        trial(
            "backend-unresponsive/other-family-is-tracked",
            V6,
            300,
            other_family,
        ),
        trial("backend-unresponsive/not-tracked", V4, 300, not_tracked),
        trial("ruleset-drop/in-sets", V4, 150, in_sets),
        trial("ruleset-drop/in-sets", V6, 600, in_sets),
        alone("ruleset-drop/by-iptables", 150, |rate| by_iptables(V4, rate)),
        alone("ruleset-drop/by-iptables", 300, |rate| by_iptables(V6, rate)),
        alone("ruleset-drop/legacy", 150, legacy),
        alone("ruleset-drop/legacy", 600, legacy),
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
    uncounted.follow_advice("Accept these packets", &stage.watched);
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

/// A program somewhere keeps calling a port that the policy closes, and where nobody listens: that is the policy's job.
fn insists(family: Family, per_second: u32) {
    let pair = Pair::new(family, "caller", "server");
    pair.far.tracks();
    guarded(
        &pair.far,
        "input priority 0; policy drop",
        &format!("ct state established accept; tcp dport {PORT} accept; meta l4proto tcp counter drop"),
    );
    let listener = closing_server(&pair.far, pair.service);
    let mut closed = pair.service;
    closed.set_port(23);
    let caller = Clients::new(closed, per_second, PATIENT).start(&pair.near);
    let stage = pair.watch_far(vec![caller, listener]);
    until_tried(&stage, u64::from(per_second) * 3);
    diagnose(&stage.watched).blames("none", "none").without_trigger();
}

/// The rule that counts drops of others stands behind an accept: these packets never come to it.
fn behind_an_accept(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.near.nft(&format!(
        "table inet busy {{ chain c {{ type filter hook output priority 0; tcp dport {PORT} accept; counter drop; }}; }}"
    ));
    guarded(
        &pair.near,
        "output priority 10",
        &format!("tcp dport {PORT} drop"),
    );
    let listener = closing_server(&pair.far, pair.service);
    let mut other = pair.service;
    other.set_port(PORT + 1);
    let clients = Clients::new(pair.service, per_second, PATIENT).start(&pair.near);
    let others = Clients::new(other, 40, HURRIED).start(&pair.near);
    let stage = pair.watch_near(vec![clients, others, listener]);
    until_tried(&stage, u64::from(per_second) * 4);
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .names(RULE)
        .names(stage.place);
}

fn jumped_to(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    pair.near.nft(&format!(
        "table inet guard {{ chain web {{ }}; }};\n\
         table inet guard {{ counter eaten {{ }}; \
         chain c {{ type filter hook output priority 0; tcp dport vmap {{ 22 : accept, {PORT} : jump web }}; }}; \
         chain web {{ ct state {{ established, related }} accept; \
         tcp dport {{ 81, {PORT} }} counter name \"eaten\" drop; }}; }}"
    ));
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, PATIENT).start(&pair.near);
    let stage = pair.watch_near(vec![clients, listener]);
    until_tried(&stage, u64::from(per_second) * 4);
    diagnose(&stage.watched)
        .blames("firewall", "ruleset-drop")
        .names("inet guard web handle")
        .proves("rule-counter-rises", f64::from(per_second)..=f64::INFINITY);
}

/// Rules of `ip` make the kernel track IPv4 alone: sockets of IPv6 have no entries, and lost nothing here.
fn other_family(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.nft(
        "table ip track { chain pre { type filter hook prerouting priority 0; ct state invalid counter; }; }",
    );
    guarded(&pair.near, "output priority 0", "oifname \"eth9\" drop");
    pair.far.swallows();
    let clients = Clients::new(pair.service, per_second, PATIENT).start(&pair.near);
    let tracked = Clients::new(service(V4, 1, 2), 5, HURRIED).start(&pair.near);
    nothing_lost(&pair.watch_near(vec![clients, tracked]), per_second, "IPv6");
}

/// SYNs that a rule takes out of tracking are not lost: who does not answer is somebody else.
fn not_tracked(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    guarded(
        &pair.near,
        "output priority raw",
        &format!("tcp dport {PORT} notrack"),
    );
    pair.near
        .nft("table inet other { chain c { type filter hook output priority 0; oifname \"eth9\" drop; }; }");
    pair.far.swallows();
    let clients = Clients::new(pair.service, per_second, PATIENT).start(&pair.near);
    nothing_lost(&pair.watch_near(vec![clients]), per_second, "notrack");
}

fn nothing_lost(stage: &Stage, per_second: u32, because: &str) {
    until_tried(stage, u64::from(per_second) * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("undecided", "undecided")
        .names("leaning to backend-unresponsive")
        .names(because);
    assert_ne!(verdict.finding("ruleset-drop"), "found", "{verdict}");
}

/// What a rule looks up in sets: those of its own, a named one, ranges of addresses, and two fields at once.
fn in_sets(family: Family, per_second: u32) {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    let (kind, ip, net) = match family {
        V4 => ("ipv4_addr", "ip", "10.64.0.0/10"),
        V6 => ("ipv6_addr", "ip6", "fd00::/8"),
    };
    let backend = pair.service.ip();
    pair.near.nft(&format!(
        "table inet guard {{ set bad {{ type {kind}; flags interval; elements = {{ {net} }}; }}; chain c {{ \
         type filter hook output priority 0; policy accept; \
         tcp dport {{ 22, 443 }} accept; \
         {ip} daddr . tcp dport {{ {backend} . 81 }} counter drop; \
         {ip} daddr @bad tcp dport {{ 81, {PORT} }} drop; }}; }}"
    ));
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, PATIENT).start(&pair.near);
    let stage = pair.watch_near(vec![clients, listener]);
    until_tried(&stage, u64::from(per_second) * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "ruleset-drop")
        .names("daddr @bad")
        .names(format!("tcp dport {{ 81, {PORT} }}"));
    verdict.follow_advice("Accept these packets", &stage.watched);
    stage.until_entries("CLOSE_WAIT", per_second as usize / 4);
}

fn by_iptables(family: Family, per_second: u32) -> Completion {
    let (tool, table) = match family {
        V4 => ("iptables-nft", "ip"),
        V6 => ("ip6tables-nft", "ip6"),
    };
    let rule = format!("-A OUTPUT -p tcp -m multiport --dports 81,{PORT} -j DROP");
    through(
        tool,
        family,
        per_second,
        &rule,
        &format!("{table} filter OUTPUT handle"),
    )
}

/// The older engine, read through its own tool.
fn legacy(per_second: u32) -> Completion {
    let rule = format!("-A OUTPUT -p tcp --dport {PORT} -j DROP");
    through(
        "iptables-legacy",
        V4,
        per_second,
        &rule,
        "iptables-legacy filter OUTPUT rule 1",
    )
}

fn through(tool: &'static str, family: Family, per_second: u32, rule: &str, names: &str) -> Completion {
    let pair = Pair::new(family, "proxy", "backend");
    pair.near.tracks();
    let rule = rule.to_string();
    let loaded = there(&pair.near.netns, move || {
        run(tool, &rule.split(' ').collect::<Vec<_>>(), "")
    });
    if let Err(why) = loaded {
        return Completion::ignored_with(format!("{tool}: {why}"));
    }
    let listener = closing_server(&pair.far, pair.service);
    let clients = Clients::new(pair.service, per_second, PATIENT).start(&pair.near);
    let stage = pair.watch_near(vec![clients, listener]);
    until_tried(&stage, u64::from(per_second) * 4);
    let verdict = diagnose(&stage.watched);
    verdict
        .blames("firewall", "ruleset-drop")
        .names(names)
        .proves("rule-counter-rises", f64::from(per_second)..=f64::INFINITY);
    verdict.follow_advice("Accept these packets", &stage.watched);
    stage.until_entries("CLOSE_WAIT", per_second as usize / 4);
    Completion::Completed
}
