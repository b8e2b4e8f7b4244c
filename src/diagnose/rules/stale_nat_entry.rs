//! An entry keeps the mapping of an older ruleset, because its client keeps it alive.

use crate::diagnose::cause::Cause;
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, count, estimate, fix, remark};
use crate::evidence::{Evidence, StaleNat};
use crate::model::{Flow, proto};

pub const RULE: Rule = Rule {
    cause: Cause::StaleNatEntry,
    explain: "\
What: an entry was made before a DNAT rule came or changed. NAT is decided once, for the first packet: as long as the
client sends from the same port, the entry is renewed and its packets go where they went before.
Why it matters: after a failover or a deployment some clients never find the new backend, though every new one does.
Example:
  $ conntrack -L -p udp --dport 514
shows `[UNREPLIED] src=10.0.0.1` where the rule says `dnat to 10.1.0.7`, with a timeout that jumps back each second.
How it is told apart: the entry has seen no reply, its client still sends (a datagram renewed it a moment ago, or the
wire showed its SYN again: a repeated SYN renews nothing since Linux 5.14), and the ruleset sends such packets
elsewhere for sure. Only rules that the packets come to accuse: those of the hook that they pass, after every accept,
return and jump before them, each condition understood. An entry that is not renewed expires by itself. Silence from
the right place is backend-unresponsive. Entries that were answered keep their mapping by design, and accuse nobody.
What to do: delete the entry; the client's next packet makes a new one by today's rules.
  $ conntrack -D -p udp --orig-src 10.0.0.9 --orig-port-src 5353 --orig-dst 10.0.0.1 --orig-port-dst 514",
    refutes: "a ruleset that gives the same mapping, or replies that come",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(stale) = &evidence.stale_nat else {
        return Verdict::unknown(
            "entries or NAT rules were not read or understood in full: whether the rules give the same mapping is not \
             known",
        );
    };
    match stale {
        None => Verdict::clear("no unreplied entry has a mapping that the rules would not give"),
        Some(stale) if stale.renewed.value == 0.0 => Verdict::clear(format!(
            "{} unreplied entries have an older mapping, but nobody renews them: they expire",
            count(stale.entries)
        )),
        Some(stale) => Verdict::Found(Box::new(finding(stale))),
    }
}

fn finding(stale: &StaleNat) -> Finding {
    let orig = stale.example.orig;
    let to = std::net::SocketAddr::new(orig.dst, orig.dport);
    let items: Vec<Weighed> = vec![
        estimate(
            "mapping-not-given",
            2.0,
            format!(
                "{} unreplied entries for {to} go to {}, where `{}` sends them to {}",
                count(stale.entries),
                stale.goes_to,
                stale.rule,
                stale.should_go_to
            ),
            stale.entries,
            "entries",
        ),
        estimate(
            "renewed-now",
            1.5,
            format!(
                "the clients of {} of them sent again within the last seconds",
                count(stale.renewed)
            ),
            stale.renewed,
            "entries",
        ),
        remark("never-replied", 0.5, "no reply was ever seen on them"),
    ];
    Finding {
        headline: format!(
            "Packets of {} to {to} still go to {}: the entry is older than the rule that sends them to {}.",
            orig.src, stale.goes_to, stale.should_go_to
        ),
        place: vec![to.to_string()],
        entries: Some(stale.entries),
        evidence: items,
        fixes: fixes(stale),
        looked: Looked::For(format!(
            "`{}` gives another mapping, and no reply was seen",
            stale.rule
        )),
    }
}

fn fixes(stale: &StaleNat) -> Vec<Fix> {
    // By full tuple only: conntrack(8) has no filter for what was never answered.
    let more = match stale.entries.value {
        ..=1.0 => String::new(),
        _ => format!(
            " (one of {}: `ctlens list --unreplied` shows the others)",
            count(stale.entries)
        ),
    };
    vec![fix(
        format!("Delete the entry by its tuple{more}"),
        Some(delete(&stale.example)),
        "its next packet makes a new one by today's rules",
    )]
}

fn delete(flow: &Flow) -> String {
    let family = if flow.orig.dst.is_ipv6() { "-f ipv6 " } else { "" };
    format!(
        "conntrack -D {family}-p {} --orig-src {} --orig-port-src {} --orig-dst {} --orig-port-dst {} >/dev/null",
        name(flow),
        flow.orig.src,
        flow.orig.sport,
        flow.orig.dst,
        flow.orig.dport
    )
}

fn name(flow: &Flow) -> &'static str {
    proto::name(flow.proto).unwrap_or("udp")
}
