//! The least that live connections need, in seconds: what an audit holds settings against, and below what no timeout is
//! recommended.

use super::schedule::longest_gap_secs;

/// RFC 5382 REQ-5: 2 h 4 min.
pub const ESTABLISHED_SECS: u32 = 7_440;
/// One end has closed: peers wait so long in FIN_WAIT2 (tcp_fin_timeout).
pub const HALF_CLOSED_SECS: u32 = 60;
/// TCP_TIMEWAIT_LEN (include/net/tcp.h).
pub const TIME_WAIT_SECS: u32 = 60;
/// TCP_RTO_MAX (include/net/tcp.h).
pub const LARGEST_RTO_SECS: u32 = 120;
/// RFC 4787 REQ-5.
pub const UDP_STREAM_SECS: u32 = 120;

/// One second more than the silence between two SYNs of the default 6 retries, or of this host's: those of clients
/// elsewhere follow their own settings, of which the default is all that is known.
pub fn silence_of_clients_secs(syn_retries: Option<i64>) -> u32 {
    let retries = syn_retries.unwrap_or(6).clamp(6, 10);
    longest_gap_secs(retries.unsigned_abs()) as u32 + 1
}

/// SYN/ACKs come at doubling gaps from 1 s on: the last one after half of it.
pub fn last_syn_ack_secs(synack_retries: Option<i64>) -> u32 {
    1 << synack_retries.unwrap_or(5).clamp(1, 6)
}

/// When keepalives give a dead peer up. `own`: settings of this host, by their names after `net.ipv4.`.
pub fn keepalives_end_secs(own: &dyn Fn(&str) -> Option<i64>) -> i64 {
    let probing = own("tcp_keepalive_intvl")
        .unwrap_or(75)
        .saturating_mul(own("tcp_keepalive_probes").unwrap_or(9));
    own("tcp_keepalive_time").unwrap_or(7_200).saturating_add(probing)
}
