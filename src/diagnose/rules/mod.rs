//! The rules, one file each, in the order of their codes.

mod asymmetric_routing;
mod backend_refusing;
mod backend_unresponsive;
mod close_wait_hold;
mod ephemeral_ports_exhausted;
mod established_hold;
mod hash_undersized;
mod hold;
mod insert_clash;
mod lasting;
mod listener_overflow;
mod nat_ports_exhausted;
mod paws_drop;
mod rp_filter_drop;
mod ruleset_drop;
mod stale_nat_entry;
mod syn_flood;
mod syn_recv_hold;
mod syn_sent_hold;
mod table_full;
mod time_wait_hold;
mod udp_hold;
mod window_invalid;

use super::rule::Rule;

pub use listener_overflow::overflows;
pub use syn_flood::looks_spoofed;

pub const RULES: &[&Rule] = &[
    &syn_sent_hold::RULE,
    &syn_recv_hold::RULE,
    &established_hold::RULE,
    &close_wait_hold::RULE,
    &time_wait_hold::RULE,
    &udp_hold::RULE,
    &table_full::RULE,
    &hash_undersized::RULE,
    &nat_ports_exhausted::RULE,
    &insert_clash::RULE,
    &ruleset_drop::RULE,
    &stale_nat_entry::RULE,
    &window_invalid::RULE,
    &listener_overflow::RULE,
    &ephemeral_ports_exhausted::RULE,
    &paws_drop::RULE,
    &backend_unresponsive::RULE,
    &backend_refusing::RULE,
    &syn_flood::RULE,
    &asymmetric_routing::RULE,
    &rp_filter_drop::RULE,
];
