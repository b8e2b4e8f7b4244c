//! Datagrams of NETLINK_SOCK_DIAG and NETLINK_ROUTE, and tapped packets.
#![no_main]

use ctlens::wire::{inet_diag, netlink, packet, route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    for message in netlink::messages(datagram).flatten() {
        let _ = inet_diag::decode_socket(message.payload);
        let _ = route::decode_address(message.payload);
    }
    let _ = packet::decode_segment(datagram);
});
