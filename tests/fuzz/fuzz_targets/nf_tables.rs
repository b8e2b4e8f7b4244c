//! Rules and objects of nf_tables.
#![no_main]

use ctlens::wire::{netlink, nf_tables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    for message in netlink::messages(datagram).flatten() {
        let _ = nf_tables::rule_tracks(message.payload);
        let _ = nf_tables::object_tracks(message.payload);
        if let Ok(raw) = nf_tables::decode_rule(message.payload) {
            let _ = nf_tables::rule_words(&raw.rule);
        }
        let _ = nf_tables::decode_chain(message.payload);
        let _ = nf_tables::decode_object(message.payload);
        let _ = nf_tables::decode_flowtable(message.payload);
        let _ = nf_tables::decode_elements(message.payload);
    }
});
