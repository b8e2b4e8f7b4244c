//! Source NAT finds no free port towards one destination.

use crate::diagnose::cause::Cause;
use crate::diagnose::culprit::place_of;
use crate::diagnose::losses::{Losses, losses};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{
    Finding, Looked, Rule, Verdict, Weighed, count, estimate, fact, fix, remark, whole,
};
use crate::diagnose::source_nat::{self, Other};
use crate::evidence::{Evidence, NatUse};
use crate::model::{Action, Estimate, TcpState, proto};

/// The kernel tries 128 ports at random and then fewer: from this share on it fails to find one now and then
/// (nf_nat_l4proto_unique_tuple).
const LOSES_FROM: f64 = 0.9;
/// Without a known range: so many ports towards one destination are most of any.
const MANY: f64 = 40_000.0;
/// Without a known range: so many may well be all of it.
const MAY_FILL: f64 = 256.0;
/// From 6.12 on a new connection takes the port of one that closes (nf_nat_used_tuple_harder).
const TAKES_CLOSING: (u32, u32) = (6, 12);

pub const RULE: Rule = Rule {
    cause: Cause::NatPortsExhausted,
    explain: "\
What: all ports that source NAT may use for one of its addresses towards one destination are taken.
Why it matters: the SYN is dropped in silence: no entry, no log line, no ICMP, and the table looks nearly empty.
Example:
  $ conntrack -L -p tcp --reply-src 10.9.1.3 --reply-port-src 443 -n 192.0.2.1 | wc -l
counts the ports in use from 192.0.2.1; a masquerade to :5000-5999 has 1,000 of them.
How it is told apart: ports are per translated address and destination. insert_failed and drop rise together, one each
for every lost SYN, while fill stays low (table-full is another matter); and entries towards one destination reach the
range that the ruleset gives. `found` rises long before, which is a warning and no fault. TIME_WAIT ports are free
again for new connections since Linux 6.12; SYN_SENT ports never are: a backend that does not answer
(backend-unresponsive) uses them up at 64,512 / 120 s = 538 failing connections a second. Without a full range the
same counters mean insert-clash.
What to do: see to what holds the ports, then add addresses to the NAT rule or widen its range.",
    refutes: "free ports left towards the destination, or insert_failed and drop that do not rise",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(nat) = &evidence.nat else {
        return Verdict::unknown("the table's translated entries were not seen");
    };
    let Some(fullest) = nat
        .iter()
        .max_by(|a, b| share(evidence, a).total_cmp(&share(evidence, b)))
    else {
        return Verdict::clear("no entry has a translated source");
    };
    let held = held(evidence, fullest);
    let full = match fullest.range {
        Some(range) => held.value >= range as f64 * LOSES_FROM,
        None => held.value >= MANY,
    };
    let text = said(fullest, held);
    let lost = losses(evidence);
    match (full, lost) {
        (false, Some(lost)) if lost.together() && may_fill(evidence, nat) => Verdict::leaning_to(
            vec![Cause::NatPortsExhausted, Cause::InsertClash],
            format!(
                "{} packets were lost, and how many ports the rules give is not known",
                lost.failed
            ),
            "nft list ruleset | grep -E 'snat|masquerade'; iptables-save -t nat",
        ),
        (false, _) => {
            let lasts = seconds_left(fullest, held).map_or(String::new(), |secs| {
                format!("; at this rate they last for {secs:.0} s")
            });
            Verdict::clear(format!("{text}{lasts}{}", warning(evidence, fullest, held)))
        }
        (true, None) => Verdict::leaning(
            format!("{text}, but no counter was watched over a window"),
            "ctlens diagnose --window 5s",
        ),
        (true, Some(lost)) if !lost.together() => {
            Verdict::clear(format!("{text}, and no packet was lost for want of one"))
        }
        (true, Some(lost)) if fullest.range.is_none() && evidence.ruleset.is_none() => Verdict::leaning_to(
            vec![Cause::NatPortsExhausted, Cause::InsertClash],
            format!(
                "{text}, {} packets were lost, and the rules' ranges were not read",
                lost.failed
            ),
            "nft list ruleset | grep -E 'snat|masquerade'",
        ),
        (true, Some(lost)) => Verdict::Found(Box::new(finding(evidence, fullest, held, &lost))),
    }
}

/// `found` rises long before a port is missed.
fn warning(evidence: &Evidence, used: &NatUse, held: Estimate) -> String {
    let counters = evidence.conntrack.as_ref().filter(|_| evidence.window_secs > 0.0);
    let tries = counters.and_then(|counters| counters.get("found").copied());
    let scarce = used
        .range
        .is_some_and(|range| held.value >= range as f64 * PRESSED_FROM);
    match tries.filter(|tries| scarce && *tries > 0) {
        Some(tries) => format!(
            "; {} tries met a port in use (found): a warning, and no fault yet",
            whole(tries as f64)
        ),
        None => String::new(),
    }
}

/// Whether ports whose range is not known may be all of it.
fn may_fill(evidence: &Evidence, nat: &[NatUse]) -> bool {
    let may = |used: &NatUse| used.range.is_none() && held(evidence, used).value >= MAY_FILL;
    nat.iter().any(may)
}

/// Ports that no new connection can take.
fn held(evidence: &Evidence, used: &NatUse) -> Estimate {
    let release = evidence.host.version();
    if used.proto != proto::TCP || release.is_none_or(|release| release < TAKES_CLOSING) {
        return used.used;
    }
    Estimate {
        value: used.used.value - used.closing.value,
        low: (used.used.low - used.closing.high).max(0.0),
        high: used.used.high - used.closing.low,
    }
}

fn share(evidence: &Evidence, used: &NatUse) -> f64 {
    let range = used.range.map_or(f64::from(u16::MAX), |range| range as f64);
    held(evidence, used).value / range.max(1.0)
}

fn said(used: &NatUse, held: Estimate) -> String {
    let of = used
        .range
        .map_or(String::new(), |range| format!(" of {}", whole(range as f64)));
    format!(
        "{}{of} ports of {} are held towards {}",
        count(held),
        used.snat,
        used.place()
    )
}

/// Until the range is used up, as far as arrivals tell; `None` where it is used up, or nothing arrives.
fn seconds_left(used: &NatUse, held: Estimate) -> Option<f64> {
    let left = used.range? as f64 - held.value;
    let rate = used.new_per_s?.value;
    (left > 0.0 && rate >= 1.0).then(|| left / rate)
}

fn finding(evidence: &Evidence, used: &NatUse, held: Estimate, lost: &Losses) -> Finding {
    let text = said(used, held);
    let nats = if used.range.is_some() { 2.5 } else { 1.0 };
    let mut items: Vec<Weighed> = vec![estimate("nat-ports-in-use", nats, text.clone(), held, "ports")];
    let text = format!(
        "insert_failed and drop rose together, by {} and {}, in {:.1} s",
        whole(lost.failed as f64),
        whole(lost.dropped as f64),
        evidence.window_secs
    );
    items.push(fact("syns-lost", 2.0, text, lost.failed as f64, "packets"));
    let states: Vec<String> = used
        .by_state
        .iter()
        .map(|(state, entries)| format!("{} {state}", whole(*entries as f64)))
        .collect();
    items.push(remark(
        "ports-by-state",
        0.0,
        format!("they are {}", states.join(", ")),
    ));
    let rules = evidence.ruleset.as_ref().map(|facts| &facts.ruleset.rules);
    if let Some(rule) = rules.zip(used.rule).and_then(|(rules, index)| rules.get(index)) {
        let text = format!("{} (`{}`) gives this range", place_of(rule), rule.text);
        items.push(remark("range-by-rule", 0.0, text));
    }
    if let Some(rate) = used.new_per_s.filter(|rate| rate.value >= 1.0) {
        let text = format!("{} a second get a port and keep it", count(rate));
        items.push(estimate("ports-taken", 0.0, text, rate, "ports per second"));
    }
    let range = used
        .range
        .map_or("the".to_string(), |range| format!("the {}", whole(range as f64)));
    Finding {
        headline: format!(
            "Source NAT has used up {range} ports of {} towards {}: {} {} were lost in {:.1} s.",
            used.snat,
            used.place(),
            whole(lost.failed as f64),
            if used.proto == proto::TCP {
                "SYNs"
            } else {
                "first datagrams"
            },
            evidence.window_secs
        ),
        place: vec![used.place().to_string()],
        entries: Some(held),
        evidence: items,
        fixes: fixes(evidence, used),
        looked: Looked::For(format!(
            "{} ports are left",
            used.range
                .map_or("an unknown number of".to_string(), |range| whole(
                    (range as f64 - held.value).max(0.0)
                ))
        )),
    }
}

fn fixes(evidence: &Evidence, used: &NatUse) -> Vec<Fix> {
    let mut out = by_state(evidence, used);
    out.push(more_ports(evidence, used));
    out
}

/// What the state that holds most of the ports asks for.
fn by_state(evidence: &Evidence, used: &NatUse) -> Vec<Fix> {
    let most = |state: TcpState| {
        let entries = used.by_state.get(state.name()).copied().unwrap_or(0);
        entries as f64 * 2.0 > held(evidence, used).value
    };
    if used.proto == proto::UDP {
        return vec![fix(
            format!(
                "See which clients of {} use a new port for each datagram",
                used.place()
            ),
            Some(format!(
                "ctlens list --proto udp --dport {} --top src --limit 20",
                used.dport
            )),
            "each source port takes a translated port until its entry expires",
        )];
    }
    if most(TcpState::SynSent) {
        return unanswered(used);
    }
    let keep = fix(
        format!("Keep connections to {} open between requests", used.place()),
        None,
        "keep-alive or a pool: each connection takes a port of its own",
    );
    let mut out = vec![keep];
    if most(TcpState::TimeWait) {
        out.push(fix(
            "Shorten how long a closed connection holds its port",
            Some(format!(
                "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait={TIME_WAIT_SECS}"
            )),
            "new entries only; the kernels at both ends remember it for 60 s",
        ));
    }
    out
}

fn unanswered(used: &NatUse) -> Vec<Fix> {
    let family = if used.dst.is_ipv6() { "-f ipv6 " } else { "" };
    vec![
        fix(
            "Delete the half-open entries that hold the ports",
            Some(format!(
                "conntrack -D {family}-p tcp --state SYN_SENT --reply-src {} --reply-port-src {} >/dev/null",
                used.dst, used.dport
            )),
            "frees their ports at once",
        ),
        fix(
            "Shorten how long an unanswered SYN holds its port",
            Some("sysctl -w net.netfilter.nf_conntrack_tcp_timeout_syn_sent=35".to_string()),
            "new entries only",
        ),
    ]
}

fn more_ports(evidence: &Evidence, used: &NatUse) -> Fix {
    let effect = "each address brings the whole range again; new connections only";
    let known = evidence.ruleset.as_ref().zip(used.rule);
    let Some((facts, rule)) = known.and_then(|(facts, index)| Some((facts, facts.ruleset.rules.get(index)?)))
    else {
        return fix(
            "Give source NAT more addresses, or a wider range of ports",
            None,
            effect,
        );
    };
    let names_range = matches!(rule.then, Action::Snat(m) | Action::Masquerade(m) if m.ports.is_some());
    let any_port = Other::AnyPort(used.proto, used.place());
    let wider = used.rule.filter(|_| names_range);
    match wider.and_then(|index| source_nat::add_before(facts, index, any_port)) {
        Some(command) => fix(
            format!(
                "Let connections to {} take any port, before {}",
                used.place(),
                place_of(rule)
            ),
            Some(command),
            "new connections get ports from 1024 on; only where nothing relies on the range of that rule. Undo: delete it \
             by its handle",
        ),
        None => fix(
            format!(
                "Give {} (`{}`) more addresses, or a wider range of ports",
                place_of(rule),
                rule.text
            ),
            Some(source_nat::show(facts, rule)),
            effect,
        ),
    }
}

/// TCP_TIMEWAIT_LEN of include/net/tcp.h.
const TIME_WAIT_SECS: u32 = 60;

/// Whether a range is so full that ports are missed now and then; `None` where that was not seen.
pub fn pressed(evidence: &Evidence) -> Option<bool> {
    let nat = evidence.nat.as_ref()?;
    let pressed = |used: &NatUse| {
        let held = held(evidence, used).value;
        match used.range {
            Some(range) => held >= range as f64 * PRESSED_FROM,
            None => held >= MANY,
        }
    };
    if nat.iter().any(pressed) {
        return Some(true);
    }
    (!may_fill(evidence, nat)).then_some(false)
}

/// Half of the kernel's tries meet a port in use.
const PRESSED_FROM: f64 = 0.5;
