//! What a sample says of the whole: Wilson intervals with a finite population.
//!
//! The hash is keyed and random, so the first k entries of a dump are a random sample of the table.

use crate::model::Estimate;

/// How many entries were looked at, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub looked_at: u64,
    /// `None`: the pass saw every entry.
    pub of: Option<u64>,
}

impl Sample {
    pub fn all(looked_at: u64) -> Sample {
        Sample { looked_at, of: None }
    }

    /// What `hits` entries of the sample say about the table.
    pub fn estimate(&self, hits: u64) -> Estimate {
        Estimate::of_sample(hits, self.looked_at, self.of.unwrap_or(self.looked_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_pass_is_exact() {
        assert_eq!(Sample::all(10).estimate(7), Estimate::exact(7.0));
        assert_eq!(
            Sample {
                looked_at: 10,
                of: Some(10)
            }
            .estimate(7),
            Estimate::exact(7.0)
        );
    }

    #[test]
    fn two_in_five_of_a_million() {
        let got = Sample {
            looked_at: 20_000,
            of: Some(1_000_000),
        }
        .estimate(8_000);
        assert_eq!(got.value, 400_000.0);
        // 1.96 * sqrt(0.4 * 0.6 / 20000 * 0.98) = 0.00672 of a million.
        assert!((393_200.0..393_400.0).contains(&got.low), "{got:?}");
        assert!((406_600.0..406_800.0).contains(&got.high), "{got:?}");
    }

    #[test]
    fn nothing_seen_still_has_an_upper_bound() {
        let got = Sample {
            looked_at: 1_000,
            of: Some(100_000),
        }
        .estimate(0);
        assert_eq!((got.value, got.low), (0.0, 0.0));
        assert!(got.high > 300.0 && got.high < 500.0, "{got:?}");
    }

    #[test]
    fn an_empty_sample_knows_nothing() {
        let got = Sample {
            looked_at: 0,
            of: Some(500),
        }
        .estimate(0);
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
