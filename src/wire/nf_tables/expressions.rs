//! The expressions of a rule, one after the other: what each loads into a register, asks of it, or does.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::text;
use crate::model::{Action, Condition, Match};
use crate::wire::netlink::attributes;
use crate::wire::{Malformed, be32};

/// What a register holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    Field(Field),
    /// A field of which only these bits are left.
    Masked(Field, Vec<u8>),
    /// Literal bytes.
    Value(Vec<u8>),
    Unknown(&'static str),
}

/// What is read of a packet or of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Of the network header: (offset, length).
    Network(u32, u32),
    /// Of the transport header: (offset, length).
    Transport(u32, u32),
    L4Proto,
    NfProto,
    InputName,
    OutputName,
    CtState,
}

impl Field {
    /// In bytes, as a set's key holds it.
    pub fn length(self) -> usize {
        match self {
            Field::Network(_, length) | Field::Transport(_, length) => length as usize,
            Field::L4Proto | Field::NfProto => 1,
            Field::CtState => 4,
            // IFNAMSIZ
            Field::InputName | Field::OutputName => 16,
        }
    }
}

/// By number as the kernel counts them in 4-byte steps from NFT_REG32_00 on.
#[derive(Default)]
pub struct Registers(BTreeMap<u32, Held>);

/// NFT_REG_1 to NFT_REG_4 have 16 bytes each, NFT_REG32_00 to NFT_REG32_15 four.
fn slot(register: u32) -> u32 {
    match register {
        1..=4 => (register - 1) * 4,
        8..=23 => register - 8,
        other => other.saturating_add(100),
    }
}

impl Registers {
    pub fn load(&mut self, register: Option<u32>, held: Held) {
        if let Some(register) = register {
            self.0.insert(slot(register), held);
        }
    }

    pub fn get(&self, register: Option<u32>) -> Option<&Held> {
        self.0.get(&slot(register?))
    }

    /// The fields that stand one after the other from this register on.
    pub fn fields(&self, register: Option<u32>) -> Vec<Field> {
        let (mut out, mut at) = (Vec::new(), register.map(slot));
        while let Some(Held::Field(field)) = at.and_then(|slot| self.0.get(&slot)) {
            out.push(*field);
            at = at.and_then(|slot| slot.checked_add(field.length().div_ceil(4).max(1) as u32));
        }
        out
    }

    pub fn value(&self, register: Option<u32>) -> Option<&[u8]> {
        match self.get(register)? {
            Held::Value(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The attributes of one expression by number: be32 values and nested ones.
pub struct Parts<'a>(BTreeMap<u16, &'a [u8]>);

impl<'a> Parts<'a> {
    pub fn of(data: &'a [u8]) -> Result<Parts<'a>, Malformed> {
        attributes(data).collect::<Result<_, _>>().map(Parts)
    }

    pub fn number(&self, kind: u16) -> Option<u32> {
        be32(self.0.get(&kind)?, 0)
    }

    pub fn bytes(&self, kind: u16) -> Option<&'a [u8]> {
        self.0.get(&kind).copied()
    }

    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.0.get(&kind).map(|value| text(value))
    }

    /// `NFTA_DATA_VALUE` within.
    pub fn data(&self, kind: u16) -> Option<&'a [u8]> {
        let nested = self.0.get(&kind)?;
        let (kind, value) = attributes(nested).next()?.ok()?;
        (kind == 1).then_some(value)
    }
}

/// NFTA_PAYLOAD_BASE, _OFFSET, _LEN
pub fn payload_field(parts: &Parts) -> Held {
    let (offset, length) = (parts.number(3).unwrap_or(0), parts.number(4).unwrap_or(0));
    match parts.number(2) {
        Some(1) => Held::Field(Field::Network(offset, length)),
        Some(2) => Held::Field(Field::Transport(offset, length)),
        _ => Held::Unknown("payload"),
    }
}

/// NFTA_META_KEY
pub fn meta_field(parts: &Parts) -> Held {
    match parts.number(2) {
        Some(6) => Held::Field(Field::InputName),
        Some(7) => Held::Field(Field::OutputName),
        Some(15) => Held::Field(Field::NfProto),
        Some(16) => Held::Field(Field::L4Proto),
        _ => Held::Unknown("meta"),
    }
}

/// NFTA_CT_KEY
pub fn ct_field(parts: &Parts) -> Held {
    match parts.number(2) {
        Some(0) => Held::Field(Field::CtState),
        _ => Held::Unknown("ct"),
    }
}

/// A comparison of a field with a value; `not`: it must differ.
pub fn compared(held: Option<&Held>, not: bool, value: &[u8]) -> Condition {
    let what = match held {
        Some(Held::Field(field)) => equals(*field, value),
        Some(Held::Masked(field, mask)) => masked(*field, mask, not, value),
        Some(Held::Unknown(name)) => Match::Other((*name).to_string()),
        _ => Match::Other("cmp".to_string()),
    };
    // `ct state x` is "(state & x) != 0".
    let not = not
        && !matches!(
            (held, &what),
            (Some(Held::Masked(Field::CtState, _)), Match::State(_))
        );
    Condition { not, what }
}

/// The field between two values, both included.
pub fn between(held: Option<&Held>, not: bool, low: &[u8], high: &[u8]) -> Condition {
    let what = match held {
        Some(Held::Field(field)) => in_range(*field, low, high),
        _ => Match::Other("range".to_string()),
    };
    Condition { not, what }
}

/// What `field == value` asks.
pub fn equals(field: Field, value: &[u8]) -> Match {
    match field {
        Field::Transport(0, 2) => port(value).map(|p| Match::SourcePorts(p, p)),
        Field::Transport(2, 2) => port(value).map(|p| Match::DestinationPorts(p, p)),
        Field::Network(9, 1) | Field::Network(6, 1) | Field::L4Proto => {
            value.first().map(|proto| Match::Protocol(*proto))
        }
        Field::NfProto => match value.first() {
            Some(2) => Some(Match::Source(Ipv4Addr::UNSPECIFIED.into(), 0)),
            Some(10) => Some(Match::Source(Ipv6Addr::UNSPECIFIED.into(), 0)),
            _ => None,
        },
        Field::InputName => Some(Match::InputInterface(interface(value))),
        Field::OutputName => Some(Match::OutputInterface(interface(value))),
        Field::Network(offset, length) => address(offset, length, value),
        _ => None,
    }
    .unwrap_or_else(|| Match::Other("cmp".to_string()))
}

/// What `low <= field <= high` asks.
pub fn in_range(field: Field, low: &[u8], high: &[u8]) -> Match {
    let ports = port(low).zip(port(high));
    match (field, ports) {
        (Field::Transport(0, 2), Some((low, high))) => Some(Match::SourcePorts(low, high)),
        (Field::Transport(2, 2), Some((low, high))) => Some(Match::DestinationPorts(low, high)),
        (Field::Network(offset, length @ (4 | 16)), _) => addresses(offset, length, low, high),
        _ => None,
    }
    .unwrap_or_else(|| Match::Other("range".to_string()))
}

/// The last number that begins as `first` does, but for so many bits at its end.
fn last_of(first: u128, bits: u32) -> u128 {
    first | 1u128.checked_shl(bits).map_or(u128::MAX, |above| above - 1)
}

/// A range of addresses as the prefixes that it is made of.
fn addresses(offset: u32, length: u32, low: &[u8], high: &[u8]) -> Option<Match> {
    let width = length * 8;
    let number = |bytes: &[u8]| {
        (bytes.len() == length as usize)
            .then(|| bytes.iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte)))
    };
    let (mut from, to) = (number(low)?, number(high)?);
    let mut of = Vec::new();
    while from <= to {
        // As wide as it may begin here and still end in time.
        let fits = |bits: &u32| last_of(from, *bits) <= to;
        let widest = from.trailing_zeros().min(width);
        let bits = (0..=widest).rev().find(fits).unwrap_or(0);
        let bytes = &from.to_be_bytes()[16 - length as usize..];
        of.push(match address(offset, length, bytes)? {
            Match::Source(addr, _) => Match::Source(addr, (width - bits) as u8),
            Match::Destination(addr, _) => Match::Destination(addr, (width - bits) as u8),
            other => other,
        });
        match last_of(from, bits).checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    Match::any_of(of)
}

fn masked(field: Field, mask: &[u8], not: bool, value: &[u8]) -> Match {
    if field == Field::CtState && not && value.iter().all(|byte| *byte == 0) {
        return match mask.first_chunk() {
            // A register of 32 bits in this machine's order.
            Some(bits) => Match::State(u32::from_ne_bytes(*bits)),
            None => Match::Other("ct state".to_string()),
        };
    }
    let Some(prefix) = prefix_length(mask) else {
        return Match::Other("bitwise".to_string());
    };
    match equals(field, value) {
        Match::Source(addr, _) => Match::Source(addr, prefix),
        Match::Destination(addr, _) => Match::Destination(addr, prefix),
        _ => Match::Other("bitwise".to_string()),
    }
}

/// `None` where the ones do not all come first.
fn prefix_length(mask: &[u8]) -> Option<u8> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let leading = mask.iter().scan(true, |go_on, byte| {
        let leading = if *go_on { byte.leading_ones() } else { 0 };
        *go_on &= *byte == 0xff;
        Some(leading)
    });
    (leading.sum::<u32>() == ones).then_some(ones as u8)
}

/// Source and destination of either family stand at their own places in the header. nft compares only the leading
/// bytes where a prefix ends with a byte.
fn address(offset: u32, length: u32, value: &[u8]) -> Option<Match> {
    let bits = (length.min(16) * 8) as u8;
    let padded = |size: usize| {
        let mut bytes = vec![0; size];
        let taken = value.len().min(size).min(length as usize);
        bytes[..taken].copy_from_slice(&value[..taken]);
        bytes
    };
    let four = |bytes: Vec<u8>| Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?));
    let six = |bytes: Vec<u8>| Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?));
    match (offset, length) {
        (12, 1..=4) => Some(Match::Source(four(padded(4))?, bits)),
        (16, 1..=4) => Some(Match::Destination(four(padded(4))?, bits)),
        (8, 3..=16) => Some(Match::Source(six(padded(16))?, bits)),
        (24, 1..=16) => Some(Match::Destination(six(padded(16))?, bits)),
        _ => None,
    }
}

fn port(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*value.first_chunk()?))
}

/// Padded with zeros to IFNAMSIZ; one that is not stands for all that begin so.
fn interface(value: &[u8]) -> String {
    let name = text(value).to_string();
    if value.contains(&0) {
        name
    } else {
        format!("{name}*")
    }
}

/// `NFTA_DATA_VERDICT` within, with NFTA_VERDICT_CODE and NFTA_VERDICT_CHAIN.
pub fn verdict(nested: &[u8]) -> Result<Option<Action>, Malformed> {
    let mut out = None;
    for attribute in attributes(nested) {
        let (kind, value) = attribute?;
        if kind != 2 {
            continue;
        }
        let parts = Parts::of(value)?;
        let chain = || parts.text(2).unwrap_or("").to_string();
        out = match parts
            .bytes(1)
            .and_then(|code| be32(code, 0))
            .map(|code| code as i32)
        {
            Some(0) => Some(Action::Drop),
            Some(1) => Some(Action::Accept),
            Some(-3) => Some(Action::Jump(chain())),
            Some(-4) => Some(Action::Goto(chain())),
            Some(-5) => Some(Action::Return),
            _ => None,
        };
    }
    Ok(out)
}
