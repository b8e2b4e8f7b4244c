//! The rules, one file each, in the order of their codes.

mod asymmetric_routing;
mod backend_refusing;
mod backend_unresponsive;
mod ephemeral_ports_exhausted;
mod hold;
mod listener_overflow;
mod ruleset_drop;
mod syn_flood;
mod syn_recv_hold;
mod syn_sent_hold;
mod table_full;

use super::rule::Rule;

pub use listener_overflow::overflows;
pub use syn_flood::looks_spoofed;

pub const RULES: &[&Rule] = &[
    &syn_sent_hold::RULE,
    &syn_recv_hold::RULE,
    &table_full::RULE,
    &ruleset_drop::RULE,
    &listener_overflow::RULE,
    &ephemeral_ports_exhausted::RULE,
    &backend_unresponsive::RULE,
    &backend_refusing::RULE,
    &syn_flood::RULE,
    &asymmetric_routing::RULE,
];
