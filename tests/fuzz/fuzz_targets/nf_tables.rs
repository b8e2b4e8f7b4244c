//! Rules and objects of nf_tables.
#![no_main]

use ctlens::wire::{netlink, nf_tables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    for message in netlink::messages(datagram).flatten() {
        let _ = nf_tables::rule_tracks(message.payload);
        let _ = nf_tables::object_tracks(message.payload);
    }
});
