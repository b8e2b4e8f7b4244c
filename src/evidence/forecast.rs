//! Where the table is going: how fast it grows, what it levels off at, and when it is full.

use serde::Serialize;

use super::StateRow;

/// Readings that the growth is taken from: older ones tell of another load.
const LAST_SECS: f64 = 20.0;
const FEWEST: usize = 3;
/// Of the growth: the share that states without a level may have in it.
const OTHERS_SHARE: f64 = 0.2;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Entries a second, by the last readings of the count.
    pub growth_per_s: f64,
    /// What it heads for if arrivals stay as they are: those of each state that nothing renews, times its timeout, and
    /// the others as they are.
    pub plateau: Option<f64>,
    /// Seconds until the limit; absent where it is not reached as things are.
    pub full_in_s: Option<f64>,
}

/// The table at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub secs: f64,
    pub entries: f64,
    /// Of these the ones in states that packets prolong or end: what they level off at, nobody can tell.
    pub others: Option<f64>,
}

impl Reading {
    pub fn new(secs: f64, entries: u64, rows: Option<&[StateRow]>) -> Reading {
        let others = |rows: &[StateRow]| {
            rows.iter()
                .filter(|row| !stays(row))
                .map(|row| row.entries.value)
                .sum()
        };
        Reading {
            secs,
            entries: entries as f64,
            others: rows.map(others),
        }
    }
}

/// `readings`: oldest first; `rows`: of the last one.
pub fn forecast(readings: &[Reading], max: Option<u64>, rows: Option<&[StateRow]>) -> Option<Forecast> {
    let last = *readings.last()?;
    let recent: Vec<Reading> = readings
        .iter()
        .filter(|reading| last.secs - reading.secs <= LAST_SECS)
        .copied()
        .collect();
    if recent.len() < FEWEST {
        return None;
    }
    let growth_per_s = slope(&recent, |reading| Some(reading.entries))?;
    let others = slope(&recent, |reading| reading.others);
    let level_in_sight = others.is_some_and(|others| others <= growth_per_s.max(0.0) * OTHERS_SHARE);
    let plateau = rows
        .filter(|_| level_in_sight)
        .map(|rows| rows.iter().map(level).sum::<f64>());
    let full_in_s = max.filter(|max| *max > 0).and_then(|max| {
        let left = max as f64 - last.entries;
        let reached = plateau.is_none_or(|plateau| plateau >= max as f64);
        match left {
            left if left <= 0.0 => Some(0.0),
            left if growth_per_s > 0.0 && reached => Some(left / growth_per_s),
            _ => None,
        }
    });
    Some(Forecast {
        growth_per_s,
        plateau,
        full_in_s,
    })
}

/// What a state levels off at: arrivals a second times the seconds that each stays.
fn level(row: &StateRow) -> f64 {
    let arrives = row.new_per_s.map(|rate| rate.value).filter(|_| stays(row));
    match (arrives, row.timeout_s) {
        (Some(rate), Some(timeout)) => (rate * f64::from(timeout)).max(row.entries.value),
        _ => row.entries.value,
    }
}

/// Nothing but time ends an entry in these states.
fn stays(row: &StateRow) -> bool {
    matches!(row.state.as_deref(), Some("SYN_SENT" | "TIME_WAIT" | "CLOSE"))
}

/// Least squares; `None` where a reading lacks the figure.
fn slope(readings: &[Reading], of: impl Fn(&Reading) -> Option<f64>) -> Option<f64> {
    let points: Vec<(f64, f64)> = readings
        .iter()
        .map(|reading| Some((reading.secs, of(reading)?)))
        .collect::<Option<_>>()?;
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let over: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let under: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Estimate;

    fn row(state: &str, entries: f64, new_per_s: f64, timeout_s: u32) -> StateRow {
        StateRow {
            proto: "tcp".into(),
            state: Some(state.into()),
            entries: Estimate::exact(entries),
            new_per_s: Some(Estimate::exact(new_per_s)),
            timeout_s: Some(timeout_s),
            ..StateRow::default()
        }
    }

    fn readings(all: &[(f64, f64, f64)]) -> Vec<Reading> {
        let reading = |(secs, entries, others): &(f64, f64, f64)| Reading {
            secs: *secs,
            entries: *entries,
            others: Some(*others),
        };
        all.iter().map(reading).collect()
    }

    #[test]
    fn a_steady_stream_fills_the_table_or_levels_off_before() {
        let steady: Vec<_> = (0..6)
            .map(|n| (f64::from(n), 100.0 + 50.0 * f64::from(n), 0.0))
            .collect();
        let rows = [
            row("SYN_SENT", 350.0, 50.0, 120),
            row("ESTABLISHED", 0.0, 5.0, 432_000),
        ];
        let of = |max| forecast(&readings(&steady), Some(max), Some(&rows)).expect("six readings");
        let got = of(4000);
        assert!((got.growth_per_s - 50.0).abs() < 1e-9);
        assert_eq!(got.plateau, Some(6000.0));
        assert!(
            got.full_in_s.is_some_and(|secs| (secs - 73.0).abs() < 1e-6),
            "{got:?}"
        );
        // 50 a second for 120 s are 6,000: no more.
        assert_eq!(of(8000).full_in_s, None);
        assert_eq!(of(300).full_in_s, Some(0.0));
    }

    #[test]
    fn connections_that_stay_open_have_no_level_in_sight() {
        let grows: Vec<_> = (0..6)
            .map(|n| (f64::from(n), 50.0 * f64::from(n), 40.0 * f64::from(n)))
            .collect();
        let rows = [row("ESTABLISHED", 200.0, 40.0, 432_000)];
        let got = forecast(&readings(&grows), Some(1000), Some(&rows)).expect("six readings");
        assert_eq!((got.plateau, got.full_in_s), (None, Some(15.0)));
    }

    #[test]
    fn two_readings_tell_nothing_and_a_table_that_shrinks_is_never_full() {
        assert_eq!(
            forecast(&readings(&[(0.0, 1.0, 0.0), (1.0, 2.0, 0.0)]), Some(9), None),
            None
        );
        let shrinks = readings(&[(0.0, 9.0, 9.0), (1.0, 8.0, 8.0), (2.0, 7.0, 7.0)]);
        assert_eq!(forecast(&shrinks, Some(10), None).and_then(|f| f.full_in_s), None);
        // What was long ago is not looked at.
        let turned = readings(&[
            (0.0, 0.0, 0.0),
            (100.0, 900.0, 0.0),
            (101.0, 800.0, 0.0),
            (102.0, 700.0, 0.0),
        ]);
        let got = forecast(&turned, Some(1000), None).expect("three recent ones");
        assert!(got.growth_per_s < -99.0);
    }
}
