//! What may stand behind an option: durations, states, prefixes, marks, keys.

use std::time::Duration;

use crate::collect::Prefix;
use crate::evidence::Key;
use crate::model::{TcpState, Timer, proto, version};
use crate::tune::Switch;
use crate::wire::profile::{decode_switch, decode_timeout};

/// How long a window or a tap may be.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    if span > LONGEST_WINDOW {
        return Err("a duration is between 0 and 24h".to_string());
    }
    Ok(span)
}

/// `8M`, `512K`, `65536`.
pub fn bytes(text: &str) -> Result<u32, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let scale: u64 = match unit {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        _ => return Err(format!("unknown unit {unit}: try K or M")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "not a size: try 8M or 512K".to_string())?;
    match number.checked_mul(scale) {
        Some(size) if (LEAST_BUFFER..=MOST_BUFFER).contains(&size) => Ok(size as u32),
        _ => Err("a buffer has between 4K and 512M".to_string()),
    }
}

/// How often to look: no more than twice a second.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        given if given < Duration::from_millis(500) => Err("an interval is at least 500ms".to_string()),
        given => Ok(given),
    }
}

/// `5s/60s`
pub fn window_of(text: &str) -> Result<(Duration, Duration), String> {
    let (lasting, every) = text.split_once('/').ok_or("two durations: 5s/60s")?;
    let (lasting, every) = (duration(lasting)?, duration(every)?);
    if lasting.is_zero() || lasting > every {
        return Err("the first duration is above 0 and no longer than the second".to_string());
    }
    Ok((lasting, every))
}

pub fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.01..=10_000.0).contains(&factor) => Ok(factor),
        _ => Err("a factor between 0.01 and 10000".to_string()),
    }
}

/// `x3`, or 3.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('x').parse() {
        Ok(factor) if (0.01..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a factor between x0.01 and x100".to_string()),
    }
}

/// `syn_sent=20`
pub fn setting(text: &str) -> Result<(Timer, u32), String> {
    decode_timeout(text).map_err(|error| error.to_string())
}

/// The fills of a document of `recommend --adaptive`.
pub fn switch(path: &str) -> Result<Switch, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("reading {path}: {error}"))?;
    let (up, down) = decode_switch(&text).map_err(|error| error.to_string())?;
    Ok(Switch { up, down })
}

/// How many times the observed rate there shall be room for.
pub fn headroom(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (1.0..=1_000.0).contains(&factor) => Ok(factor),
        _ => Err("a factor between 1 and 1000".to_string()),
    }
}

const LEAST_BUFFER: u64 = 4 << 10;
const MOST_BUFFER: u64 = 512 << 20;

/// Entries live long: an established connection's timeout is 5 days unless set otherwise.
pub fn age(text: &str) -> Result<Duration, String> {
    span(text)
}

const LONGEST_WINDOW: Duration = Duration::from_secs(86_400);
/// Beyond any age: conntrack keeps timeouts in 32 bits of jiffies (struct nf_conn).
const LONGEST_SECS: f64 = i32::MAX as f64;

fn span(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: f64 = digits
        .trim()
        .parse()
        .map_err(|_| "not a duration: try 2s, 500ms or 1m".to_string())?;
    let secs = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err(format!("unknown unit {unit}: try ms, s, m, h or d")),
    };
    if !(0.0..=LONGEST_SECS).contains(&secs) {
        return Err(format!("a duration is between 0 and {LONGEST_SECS} s"));
    }
    Ok(Duration::from_secs_f64(secs))
}

/// A client's SYN comes again after a second at the soonest: a shorter silence tells nothing.
pub fn tap(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        given if given > Duration::ZERO && given < Duration::from_secs(1) => {
            Err("too short to tell anything: at least 1s, or 0 to listen not at all".to_string())
        }
        given => Ok(given),
    }
}

/// `6.1`, `6.1.0-28-amd64`
pub fn release(text: &str) -> Result<(u32, u32), String> {
    version(text).ok_or_else(|| "a release is MAJOR.MINOR, such as 6.1".to_string())
}

pub fn state(text: &str) -> Result<TcpState, String> {
    let upper = text.to_ascii_uppercase().replace('-', "_");
    TcpState::from_name(&upper).ok_or_else(|| {
        let names: Vec<&str> = TcpState::ALL.iter().map(|s| s.name()).collect();
        format!("no TCP state of conntrack; there are {}", names.join(", "))
    })
}

pub fn prefix(text: &str) -> Result<Prefix, String> {
    Prefix::parse(text).ok_or_else(|| "neither an address nor a prefix such as 10.0.0.0/8".to_string())
}

pub fn protocol(text: &str) -> Result<u8, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let lower = text.to_ascii_lowercase();
    (0..=255)
        .find(|number| proto::name(*number) == Some(lower.as_str()))
        .ok_or_else(|| "unknown protocol: tcp, udp, icmp, icmpv6, gre, sctp or a number".to_string())
}

pub fn mark(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = text.split_once('/').map_or((text, None), |(v, m)| (v, Some(m)));
    let mask = mask.map_or(Some(u32::MAX), number);
    number(value)
        .zip(mask)
        .ok_or_else(|| "not a mark: a number, 0x…, or VALUE/MASK".to_string())
}

/// The keys of `list --top`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(pub Vec<Key>);

pub fn keys(text: &str) -> Result<Keys, String> {
    let key = |word: &str| {
        Key::from_name(word).ok_or_else(|| {
            format!("unknown key {word}: src, dst, sport, dport, proto, state, zone or mark, joined by `:`")
        })
    };
    text.split([':', ','])
        .map(key)
        .collect::<Result<_, _>>()
        .map(Keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for bad in ["", "x", "-1s", "5y", "1e999", "NaN", "25h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("8M"), Ok(8 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        for bad in ["", "M", "1G", "-1", "1K", "600M", "99999999999999999999"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_may_be_days() {
        let days = |n: u64| Ok(Duration::from_secs(n * 86_400));
        assert_eq!(age("5.0d"), days(5));
        assert_eq!(age("120h"), days(5));
        assert_eq!(duration("1d"), days(1));
        for bad in ["-1d", "25000d", "1w"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        assert!(duration("1.1d").is_err());
    }

    #[test]
    fn marks_states_and_keys() {
        assert_eq!(mark("0x10/0xff"), Ok((16, 255)));
        assert_eq!(mark("7"), Ok((7, u32::MAX)));
        assert!(mark("x").is_err() && mark("1/").is_err());
        assert_eq!(state("syn-sent"), Ok(TcpState::SynSent));
        assert!(state("SYNSENT").is_err());
        assert_eq!(protocol("udp"), Ok(17));
        assert_eq!(keys("dst:dport").map(|k| k.0.len()), Ok(2));
        assert!(keys("dst:zzz").is_err());
    }
}
