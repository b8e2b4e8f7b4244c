//! Where today's rules send the first packet of a flow. It judges only what is sure: a rule that such a packet may never
//! come to, or that asks or does something that is not understood, leaves it open.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::HashSet;

use super::Direction;
use super::meets::{Meets, Packets, meets, within};
use super::ruleset::RulesetFacts;
use crate::model::{Action, Chain, Engine, Family, FilterRule, Flow, Hook, Match, ct_state};

/// NFT_JUMP_STACK_SIZE
const MAX_DEPTH: usize = 16;
/// Rules visited at one hook: chains may be jumped to again and again.
const MAX_VISITS: usize = 20_000;
/// Of these, the ones that decide something.
const MAX_STEPS: usize = 4096;
/// Destinations that are no single address, of rules at one hook.
const MAX_PREFIXES: usize = 64;
/// NF_IP_PRI_NAT_DST
const DSTNAT: i32 = -100;
/// Targets of iptables that change or note something, and let the packet pass on.
const PASSING: [&str; 10] = [
    "", "LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "AUDIT", "TCPMSS", "CHECKSUM", "CLASSIFY",
];

/// What the rules do with a flow, compared with what its entry did.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged<'a> {
    /// They may well have given this mapping.
    Fits,
    /// They send it elsewhere for sure.
    Elsewhere { to: SocketAddr, rule: &'a str },
    /// One of them sends it elsewhere, unless something before it that is not understood takes it first.
    Untold,
}

/// The DNAT rules of prerouting, and those of output.
#[derive(Default)]
pub struct Redirections {
    came_in: Way,
    own: Way,
}

/// Base chains of one hook, flattened.
#[derive(Default)]
struct Way {
    chains: Vec<Vec<Step>>,
    /// Where any of the rules may redirect from: most entries go to none of these.
    addresses: HashSet<IpAddr>,
    prefixes: Vec<(IpAddr, u8)>,
}

struct Step {
    /// The jumps to it, and the rule itself: all of them must meet a packet.
    path: Vec<FilterRule>,
    does: Does,
}

enum Does {
    Maps {
        addr: Option<IpAddr>,
        port: Option<u16>,
    },
    /// Ends the chain, and maps nothing.
    Stops,
    /// Maps to what only the kernel knows, or is not understood.
    Hides,
}

impl Redirections {
    /// `None` where the rules were read in part, or are too many.
    pub fn of(rules: &RulesetFacts) -> Option<Redirections> {
        if rules.ruleset.partial {
            return None;
        }
        Some(Redirections {
            came_in: Way::of(rules, Hook::Prerouting)?,
            own: Way::of(rules, Hook::Output)?,
        })
    }

    /// Whether rules may redirect what goes to this address; cheap.
    pub fn aim_at(&self, dst: IpAddr) -> bool {
        [&self.came_in, &self.own].iter().any(|way| way.aims_at(dst))
    }

    /// No rule redirects what goes to a known place.
    pub fn is_empty(&self) -> bool {
        let none = |way: &Way| way.addresses.is_empty() && way.prefixes.is_empty();
        none(&self.came_in) && none(&self.own)
    }

    pub fn judge(&self, flow: &Flow, direction: Direction) -> Judged<'_> {
        match direction {
            Direction::Out => self.own.judge(flow),
            Direction::In | Direction::Forward => self.came_in.judge(flow),
            // Either hook's may be the ones that count.
            Direction::Unknown => match (self.came_in.judge(flow), self.own.judge(flow)) {
                (Judged::Fits, Judged::Fits) => Judged::Fits,
                (one, other) if one == other => one,
                _ => Judged::Untold,
            },
        }
    }
}

impl Way {
    fn of(rules: &RulesetFacts, hook: Hook) -> Option<Way> {
        let mut reading = Reading::of(rules);
        let mut way = Way::default();
        for chain in &rules.ruleset.chains {
            let judges = !matches!(chain.family, Family::Arp | Family::Bridge | Family::Netdev);
            if !judges || chain.at.is_none_or(|at| at.hook != hook) {
                continue;
            }
            let mut steps = Vec::new();
            reading.chain(key(chain), &[], &mut steps)?;
            let hides = steps.iter().any(|step| matches!(step.does, Does::Hides));
            let usual = chain.at.is_some_and(|at| at.priority == DSTNAT);
            // A chain without NAT is of another type: what it accepts still comes to those that have it.
            if std::mem::take(&mut reading.translates) || usual && hides {
                way.chains.push(steps);
            }
        }
        way.index().then_some(way)
    }

    fn index(&mut self) -> bool {
        for step in self.chains.iter().flatten() {
            if !matches!(step.does, Does::Maps { .. }) {
                continue;
            }
            match aim(&step.path) {
                Some((addr, bits)) if bits == if addr.is_ipv6() { 128 } else { 32 } => {
                    self.addresses.insert(addr);
                }
                Some(prefix) if !self.prefixes.contains(&prefix) => self.prefixes.push(prefix),
                _ => {}
            }
        }
        self.prefixes.len() <= MAX_PREFIXES
    }

    fn aims_at(&self, dst: IpAddr) -> bool {
        self.addresses.contains(&dst) || self.prefixes.iter().any(|(addr, bits)| within(dst, *addr, *bits))
    }

    /// The order of chains of one hook is not always known: they must agree.
    fn judge(&self, flow: &Flow) -> Judged<'_> {
        let packets = Packets {
            src: Some(flow.orig.src),
            sport: Some(flow.orig.sport),
            dst: Some(flow.orig.dst),
            dport: Some(flow.orig.dport),
            // NAT is decided for the first packet only.
            state: ct_state::NEW,
            proto: Some(flow.proto),
        };
        let mut found = Judged::Fits;
        for steps in &self.chains {
            match (walk(steps, flow, &packets), &found) {
                (None, _) => {}
                (Some(Judged::Fits), _) => return Judged::Fits,
                (Some(judged), Judged::Fits) => found = judged,
                (Some(judged), known) if judged == *known => {}
                (Some(_), _) => found = Judged::Untold,
            }
        }
        found
    }
}

/// One chain's answer; `None` where it surely maps nothing.
fn walk<'a>(steps: &'a [Step], flow: &Flow, packets: &Packets) -> Option<Judged<'a>> {
    let goes = SocketAddr::new(flow.reply.src, flow.reply.sport);
    let mut doubt = false;
    for step in steps {
        let met = step.path.iter().map(|rule| meets(rule, packets)).min();
        let sure = met.unwrap_or(Meets::No) == Meets::Yes;
        if !sure && met != Some(Meets::Perhaps) {
            continue;
        }
        match step.does {
            Does::Stops if sure => break,
            Does::Hides if sure && !doubt => return Some(Judged::Fits),
            Does::Stops | Does::Hides => doubt = true,
            Does::Maps { addr, port } => {
                let to = SocketAddr::new(addr.unwrap_or(flow.orig.dst), port.unwrap_or(flow.orig.dport));
                if to == goes {
                    return Some(Judged::Fits);
                }
                match (sure, doubt) {
                    (true, true) => return Some(Judged::Untold),
                    (true, false) => {
                        let rule = step.path.last().map_or("", |rule| rule.text.as_str());
                        return Some(Judged::Elsewhere { to, rule });
                    }
                    (false, _) => doubt = true,
                }
            }
        }
    }
    doubt.then_some(Judged::Fits)
}

type Key<'a> = (Engine, Family, &'a str, &'a str);

fn key(chain: &Chain) -> Key<'_> {
    (chain.engine, chain.family, &chain.table, &chain.name)
}

struct Reading<'a> {
    by_chain: BTreeMap<Key<'a>, Vec<&'a FilterRule>>,
    visits: usize,
    /// A rule of this chain does destination NAT.
    translates: bool,
}

impl<'a> Reading<'a> {
    fn of(rules: &'a RulesetFacts) -> Reading<'a> {
        let chains = rules.ruleset.chains.iter();
        let mut by_chain: BTreeMap<Key<'a>, Vec<&'a FilterRule>> =
            chains.map(|chain| (key(chain), Vec::new())).collect();
        for rule in &rules.ruleset.rules {
            let chain = (rule.engine, rule.family, rule.table.as_str(), rule.chain.as_str());
            by_chain.entry(chain).or_default().push(rule);
        }
        Reading {
            by_chain,
            visits: 0,
            translates: false,
        }
    }

    /// `None` where it is too much.
    fn chain(&mut self, chain: Key<'a>, jumps: &[&'a FilterRule], steps: &mut Vec<Step>) -> Option<()> {
        let rules = self.by_chain.get(&chain).cloned().unwrap_or_default();
        for rule in rules {
            self.visits += 1;
            if self.visits > MAX_VISITS || steps.len() > MAX_STEPS || jumps.len() > MAX_DEPTH {
                return None;
            }
            let path: Vec<&FilterRule> = jumps.iter().copied().chain([rule]).collect();
            let mut step = |does| {
                let path = path.iter().copied().cloned().collect();
                steps.push(Step { path, does });
            };
            match &rule.then {
                Action::Jump(to) | Action::Goto(to) => {
                    let to = (rule.engine, rule.family, rule.table.as_str(), to.as_str());
                    if !self.by_chain.contains_key(&to) {
                        // No chain: a target of iptables that is not known here.
                        step(Does::Hides);
                        continue;
                    }
                    self.chain(to, &path, steps)?;
                    if let Action::Goto(_) = rule.then {
                        let path = path.iter().copied().cloned().collect();
                        let does = ending(jumps);
                        steps.push(Step { path, does });
                    }
                }
                Action::Return => step(ending(jumps)),
                Action::Accept | Action::Drop | Action::Reject | Action::Synproxy => step(Does::Stops),
                Action::Dnat(mapping) => {
                    self.translates = true;
                    let (addr, port) = (single(mapping.addresses), single(mapping.ports));
                    let literal = !mapping.unknown
                        && addr.is_some() == mapping.addresses.is_some()
                        && port.is_some() == mapping.ports.is_some();
                    let does = match literal && aim(jumps.iter().copied().chain([rule])).is_some() {
                        true => Does::Maps { addr, port },
                        false => Does::Hides,
                    };
                    step(does);
                }
                Action::Redirect(_) => {
                    self.translates = true;
                    step(Does::Hides);
                }
                Action::Other(name) if !PASSING.contains(&name.as_str()) || looks_up(rule) => {
                    step(Does::Hides);
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// Where a chain that was jumped to ends, its caller goes on: that is not followed.
fn ending(jumps: &[&FilterRule]) -> Does {
    if jumps.is_empty() {
        Does::Stops
    } else {
        Does::Hides
    }
}

/// It may be a map of verdicts.
fn looks_up(rule: &FilterRule) -> bool {
    let asks = |what: &Match| matches!(what, Match::Other(text) if text.starts_with('@'));
    rule.when.iter().any(|condition| asks(&condition.what))
}

fn single<T: PartialEq + Copy>(range: Option<(T, T)>) -> Option<T> {
    range.filter(|(low, high)| low == high).map(|(low, _)| low)
}

/// The destination that the rules of a path ask for.
fn aim<'a>(path: impl IntoIterator<Item = &'a FilterRule>) -> Option<(IpAddr, u8)> {
    let conditions = path.into_iter().flat_map(|rule| &rule.when);
    let aims = conditions.filter_map(|condition| match condition.what {
        Match::Destination(addr, bits) if !condition.not && bits > 0 => Some((addr, bits)),
        _ => None,
    });
    aims.max_by_key(|(_, bits)| *bits)
}
