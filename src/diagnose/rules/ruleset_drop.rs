//! A rule of this host's own packet filter drops the SYNs, or the answers to them.

use std::net::SocketAddr;

use crate::diagnose::cause::Cause;
use crate::diagnose::culprit::{Culprit, Face, culprit};
use crate::diagnose::half_open::{EXACT, PileUp, largest, pile_from, pile_up, places};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, count, estimate, fact, fix, whole};
use crate::evidence::{Direction, Evidence, ListenQueue, Packets, Pile, Vanished, inward, outward, through};
use crate::model::{Action, At, Estimate, TcpState, ct_state};

pub const RULE: Rule = Rule {
    cause: Cause::RulesetDrop,
    explain: "\
What: a rule, or a chain's policy, of this host's own nf_tables or iptables drops SYNs, or the SYN/ACKs that answer
them.
Why it matters: to the program it looks as if the backend were dead, and to the backend as if the client were.
Example:
  $ nft -a list chain inet filter output
shows `tcp dport 8080 counter packets 3021 drop # handle 7`; the counter rises with each attempt.
How it is told apart: by what is left behind. A SYN that is dropped here leaves no entry, only a socket that waits (or
a SYN that came in and vanished). A reply dropped after conntrack saw it leaves SYN_RECV while the socket still waits.
A reply dropped before conntrack (raw, ingress) leaves SYN_SENT, and only the wire shows the SYN/ACK. Then the rules
that such packets pass are looked at: one that matches and whose counter rises in the window is named; without a
counter it is named by elimination, with less confidence. A drop counter that rises alone is no fault: any firewall on
the Internet drops scans all day, and a port where nobody listens is closed on purpose. What nothing tracks (notrack,
or a family that no rule tracks) has no entry and is not lost. backend-unresponsive is what it looks like from inside.
What to do: accept these packets before the rule, or delete it by its handle.
  $ nft delete rule inet filter output handle 7",
    refutes: "a drop rule's counter that stays flat while attempts fail, or answers that come through",
    check,
};

/// SYN/ACKs that conntrack never saw: so many are no stray.
const LEAST_UNSEEN: u64 = 10;
/// SYNs to one place that vanish: so many in a tap, …
const LEAST_VANISHED: u64 = 20;
/// … so many of each source: a scan tries each place once.
const EACH_SOURCE: u64 = 5;
/// So many RSTs sent for each of them are its answer.
const RESET_SHARE: f64 = 0.25;

fn check(evidence: &Evidence) -> Verdict {
    let Some(half_open) = &evidence.half_open else {
        return Verdict::unknown("the table's half-open entries were not seen");
    };
    let faces = [
        syn_dropped_here(evidence),
        reply_in_raw(evidence),
        reply_after(evidence),
        vanished(evidence),
    ];
    let mut lean = None;
    for face in faces.into_iter().flatten() {
        match culprit(evidence, &face) {
            Culprit::Named(named) => return Verdict::Found(Box::new(finding(evidence, face, named))),
            Culprit::None if !face.alone => {}
            Culprit::None => {
                lean = lean.or(Some(Verdict::leaning(
                    format!("{}; no rule that drops such packets was found", face.what),
                    face.settle.clone(),
                )));
            }
            Culprit::Unread if !face.alone => {}
            Culprit::Unread => {
                let text = format!("{}; the rules were not read", face.what);
                lean = lean.or(Some(Verdict::leaning(text, face.settle.clone())));
            }
            // Packets that a rule takes out of tracking leave no entry, and need none.
            Culprit::Untracked(_) if !face.alone => {}
            Culprit::Untracked(why) => {
                let text = format!(
                    "{}, and {why}: who does not answer the table cannot say",
                    face.what
                );
                let lost = Verdict::leaning_to(vec![Cause::BackendUnresponsive], text, on_the_wire(&face));
                lean = lean.or(Some(lost));
            }
        }
    }
    if let Some(lean) = lean {
        return lean;
    }
    if half_open.sockets_without_entry.is_none() {
        return match half_open.syn_sent_sockets {
            Some(waiting) if waiting as f64 >= pile_from(evidence) => Verdict::leaning(
                format!("{waiting} sockets wait, and only a sample was read"),
                EXACT,
            ),
            Some(_) => Verdict::clear("hardly a socket waits, and no answer was seen to be lost here"),
            None => Verdict::unknown("whether sockets wait without an entry was not seen"),
        };
    }
    Verdict::clear("no socket waits without an entry, and no answer was seen to be lost here")
}

/// Shows whether SYNs leave, and whether anything comes back.
fn on_the_wire(face: &Face) -> String {
    let to = face.packets.dst.zip(face.packets.dport);
    let filter = to.map_or("tcp".to_string(), |(addr, port)| {
        format!("host {addr} and tcp port {port}")
    });
    format!("tcpdump -nni any -c 20 '{filter}'   # SYNs that leave without an answer: the backend")
}

/// Sockets wait, but their SYNs have no entry: it is confirmed only after the last rule.
fn syn_dropped_here(evidence: &Evidence) -> Option<Face> {
    let half_open = evidence.half_open.as_ref()?;
    let waiting = half_open.sockets_without_entry? as f64;
    let entries = half_open.syn_sent.get(&Direction::Out);
    let entries = entries.map_or(0.0, |pile| pile.entries.value);
    if waiting < pile_from(evidence) || waiting <= entries * 4.0 {
        return None;
    }
    let to = half_open.without_entry_to.first();
    let text = format!(
        "{} sockets wait in SYN_SENT, but the table has {} entries for them",
        whole(waiting),
        whole(entries)
    );
    Some(Face {
        packets: Packets {
            dst: to.map(|to| to.addr),
            dport: to.map(|to| to.port),
            state: ct_state::NEW,
            ..Packets::default()
        },
        here: outward,
        dropped: match to {
            Some(to) => format!("the SYNs to {}", to.label()),
            None => "the SYNs of this host's programs".to_string(),
        },
        item: fact("sockets-without-entry", 2.0, text.clone(), waiting, "sockets"),
        what: format!("{text}: their SYNs never left this host, or are not tracked"),
        entries: None,
        alone: true,
        new: true,
        settle: "nft list ruleset | grep -E 'hook output|drop|reject|notrack'".to_string(),
    })
}

/// The tap saw SYN/ACKs for entries that stay in SYN_SENT.
fn reply_in_raw(evidence: &Evidence) -> Option<Face> {
    let unseen = evidence.tap.as_ref()?.syn_acks_unseen_by_conntrack;
    let (direction, pile) = largest(evidence, TcpState::SynSent)?;
    if unseen < LEAST_UNSEEN || direction == Direction::In {
        return None;
    }
    let text = format!("{unseen} SYN/ACKs came in for entries that are still in SYN_SENT");
    Some(Face {
        packets: from_service(pile),
        here: At::before_conntrack,
        dropped: format!("the answers{}", of(pile)),
        item: fact("syn-acks-unseen", 2.0, text.clone(), unseen as f64, "packets"),
        what: format!("{text}: something before conntrack eats them"),
        entries: Some(pile.settled()),
        alone: true,
        new: false,
        settle: "nft list ruleset | grep -B3 -A9 -E 'hook (prerouting|ingress)'   # priorities below -200"
            .to_string(),
    })
}

/// Conntrack saw the SYN/ACK, and nobody goes on.
fn reply_after(evidence: &Evidence) -> Option<Face> {
    let (direction, pile) = largest(evidence, TcpState::SynRecv)?;
    if pile_up(evidence, pile.settled()) != PileUp::Yes {
        return None;
    }
    let (here, text): (fn(At) -> bool, &str) = match direction {
        Direction::Out => (
            inward,
            "SYN/ACKs reached conntrack, but this host's sockets never took them",
        ),
        Direction::Forward => (through, "SYN/ACKs reached conntrack, but nobody completes them"),
        Direction::In => (outward, "this host answered, but nobody completes it"),
        Direction::Unknown => return None,
    };
    let text = format!("{} {text}", count(pile.settled()));
    Some(Face {
        packets: from_service(pile),
        here,
        dropped: format!("the answers{}", of(pile)),
        item: estimate(
            "syn-recv-unfinished",
            1.0,
            text.clone(),
            pile.settled(),
            "entries",
        ),
        what: text,
        entries: Some(pile.settled()),
        // Clients that vanish and other ways back bring the same where this host only stands between.
        alone: direction == Direction::Out,
        new: false,
        settle: "nft list ruleset | grep -E 'hook input|drop|reject'".to_string(),
    })
}

/// SYNs came in to one place, few sources many times each, and left no trace.
fn vanished(evidence: &Evidence) -> Option<Face> {
    let tap = evidence.tap.as_ref()?;
    let place = tap.vanished.as_ref()?.first()?;
    if place.attempts < LEAST_VANISHED || place.attempts < place.sources * EACH_SOURCE || tap.lost > 0 {
        return None;
    }
    // What nobody serves here is closed on purpose, however long somebody insists.
    if place.local && !served(evidence, place) {
        return None;
    }
    // A closed port of this host answers each with a RST, which the tap does not see.
    let resets = evidence.net.as_ref()?.get("Tcp.OutRsts").copied()?;
    if resets as f64 >= place.attempts as f64 * RESET_SHARE {
        return None;
    }
    let label = SocketAddr::new(place.addr, place.port);
    let text = format!(
        "{} SYNs from {} to {label} came in and left no entry and no RST",
        place.attempts,
        if place.sources == 1 {
            "one source".to_string()
        } else {
            format!("{} sources", place.sources)
        }
    );
    fn anywhere(at: At) -> bool {
        inward(at) || through(at) || at.before_conntrack()
    }
    Some(Face {
        packets: Packets {
            dst: Some(place.addr),
            dport: Some(place.port),
            state: ct_state::NEW,
            ..Packets::default()
        },
        here: anywhere,
        dropped: format!("the SYNs to {label}"),
        item: fact(
            "syns-vanished",
            1.0,
            text.clone(),
            place.attempts as f64,
            "attempts",
        ),
        what: text,
        entries: None,
        alone: false,
        new: true,
        settle: "nft list ruleset | grep -E 'drop|reject|policy'".to_string(),
    })
}

/// Whether somebody listens there, or the packets may be translated to who does.
fn served(evidence: &Evidence, place: &Vanished) -> bool {
    let listens = |l: &ListenQueue| l.port == place.port && (l.addr == place.addr || l.addr.is_unspecified());
    let translates = |action: &Action| matches!(action, Action::Dnat(_) | Action::Redirect(_));
    evidence.listeners.iter().flatten().any(listens)
        || evidence
            .ruleset
            .as_ref()
            .is_some_and(|facts| facts.rules(translates, |_| true).next().is_some())
}

/// The answers of whom most of a pile goes to.
fn from_service(pile: &Pile) -> Packets {
    let first = pile.destinations.first();
    Packets {
        src: first.map(|to| to.addr),
        sport: first.map(|to| to.port),
        state: ct_state::ESTABLISHED,
        ..Packets::default()
    }
}

fn of(pile: &Pile) -> String {
    places(pile)
        .first()
        .map_or(String::new(), |place| format!(" of {place}"))
}

fn finding(evidence: &Evidence, face: Face, named: crate::diagnose::culprit::Named) -> Finding {
    let fixes = fixes(&named);
    let counter = match named.rise {
        Some(rise) => Looked::For(format!(
            "its counter rose by {} in {:.1} s",
            whole(rise as f64),
            evidence.window_secs
        )),
        None => Looked::Not("it has no counter".to_string()),
    };
    Finding {
        headline: format!(
            "This host's own packet filter drops {}: {}.",
            face.dropped, named.words
        ),
        place: vec![named.place],
        entries: face.entries.filter(|entries: &Estimate| entries.value > 0.0),
        evidence: std::iter::once(face.item).chain(named.evidence).collect(),
        fixes,
        looked: counter,
    }
}

fn fixes(named: &crate::diagnose::culprit::Named) -> Vec<Fix> {
    let mut out = vec![fix(
        format!("Look at it: {}", named.place),
        Some(named.show.clone()),
        "its counter, and what stands before it",
    )];
    if let Some(accept) = &named.accept {
        out.push(fix(
            "Accept these packets before it",
            Some(accept.clone()),
            "at once, and only for them; write it into your ruleset's file too",
        ));
    }
    if let Some(delete) = &named.delete {
        out.push(fix(
            "Or take it out, if nobody needs it",
            Some(delete.clone()),
            "at once; what else it dropped passes too",
        ));
    }
    out
}
