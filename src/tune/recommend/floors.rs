//! Below what no timeout goes, whatever was measured, and by whose word.

use crate::evidence::SLOWEST_SECS;
use crate::evidence::floors::{
    ESTABLISHED_SECS, HALF_CLOSED_SECS, LARGEST_RTO_SECS, TIME_WAIT_SECS, UDP_STREAM_SECS,
    keepalives_end_secs, last_syn_ack_secs, silence_of_clients_secs,
};
use crate::model::{Settings, Timer};

/// The least for one timeout.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor {
    pub secs: u32,
    pub source: String,
    /// Less breaks live connections: a lower timeout is raised to it.
    pub hard: bool,
    /// What RFCs ask for behind NAT, where that is more.
    pub asked: Option<(u32, &'static str)>,
}

/// Where handshakes were timed.
pub fn handshake_floor() -> Floor {
    Floor {
        secs: SLOWEST_SECS,
        source: "three SYNs of a client (0, 1 and 3 s), and a slow way; where no handshake is timed, 33 s"
            .to_string(),
        hard: false,
        asked: None,
    }
}

pub fn floor(timer: Timer, settings: &Settings, behind_nat: bool) -> Floor {
    let (secs, source) = least(timer, settings);
    Floor {
        secs,
        source: source.to_string(),
        hard: match timer {
            Timer::TimeWait | Timer::UdpStream => behind_nat,
            _ => HARD.contains(&timer),
        },
        asked: asked(timer).filter(|_| behind_nat),
    }
}

/// Whatever translates.
const HARD: [Timer; 6] = [
    Timer::SynRecv,
    Timer::Established,
    Timer::FinWait,
    Timer::CloseWait,
    Timer::MaxRetrans,
    Timer::Unacknowledged,
];

fn least(timer: Timer, settings: &Settings) -> (u32, &'static str) {
    let own = |name: &str| own(settings, name);
    match timer {
        Timer::SynSent => (
            silence_of_clients_secs(own("tcp_syn_retries")),
            "the longest silence between two SYNs of a live client (RFC 6298, 6 retries)",
        ),
        Timer::SynRecv => (
            last_syn_ack_secs(own("tcp_synack_retries")),
            "the last SYN/ACK comes after half of it (tcp_synack_retries)",
        ),
        Timer::Established => established(settings),
        Timer::FinWait => (
            HALF_CLOSED_SECS,
            "peers wait so long in FIN_WAIT2 (tcp_fin_timeout)",
        ),
        Timer::CloseWait => (
            HALF_CLOSED_SECS,
            "a half-closed connection lives as long as its other end sends",
        ),
        Timer::LastAck => (30, "the last FIN is repeated for as long (the kernel's default)"),
        Timer::TimeWait => (
            TIME_WAIT_SECS,
            "Linux peers stay in TIME_WAIT for 60 s (TCP_TIMEWAIT_LEN), and remember the port",
        ),
        Timer::MaxRetrans | Timer::Unacknowledged => (
            LARGEST_RTO_SECS,
            "a live connection that stalls repeats a segment after up to 120 s (TCP_RTO_MAX)",
        ),
        Timer::UdpStream => (UDP_STREAM_SECS, "RFC 4787 REQ-5: not less than 2 min behind NAT"),
        other => (
            other.default_secs(),
            "the kernel's default: nothing tells who needs it",
        ),
    }
}

/// What RFCs ask for behind NAT.
fn asked(timer: Timer) -> Option<(u32, &'static str)> {
    Some(match timer {
        Timer::SynSent | Timer::SynRecv | Timer::FinWait | Timer::CloseWait => (
            240,
            "RFC 5382 asks for 240 s while connections open and close behind NAT",
        ),
        Timer::Udp => (
            120,
            "RFC 4787 REQ-5 asks for 120 s behind NAT, less for well-known ports",
        ),
        Timer::Icmp | Timer::Icmpv6 => (60, "RFC 5508 REQ-2 asks for 60 s behind NAT"),
        _ => return None,
    })
}

fn own(settings: &Settings, name: &str) -> Option<i64> {
    i64::try_from(settings.number(&format!("net.ipv4.{name}"))?).ok()
}

/// Long enough for the keepalives of this host to find a dead peer, and of the default for those elsewhere.
fn established(settings: &Settings) -> (u32, &'static str) {
    let given_up = keepalives_end_secs(&|name| own(settings, name));
    let secs = u32::try_from(given_up).unwrap_or(u32::MAX).max(ESTABLISHED_SECS);
    let source = match secs {
        ESTABLISHED_SECS => "RFC 5382 REQ-5: not less than 2 h 4 min behind NAT",
        _ => "keepalives give a dead peer up only then (tcp_keepalive_time + probes x intvl)",
    };
    (secs, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_settings_count() {
        let mut settings = Settings::default();
        assert_eq!(floor(Timer::SynSent, &settings, false).secs, 33);
        assert_eq!(floor(Timer::SynRecv, &settings, false).secs, 32);
        assert_eq!(floor(Timer::Established, &settings, false).secs, 7_875);
        for (name, value) in [("tcp_keepalive_time", "600"), ("tcp_synack_retries", "2")] {
            settings.0.insert(format!("net.ipv4.{name}"), value.to_string());
        }
        assert_eq!(floor(Timer::Established, &settings, false).secs, 7_440);
        assert_eq!(floor(Timer::SynRecv, &settings, false).secs, 4);
        assert!(
            floor(Timer::UdpStream, &settings, true).hard && !floor(Timer::UdpStream, &settings, false).hard
        );
        assert_eq!(
            floor(Timer::Udp, &settings, true).asked.map(|(secs, _)| secs),
            Some(120)
        );
    }
}
