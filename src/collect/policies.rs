//! Timeout policies of single flows: their entries' ages cannot be told, since nothing says which policy an entry has.

use super::presence::{Presence, Tracking, any_message};
use crate::kernel::Kernel;
use crate::model::Gap;
use crate::wire::{cttimeout, nf_tables};

/// A gap where there are any: nft `ct timeout` objects, or policies of `nfct` and iptables' CT target.
pub fn flow_policies(kernel: &mut dyn Kernel, presence: &Presence) -> Option<Gap> {
    let objects = presence.net_admin && presence.has_nfnetlink("nf_tables");
    let named = presence.net_admin && presence.has_nfnetlink("nfnetlink_cttimeout");
    let any = objects
        && any_message(kernel, nf_tables::encode_objects(), |message| {
            nf_tables::is_object(message.kind).then(|| nf_tables::object_sets_timeouts(message.payload))
        }) == Tracking::Yes
        || named
            && any_message(kernel, cttimeout::encode_list(), |message| {
                cttimeout::is_timeout(message.kind).then_some(Ok(true))
            }) == Tracking::Yes;
    any.then(|| {
        Gap::new(
            "timeout policies",
            "some flows have timeouts of their own (nft ct timeout, or nfct): how old their entries are is not known",
            "nft list ruleset | grep -A4 'ct timeout'",
        )
    })
}
