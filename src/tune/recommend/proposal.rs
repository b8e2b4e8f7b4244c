//! What one timeout should be, and why.

use super::fill::Traffic;
use super::floors::Floor;
use crate::evidence::{SLOWEST_SECS, grouped};
use crate::model::Timer;
use crate::tune::measured::Quantiles;

/// So many that moved on make a 99.9 % quantile.
pub const ENOUGH: u64 = 1_000;
/// What was measured is multiplied by it: the next hour is not this minute.
const MARGIN: f64 = 2.0;
/// The same of the longest silence that a connection came back from.
const SILENCE_MARGIN: f64 = 1.25;
/// A stay can be measured only by who listens for longer.
const WINDOWS: f64 = 3.0;
/// No idle connection is known to be dead before its keepalives had the time to come: 2 h by default.
const KEEPALIVE_SECS: f64 = 7_200.0;

/// A value, or none.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// As far down as it may go.
    Down { secs: u32, because: String },
    /// Today's is too short.
    Up { secs: u32, because: String },
    /// Nothing tells that another one is better.
    Stay { because: String },
    /// Too little was seen to tell; after observing for so many seconds it may.
    Unknown {
        observe_secs: Option<f64>,
        because: String,
    },
}

/// What is known beside the traffic.
pub struct Known<'a> {
    pub floor: &'a Floor,
    pub heard_secs: f64,
    pub secs: f64,
    pub lost: u64,
    /// A repeated SYN may renew its entry here: stays in SYN_SENT tell nothing.
    pub syn_renews: bool,
    /// Of the idle ESTABLISHED entries that have an end here: looked for, and found to have a socket.
    pub idle_joined: Option<(u64, u64)>,
}

pub fn proposal(traffic: &Traffic, known: &Known) -> Proposal {
    let (of, now, floor) = (traffic.of, traffic.now_secs, known.floor);
    if of.cut_already > 0 {
        let because = format!(
            "{} connections went on after their entry had expired: {} s cut them",
            count(of.cut_already),
            count(now)
        );
        let secs = now.saturating_mul(2).max(floor.secs);
        return Proposal::Up { secs, because };
    }
    if now < floor.secs && floor.hard {
        let because = format!("{} s are too few: {}", count(now), floor.source);
        return Proposal::Up {
            secs: floor.secs,
            because,
        };
    }
    match traffic.timer {
        Timer::SynSent => handshake(traffic, known),
        Timer::SynRecv | Timer::FinWait | Timer::CloseWait | Timer::LastAck | Timer::Udp => {
            stay(traffic, known, floor.secs)
        }
        Timer::Established => idle(traffic, known),
        Timer::TimeWait => down(now, beyond_silences(traffic, floor), floor.source.clone()),
        Timer::UdpStream => stream(traffic, known),
        _ => Proposal::Stay {
            because: format!(
                "nothing is gained below {} s: {}",
                count(floor.secs),
                floor.source
            ),
        },
    }
}

/// From the SYN to its SYN/ACK.
fn handshake(traffic: &Traffic, known: &Known) -> Proposal {
    let (floor, now) = (known.floor, traffic.now_secs);
    let blind = |observe_secs, why: String| {
        let because = format!("{why}; {}", floor.source);
        match now > floor.secs {
            true => Proposal::Down {
                secs: floor.secs,
                because,
            },
            false => Proposal::Unknown {
                observe_secs,
                because,
            },
        }
    };
    if known.syn_renews {
        let why = "this kernel may renew an entry at each SYN, so that handshakes are not timed";
        return blind(None, why.to_string());
    }
    match measured(traffic, known, SLOWEST_SECS) {
        Ok((secs, because)) => down(now, secs, because),
        Err((observe_secs, why)) => blind(observe_secs, why),
    }
}

/// Of states that are left by a packet.
fn stay(traffic: &Traffic, known: &Known, least_secs: u32) -> Proposal {
    match measured(traffic, known, least_secs) {
        Ok((secs, because)) => down(traffic.now_secs, secs, because),
        Err((observe_secs, because)) => Proposal::Unknown {
            observe_secs,
            because,
        },
    }
}

/// The value that those who moved on ask for, and why; or for how long to observe, and why it is not known.
fn measured(
    traffic: &Traffic,
    known: &Known,
    least_secs: u32,
) -> Result<(u32, String), (Option<f64>, String)> {
    let of = traffic.of;
    let samples = of.moved_ms.len();
    let what = match traffic.timer {
        Timer::SynSent => "handshakes that were answered",
        Timer::SynRecv => "handshakes that were finished",
        Timer::Udp => "answers to datagrams",
        _ => "connections that moved on",
    };
    if samples < ENOUGH {
        let why = match samples {
            0 => format!("no {what} were timed"),
            _ => format!(
                "only {} {what} were timed, and {} tell",
                count(samples),
                count(ENOUGH)
            ),
        };
        let observe_secs = (samples > 0).then(|| known.heard_secs * ENOUGH as f64 / samples as f64);
        return Err((observe_secs, why));
    }
    let Some(moved) = Quantiles::of(&of.moved_ms) else {
        return Err((None, "none was timed".to_string()));
    };
    let needed = (moved.p999 * MARGIN)
        .max(moved.max)
        .max(of.longest_silence_secs());
    let secs = least_secs.max(needed.ceil() as u32 + 1);
    let least_window = f64::from(secs) * WINDOWS;
    if known.heard_secs < least_window {
        let why = format!(
            "stays of {} s are met only by who listens for {:.0} s, not for {:.0}",
            count(secs),
            least_window,
            known.heard_secs
        );
        return Err((Some(least_window), why));
    }
    if known.lost > 0 {
        return Err((
            None,
            format!("{} events were lost: stays may be wrong", count(known.lost)),
        ));
    }
    let why = format!(
        "{} {what}: 99.9 % within {}, the longest {}",
        count(samples),
        short(moved.p999),
        short(moved.max)
    );
    Ok((secs, why))
}

/// Of connections that may be silent for hours.
fn idle(traffic: &Traffic, known: &Known) -> Proposal {
    let (of, now) = (traffic.of, traffic.now_secs);
    let longest = of.longest_silence_secs();
    let secs = beyond_silences(traffic, known.floor);
    if secs >= now {
        return at_its_floor(known.floor);
    }
    let came_back = match of.silences_ms.len() {
        0 => "none came back".to_string(),
        n => format!("{} came back, after {} at the longest", count(n), short(longest)),
    };
    match known.idle_joined {
        Some((looked_for @ 1.., 0)) => Proposal::Down {
            secs,
            because: format!(
                "of {} long idle entries with an end on this host none has a socket; {came_back}",
                count(looked_for)
            ),
        },
        _ if known.secs >= KEEPALIVE_SECS && of.silences_ms.len() >= ENOUGH => Proposal::Down {
            secs,
            because: format!("idle connections: {came_back}"),
        },
        _ => Proposal::Unknown {
            observe_secs: Some(KEEPALIVE_SECS.max(known.secs)),
            because: format!(
                "idle connections may live: {came_back} in {:.0} s, and keepalives come every 2 h",
                known.secs
            ),
        },
    }
}

/// Of datagrams that go both ways.
fn stream(traffic: &Traffic, known: &Known) -> Proposal {
    let of = traffic.of;
    let longest = of.longest_silence_secs();
    let secs = beyond_silences(traffic, known.floor);
    let least_window = f64::from(secs) * WINDOWS;
    match traffic.now_secs > secs {
        true if of.silences_ms.len() >= ENOUGH && known.secs >= least_window => Proposal::Down {
            secs,
            because: format!(
                "{}; the longest silence was {}",
                known.floor.source,
                short(longest)
            ),
        },
        true => Proposal::Unknown {
            observe_secs: Some(least_window),
            because: format!("only {} silences were seen", count(of.silences_ms.len())),
        },
        false => at_its_floor(known.floor),
    }
}

/// No silence that was come back from is cut, nor one that is somewhat longer.
fn beyond_silences(traffic: &Traffic, floor: &Floor) -> u32 {
    let needed = traffic.of.longest_silence_secs() * SILENCE_MARGIN;
    floor.secs.max(needed.ceil() as u32)
}

fn at_its_floor(floor: &Floor) -> Proposal {
    Proposal::Stay {
        because: format!("{}: {} s", floor.source, count(floor.secs)),
    }
}

fn down(now: u32, secs: u32, because: String) -> Proposal {
    match secs.cmp(&now) {
        std::cmp::Ordering::Less => Proposal::Down { secs, because },
        _ => Proposal::Stay { because },
    }
}

pub fn count(number: impl TryInto<i64>) -> String {
    grouped(number.try_into().unwrap_or(i64::MAX))
}

/// `0.2 ms`, `35 ms`, `1.2 s`, `3.1 h`.
pub fn short(secs: f64) -> String {
    match secs {
        s if s < 0.001 => "1 ms".to_string(),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 600.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}
