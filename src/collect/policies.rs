//! Timeout policies of single flows: their entries' ages cannot be told, since nothing says which policy an entry has.

use super::presence::{Presence, Tracking, any_message};
use crate::kernel::Kernel;
use crate::model::{Gap, Ruleset};
use crate::wire::cttimeout;

/// A gap where there are any: nft `ct timeout` objects, or policies of `nfct` and iptables' CT target.
pub fn flow_policies(kernel: &mut dyn Kernel, presence: &Presence, ruleset: Option<&Ruleset>) -> Option<Gap> {
    let objects = ruleset.is_some_and(|ruleset| !ruleset.timeout_policies.is_empty());
    let named = presence.net_admin && presence.has_nfnetlink("nfnetlink_cttimeout");
    let any = objects
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
