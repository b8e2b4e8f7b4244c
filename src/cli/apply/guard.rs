//! Whether something went wrong since: what conntrack loses, and handshakes that fail, beside what they were before.

use crate::collect::{self, Presence};
use crate::kernel::Kernel;
use crate::model::Moment;

/// Conntrack's own counters of what is lost.
const COUNTERS: [&str; 5] = ["drop", "early_drop", "insert_failed", "chaintoolong", "invalid"];
/// Handshakes of this host that ended in nothing.
const FAILS: &str = "Tcp.AttemptFails";
/// So many more than expected may come by chance, …
const SIGMAS: f64 = 3.0;
const FEW: f64 = 10.0;
/// … and no harm is meant below so many times.
const TIMES: f64 = 2.0;

/// Totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    at: Moment,
    totals: Vec<(String, u64)>,
}

impl Damage {
    /// Of what it read at all, nothing is left to compare.
    pub fn is_blind(&self) -> bool {
        self.totals.is_empty()
    }

    pub fn read(kernel: &mut dyn Kernel) -> Damage {
        let presence = Presence::read(kernel);
        let (at, stats, net, _) = collect::counters(kernel, &presence);
        let mut totals = Vec::new();
        if let Some(stats) = stats {
            let named = stats.named();
            for name in COUNTERS {
                if let Some((_, Some(total))) = named.iter().find(|(known, _)| *known == name) {
                    totals.push((name.to_string(), *total));
                }
            }
        }
        if let Some(fails) = net.as_ref().and_then(|net| net.get(FAILS)) {
            totals.push((FAILS.to_string(), fails.max(0) as u64));
        }
        Damage { at, totals }
    }

    fn since(&self, earlier: &Damage) -> Vec<(String, f64)> {
        let rise = |(name, total): &(String, u64)| {
            let (_, before) = earlier.totals.iter().find(|(known, _)| known == name)?;
            // Counters of 32 bits wrap.
            Some((name.clone(), (*total as u32).wrapping_sub(*before as u32).into()))
        };
        self.totals.iter().filter_map(rise).collect()
    }
}

/// Before it was written: the rates to compare with.
pub struct Baseline {
    began: Damage,
    pub ended: Damage,
}

impl Baseline {
    pub fn new(began: Damage, ended: Damage) -> Baseline {
        Baseline { began, ended }
    }

    /// Whether there is anything to compare with.
    pub fn sees(&self) -> bool {
        !self.ended.is_blind()
    }

    /// What rose, in a sentence.
    pub fn worse(&self, now: &Damage) -> Option<String> {
        let before_secs = self.ended.at.secs_since(self.began.at);
        let since_secs = now.at.secs_since(self.ended.at);
        let before = self.ended.since(&self.began);
        now.since(&self.ended).into_iter().find_map(|(name, rise)| {
            let was = before
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(0.0, |(_, n)| *n);
            let expected = if before_secs > 0.0 {
                was / before_secs * since_secs
            } else {
                0.0
            };
            is_worse(rise, expected).then(|| {
                format!(
                    "{name} rose by {rise:.0} in {since_secs:.0} s, and {expected:.0} were to be expected"
                )
            })
        })
    }
}

fn is_worse(rise: f64, expected: f64) -> bool {
    rise > expected + SIGMAS * expected.sqrt() + FEW && rise > TIMES * expected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(secs: f64, invalid: u64) -> Damage {
        Damage {
            at: Moment::default().plus_secs(secs),
            totals: vec![("drop".to_string(), 7), ("invalid".to_string(), invalid)],
        }
    }

    #[test]
    fn chance_is_no_damage_and_a_wrap_is_no_rise() {
        let quiet = Baseline::new(damage(0.0, 1_000), damage(3.0, 1_000));
        assert_eq!(quiet.worse(&damage(10.0, 1_009)), None);
        let worse = quiet.worse(&damage(10.0, 1_020)).expect("twenty from nothing");
        assert!(worse.starts_with("invalid rose by 20 in 7 s"), "{worse}");
        // Ten a second before: seventy in seven seconds are no more than that.
        let busy = Baseline::new(damage(0.0, 0), damage(3.0, 30));
        assert_eq!(busy.worse(&damage(10.0, 130)), None);
        assert!(busy.worse(&damage(10.0, 400)).is_some());
        let wraps = Baseline::new(
            damage(0.0, u64::from(u32::MAX) - 1),
            damage(3.0, u64::from(u32::MAX)),
        );
        assert_eq!(wraps.worse(&damage(10.0, 2)), None);
    }
}
