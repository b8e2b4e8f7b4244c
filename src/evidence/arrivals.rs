//! How many entries enter a state each second, told by the youngest ages.

use hdrhistogram::Histogram;

use super::sampling::Sample;
use crate::model::Estimate;

/// Arrivals are counted over the entries of at most this age.
pub const ARRIVAL_SECS: u64 = 10;

/// `ages`: seconds in the state. Where all are younger, over the time that they span.
pub fn per_second(ages: &Histogram<u32>, sample: Sample) -> Estimate {
    let secs = ARRIVAL_SECS.min(ages.max()).max(1);
    let young = sample.estimate(ages.count_between(0, secs));
    let per = |n: f64| n / secs as f64;
    Estimate {
        value: per(young.value),
        low: per(young.low),
        high: per(young.high),
    }
}
