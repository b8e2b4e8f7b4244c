//! What a few entries met say of a pile's ends: how many there are, and whether some stand out.

use std::net::IpAddr;

use foldhash::HashMap;

use super::{Crowd, sampling::Sample};
use crate::model::Estimate;

/// Address and port of who is to answer.
pub type End = (IpAddr, u16);

/// The largest of a few entries met are largest by chance: those met less often than this prove nothing.
const LEAST_MET: u64 = 3;

/// The share of a pile's settled entries that its largest destinations take.
pub fn top_share(largest: &[(End, u64)], settled: u64, sample: Sample) -> Estimate {
    let met = |least: u64| largest.iter().map(|d| d.1).filter(|n| *n >= least).sum();
    let all = sample.share(met(1), settled);
    let sure = sample.share(met(if sample.is_part() { LEAST_MET } else { 1 }), settled);
    Estimate { low: sure.low, ..all }
}

/// A source met once in a sample may have any number of entries; how often two entries met are of one source tells
/// how many share theirs with others.
pub fn crowd(sources: &HashMap<IpAddr, u32>, sample: Sample) -> Option<Crowd> {
    if !sample.is_part() || sources.is_empty() {
        return None;
    }
    let (mut once, mut twice, mut often) = (0u64, 0u64, 0u64);
    for met in sources.values() {
        match met {
            1 => once += 1,
            2 => twice += 1,
            _ => often += 1,
        }
    }
    // Sources met often are known; among the others, two entries of one source meet by chance.
    let (met, twice, often) = ((once + 2 * twice) as f64, twice as f64, often as f64);
    let there = met / sample.fraction();
    let pairs = met * (met - 1.0) / 2.0;
    let shared = |found: f64| {
        if pairs > 0.0 {
            (found * (there - 1.0) / pairs).min(1.0)
        } else {
            1.0
        }
    };
    let split = |shared: f64| {
        let (single, several) = ((1.0 - shared) * there, shared * there / 2.0);
        (
            single + several + often,
            single / (single + several + often).max(1.0),
        )
    };
    let most = shared(twice + 1.96 * twice.sqrt() + 3.0);
    let looked = sources.len() as f64;
    let (value, one_shot) = split(if twice > 0.0 { shared(twice) } else { 0.0 });
    Some(Crowd {
        sources: Estimate {
            value: value.max(looked).round(),
            low: looked,
            high: (there + often).max(looked).ceil(),
        },
        one_shot: Estimate {
            value: one_shot,
            low: split(most).1.min(one_shot),
            high: (once as f64 / looked).max(one_shot),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use foldhash::HashMapExt;

    use super::*;

    /// So many entries met at random, of so many sources.
    fn met(entries: u64, sources: u64) -> HashMap<IpAddr, u32> {
        let mut out = HashMap::new();
        let mut seed = 1u64;
        for _ in 0..entries {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let addr = Ipv4Addr::from(((seed >> 33) % sources) as u32);
            *out.entry(addr.into()).or_default() += 1;
        }
        out
    }

    #[test]
    fn few_entries_met_do_not_make_few_destinations() {
        let end = |n: u32| (IpAddr::from(Ipv4Addr::from(n)), 80);
        let sample = Sample::fresh(460, 17_800);
        let once: Vec<(End, u64)> = (0..10).map(|n| (end(n), 1)).collect();
        let got = top_share(&once, 20, sample);
        assert_eq!((got.value, got.low), (0.5, 0.0));
        let one = top_share(&[(end(1), 20)], 20, sample);
        assert!(one.low > 0.8 && one.value == 1.0, "{one:?}");
        assert_eq!(top_share(&once, 20, Sample::all(460)), Estimate::exact(0.5));
    }

    #[test]
    fn a_source_met_once_may_have_many_entries() {
        // 1,000 sources with 5 entries each.
        let few = met(228, 1_000);
        let looked_at = few.values().filter(|n| **n == 1).count() as f64 / few.len() as f64;
        let got = crowd(&few, Sample::fresh(900, 20_000)).unwrap();
        assert!(looked_at > 0.7 && got.one_shot.low < 0.5, "{looked_at} {got:?}");
        assert!(
            got.sources.low == few.len() as f64 && got.sources.high > 4_000.0,
            "{got:?}"
        );
        // So many sources that each has one entry.
        let got = crowd(&met(4_000, 1 << 30), Sample::fresh(5_000, 125_000)).unwrap();
        assert!(got.one_shot.low > 0.9, "{got:?}");
        assert_eq!(crowd(&few, Sample::all(228)), None);
    }

    #[test]
    fn one_busy_client_does_not_hide_a_flood() {
        let mut flood = met(4_000, 1 << 30);
        flood.insert(Ipv4Addr::LOCALHOST.into(), 900);
        let got = crowd(&flood, Sample::fresh(5_000, 125_000)).unwrap();
        assert!(got.one_shot.low > 0.9, "{got:?}");
    }
}
