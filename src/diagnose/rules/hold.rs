//! What the two hold rules share: is the pile of one half-open state mostly held?

use crate::diagnose::half_open::{
    EXACT, HELD_SHARE, PileUp, Sum, basis, largest, named, one_way, pile_up, sum, too_few,
};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Looked, Verdict, Weighed, count, estimate, fact, fix, remark, whole};
use crate::diagnose::share::little;
use crate::evidence::{Basis, Destination, Direction, Evidence, Pile};
use crate::model::{Estimate, TcpState};

pub enum Held<'a> {
    Answer(Verdict),
    Yes {
        sum: Sum,
        direction: Direction,
        pile: &'a Pile,
        evidence: Vec<Weighed>,
    },
}

pub fn held<'a>(evidence: &'a Evidence, state: TcpState, who: &str) -> Held<'a> {
    let name = state.name();
    let Some(half_open) = &evidence.half_open else {
        return Held::Answer(Verdict::unknown(format!(
            "the table's {name} entries were not seen"
        )));
    };
    let piles = half_open.of(state);
    let sum = sum(piles.values());
    if evidence.pasted && sum.entries.value <= 0.0 && !sum.entries.is_exact() {
        return Held::Answer(Verdict::unknown(format!(
            "the pasted histogram does not tell of {name} entries"
        )));
    }
    let piled = pile_up(evidence, sum.settled);
    let Some((direction, pile)) = largest(evidence, state).filter(|_| piled != PileUp::No) else {
        let entries = format!("{name} entries");
        return Held::Answer(Verdict::clear(too_few(
            evidence,
            sum.entries,
            sum.settled,
            &entries,
        )));
    };
    let basis = basis(piles.values());
    if let Some(answer) = not_held(&sum, basis, name, who) {
        return Held::Answer(match answer {
            Ok(clear) => Verdict::clear(clear),
            Err(doubt) => Verdict::leaning(doubt, settle(evidence, &sum, direction)),
        });
    }
    if piled == PileUp::Perhaps {
        let entries = format!("{name} entries in a sample");
        let text = too_few(evidence, sum.entries, sum.settled, &entries);
        return Held::Answer(Verdict::leaning(text, EXACT));
    }
    let mut items = vec![basis_item(&sum, state, basis, who)];
    items.extend(again_on_wire(evidence, state, basis));
    items.extend(amplified(&sum, basis));
    items.extend(little(
        pile.entries,
        pile.new_per_s,
        evidence.timeouts.of_tcp(state),
    ));
    items.extend(any_direction(direction, basis));
    items.extend(another_way(evidence, direction, pile));
    if sum.unclear.value > sum.entries.value * 0.2 {
        let text = format!(
            "{} entries are too young, or changed while read",
            count(sum.unclear)
        );
        items.push(estimate("too-young", -0.5, text, sum.unclear, "entries"));
    }
    Held::Yes {
        sum,
        direction,
        pile,
        evidence: items,
    }
}

/// Why the pile is not held (`Ok`), or not known to be (`Err`); `None` where it is.
fn not_held(sum: &Sum, basis: Basis, name: &str, who: &str) -> Option<Result<String, String>> {
    let share = sum.held_share();
    let all = count(sum.entries);
    if sum.of_settled.held.high + sum.of_settled.live.high <= 0.0 {
        return Some(Err(format!(
            "{all} {name} entries, but nothing tells whether {who} still waits"
        )));
    }
    if share.value < HELD_SHARE && share.high < HELD_SHARE {
        let held = count(sum.held);
        return Some(Ok(format!("only {held} of {all} {name} entries are held")));
    }
    // Ages say what is likely of most of the pile, or nothing.
    let ages_say_so = basis == Basis::Ages && sum.of_settled.held.value >= sum.settled.value * HELD_SHARE;
    if share.low < HELD_SHARE && !ages_say_so {
        let (low, high) = (share.low * 100.0, share.high * 100.0);
        return Some(Err(format!(
            "between {low:.0} and {high:.0} % of {all} {name} entries are held: too wide to say"
        )));
    }
    None
}

/// Entries that say when they began have an age, whatever policy they got.
const STAMP: &str =
    "sysctl -w net.netfilter.nf_conntrack_timestamp=1   # then look again when the old entries are gone";
/// After so long a silence a longer one tells little; but no client sends its SYN again after this age.
const LONG_TAP_SECS: f64 = 12.0;
const OLD: &str = "ctlens list --state SYN_SENT --older-than 67s --top dst:dport   # no client's SYN comes again after 67 s";

fn settle(evidence: &Evidence, sum: &Sum, direction: Direction) -> String {
    if evidence.pasted {
        let sockets_tell = !matches!(direction, Direction::Forward | Direction::In);
        return match evidence.sockets {
            None if sockets_tell => "ss -tan > ss.txt   # and put it beside the other files",
            Some(_) if sockets_tell => "sudo ctlens diagnose   # on that host: sockets and the wire tell",
            _ => "sudo ctlens diagnose   # on that host: only the wire tells who still tries",
        }
        .to_string();
    }
    let sampled = evidence.table.as_ref().is_some_and(|t| t.sampled_of.is_some());
    let sockets = evidence.half_open.as_ref().and_then(|h| h.syn_sent_sockets);
    if direction == Direction::Out && sockets.is_none() {
        return "ss -Htn state syn-sent | wc -l   # as many sockets as entries: live; far fewer: held"
            .to_string();
    }
    if sum.of_settled.unclear.value > sum.settled.value * 0.5 && direction != Direction::Out {
        return STAMP.to_string();
    }
    let tapped = evidence.tap.as_ref().map(|tap| tap.secs);
    if sampled && !sum.entries.is_exact() && (direction == Direction::Out || tapped.is_some()) {
        return EXACT.to_string();
    }
    match tapped {
        None => "ctlens diagnose --tap 3s".to_string(),
        Some(secs) if secs >= LONG_TAP_SECS => OLD.to_string(),
        Some(secs) => format!("ctlens diagnose --tap {:.0}s", (secs.max(3.0) * 4.0).min(60.0)),
    }
}

/// Whether anybody was looked for who still stands behind the entries.
pub fn looked(evidence: &Evidence, sum: &Sum, pile: &Pile) -> Looked {
    let live = count(sum.live);
    match pile.basis {
        Basis::Sockets => Looked::For(format!(
            "sockets stand behind {live} of {} entries",
            count(sum.entries)
        )),
        Basis::Tap => Looked::For(format!(
            "in {:.1} s on the wire, those of {live} of {} entries",
            evidence.tap.as_ref().map_or(0.0, |tap| tap.secs),
            count(sum.entries)
        )),
        Basis::Ages | Basis::Nothing => {
            Looked::Not("neither sockets nor the wire could be asked: only ages tell".to_string())
        }
    }
}

/// Below this, deletes by destination would leave most of the pile.
const MOST: f64 = 0.5;

/// Deletes what is held of a TCP state, see [`deletes_of`].
pub fn deletes(state: TcpState, pile: &Pile, caution: &str) -> Vec<Fix> {
    let name = state.name();
    deletes_of(&format!("-p tcp --state {name}"), name, pile, caution)
}

/// Deletes what is held: by destination where the named ones are most of the pile, else all that `selects`.
/// conntrack(8) deletes by state and tuple; who still tries it does not know.
pub fn deletes_of(selects: &str, name: &str, pile: &Pile, caution: &str) -> Vec<Fix> {
    let effect = "frees them at once; a sysctl does not shorten entries already there";
    let targets = named(pile);
    let covered: f64 = targets.iter().map(|d| d.entries.value).sum();
    if !targets.is_empty() && covered >= pile.settled().value * MOST {
        let one = targets.len() == 1;
        let delete = |(index, target): (usize, &&Destination)| {
            let family = if target.addr.is_ipv6() { "-f ipv6 " } else { "" };
            let command = format!(
                "conntrack -D {family}{selects} --reply-src {} --reply-port-src {} >/dev/null",
                target.addr, target.port
            );
            let what = match index {
                0 if one => format!("Delete the held entries now ({caution})"),
                0 => format!("Delete the held entries to {} now ({caution})", target.label()),
                _ => format!("Delete those to {} in the same way", target.label()),
            };
            fix(what, Some(command), effect)
        };
        return targets.iter().enumerate().map(delete).collect();
    }
    // Older conntrack(8) means IPv4 where no family is given.
    let families: &[(&str, &str)] = match pile.v6_share {
        share if share <= 0.0 => &[("", "")],
        share if share >= 1.0 => &[("-f ipv6 ", "")],
        _ => &[("", "IPv4 "), ("-f ipv6 ", "IPv6 ")],
    };
    let delete = |(family, called): &(&str, &str)| {
        let what = format!("Delete all {called}{name} entries now ({caution})");
        fix(
            what,
            Some(format!("conntrack -D {family}{selects} >/dev/null")),
            effect,
        )
    };
    families.iter().map(delete).collect()
}

fn basis_item(sum: &Sum, state: TcpState, basis: Basis, who: &str) -> Weighed {
    let (held, all, name) = (count(sum.held), count(sum.entries), state.name());
    match basis {
        Basis::Sockets => {
            let text = format!("{held} of {all} {name} entries have no socket of this host behind them");
            estimate("held-without-socket", 4.0, text, sum.held, "entries")
        }
        Basis::Tap => {
            let text = format!("{held} of {all} {name} entries: on the wire {who} sends nothing any more");
            estimate("held-silent-on-wire", 3.0, text, sum.held, "entries")
        }
        Basis::Ages | Basis::Nothing => {
            let text = format!("{held} of {all} {name} entries are older than most clients wait");
            estimate("held-by-age", 1.0, text, sum.held, "entries")
        }
    }
}

/// What the tap saw of those who still try, whosever entries they are.
fn again_on_wire(evidence: &Evidence, state: TcpState, basis: Basis) -> Option<Weighed> {
    let tap = evidence.tap.as_ref().filter(|_| basis == Basis::Tap)?;
    let (what, again, all) = match state {
        TcpState::SynRecv => ("SYN/ACKs", tap.syn_ack_retransmits, tap.syn_acks),
        _ => ("SYNs", tap.syn_retransmits, tap.syns),
    };
    let text = format!(
        "in {:.1} s on the wire {} {what} came, {} of them again",
        tap.secs,
        whole(all as f64),
        if again == 0 {
            "none".to_string()
        } else {
            whole(again as f64)
        }
    );
    Some(fact("came-again", 0.0, text, again as f64, "packets"))
}

/// Sockets of this host stand behind its own attempts only.
fn any_direction(direction: Direction, basis: Basis) -> Option<Weighed> {
    let text =
        "their direction is not known: of inbound or forwarded ones, this host's sockets would prove nothing";
    (direction == Direction::Unknown && basis == Basis::Sockets)
        .then(|| remark("direction-unknown", -1.5, text))
}

fn another_way(evidence: &Evidence, direction: Direction, pile: &Pile) -> Option<Weighed> {
    let invalid = one_way(evidence, direction, pile)?;
    let text = format!(
        "{} packets were invalid in the window: those connections may live, with answers that take another way",
        whole(invalid)
    );
    Some(fact("invalid-rises", -1.5, text, invalid, "packets"))
}

/// With ages alone the live attempts are a guess, which proves nothing further.
fn amplified(sum: &Sum, basis: Basis) -> Option<Weighed> {
    let nats = if basis == Basis::Ages { 0.0 } else { 0.5 };
    match sum.amplification() {
        Some(factor) if factor >= 2.0 => {
            let text = format!(
                "{} live attempts have become {} entries: times {}",
                count(sum.live),
                count(sum.entries),
                whole(factor)
            );
            Some(estimate(
                "amplification",
                nats,
                text,
                factors(sum, factor),
                "times",
            ))
        }
        Some(_) => None,
        None if sum.live.high < 1.0 => Some(remark(
            "nobody-waits",
            nats,
            "not one live attempt is left among them",
        )),
        None => Some(remark(
            "nobody-waits",
            nats,
            "no live attempt was seen among them",
        )),
    }
}

/// What the factor may be; an infinite one is a matter of the text.
fn factors(sum: &Sum, factor: f64) -> Estimate {
    if sum.entries.is_exact() && sum.live.is_exact() {
        return Estimate::exact(factor);
    }
    Estimate {
        value: factor,
        low: (sum.entries.low / sum.live.high.max(1.0)).min(factor),
        high: (sum.entries.high / sum.live.low.max(1.0)).max(factor),
    }
}
