//! What a sample says of the whole: Wilson intervals with a finite population.
//!
//! The hash is keyed and random, so the first k entries of a dump are a random sample of the table. How many entries
//! there are to show is known only within bounds: `nf_conntrack_count` holds expired ones, which no dump shows.

use crate::model::{Estimate, TableLook, TableSource};

/// The normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.96;
/// None met of what is there at random still allows for so many (the rule of three).
const THREE: f64 = 3.0;
/// Entries that the kernel walked beyond those that were read: it fills the next 32 KiB reply while one is read.
const READ_AHEAD: f64 = 320.0;

/// How many entries were looked at, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub looked_at: u64,
    /// The count, expired entries included. `None`: the pass saw every entry.
    pub of: Option<u64>,
    /// Of these, the ones that had expired.
    pub expired: Estimate,
}

impl Sample {
    pub fn all(looked_at: u64) -> Sample {
        Sample {
            looked_at,
            of: None,
            expired: Estimate::default(),
        }
    }

    /// A sample of a table that has no expired entries.
    pub fn fresh(looked_at: u64, of: u64) -> Sample {
        Sample {
            of: Some(of),
            ..Sample::all(looked_at)
        }
    }

    /// `arrivals`: entries that may have come since the count was read.
    pub fn of_look(look: &TableLook, arrivals: f64) -> Sample {
        Sample {
            looked_at: look.dumped,
            of: look.sampled_of,
            expired: expired(look, arrivals),
        }
    }

    /// Entries were left out.
    pub fn is_part(&self) -> bool {
        self.of.is_some_and(|of| of > self.looked_at)
    }

    /// The share of the table's entries that was looked at, at most 1.
    pub fn fraction(&self) -> f64 {
        match self.of {
            Some(of) if self.is_part() => {
                (self.looked_at as f64 / self.alive(of, self.expired.value)).min(1.0)
            }
            _ => 1.0,
        }
    }

    /// What `hits` entries of the sample say about the table.
    pub fn estimate(&self, hits: u64) -> Estimate {
        let Some(of) = self.of.filter(|_| self.is_part()) else {
            return Estimate::exact(hits as f64);
        };
        let of_table = |expired| {
            let alive = self.alive(of, expired);
            Estimate::of_sample(hits, self.looked_at, alive.round() as u64)
        };
        Estimate {
            value: of_table(self.expired.value).value,
            low: of_table(self.expired.high).low,
            high: of_table(self.expired.low).high,
        }
    }

    /// What `part` of `whole` entries of the sample say about the share, 0 to 1.
    pub fn share(&self, part: u64, whole: u64) -> Estimate {
        let share = part as f64 / whole.max(1) as f64;
        if !self.is_part() || whole == 0 {
            return Estimate::exact(share);
        }
        let all = (whole as f64 / self.fraction()).round();
        let met = Estimate::of_sample(part, whole, all as u64);
        Estimate {
            value: share,
            low: (met.low / all).min(share),
            high: (met.high / all).max(share),
        }
    }

    /// A figure about the entries looked at, which has bounds of its own, as one about the table: both errors at once.
    pub fn spread(&self, part: Estimate) -> Estimate {
        if !self.is_part() {
            return part;
        }
        let sampled = self.estimate(part.value.round() as u64);
        let scale = 1.0 / self.fraction().max(f64::MIN_POSITIVE);
        let value = part.value * scale;
        let error = |own: f64, of_sample: f64| (own * scale).hypot(of_sample);
        Estimate {
            value,
            low: (value - error(part.value - part.low, sampled.value - sampled.low)).max(part.low),
            high: value + error(part.high - part.value, sampled.high - sampled.value),
        }
    }

    fn alive(&self, of: u64, expired: f64) -> f64 {
        (of as f64 - expired).max(self.looked_at as f64).max(1.0)
    }
}

/// A dump collects the expired entries of each bucket that it walks (ctnetlink_dump_table), so what the count fell by
/// meanwhile tells how many the other buckets have. Arrivals may hide some; collections by others look like more.
fn expired(look: &TableLook, arrivals: f64) -> Estimate {
    let Some(of) = look.sampled_of.filter(|_| look.source != TableSource::Pasted) else {
        return Estimate::default();
    };
    let (of, dumped) = (of as f64, look.dumped as f64);
    let most = (of - dumped).max(0.0);
    let Some(after) = look.count_after else {
        return Estimate {
            value: 0.0,
            low: 0.0,
            high: most,
        };
    };
    let fell = of - after as f64;
    let noise = Z * (fell.max(0.0) + arrivals).sqrt() + THREE;
    Estimate {
        value: before_collecting(fell.max(0.0), dumped + READ_AHEAD / 2.0, of, most),
        low: (fell - noise).clamp(0.0, most),
        high: before_collecting((fell + arrivals).max(0.0) + noise, dumped, of, most),
    }
}

/// How many expired entries there were among `of`, where walking past `walked` live ones collected so many. An entry
/// stands in two buckets, one for each direction, and is collected from whichever comes first.
fn before_collecting(collected: f64, walked: f64, of: f64, most: f64) -> f64 {
    let collects = |expired: f64| {
        let fraction = (walked / (of - expired).max(1.0)).min(1.0);
        expired * (1.0 - (1.0 - fraction) * (1.0 - fraction))
    };
    let (mut low, mut high) = (0.0, most);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if collects(middle) < collected {
            low = middle;
        } else {
            high = middle;
        }
    }
    if collected <= 0.0 { 0.0 } else { high.floor() }
}

/// Of 2^32 entries these leave less than one.
const HALVINGS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Moment;

    fn look(dumped: u64, of: u64, count_after: Option<u64>) -> TableLook {
        TableLook {
            source: TableSource::Ctnetlink,
            started: Moment::default(),
            ended: Moment::default(),
            dumped,
            sampled_of: Some(of),
            count_after,
            duplicates: 0,
            malformed: 0,
        }
    }

    #[test]
    fn what_a_dump_collected_tells_the_expired() {
        // 8,000 live and 8,000 expired entries; 1,000 were read, 1,160 walked: a seventh of the buckets, and with the
        // other direction's more than a quarter of the expired.
        let sample = Sample::of_look(&look(1_000, 16_000, Some(16_000 - 2_152)), 0.0);
        assert!((7_500.0..8_500.0).contains(&sample.expired.value), "{sample:?}");
        let all = sample.estimate(1_000);
        assert!((7_500.0..8_500.0).contains(&all.value), "{all:?}");
        assert!(
            all.low < 8_000.0 && all.high > 8_000.0 && all.high < 16_000.0,
            "{all:?}"
        );
    }

    #[test]
    fn a_fresh_table_keeps_its_interval() {
        let fresh = Sample::fresh(5_000, 100_000).estimate(2_000);
        let got = Sample::of_look(&look(5_000, 100_000, Some(100_000)), 0.0);
        assert_eq!(got.expired.value, 0.0);
        let got = got.estimate(2_000);
        assert_eq!((got.value, got.high), (fresh.value, fresh.high));
        assert!(fresh.low - got.low <= 30.0, "{got:?} {fresh:?}");
    }

    #[test]
    fn arrivals_may_hide_what_was_collected() {
        let quiet = Sample::of_look(&look(5_000, 100_000, Some(100_000)), 0.0).expired;
        let busy = Sample::of_look(&look(5_000, 100_000, Some(100_000)), 500.0).expired;
        assert!(quiet.high < 50.0 && busy.high > 5_000.0, "{quiet:?} {busy:?}");
    }

    #[test]
    fn where_nothing_tells_only_what_was_met_is_sure() {
        let sample = Sample::of_look(&look(1_000, 16_000, None), 0.0);
        let got = sample.estimate(900);
        assert_eq!((got.low, got.value), (900.0, 14_400.0));
    }

    #[test]
    fn errors_of_their_own_and_of_the_sample_add_up() {
        let sample = Sample::fresh(1_000, 100_000);
        let plain = sample.spread(Estimate::exact(400.0));
        let sampled = sample.estimate(400);
        assert_eq!(plain.value, 40_000.0);
        assert!((plain.low - sampled.low).abs() < 2.0 && (plain.high - sampled.high).abs() < 2.0);
        let part = Estimate {
            value: 400.0,
            low: 300.0,
            high: 450.0,
        };
        let got = sample.spread(part);
        assert!(got.low < 30_000.0 && got.low > 29_000.0, "{got:?}");
        assert!(got.high > 45_000.0 && got.high < 46_500.0, "{got:?}");
        assert_eq!(Sample::all(1_000).spread(part), part);
    }

    #[test]
    fn a_whole_pass_is_exact() {
        assert_eq!(Sample::all(10).estimate(7), Estimate::exact(7.0));
        assert_eq!(Sample::fresh(10, 10).estimate(7), Estimate::exact(7.0));
    }

    #[test]
    fn two_in_five_of_a_million() {
        let got = Sample::fresh(20_000, 1_000_000).estimate(8_000);
        assert_eq!(got.value, 400_000.0);
        // 1.96 * sqrt(0.4 * 0.6 / 20000 * 0.98) = 0.00672 of a million.
        assert!((393_200.0..393_400.0).contains(&got.low), "{got:?}");
        assert!((406_600.0..406_800.0).contains(&got.high), "{got:?}");
    }

    #[test]
    fn nothing_seen_still_has_an_upper_bound() {
        let got = Sample::fresh(1_000, 100_000).estimate(0);
        assert_eq!((got.value, got.low), (0.0, 0.0));
        assert!(got.high > 300.0 && got.high < 500.0, "{got:?}");
    }

    #[test]
    fn an_empty_sample_knows_nothing() {
        let got = Sample::fresh(0, 500).estimate(0);
        assert_eq!(
            got,
            Estimate {
                value: 0.0,
                low: 0.0,
                high: 500.0
            }
        );
    }
}
