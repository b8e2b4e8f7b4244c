//! One rule: what it asks of a packet, and what it does with it.

use super::expressions::{
    Held, Parts, Registers, between, compared, ct_field, meta_field, payload_field, verdict,
};
use super::lookup::{self, Lookup};
use super::{after_header, family, nat, tally, text, xt};
use crate::model::{Action, Condition, Engine, Family, FilterRule, Match, Tally};
use crate::wire::netlink::attributes;
use crate::wire::{Malformed, be64};

/// Expressions of one rule that are read: more is no rule that anybody writes.
const MAX_EXPRESSIONS: usize = 256;

/// A rule before the sets and objects that it names are looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct RawRule {
    pub rule: FilterRule,
    /// The named counter that it uses.
    pub counter_object: Option<String>,
    /// Sets it looks things up in; the condition at `at` stands for it until then.
    pub lookups: Vec<Lookup>,
}

pub fn decode_rule(payload: &[u8]) -> Result<RawRule, Malformed> {
    let family = family(payload)?;
    let (mut table, mut chain, mut handle, mut list): (&str, &str, Option<u64>, &[u8]) = ("", "", None, &[]);
    for attribute in attributes(after_header(payload)?) {
        let (kind, value) = attribute?;
        // NFTA_RULE_TABLE, _CHAIN, _HANDLE, _EXPRESSIONS
        match kind {
            1 => table = text(value),
            2 => chain = text(value),
            3 => handle = be64(value, 0),
            4 => list = value,
            _ => {}
        }
    }
    let mut reading = Reading::new(family);
    for (number, element) in attributes(list).enumerate() {
        if number == MAX_EXPRESSIONS {
            return Err(Malformed("a rule with too many expressions"));
        }
        let parts = Parts::of(element?.1)?;
        // NFTA_EXPR_NAME, NFTA_EXPR_DATA
        let data = Parts::of(parts.bytes(2).unwrap_or(&[]))?;
        reading.expression(parts.text(1).unwrap_or(""), &data, parts.bytes(2).unwrap_or(&[]))?;
    }
    Ok(RawRule {
        rule: FilterRule {
            engine: Engine::NfTables,
            family,
            table: table.to_string(),
            chain: chain.to_string(),
            handle,
            number: 0,
            when: reading.when,
            then: reading.then.unwrap_or(Action::Other(String::new())),
            counter: reading.counter,
            text: String::new(),
        },
        counter_object: reading.counter_object,
        lookups: reading.lookups,
    })
}

struct Reading {
    family: Family,
    registers: Registers,
    when: Vec<Condition>,
    then: Option<Action>,
    counter: Option<Tally>,
    counter_object: Option<String>,
    lookups: Vec<Lookup>,
    /// The last expression, if it asked for this value or more.
    above: Option<Above>,
}

/// The lower end of what may become a range.
struct Above {
    register: u32,
    low: Vec<u8>,
    /// Of its condition.
    at: usize,
}

impl Reading {
    fn new(family: Family) -> Reading {
        Reading {
            family,
            registers: Registers::default(),
            when: Vec::new(),
            then: None,
            counter: None,
            counter_object: None,
            lookups: Vec::new(),
            above: None,
        }
    }

    /// `raw`: the same attributes as bytes.
    fn expression(&mut self, name: &str, parts: &Parts, raw: &[u8]) -> Result<(), Malformed> {
        match name {
            // NFTA_PAYLOAD_DREG, NFTA_META_DREG, NFTA_CT_DREG; without one it sets something of the packet.
            "payload" => self.registers.load(parts.number(1), payload_field(parts)),
            "meta" => self.registers.load(parts.number(1), meta_field(parts)),
            "ct" => self.registers.load(parts.number(1), ct_field(parts)),
            "bitwise" => self.bitwise(parts),
            "cmp" => self.compare(parts),
            "range" => self.range(parts),
            "lookup" => self.lookup(parts),
            "immediate" => self.immediate(parts)?,
            "counter" => self.counter = Some(tally(raw)?),
            "objref" => self.object(parts),
            "limit" => self.when(false, Match::Limit),
            "notrack" => self.then = Some(Action::Notrack),
            "reject" => self.then = Some(Action::Reject),
            "synproxy" => self.then = Some(Action::Synproxy),
            "flow_offload" => self.then = Some(Action::Offload(parts.text(1).unwrap_or("").to_string())),
            "nat" => self.then = Some(nat::nat(parts, &self.registers)),
            "masq" => self.then = Some(Action::Masquerade(nat::masquerade(parts, &self.registers))),
            "redir" => self.then = Some(Action::Redirect(nat::redirect(parts, &self.registers))),
            "match" => self.when.extend(xt::conditions(parts)),
            "target" => self.then = Some(xt::action(parts)),
            // What they load is not understood: who asks for it says so.
            "numgen" | "fib" | "rt" | "exthdr" | "osf" | "xfrm" | "tunnel" => {
                self.registers.load(parts.number(1), Held::Unknown("expression"));
            }
            "hash" | "socket" | "byteorder" => {
                self.registers.load(parts.number(2), Held::Unknown("expression"))
            }
            // These change or note something, and let the packet pass on.
            "log" | "dynset" | "queue" | "dup" | "fwd" | "tproxy" | "last" => {}
            other => {
                self.when(false, Match::Other(other.to_string()));
            }
        }
        Ok(())
    }

    fn when(&mut self, not: bool, what: Match) {
        self.when.push(Condition { not, what });
    }

    /// NFTA_BITWISE_SREG, _DREG, _MASK, _XOR
    fn bitwise(&mut self, parts: &Parts) {
        let plain = parts.data(5).is_some_and(|xor| xor.iter().all(|byte| *byte == 0));
        let masked = match (self.registers.get(parts.number(1)), parts.data(4)) {
            (Some(Held::Field(field)), Some(mask)) if plain => Held::Masked(*field, mask.to_vec()),
            _ => Held::Unknown("bitwise"),
        };
        self.registers.load(parts.number(2), masked);
    }

    /// NFTA_CMP_SREG, _OP, _DATA
    fn compare(&mut self, parts: &Parts) {
        let (register, value) = (parts.number(1), parts.data(3).unwrap_or(&[]));
        let held = self.registers.get(register);
        let (none, all) = (vec![0; value.len()], vec![0xff; value.len()]);
        let above = self.above.take();
        let condition = match parts.number(2) {
            Some(operator @ 0..=1) => compared(held, operator == 1, value),
            Some(2) => between(held, false, &none, &lookup::before(value)),
            // nft writes a range as two comparisons.
            Some(3) => match above.filter(|a| Some(a.register) == register && a.at + 1 == self.when.len()) {
                Some(above) => {
                    self.when.truncate(above.at);
                    between(held, false, &above.low, value)
                }
                None => between(held, false, &none, value),
            },
            Some(4) => between(held, false, &lookup::after(value), &all),
            Some(5) => {
                self.above = register.map(|register| Above {
                    register,
                    low: value.to_vec(),
                    at: self.when.len(),
                });
                between(held, false, value, &all)
            }
            _ => Condition {
                not: false,
                what: Match::Other("cmp".to_string()),
            },
        };
        self.when.push(condition);
    }

    /// NFTA_RANGE_SREG, _OP, _FROM_DATA, _TO_DATA
    fn range(&mut self, parts: &Parts) {
        let (low, high) = (parts.data(3).unwrap_or(&[]), parts.data(4).unwrap_or(&[]));
        let held = self.registers.get(parts.number(1));
        self.when
            .push(between(held, parts.number(2) == Some(1), low, high));
    }

    /// NFTA_LOOKUP_SET, _SREG, _DREG, _FLAGS
    fn lookup(&mut self, parts: &Parts) {
        let (target, not) = (parts.number(3), parts.number(5).unwrap_or(0) & 1 == 1);
        let verdicts = target == Some(0);
        let fields = self.registers.fields(parts.number(2));
        if !fields.is_empty() && (target.is_none() || verdicts) {
            self.lookups.push(Lookup {
                at: self.when.len(),
                set: parts.text(1).unwrap_or("").to_string(),
                fields,
                verdicts,
            });
        }
        if !verdicts && target.is_some() {
            self.registers.load(target, Held::Unknown("map"));
        }
        let set = format!("@{}", parts.text(1).unwrap_or(""));
        self.when(not, Match::Other(set));
    }

    /// NFTA_IMMEDIATE_DREG, _DATA
    fn immediate(&mut self, parts: &Parts) -> Result<(), Malformed> {
        if let Some(value) = parts.data(2) {
            self.registers.load(parts.number(1), Held::Value(value.to_vec()));
        } else if let Some(nested) = parts.bytes(2) {
            self.then = verdict(nested)?;
        }
        Ok(())
    }

    /// NFTA_OBJREF_IMM_TYPE, _IMM_NAME
    fn object(&mut self, parts: &Parts) {
        let name = parts.text(2).unwrap_or("").to_string();
        match parts.number(1) {
            Some(super::OBJECT_COUNTER) => self.counter_object = Some(name),
            Some(super::OBJECT_CT_TIMEOUT) => self.then = Some(Action::Timeout(name)),
            // Helpers, quotas, limits and others by name.
            _ if self.family == Family::Arp => {}
            _ => self.when(false, Match::Other(format!("object {name}"))),
        }
    }
}
