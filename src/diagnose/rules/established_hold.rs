//! ESTABLISHED entries that nobody uses any more.

use super::hold::deletes;
use super::lasting::{Behind, behind, entries_in, placed};
use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{listed, named, places};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, count, estimate, fix, remark, whole};
use crate::diagnose::share::{OWN_SHARE, Share, more_room, pressing, shorter, unseen};
use crate::evidence::{DAY_SECS, Evidence, IDLE_SECS, Idle};
use crate::model::{Estimate, TcpState};

pub const RULE: Rule = Rule {
    cause: Cause::EstablishedHold,
    explain: "\
What: connections that no packet has touched for longer than keepalives leave them alone (2 h 11 min) fill the table.
The firewall keeps each for nf_conntrack_tcp_timeout_established, five days by default.
Why it matters: ESTABLISHED entries are ASSURED: a full table cannot evict them, and new connections are dropped for
ones whose ends are long gone.
Example:
$ ctlens list --state ESTABLISHED --older-than 1d --top dst:dport
shows 180,000 entries to one database that has 200 connections open.
How it is told apart: an entry's idle time is the timeout in force less what is left of it. Entries with an end on
this host are joined with its sockets: with a socket they are a pool that waits, without one they are held. Of
forwarded ones only the time tells. An entry whose other direction never sent anything was picked up in the middle
(nf_conntrack_tcp_loose): where such entries are young, the answers take another way, and that is asymmetric-routing.
What to do: shorten the timeout, not below 7,440 s (RFC 5382) nor below the hosts' keepalive time; then delete what is
in the table by its idle time, since that keeps the timeout that it has.",
    refutes: "sockets of this host behind the idle entries; idle connections that come back in a second look",
    check,
};

const NAME: &str = "idle ESTABLISHED entries";
/// RFC 5382, REQ-5: two hours and four minutes.
const RFC_SECS: u32 = 7_440;
/// Beyond this share without a socket the pile is held.
const MOST: f64 = 0.8;

fn check(evidence: &Evidence) -> Verdict {
    let Some(idle) = evidence.lasting.as_ref().map(|lasting| &lasting.established) else {
        return unseen(
            evidence,
            OWN_SHARE,
            "the table's ESTABLISHED entries were not seen",
        );
    };
    if evidence.timeouts.of_tcp(TcpState::Established).is_none() {
        let because = "nf_conntrack_tcp_timeout_established was not read: nothing tells idle times";
        return unseen(evidence, OWN_SHARE, because);
    }
    let all = idle.stay.pile.entries;
    let behind = behind(&idle.stay);
    match pressing(evidence, behind.held, NAME) {
        Ok(share) => Verdict::Found(Box::new(finding(evidence, idle, behind, share))),
        Err(Verdict::Clear { because }) => match pressing(evidence, idle.untold, "ESTABLISHED entries") {
            Ok(share) => untold(idle, share),
            Err(_) if behind.live.value > all.value * 0.5 && pressing(evidence, all, NAME).is_ok() => {
                Verdict::clear(format!(
                    "{} {NAME}, and sockets of this host stand behind {} of them: they wait",
                    count(all),
                    count(behind.live)
                ))
            }
            Err(_) => Verdict::clear(because),
        },
        Err(other) => other,
    }
}

/// Many ESTABLISHED entries whose idle time nothing tells.
fn untold(idle: &Idle, share: Share) -> Verdict {
    let text = format!(
        "{} ESTABLISHED entries take {:.0} % of the limit, and nothing tells how long they are idle (data that is not \
         acknowledged, a timeout that was lowered, or a policy of their own)",
        count(share.entries),
        share.of_max.value * 100.0
    );
    if idle.untold_one_way.low > share.entries.value * OWN_SHARE {
        let text = format!(
            "{text}; {} of them have packets of one direction only",
            count(idle.untold_one_way)
        );
        let settle = "tcpdump -nni any -c 40 tcp   # nothing but packets of one direction: the answers take another way";
        return Verdict::leaning_to(
            vec![Cause::AsymmetricRouting, Cause::EstablishedHold],
            text,
            settle,
        );
    }
    Verdict::unknown(text)
}

fn finding(evidence: &Evidence, idle: &Idle, behind: Behind, share: Share) -> Finding {
    let pile = &idle.stay.pile;
    let one_way = is_one_way(idle);
    let place = if one_way {
        let servers = idle.one_way_from.iter();
        let servers = servers.filter(|d| d.entries.low >= idle.one_way.value * 0.05);
        servers.take(3).map(|d| d.label()).collect()
    } else {
        places(pile)
    };
    let whom = match (place.is_empty(), one_way) {
        (true, _) => String::new(),
        (false, true) => format!(", picked up in the middle of what {} sent", listed(&place)),
        (false, false) => format!(", of connections to {}", listed(&place)),
    };
    Finding {
        headline: format!(
            "The firewall holds {} ESTABLISHED entries, {:.0} % of its limit, that no packet has touched for more than \
             2 h 11 min{whom}.",
            count(behind.held),
            share.of_max.value * 100.0,
        ),
        entries: Some(behind.held),
        evidence: items(idle, behind, share),
        fixes: fixes(evidence, idle, &share),
        looked: looked(idle, behind),
        place,
    }
}

fn items(idle: &Idle, behind: Behind, share: Share) -> Vec<Weighed> {
    let pile = &idle.stay.pile;
    let mut out = vec![share.weighed(1.0, NAME)];
    let text = format!(
        "{} ESTABLISHED entries are idle for more than {} s, in which keepalives would have renewed them",
        count(pile.entries),
        whole(f64::from(IDLE_SECS))
    );
    out.push(estimate("idle", 1.0, text, pile.entries, "entries"));
    for (id, nats, entries, days) in [
        ("idle-for-a-day", 0.7, idle.day, "a day"),
        ("idle-for-three-days", 0.7, idle.three_days, "three days"),
    ] {
        if entries.value > pile.entries.value * 0.5 {
            let text = format!("{} of them for more than {days}", count(entries));
            out.push(estimate(id, nats, text, entries, "entries"));
        }
    }
    let joined = idle.stay.joined.unwrap_or_default();
    match behind.without {
        Some(without) => {
            let text = format!(
                "of {} of them that have an end on this host, taken at random, {} have no socket",
                whole(joined.looked_for as f64),
                whole((joined.looked_for - joined.found) as f64)
            );
            let nats = if without.value >= MOST { 2.5 } else { -0.5 };
            out.push(estimate("idle-without-socket", nats, text, without, "of those"));
        }
        None => out.push(remark(
            "comebacks-not-seen",
            // Pools may sleep for a night, seldom for days.
            if idle.day.value > pile.entries.value * 0.5 {
                -0.5
            } else {
                -1.0
            },
            "their ends are not on this host: one look does not see whether they come back",
        )),
    }
    if is_one_way(idle) {
        let text = format!(
            "{} of them never had a packet of the other direction: they were picked up in the middle",
            count(idle.one_way)
        );
        out.push(estimate("one-way", 1.0, text, idle.one_way, "entries"));
    }
    if let Some((source, entries)) = idle.opened_by {
        let text = format!("{} of them were opened by {source}", count(entries));
        out.push(estimate("opened-by", 0.0, text, entries, "entries"));
    }
    out
}

fn is_one_way(idle: &Idle) -> bool {
    idle.one_way.value > idle.stay.pile.entries.value * 0.5
}

fn looked(idle: &Idle, behind: Behind) -> Looked {
    match idle.stay.joined {
        None => Looked::Not("this host's sockets were not read, and one look sees nobody come back".into()),
        Some(joined) if !placed(&idle.stay, &joined) => {
            Looked::Not("this host's addresses were not read, so sockets say nothing".into())
        }
        Some(joined) if behind.without.is_some() => Looked::For(format!(
            "sockets stand behind {} of {} idle entries with an end on this host",
            whole(joined.found as f64),
            whole(joined.looked_for as f64)
        )),
        Some(_) => Looked::Not(
            "they are forwarded: whether one comes back shows only in a second look, much later".into(),
        ),
    }
}

fn fixes(evidence: &Evidence, idle: &Idle, share: &Share) -> Vec<Fix> {
    let timeout = evidence.timeouts.of_tcp(TcpState::Established);
    let mut out = Vec::new();
    let target = target_secs(evidence, idle, share);
    if timeout.is_none_or(|secs| secs > target) {
        out.push(shorter(
            "tcp_timeout_established",
            timeout,
            target,
            "a connection that is silent for longer loses its entry, and behind NAT its mapping",
        ));
    }
    out.extend(timeout.map_or(Vec::new(), |timeout| delete_idle(idle, timeout)));
    if is_one_way(idle) && evidence.settings.number("net.netfilter.nf_conntrack_tcp_loose") != Some(0) {
        out.push(fix(
            "Pick no more connections up in the middle",
            Some("sysctl -w net.netfilter.nf_conntrack_tcp_loose=0".into()),
            "connections that lose their entry, by a flush or a failover, then break",
        ));
    }
    let first = named(&idle.stay.pile).first().map(|d| d.label());
    if let Some(first) = first.filter(|_| !is_one_way(idle)) {
        out.push(fix(
            format!("Give connections to {first} keepalives, or close them"),
            None,
            "at both ends: tcp_keepalive_time below the timeout, so that live ones stay and dead ones go",
        ));
    }
    out.extend(evidence.table.as_ref().map_or(Vec::new(), more_room));
    out
}

/// A day where that makes room enough; else the least that keepalives and RFC 5382 allow.
fn target_secs(evidence: &Evidence, idle: &Idle, share: &Share) -> u32 {
    let established = entries_in(evidence, TcpState::Established).unwrap_or(Estimate::exact(0.0));
    let left = (established.value - idle.day.low) / share.max;
    if left <= OWN_SHARE / 2.0 {
        return DAY_SECS;
    }
    let setting = |name: &str, default: u64| {
        let read = evidence
            .settings
            .number(&format!("net.ipv4.tcp_keepalive_{name}"));
        read.unwrap_or(default)
    };
    // A host with keepalives less often than Linux' default says so; the others' are not known.
    let keepalive = setting("time", 7_200).saturating_add(setting("probes", 9) * setting("intvl", 75));
    let least = keepalive.max(RFC_SECS.into()).max(IDLE_SECS.into());
    u32::try_from(least.div_ceil(60) * 60).unwrap_or(u32::MAX)
}

/// conntrack(8) cannot select by what is left of a timeout, but takes a list of what to delete. At most this is left of
/// a live connection's with data that is not acknowledged.
const CAP_SECS: u32 = 300;

fn delete_idle(idle: &Idle, timeout: u32) -> Vec<Fix> {
    let Some(left) = timeout.checked_sub(IDLE_SECS).filter(|left| *left > CAP_SECS) else {
        let caution = "live ones there go too: behind NAT they break";
        return deletes(TcpState::Established, &idle.stay.pile, caution)
            .into_iter()
            .filter(|fix| fix.command.as_ref().is_some_and(|c| c.contains("--reply-src")))
            .collect();
    };
    let which = if is_one_way(idle) { "/UNREPLIED/ && " } else { "" };
    let families: &[(&str, &str)] = match idle.stay.pile.v6_share {
        share if share <= 0.0 => &[("", "")],
        share if share >= 1.0 => &[("-f ipv6 ", "")],
        _ => &[("", " of IPv4"), ("-f ipv6 ", " of IPv6")],
    };
    let delete = |(family, called): &(&str, &str)| {
        let command = format!(
            "conntrack -L {family}-p tcp --state ESTABLISHED 2>/dev/null | awk '{which}$3 > {CAP_SECS} && $3 < {left} \
             {{ print \"-D {family}-p tcp -s \" substr($5,5) \" -d \" substr($6,5) \" --sport \" substr($7,7) \" --dport \
             \" substr($8,7) }}' | conntrack -R - >/dev/null"
        );
        fix(
            format!(
                "Delete the entries{called} that are idle for so long (one that comes back then finds none)"
            ),
            Some(command),
            "frees them; needs conntrack 1.4.7. A sysctl does not shorten entries already there",
        )
    };
    families.iter().map(delete).collect()
}
