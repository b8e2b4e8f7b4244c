//! The way of packets through the hooks, chain by chain: what may drop them there without a word.

use std::collections::BTreeMap;

use super::meets::{Meets, Packets, meets};
use super::ruleset::RulesetFacts;
use crate::model::{Action, At, Engine, Family, Hook, ct_state};

/// NFT_JUMP_STACK_SIZE
const MAX_DEPTH: usize = 16;
/// Rules looked at in one base chain: chains may be jumped to again and again.
const MAX_STEPS: usize = 200_000;
/// No rule asks for it: what conntrack has not looked at has no state.
const NO_STATE_YET: u32 = 1 << 31;

/// What may drop a packet, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopper {
    Rule(usize),
    /// Of this chain.
    Policy(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub by: Stopper,
    /// Nothing that it asks for, and nothing before it, is left to doubt.
    pub sure: bool,
}

type Place<'a> = (Engine, Family, &'a str, &'a str);

struct Walk<'a> {
    facts: &'a RulesetFacts,
    by_chain: &'a BTreeMap<Place<'a>, Vec<usize>>,
    packets: Packets,
    steps: usize,
    /// Something before may have let them through.
    doubt: bool,
    stops: Vec<Stop>,
}

#[derive(PartialEq)]
enum End {
    Decided,
    Returned,
}

impl RulesetFacts {
    /// What may drop such packets where `here` admits it, in the order in which they pass. A rule that they cannot come to,
    /// because one before it accepts or drops them all, is none of these.
    pub fn stops(&self, here: impl Fn(At) -> bool, packets: &Packets) -> Vec<Stop> {
        let mut by_chain: BTreeMap<Place<'_>, Vec<usize>> = BTreeMap::new();
        for (index, rule) in self.ruleset.rules.iter().enumerate() {
            let place = (rule.engine, rule.family, rule.table.as_str(), rule.chain.as_str());
            by_chain.entry(place).or_default().push(index);
        }
        let chains = self.ruleset.chains.iter().enumerate();
        let mut base: Vec<_> = chains
            .filter_map(|(index, chain)| Some((chain.at.filter(|at| here(*at))?, index, chain)))
            .filter(|(_, _, chain)| sees(chain.family, packets))
            .collect();
        base.sort_by_key(|(at, index, _)| (at.hook, at.priority, *index));
        let (mut out, mut dropped): (Vec<Stop>, Option<Hook>) = (Vec::new(), None);
        for (at, index, chain) in base {
            if dropped.is_some_and(|by| ends(by, at.hook)) {
                continue;
            }
            let state = if at.before_conntrack() {
                NO_STATE_YET
            } else {
                packets.state
            };
            let mut walk = Walk {
                facts: self,
                by_chain: &by_chain,
                packets: Packets { state, ..*packets },
                steps: 0,
                doubt: false,
                stops: Vec::new(),
            };
            let end = walk.chain((chain.engine, chain.family, &chain.table, &chain.name), 0);
            if chain.drops && end == End::Returned {
                let sure = !walk.doubt;
                walk.stops.push(Stop {
                    by: Stopper::Policy(index),
                    sure,
                });
            }
            if walk.stops.iter().any(|stop| stop.sure) {
                dropped = Some(at.hook);
            }
            out.extend(walk.stops);
        }
        out
    }
}

/// Whether what a hook dropped never comes to another one. It is not known which of input and forward they pass.
fn ends(dropped: Hook, later: Hook) -> bool {
    match dropped {
        Hook::Input => later == Hook::Input,
        Hook::Forward => matches!(later, Hook::Forward | Hook::Postrouting),
        _ => true,
    }
}

fn sees(family: Family, packets: &Packets) -> bool {
    let v6 = packets.src.or(packets.dst).map(|addr| addr.is_ipv6());
    match family {
        Family::Ip => v6 != Some(true),
        Family::Ip6 => v6 != Some(false),
        Family::Inet | Family::Netdev | Family::Bridge => true,
        Family::Arp => false,
    }
}

impl Walk<'_> {
    fn stop(&mut self, index: usize, sure: bool) {
        let by = Stopper::Rule(index);
        if !self.stops.iter().any(|stop| stop.by == by) {
            self.stops.push(Stop { by, sure });
        }
    }

    fn chain(&mut self, place: Place<'_>, depth: usize) -> End {
        let rules = self.by_chain.get(&place).map_or(&[][..], Vec::as_slice);
        for &index in rules {
            self.steps += 1;
            let rule = &self.facts.ruleset.rules[index];
            let met = meets(rule, &self.packets);
            if met == Meets::No || self.steps > MAX_STEPS {
                continue;
            }
            let sure = met == Meets::Yes;
            match &rule.then {
                Action::Drop => {
                    self.stop(index, sure && !self.doubt);
                    if sure {
                        return End::Decided;
                    }
                }
                // Who is refused with a word does not wait.
                Action::Accept
                | Action::Reject
                | Action::Synproxy
                | Action::Snat(_)
                | Action::Dnat(_)
                | Action::Masquerade(_)
                | Action::Redirect(_) => {
                    if sure {
                        return End::Decided;
                    }
                    self.doubt = true;
                }
                Action::Return if sure => return End::Returned,
                Action::Return => self.doubt = true,
                Action::Jump(to) | Action::Goto(to) if depth < MAX_DEPTH => {
                    let next = (rule.engine, rule.family, rule.table.as_str(), to.as_str());
                    self.doubt |= !sure;
                    let end = self.chain(next, depth + 1);
                    if sure && (end == End::Decided || matches!(rule.then, Action::Goto(_))) {
                        return end;
                    }
                }
                Action::Notrack if sure => self.packets.state = ct_state::UNTRACKED,
                _ => {}
            }
        }
        End::Returned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::iptables_save;

    fn stops(text: &str, dport: u16) -> Vec<(Stopper, bool)> {
        let ruleset = iptables_save::parse(text, Family::Ip).expect("the test's own text");
        let syn = Packets {
            dst: Some("10.9.1.3".parse().expect("an address")),
            dport: Some(dport),
            state: ct_state::NEW,
            ..Packets::default()
        };
        let all = RulesetFacts::between(None, ruleset).stops(|_| true, &syn);
        all.iter().map(|stop| (stop.by, stop.sure)).collect()
    }

    #[test]
    fn the_first_certain_verdict_ends_the_way() {
        let text = "*filter\n:FORWARD DROP [0:0]\n:web - [0:0]\n\
                    -A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\n\
                    -A FORWARD -i eth0 -p tcp -m tcp --dport 81 -j ACCEPT\n\
                    -A FORWARD -p tcp -m tcp --dport 82 -j web\n\
                    -A FORWARD -p tcp -m tcp --dport 83 -j DROP\n\
                    -A web -j RETURN\n\
                    -A web -j DROP\nCOMMIT\n";
        assert_eq!(stops(text, 80), []);
        assert_eq!(stops(text, 81), [(Stopper::Policy(0), false)]);
        assert_eq!(stops(text, 82), [(Stopper::Policy(0), true)]);
        assert_eq!(stops(text, 83), [(Stopper::Rule(3), true)]);
    }

    #[test]
    fn before_conntrack_a_packet_has_no_state() {
        let text = "*raw\n:PREROUTING ACCEPT [0:0]\n\
                    -A PREROUTING -m conntrack --ctstate NEW -j DROP\nCOMMIT\n\
                    *filter\n:FORWARD ACCEPT [0:0]\n\
                    -A FORWARD -m conntrack --ctstate NEW -j DROP\nCOMMIT\n";
        assert_eq!(stops(text, 80), [(Stopper::Rule(1), true)]);
    }

    #[test]
    fn chains_that_jump_in_a_circle_end() {
        let text =
            "*filter\n:FORWARD ACCEPT [0:0]\n:a - [0:0]\n-A FORWARD -j a\n-A a -j a\n-A a -j a\nCOMMIT\n";
        assert_eq!(stops(text, 80), []);
    }
}
