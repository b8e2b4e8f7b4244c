//! What a rule looks up in a set, and what the set's elements then ask of a packet.

use super::elements::{Element, ElementValue};
use super::expressions::{Field, equals, in_range};
use crate::model::{Action, Match};

/// Fields looked up in a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// The condition in `rule.when` that the set's elements take the place of.
    pub at: usize,
    pub set: String,
    /// What the registers hold from the first one on; a concatenation asks as many as its key is long.
    pub(super) fields: Vec<Field>,
    /// The set is a map whose values are verdicts: each element is a rule of its own.
    pub verdicts: bool,
}

impl Lookup {
    /// What each element asks, all of it at once, and the verdict that it gives; `None` where a key is not understood.
    pub fn elements(&self, elements: &[Element]) -> Option<Vec<(Vec<Match>, Option<Action>)>> {
        let mut out = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            if element.ends {
                continue;
            }
            let next = elements.get(index + 1).filter(|next| next.ends);
            let high = match (&element.last, next) {
                (Some(last), _) => last.clone(),
                (None, Some(end)) => before(&end.key),
                (None, None) => element.key.clone(),
            };
            let action = match &element.value {
                ElementValue::Verdict(action) => Some(action.clone()),
                _ => None,
            };
            out.push((self.matching(&element.key, &high)?, action));
        }
        Some(out)
    }

    /// One condition for all elements.
    pub fn any_of(&self, elements: &[Element]) -> Option<Match> {
        let all = self.elements(elements)?;
        let mut of: Vec<Vec<Match>> = all.into_iter().map(|(matches, _)| matches).collect();
        // nft numbers the sets that rules have for themselves.
        let set = if self.set.starts_with("__") { "" } else { &self.set };
        match &mut of[..] {
            [one] if set.is_empty() && one.len() == 1 => one.pop(),
            _ => Some(Match::AnyOf {
                set: set.to_string(),
                of,
            }),
        }
    }

    /// What an element from `low` to `high` asks.
    fn matching(&self, low: &[u8], high: &[u8]) -> Option<Vec<Match>> {
        let first = *self.fields.first()?;
        if low.len() == first.length() {
            return Some(vec![one(first, low, high)]);
        }
        let (mut out, mut at) = (Vec::new(), 0);
        for field in &self.fields {
            if at == low.len() {
                break;
            }
            let end = at + field.length();
            out.push(one(*field, low.get(at..end)?, high.get(at..end)?));
            // Each field of a concatenation fills whole registers of four bytes.
            at += field.length().next_multiple_of(4);
        }
        (at == low.len()).then_some(out)
    }
}

fn one(field: Field, low: &[u8], high: &[u8]) -> Match {
    if field == Field::CtState {
        // Bits of a register in this machine's order.
        return match low.first_chunk() {
            Some(bits) if low == high => Match::State(u32::from_ne_bytes(*bits)),
            _ => Match::Other("ct state".to_string()),
        };
    }
    if low == high {
        equals(field, low)
    } else {
        in_range(field, low, high)
    }
}

/// The value before this one, in network order.
pub(super) fn before(key: &[u8]) -> Vec<u8> {
    step(key, u8::overflowing_sub)
}

pub(super) fn after(key: &[u8]) -> Vec<u8> {
    step(key, u8::overflowing_add)
}

fn step(key: &[u8], by: fn(u8, u8) -> (u8, bool)) -> Vec<u8> {
    let mut out = key.to_vec();
    for byte in out.iter_mut().rev() {
        let (next, carried) = by(*byte, 1);
        *byte = next;
        if !carried {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(key: &[u8], ends: bool) -> Element {
        Element {
            key: key.to_vec(),
            last: None,
            ends,
            value: ElementValue::None,
        }
    }

    fn lookup(fields: Vec<Field>) -> Lookup {
        Lookup {
            at: 0,
            set: "__set0".into(),
            fields,
            verdicts: false,
        }
    }

    #[test]
    fn a_concatenation_asks_for_all_of_its_fields() {
        let both = lookup(vec![Field::Network(16, 4), Field::Transport(2, 2)]);
        let key = element(&[10, 9, 1, 3, 0, 80, 0, 0], false);
        let Some(Match::AnyOf { of, .. }) = both.any_of(&[key]) else {
            panic!("two conditions at once are not one");
        };
        let addr = "10.9.1.3".parse().expect("an address");
        assert_eq!(
            of,
            [[Match::Destination(addr, 32), Match::DestinationPorts(80, 80)]]
        );
        // A key longer than what is known of the registers is not understood.
        let half = lookup(vec![Field::Network(16, 4)]);
        assert_eq!(half.any_of(&[element(&[10, 9, 1, 3, 0, 80, 0, 0], false)]), None);
    }

    #[test]
    fn an_interval_ends_before_its_end() {
        let ports = lookup(vec![Field::Transport(2, 2)]);
        let range = [element(&[0, 80], false), element(&[0, 91], true)];
        assert_eq!(ports.any_of(&range), Some(Match::DestinationPorts(80, 90)));
        let nets = lookup(vec![Field::Network(12, 4)]);
        let net = [element(&[10, 0, 0, 0], false), element(&[11, 0, 0, 0], true)];
        let ten = "10.0.0.0".parse().expect("an address");
        assert_eq!(nets.any_of(&net), Some(Match::Source(ten, 8)));
        // Up to the last address there is no end.
        let all = [element(&[224, 0, 0, 0], false), element(&[0, 0, 0, 0], true)];
        let high = "224.0.0.0".parse().expect("an address");
        assert_eq!(nets.any_of(&all), Some(Match::Source(high, 3)));
    }
}
