//! A backend, or a router before it, refuses the SYNs: by RST, or by ICMP.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{PileUp, answers_here, listed, pile_up};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, estimate, fact, fix, remark, whole};
use crate::evidence::{Destination, Direction, Evidence, Pile, Refuser, Unreachable};
use crate::model::Estimate;

/// So many refusals in a tap …
const LEAST_REFUSED: f64 = 10.0;
/// … or so many each second of it are more than happy eyeballs and health checks.
const LEAST_PER_S: f64 = 3.0;
/// A place that answers more than four of five attempts is one that answers.
const REFUSED_SHARE: f64 = 0.2;
/// Refused attempts from so many sources in a tap, …
const CROWD: u64 = 50;
/// … this share of them once, may be a flood at a closed port.
const ONE_SHOT: f64 = 0.9;
/// Where conntrack calls as many packets invalid as there were RSTs, nobody here asked.
const STRAY_SHARE: f64 = 0.8;
/// Attempts of this host that fail each second, without anybody having listened why.
const FAILED_PER_S: f64 = 10.0;
/// At most so many places are named.
const NAMED: usize = 3;

pub const RULE: Rule = Rule {
    cause: Cause::BackendRefusing,
    explain: "\
What: a backend refuses connections: nothing listens at the port (RST), or it, or a router before it, rejects them with
an ICMP error.
Why it matters: every attempt fails at once. A RST deletes the entry, so the table shows nothing at all. An ICMP error
never does: the program is refused at once, and its entry stays for nf_conntrack_tcp_timeout_syn_sent (120 s).
Example:
  $ tcpdump -nni any -c 20 'tcp[tcpflags] & (tcp-rst|tcp-ack) == (tcp-rst|tcp-ack) and tcp[4:4] = 0'
shows `10.9.1.3.80 > 10.9.1.1.51022: Flags [R.], seq 0, ack 1`: a RST with sequence number 0 answers a SYN.
How it is told apart: by the wire, since neither table nor counters name anybody. RSTs that answer SYNs have sequence
number 0, those that end connections do not. ICMP errors count where they quote a SYN whose entry is there; Linux sends
one a second to each address (icmp_ratelimit), so few of them stand for many attempts, and the others seem ignored. A
few refusals are normal. RSTs that nobody here asked for are invalid to conntrack. Refusals over the loopback are this
host's own. Refused attempts from very many sources, one each, may be a flood at a closed port.
backend-unresponsive sends nothing at all.
What to do: start the service, or take the backend out of rotation. Where a rule of the backend rejects, let it in.
  $ ss -Hltn 'sport = :80'   # on the backend",
    refutes: "SYN/ACKs from the same place, or RSTs that conntrack calls invalid because no SYN went out",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    let Some(tap) = &evidence.tap else {
        return untapped(evidence);
    };
    let Some(places) = &tap.refusers else {
        return Verdict::unknown("the table was not read: whose SYNs were refused is not known");
    };
    let mut found = Vec::new();
    let mut doubt = None;
    for place in places {
        match judge(evidence, place) {
            Seen::Refuses => found.push(place),
            Seen::Doubtful(verdict) => doubt = doubt.or(Some(verdict)),
            Seen::Little => {}
        }
    }
    if !found.is_empty() {
        return Verdict::Found(Box::new(finding(evidence, &found)));
    }
    doubt.unwrap_or_else(|| {
        let all: u64 = places.iter().map(Refuser::refused).sum();
        Verdict::clear(match places.len() {
            0 => format!("in {:.1} s on the wire nobody refused a SYN", tap.secs),
            n => format!(
                "in {:.1} s on the wire {n} places refused {all} SYNs, none of them many",
                tap.secs
            ),
        })
    })
}

/// Without a tap this host's own counter tells that attempts fail, but not why and where.
fn untapped(evidence: &Evidence) -> Verdict {
    let counters = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0);
    let Some(failed) = counters.and_then(|net| net.get("Tcp.AttemptFails")).copied() else {
        return Verdict::unknown("nobody listened on the wire, and AttemptFails was not watched");
    };
    let per_s = failed as f64 / evidence.window_secs;
    if per_s >= FAILED_PER_S {
        let text = format!(
            "{} of this host's attempts failed in {:.1} s, and nobody listened on the wire for who refused them",
            whole(failed as f64),
            evidence.window_secs
        );
        return Verdict::leaning(text, "ctlens diagnose --tap 3s");
    }
    if evidence.settings.number("net.ipv4.ip_forward") == Some(1) {
        return Verdict::unknown(
            "nobody listened on the wire: a forwarded SYN that is refused leaves no trace",
        );
    }
    if outward(evidence).any(|(_, pile)| pile_up(evidence, pile.settled()) != PileUp::No) {
        return Verdict::unknown("nobody listened on the wire: an ICMP error leaves its entry in SYN_SENT");
    }
    Verdict::clear(format!(
        "{failed} of this host's attempts failed in {:.1} s",
        evidence.window_secs
    ))
}

enum Seen {
    Refuses,
    Doubtful(Verdict),
    Little,
}

fn judge(evidence: &Evidence, place: &Refuser) -> Seen {
    let secs = evidence.tap.as_ref().map_or(0.0, |tap| tap.secs);
    // An error about a packet that has no entry is about nothing of ours.
    let unreachables = place.entered.unwrap_or(place.unreachables);
    let piled = unreachables > 0 && piled_at(evidence, place).is_some();
    let refused = (place.resets + unreachables) as f64;
    let attempts = refused + place.answered as f64;
    let enough = refused >= LEAST_REFUSED.max(secs * LEAST_PER_S);
    if !(enough || piled) || refused < attempts * REFUSED_SHARE {
        return Seen::Little;
    }
    if place.looped * 2 > place.refused() && !place.own {
        let text = format!(
            "SYNs to {} are refused over this host's own loopback: a rule of its own rejects them",
            place.label()
        );
        let settle = "nft list ruleset | grep -E 'hook output|reject'";
        return Seen::Doubtful(Verdict::leaning_to(vec![Cause::RulesetDrop], text, settle));
    }
    if place.resets > unreachables && strays(evidence, place) {
        return Seen::Doubtful(Verdict::unknown(format!(
            "{} RSTs came from {}, but conntrack calls as many packets invalid: nobody here may have asked",
            place.resets,
            place.label()
        )));
    }
    if place.resets > unreachables && place.sources >= CROWD && place.one_shot >= ONE_SHOT {
        let text = format!(
            "{} refuses {} SYNs of {} sources, {:.0} % of them with a single one: clients of a dead service, or a \
             flood at a closed port",
            place.label(),
            place.resets,
            place.sources,
            place.one_shot * 100.0
        );
        let settle = format!(
            "ss -Hltn 'sport = :{}'   # on {}: is anything meant to listen there?",
            place.port, place.addr
        );
        let causes = vec![Cause::BackendRefusing, Cause::SynFlood];
        return Seen::Doubtful(Verdict::leaning_to(causes, text, settle));
    }
    Seen::Refuses
}

/// RSTs for which nobody here sent a SYN, as the victim of somebody else's flood sends them.
fn strays(evidence: &Evidence, place: &Refuser) -> bool {
    if place.own || place.asked * 2 >= place.resets || failed_here(evidence) * 2 >= place.resets as i64 {
        return false;
    }
    let counters = evidence.conntrack.as_ref().filter(|_| evidence.window_secs > 0.0);
    let invalid = counters.and_then(|c| c.get("invalid")).copied().unwrap_or(0);
    invalid as f64 >= place.resets as f64 * STRAY_SHARE
}

/// Attempts of this host itself that failed in the window.
fn failed_here(evidence: &Evidence) -> i64 {
    let counters = evidence.net.as_ref().filter(|_| evidence.window_secs > 0.0);
    counters
        .and_then(|net| net.get("Tcp.AttemptFails"))
        .copied()
        .unwrap_or(0)
}

fn outward(evidence: &Evidence) -> impl Iterator<Item = (Direction, &Pile)> {
    let piles = evidence
        .half_open
        .iter()
        .flat_map(|half_open| &half_open.syn_sent);
    piles
        .map(|(direction, pile)| (*direction, pile))
        .filter(|(direction, pile)| {
            matches!(direction, Direction::Out | Direction::Forward) && !answers_here(*direction, pile)
        })
}

/// The SYN_SENT entries to a place, where these alone pile up.
fn piled_at<'a>(evidence: &'a Evidence, place: &Refuser) -> Option<&'a Destination> {
    let mut destinations = outward(evidence).flat_map(|(_, pile)| &pile.destinations);
    destinations
        .find(|d| (d.addr, d.port) == (place.addr, place.port) && pile_up(evidence, d.entries) == PileUp::Yes)
}

/// Of a pile of SYN_SENT entries, those to places that refuse by ICMP.
pub fn refused_of<'a>(evidence: &Evidence, pile: &'a Pile) -> Vec<&'a Destination> {
    let Some(places) = evidence.tap.as_ref().and_then(|tap| tap.refusers.as_ref()) else {
        return Vec::new();
    };
    let refuses = |d: &&Destination| {
        places.iter().any(|place| {
            (place.addr, place.port) == (d.addr, d.port)
                && place.entered.unwrap_or(place.unreachables) > 0
                && matches!(judge(evidence, place), Seen::Refuses)
        })
    };
    pile.destinations.iter().filter(refuses).collect()
}

fn finding(evidence: &Evidence, places: &[&Refuser]) -> Finding {
    let named: Vec<&Refuser> = places.iter().copied().take(NAMED).collect();
    let held: Vec<Estimate> = places
        .iter()
        .filter(|place| place.unreachables > 0)
        .filter_map(|place| Some(piled_at(evidence, place)?.entries))
        .collect();
    let labels: Vec<String> = named.iter().map(|place| place.label()).collect();
    let place = named[0];
    Finding {
        headline: headline(&labels, place),
        entries: (!held.is_empty()).then(|| Estimate::sum(held.iter().copied())),
        evidence: items(evidence, places),
        fixes: fixes(place),
        looked: Looked::For(format!(
            "in {:.1} s on the wire {} SYN/ACKs came from there, and {} refusals",
            evidence.tap.as_ref().map_or(0.0, |tap| tap.secs),
            places.iter().map(|p| p.answered).sum::<u64>(),
            places.iter().map(|p| p.refused()).sum::<u64>()
        )),
        place: labels,
    }
}

fn headline(labels: &[String], first: &Refuser) -> String {
    let at = listed(labels);
    let verb = if labels.len() == 1 { "refuses" } else { "refuse" };
    match first.says {
        _ if first.own => {
            format!("Nothing listens at {at}, which is this host itself: it refuses connections.")
        }
        Some(says) if first.unreachables >= first.resets => {
            let word = meaning(says);
            if says.sender == first.addr {
                format!(
                    "{at} {verb} connections with ICMP ({word}), which leaves their entries in the table."
                )
            } else {
                format!(
                    "{} says of {at} by ICMP: {word}. Attempts are refused, and their entries stay in the table.",
                    says.sender
                )
            }
        }
        _ => format!("{at} {verb} connections: a RST answers the SYNs."),
    }
}

/// RFC 792 and 1812, RFC 4443.
fn meaning(says: Unreachable) -> String {
    let word = match (says.icmp_type, says.icmp_code) {
        (3, 0 | 6 | 11) | (1, 0) => "no route to that network",
        (3, 1 | 7 | 12) | (1, 3) => "that host is unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) | (1, 4) => "port unreachable",
        (3, 9 | 10 | 13) | (1, 1) => "administratively prohibited",
        (1, 2) => "beyond the scope of the source address",
        (1, 5 | 6) => "rejected by policy or route",
        (kind, code) => return format!("unreachable, type {kind} code {code}"),
    };
    word.to_string()
}

fn items(evidence: &Evidence, places: &[&Refuser]) -> Vec<Weighed> {
    let mut out = Vec::new();
    let secs = evidence.tap.as_ref().map_or(0.0, |tap| tap.secs);
    let sum = |of: fn(&Refuser) -> u64| places.iter().map(|place| of(place)).sum::<u64>();
    let (resets, unreachables) = (sum(|p| p.resets), sum(|p| p.unreachables));
    if resets > 0 {
        let text = format!(
            "in {secs:.1} s on the wire {} SYNs were answered by a RST",
            whole(resets as f64)
        );
        out.push(fact("syns-reset", 2.5, text, resets as f64, "attempts"));
    }
    if unreachables > 0 {
        let entered = sum(|p| p.entered.unwrap_or(p.unreachables));
        let text = format!(
            "in {secs:.1} s on the wire ICMP errors came about {} SYNs whose entries are there",
            whole(entered as f64)
        );
        // One a second to each address is all that Linux sends.
        let nats = if entered > 1 { 2.5 } else { 1.5 };
        out.push(fact("syns-unreachable", nats, text, entered as f64, "attempts"));
    }
    let held = places.iter().filter_map(|place| piled_at(evidence, place));
    let held = Estimate::sum(held.map(|d| d.entries));
    if unreachables > 0 && held.value > 0.0 {
        let text = "SYN_SENT entries to there: an ICMP error ends an attempt, but never its entry";
        out.push(estimate("entries-stay", 0.3, text, held, "entries"));
    }
    let answered = sum(|p| p.answered) as f64;
    let share = answered / (answered + (resets + unreachables) as f64).max(1.0);
    if answered > 0.0 {
        let text = format!("{} other attempts were answered there meanwhile", whole(answered));
        let nats = if share > 0.5 { -1.5 } else { -0.5 };
        out.push(fact("answers-others", nats, text, answered, "attempts"));
    } else {
        out.push(remark(
            "answers-nobody",
            0.5,
            "not one attempt was answered there meanwhile",
        ));
    }
    let failed = failed_here(evidence);
    if resets > 0 && failed as f64 >= resets as f64 * 0.5 {
        let text = format!("AttemptFails rose by {failed} in {:.1} s", evidence.window_secs);
        out.push(fact("attempts-failed", 1.0, text, failed as f64, "attempts"));
    } else if sum(|p| p.asked) * 2 >= resets && resets > 0 {
        let text = "their SYNs came through this host";
        out.push(fact("syns-seen", 0.7, text, sum(|p| p.asked) as f64, "attempts"));
    }
    out
}

fn fixes(place: &Refuser) -> Vec<Fix> {
    let (addr, port) = (place.addr, place.port);
    let by_icmp = place.unreachables > place.resets;
    let mut out = Vec::new();
    if place.own {
        out.push(fix(
            format!("Start what should listen at {}", place.label()),
            Some(format!("ss -Hltnp 'sport = :{port}'")),
            "an empty answer: nothing listens at that port",
        ));
        return out;
    }
    let look = match by_icmp {
        true => {
            let sender = place.says.map_or(addr, |says| says.sender);
            format!("tcpdump -nni any -c 10 '(icmp or icmp6) and src host {sender}'")
        }
        false => format!("tcpdump -nni any -c 10 'src host {addr} and src port {port}'"),
    };
    out.push(fix(
        format!("Take {} out of rotation until it accepts", place.label()),
        None,
        "in the load balancer: attempts stop failing at once",
    ));
    let what = match by_icmp {
        true => {
            format!("On {addr}, or the router that answers for it, look for the rule or route that rejects")
        }
        false => format!("On {addr}, start what should listen at port {port} (ss -Hltn 'sport = :{port}')"),
    };
    out.push(fix(what, None, "connections are accepted again"));
    out.push(fix("See the refusals", Some(look), "who sends them, and to whom"));
    out
}
