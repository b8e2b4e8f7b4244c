//! Which rule of source NAT gave an address its ports, and how many there are.

use std::net::IpAddr;

use super::meets::{Meets, Packets, meets};
use super::ruleset::RulesetFacts;
use crate::model::{Action, FilterRule, Mapping};

/// Where no rule names a range, nf_nat_l4proto_unique_tuple() searches 1024 to 65535 for source ports that are not below
/// 1024, and ports below it for those that are.
pub const FIRST_FREE: u16 = 1024;
pub const WHOLE_RANGE: u64 = 65_536 - FIRST_FREE as u64;
/// Rules of source NAT that are compared with each pair.
const MAX_RULES: usize = 256;
/// So many ports that all lie in a rule's range are no accident.
const NO_ACCIDENT: u64 = 32;

/// A rule of source NAT.
pub struct Translation<'a> {
    index: usize,
    rule: &'a FilterRule,
    mapping: &'a Mapping,
}

pub fn translations(rules: &RulesetFacts) -> Vec<Translation<'_>> {
    let all = rules.ruleset.rules.iter().enumerate();
    all.filter_map(|(index, rule)| match &rule.then {
        Action::Snat(mapping) | Action::Masquerade(mapping) => Some(Translation { index, rule, mapping }),
        _ => None,
    })
    .take(MAX_RULES)
    .collect()
}

/// The rule that serves a pair.
#[derive(Clone, Copy)]
pub struct Serving {
    pub rule: usize,
    pub range: u64,
    /// It names no range.
    pub whole: bool,
}

/// The rule that gave a pair its `used` ports, from the lowest to the highest of `ports`; `None` where several may have, and give different ranges.
pub fn serving(
    rules: &[Translation],
    (proto, snat, dst, dport): (u8, IpAddr, IpAddr, u16),
    used: u64,
    ports: (u16, u16),
) -> Option<Serving> {
    let packets = Packets {
        dst: Some(dst),
        dport: Some(dport),
        proto: Some(proto),
        ..Packets::default()
    };
    let serves = |(low, high): (IpAddr, IpAddr)| low <= snat && snat <= high;
    let (mut found, mut unclear): (Option<Serving>, bool) = (None, rules.len() == MAX_RULES);
    for Translation { index, rule, mapping } in rules {
        let met = meets(rule, &packets);
        if met == Meets::No || !mapping.addresses.is_none_or(serves) {
            continue;
        }
        let gave = match mapping.ports {
            Some((low, high)) => low <= ports.0 && ports.1 <= high,
            None => true,
        };
        if gave && !mapping.unknown {
            let (whole, range) = match mapping.ports {
                Some((low, high)) => (false, u64::from(high - low) + 1),
                None => (true, WHOLE_RANGE),
            };
            let one = Serving {
                rule: *index,
                range,
                whole,
            };
            match found {
                None => found = Some(one),
                Some(known) if known.range == range => {}
                // A range of their own that all ports lie in tells whose they are.
                Some(known) if used >= NO_ACCIDENT => found = Some(narrower(known, one)),
                Some(_) => unclear = true,
            }
        }
        unclear |= mapping.unknown;
        if met == Meets::Yes {
            break;
        }
    }
    found.filter(|_| !unclear)
}

fn narrower(one: Serving, other: Serving) -> Serving {
    if other.range < one.range { other } else { one }
}
