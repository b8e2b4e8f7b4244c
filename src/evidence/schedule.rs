//! When a live peer sends its SYN, or a server its SYN/ACK, again; and what silence in a tap then means.

use crate::model::version;

/// Seconds after the first SYN at which Linux ≥ 6.5 repeats it (tcp_syn_linear_timeouts=4, 6 retries).
const LINEAR: [f64; 11] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0, 67.0];
/// The same with exponential back-off from the start: older kernels and other systems.
const EXPONENTIAL: [f64; 7] = [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0];
/// A server's SYN/ACK with tcp_synack_retries=5: after the last it waits in silence until 63 s.
const SYN_ACK: [f64; 6] = [0.0, 1.0, 3.0, 7.0, 15.0, 31.0];

/// After this age no default client sends another SYN, though its socket may wait longer.
pub const LAST_SYN_SECS: f64 = 67.0;

/// What a repeat is expected of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client of unknown system: as likely of one schedule as of the other.
    Syn,
    SynAck,
}

/// Ages are told to the second, and handed on as its middle.
const AGE_ERROR_SECS: f64 = 0.5;
/// Senders keep their schedule this well only in its first, short gaps: later it is not known where in a gap they are.
const SHORT_GAP_SECS: f64 = 4.0;

/// The chance that a live sender's repeat falls into a tap of `tap_secs` that ended when the entry was `age_secs`
/// old: 1 only where it does so by whichever schedule, 0 where nothing is sent any more.
pub fn chance_of_repeat(sender: Sender, age_secs: f64, tap_secs: f64) -> f64 {
    let by_gap = |gap: f64| (tap_secs / gap).min(1.0);
    match sender {
        Sender::SynAck => gap_at(&SYN_ACK, age_secs).map_or(0.0, |(gap, _)| by_gap(gap)),
        Sender::Syn => {
            let chance = |schedule: &[f64]| match gap_at(schedule, age_secs) {
                Some((gap, since)) if gap <= SHORT_GAP_SECS && since + AGE_ERROR_SECS <= tap_secs => 1.0,
                Some((gap, _)) => by_gap(gap),
                None => 0.0,
            };
            (chance(&LINEAR) + chance(&EXPONENTIAL)) / 2.0
        }
    }
}

/// The gap that a sender is in, and the seconds since it began.
fn gap_at(schedule: &[f64], age_secs: f64) -> Option<(f64, f64)> {
    let next = schedule.iter().position(|at| *at > age_secs)?;
    let last = schedule[next.checked_sub(1)?];
    Some((schedule[next] - last, age_secs - last))
}

/// Whether a repeated SYN renews its entry: until e15d4cdf27cb (5.14), so that the timeout left told the time since the
/// last SYN. Stable and vendor kernels have taken the change over without saying so in their release.
pub fn may_renew_syn_sent(release: &str) -> bool {
    version(release).is_some_and(|release| release < (5, 14))
}

/// The longest silence between two SYNs of a client with these settings: the floor of a syn_sent timeout.
pub fn longest_gap_secs(syn_retries: u64) -> f64 {
    // Linear repeats come before the doubling ones and are 1 s apart.
    let doublings = syn_retries.saturating_sub(1).min(10) as i32;
    2f64.powi(doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_clients_cannot_hide_from_three_seconds() {
        for age in [1.5, 2.5, 4.0, 5.5] {
            assert_eq!(chance_of_repeat(Sender::Syn, age, 3.0), 1.0, "at {age}");
        }
        // Between its SYNs at 3 and at 7 s an exponential client is silent for longer than the tap.
        for age in [6.0, 6.5] {
            assert_eq!(chance_of_repeat(Sender::Syn, age, 3.0), 0.875, "at {age}");
            assert_eq!(chance_of_repeat(Sender::Syn, age, 4.0), 1.0, "at {age}");
        }
        assert!(chance_of_repeat(Sender::Syn, 8.0, 3.0) < 1.0);
        assert_eq!(chance_of_repeat(Sender::Syn, 70.0, 3.0), 0.0);
    }

    #[test]
    fn a_server_repeats_at_1_3_7_15_31() {
        assert_eq!(chance_of_repeat(Sender::SynAck, 4.0, 2.0), 0.5);
        assert_eq!(chance_of_repeat(Sender::SynAck, 20.0, 4.0), 0.25);
        assert_eq!(chance_of_repeat(Sender::SynAck, 40.0, 4.0), 0.0);
    }

    #[test]
    fn old_kernels_may_renew() {
        for release in [
            "3.10.0-1160.el7.x86_64",
            "4.18.0-553.el8_10.x86_64",
            "5.10.0-28-amd64",
        ] {
            assert!(may_renew_syn_sent(release), "{release}");
        }
        for release in [
            "5.14.0-70.el9",
            "5.15.0-91-generic",
            "6.18.44",
            "10.0",
            "",
            "custom",
        ] {
            assert!(!may_renew_syn_sent(release), "{release}");
        }
    }

    #[test]
    fn six_retries_leave_at_most_32_seconds() {
        assert_eq!(longest_gap_secs(6), 32.0);
        assert_eq!(longest_gap_secs(3), 4.0);
    }
}
