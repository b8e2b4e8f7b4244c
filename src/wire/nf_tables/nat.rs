//! Where NAT statements take their new address and port from.

use std::net::IpAddr;

use super::expressions::{Parts, Registers};
use crate::model::{Action, Mapping};

/// NF_NAT_RANGE_PROTO_RANDOM_FULLY
pub const FULLY_RANDOM: u32 = 1 << 4;

/// NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN, _MAX, _REG_PROTO_MIN, _MAX, _FLAGS
pub fn nat(parts: &Parts, registers: &Registers) -> Action {
    let addresses = ends(parts, registers, 3, 4, address);
    let ports = ends(parts, registers, 5, 6, port);
    let mapping = Mapping {
        addresses: addresses.unwrap_or(None),
        ports: ports.unwrap_or(None),
        fully_random: parts.number(7).unwrap_or(0) & FULLY_RANDOM != 0,
        unknown: addresses.is_err() || ports.is_err(),
    };
    match parts.number(1) {
        Some(0) => Action::Snat(mapping),
        Some(1) => Action::Dnat(mapping),
        _ => Action::Other("nat".to_string()),
    }
}

/// NFTA_MASQ_FLAGS, _REG_PROTO_MIN, _MAX
pub fn masquerade(parts: &Parts, registers: &Registers) -> Mapping {
    of_ports(parts, registers, (2, 3), 1)
}

/// NFTA_REDIR_REG_PROTO_MIN, _MAX, _FLAGS
pub fn redirect(parts: &Parts, registers: &Registers) -> Mapping {
    of_ports(parts, registers, (1, 2), 3)
}

fn of_ports(parts: &Parts, registers: &Registers, (min, max): (u16, u16), flags: u16) -> Mapping {
    let ports = ends(parts, registers, min, max, port);
    Mapping {
        addresses: None,
        ports: ports.unwrap_or(None),
        fully_random: parts.number(flags).unwrap_or(0) & FULLY_RANDOM != 0,
        unknown: ports.is_err(),
    }
}

/// The register holds something that only the packet tells.
#[derive(Clone, Copy)]
struct NotLiteral;

fn ends<T: Copy>(
    parts: &Parts,
    registers: &Registers,
    min: u16,
    max: u16,
    read: fn(&[u8]) -> Option<T>,
) -> Result<Option<(T, T)>, NotLiteral> {
    let Some(register) = parts.number(min) else {
        return Ok(None);
    };
    let literal = |register| registers.value(Some(register)).and_then(read);
    let low = literal(register).ok_or(NotLiteral)?;
    let high = match parts.number(max) {
        Some(register) => literal(register).ok_or(NotLiteral)?,
        None => low,
    };
    Ok(Some((low, high)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}
