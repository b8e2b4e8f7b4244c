//! Datagrams of NETLINK_NETFILTER: framing, entries, statistics, timeouts.
#![no_main]

use ctlens::model::{Flow, Timeouts};
use ctlens::wire::{ct_events, ctnetlink, ctnetlink_stats, cttimeout, netlink};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    for message in netlink::messages(datagram).flatten() {
        let _ = netlink::ending(&message);
        let decoded = ctnetlink::decode_flow(message.payload);
        // In place, over what another entry left there, it is the same.
        let mut flow = Flow {
            timeout_secs: Some(7),
            zone: Some(7),
            ..Flow::default()
        };
        match ctnetlink::fill_flow(message.payload, &mut flow) {
            Ok(()) => assert_eq!(decoded, Ok(flow)),
            Err(error) => assert_eq!(decoded, Err(error)),
        }
        let _ = ctnetlink_stats::decode_stats(message.payload);
        let _ = ct_events::decode_event(&message);
        let _ = ctnetlink_stats::decode_stats_cpu(message.payload);
        let _ = cttimeout::decode_defaults(message.payload, &mut Timeouts::default());
    }
});
