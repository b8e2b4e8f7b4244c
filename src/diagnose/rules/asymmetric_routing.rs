//! Only one direction of the connections passes this host.

use crate::diagnose::cause::Cause;
use crate::diagnose::half_open::{PileUp, listed, one_way, pile_up};
use crate::diagnose::report::Fix;
use crate::diagnose::rule::{Finding, Looked, Rule, Verdict, Weighed, estimate, fact, fix, whole};
use crate::evidence::{Destination, Direction, Evidence, OneWay, OneWayWire, Pile};
use crate::model::{Action, Estimate};

/// Connections that went on without their answer: so many in a tap, …
const LEAST_WENT_ON: u64 = 5;
/// … and this share of the ones that began in it. Long ones end after the tap, and others may fail.
const WENT_ON_SHARE: f64 = 0.1;
/// SYN/ACKs without an entry: so many in a tap, …
const LEAST_STRAYS: f64 = 10.0;
/// … or each second of it, are more than the echo of somebody else's flood.
const STRAYS_PER_S: f64 = 3.0;
/// … unless each address behind this host gets so many: an echo comes to addresses at random.
const EACH_CLIENT: u64 = 5;
/// Entries that never saw a reply: so many are no stray.
const LEAST_PICKED_UP: f64 = 10.0;
/// Packets without an entry beside each SYN/ACK: data follows where the connection lives.
const INVALID_EACH: f64 = 2.0;
/// SYN/ACKs that came by but left the entry in SYN_SENT: above this share of the connections this host eats them.
const EATEN_SHARE: f64 = 0.25;
/// At most so many places are named.
const NAMED: usize = 3;

pub const RULE: Rule = Rule {
    cause: Cause::AsymmetricRouting,
    explain: "\
What: this host sees one direction of the connections only: the SYNs but not the answers, or the answers but not the
SYNs. The other direction takes another way.
Why it matters: conntrack then calls the rest of each connection invalid. With a rule that drops invalid packets nothing
works; without one all works, but the table fills with SYN_SENT entries of connections that are well, or with
ESTABLISHED ones that never saw a reply.
Example:
  $ conntrack -L -p tcp --state ESTABLISHED | grep UNREPLIED | head -n 3
shows `ESTABLISHED src=10.2.0.9 dst=10.1.0.1 sport=80 dport=51022 [UNREPLIED]`: the server seems to call the client.
How it is told apart: a client that sends a FIN while its entry is still in SYN_SENT had its answer, which never came
by here. SYN/ACKs without an entry, and then entries that begin in the middle, from the service's own port, show the
other direction. SYN/ACKs alone are the echo of somebody else's flood, a rising `invalid` alone is a scan. SYN/ACKs that
do come by for SYN_SENT entries are eaten here: ruleset-drop. backend-unresponsive: nobody goes on.
What to do: route both directions through this host, or take this traffic out of tracking in both.
  $ ip route get 10.1.0.1   # on the server: its way back",
    refutes: "packets of both directions of the same connections",
    check,
};

fn check(evidence: &Evidence) -> Verdict {
    if evidence.pasted {
        return Verdict::unknown("which way packets go shows on the wire alone");
    }
    let Some(facts) = &evidence.one_way else {
        return Verdict::unknown("the table's entries were not seen");
    };
    let answers_missing = answers_elsewhere(evidence, facts);
    let syns_missing = syns_elsewhere(evidence, facts);
    let found = [answers_missing, syns_missing].into_iter().flatten();
    if let Some(face) = found.max_by(|a, b| a.weight().total_cmp(&b.weight())) {
        return Verdict::Found(Box::new(finding(evidence, face)));
    }
    if let Some(lean) = half_seen(evidence, facts) {
        return lean;
    }
    let picked_up = format!("{} entries never saw a reply", whole(facts.picked_up.value));
    match &facts.wire {
        Some(wire) => Verdict::clear(format!(
            "{picked_up}; on the wire {} clients went on without an answer, {} SYN/ACKs had no entry",
            wire.went_on, wire.strays
        )),
        None if few(evidence, facts) => Verdict::clear(picked_up),
        None => Verdict::unknown(format!(
            "{picked_up}, and what goes on over the wire was not seen"
        )),
    }
}

/// Without a tap: nothing stays half-open, and next to nothing was picked up.
fn few(evidence: &Evidence, facts: &OneWay) -> bool {
    let piles = evidence
        .half_open
        .iter()
        .flat_map(|half_open| &half_open.syn_sent);
    let piled = piles
        .filter(|(direction, _)| of_others(**direction))
        .any(|(_, pile)| pile_up(evidence, pile.settled()) != PileUp::No);
    !piled && facts.picked_up.high < LEAST_PICKED_UP
}

fn of_others(direction: Direction) -> bool {
    direction != Direction::Out
}

/// What one direction shows.
struct Face {
    evidence: Vec<Weighed>,
    place: Vec<Destination>,
    entries: Option<Estimate>,
    /// The answers are what takes another way.
    answers: bool,
}

impl Face {
    fn weight(&self) -> f64 {
        self.evidence.iter().map(|item| item.nats).sum()
    }
}

/// Of a pile of SYN_SENT entries, those of connections whose answers take another way: nobody failed, nobody gave up.
pub fn answered_elsewhere<'a>(
    evidence: &Evidence,
    direction: Direction,
    pile: &'a Pile,
) -> Vec<&'a Destination> {
    let facts = evidence.one_way.as_ref().filter(|_| of_others(direction));
    match facts.and_then(|facts| answers_elsewhere(evidence, facts)) {
        Some(face) => at(pile, &face.place).collect(),
        None => Vec::new(),
    }
}

fn at<'a>(pile: &'a Pile, places: &[Destination]) -> impl Iterator<Item = &'a Destination> {
    let same = |d: &&Destination| places.iter().any(|to| (to.addr, to.port) == (d.addr, d.port));
    pile.destinations.iter().filter(same)
}

fn answers_elsewhere(evidence: &Evidence, facts: &OneWay) -> Option<Face> {
    let wire = facts.wire.as_ref()?;
    let tap = evidence.tap.as_ref()?;
    if stands_in(evidence) {
        return None;
    }
    let pile = pile(evidence);
    let ended = wire.went_on >= LEAST_WENT_ON && wire.went_on as f64 >= wire.began as f64 * WENT_ON_SHARE;
    let places = match pile {
        _ if ended => wire.went_on_to.as_slice(),
        Some((_, pile)) => pile.destinations.as_slice(),
        None => return None,
    };
    let same = |d: &&Destination| places.iter().any(|to| (to.addr, to.port) == (d.addr, d.port));
    let older = Estimate::sum(facts.picked_up_to.iter().filter(same).map(|d| d.entries));
    let several = pile.and_then(|(direction, pile)| one_way(evidence, direction, pile));
    // Long connections end after the tap: then their older ones tell, which outlived their entries.
    let last = older.low >= LEAST_PICKED_UP && several.is_some();
    let eaten =
        tap.syn_acks_unseen_by_conntrack as f64 > (wire.went_on as f64).max(older.value) * EATEN_SHARE;
    if eaten || !(ended || last) {
        return None;
    }
    let mut items = Vec::new();
    if ended {
        let text = format!(
            "in {:.1} s on the wire {} clients ended connections whose entries are in SYN_SENT, and no SYN/ACK came by",
            tap.secs, wire.went_on
        );
        let ended = wire.went_on as f64;
        items.push(fact("went-on-without-answer", 3.0, text, ended, "connections"));
    }
    if older.value > 0.0 {
        let nats = if last { 1.5 } else { 0.3 };
        let text = "entries to the same place began in the middle, and never saw a reply";
        items.push(estimate("picked-up-one-way", nats, text, older, "entries"));
    }
    if let Some(invalid) = invalid(evidence) {
        let (nats, word) = match invalid >= wire.went_on as f64 {
            _ if several.is_some() => (1.0, "several for each new SYN"),
            true => (0.7, "what follows a SYN without its answer is"),
            false => (-2.0, "fewer than these clients sent"),
        };
        let text = format!("{} packets were invalid in the window: {word}", whole(invalid));
        items.push(fact("invalid-rises", nats, text, invalid, "packets"));
    }
    Some(Face {
        evidence: items,
        entries: pile.map(|(_, pile)| Estimate::sum(at(pile, places).map(|d| d.entries))),
        place: places.to_vec(),
        answers: true,
    })
}

/// synproxy answers the client in the server's stead: it goes on, and ends, whatever becomes of its entry.
fn stands_in(evidence: &Evidence) -> bool {
    let rules = evidence.ruleset.iter().flat_map(|facts| &facts.ruleset.rules);
    rules.into_iter().any(|rule| rule.then == Action::Synproxy)
}

/// SYN_SENT entries of others, the most.
fn pile(evidence: &Evidence) -> Option<(Direction, &Pile)> {
    let piles = evidence.half_open.as_ref()?.syn_sent.iter();
    piles
        .map(|(direction, pile)| (*direction, pile))
        .filter(|(direction, _)| of_others(*direction))
        .max_by(|a, b| a.1.settled().value.total_cmp(&b.1.settled().value))
}

fn invalid(evidence: &Evidence) -> Option<f64> {
    let counters = evidence
        .conntrack
        .as_ref()
        .filter(|_| evidence.window_secs > 0.0)?;
    counters.get("invalid").map(|n| *n as f64)
}

fn many(wire: &OneWayWire, secs: f64) -> bool {
    wire.strays as f64 >= LEAST_STRAYS.max(secs * STRAYS_PER_S)
}

fn syns_elsewhere(evidence: &Evidence, facts: &OneWay) -> Option<Face> {
    let wire = facts.wire.as_ref()?;
    let secs = evidence.tap.as_ref()?.secs;
    if !many(wire, secs) {
        return None;
    }
    // What nobody tracks has no entry either, and is not invalid.
    let invalid = invalid(evidence)?;
    if invalid < wire.strays as f64 * 0.5 {
        return None;
    }
    let same = |d: &&Destination| {
        wire.strays_from
            .iter()
            .any(|from| (from.addr, from.port) == (d.addr, d.port))
    };
    let picked_up: Vec<&Destination> = facts.picked_up_from.iter().filter(same).collect();
    let entries = Estimate::sum(picked_up.iter().map(|d| d.entries));
    let loose = evidence.settings.number("net.netfilter.nf_conntrack_tcp_loose") != Some(0);
    let lives = if loose {
        entries.low >= LEAST_PICKED_UP
    } else {
        invalid >= wire.strays as f64 * INVALID_EACH
    };
    if !lives {
        return None;
    }
    let text = format!(
        "in {secs:.1} s on the wire {} SYN/ACKs came by that have no entry: their SYNs did not",
        wire.strays
    );
    let mut items = vec![fact(
        "syn-acks-without-entry",
        2.0,
        text,
        wire.strays as f64,
        "packets",
    )];
    if loose {
        let text = "entries began in the middle, from the service's own port, and never saw a reply";
        items.push(estimate("picked-up-one-way", 2.0, text, entries, "entries"));
    }
    let text = format!("{} packets were invalid in the window", whole(invalid));
    let nats = if loose { 0.5 } else { 1.0 };
    items.push(fact("invalid-rises", nats, text, invalid, "packets"));
    Some(Face {
        evidence: items,
        entries: loose.then_some(entries),
        place: wire.strays_from.clone(),
        answers: false,
    })
}

/// One half of the proof.
fn half_seen(evidence: &Evidence, facts: &OneWay) -> Option<Verdict> {
    let wire = facts.wire.as_ref()?;
    let secs = evidence.tap.as_ref()?.secs;
    let invalid = invalid(evidence)?;
    // A rule that drops invalid packets ends each such connection at its SYN/ACK.
    if many(wire, secs)
        && wire.strays >= wire.stray_clients * EACH_CLIENT
        && invalid >= wire.strays as f64 * 0.5
    {
        let from = wire.strays_from.first()?;
        let text = format!(
            "{} SYN/ACKs to {} addresses behind this host have no entry, many for each: their SYNs may take another way",
            wire.strays, wire.stray_clients
        );
        let settle = format!(
            "tcpdump -nni any -c 40 'host {} and tcp port {}'   # nothing but packets from it: the SYNs take another way",
            from.addr, from.port
        );
        return Some(Verdict::leaning_to(vec![Cause::AsymmetricRouting], text, settle));
    }
    None
}

fn finding(evidence: &Evidence, face: Face) -> Finding {
    let place: Vec<String> = face.place.iter().take(NAMED).map(Destination::label).collect();
    let at = if place.is_empty() {
        "the service".to_string()
    } else {
        listed(&place)
    };
    let headline = if face.answers {
        format!(
            "The answers of {at} take another way: this host sees only the clients' packets, and its entries stay in \
             SYN_SENT though the connections are well."
        )
    } else {
        format!(
            "The SYNs to {at} take another way: this host sees only the answers, and picks connections up in the \
             middle or calls them invalid."
        )
    };
    let wire = evidence.one_way.as_ref().and_then(|facts| facts.wire.as_ref());
    let unseen = evidence
        .tap
        .as_ref()
        .map_or(0, |tap| tap.syn_acks_unseen_by_conntrack);
    Finding {
        headline,
        place,
        entries: face.entries.filter(|entries| entries.value > 0.0),
        evidence: face.evidence,
        fixes: fixes(face.place.first(), face.answers),
        looked: Looked::For(match wire {
            Some(_) if face.answers => format!("{unseen} SYN/ACKs came by for entries in SYN_SENT"),
            _ => "the SYN/ACKs of these connections have no entry, as a SYN seen here would make one"
                .to_string(),
        }),
    }
}

fn fixes(place: Option<&Destination>, answers: bool) -> Vec<Fix> {
    let Some(place) = place else { return Vec::new() };
    let (addr, port) = (place.addr, place.port);
    let (whose, way) = match answers {
        true => (format!("of {addr} to the clients"), "back"),
        false => (format!("of the clients to {addr}"), "there"),
    };
    let family = if addr.is_ipv6() { "ip6" } else { "ip" };
    let notrack = format!(
        "nft 'add table inet ctlens_oneway; \
         add chain inet ctlens_oneway pre {{ type filter hook prerouting priority raw; }}; \
         add rule inet ctlens_oneway pre {family} daddr {addr} tcp dport {port} notrack; \
         add rule inet ctlens_oneway pre {family} saddr {addr} tcp sport {port} notrack'"
    );
    vec![
        fix(
            format!("Lead the way {whose} through this host too"),
            None,
            format!(
                "at the routers or hosts between: `ip route get` shows the way {way}; tracking needs both"
            ),
        ),
        fix(
            format!("Or do not track {}", place.label()),
            Some(notrack),
            "at once for new packets, which no rule on ct state meets any more: accept them by address; undo: delete \
             table inet ctlens_oneway in the same way. nf_conntrack_tcp_be_liberal does not help: it is about windows",
        ),
    ]
}
