//! One timeout of the recommendation.

use serde::{Serialize, Serializer};

use super::fill::{Traffic, Whole};
use super::floors::{Floor, floor, handshake_floor};
use super::proposal::{Known, Proposal, count, proposal};
use super::targets::Trouble;
use crate::evidence::{Evidence, may_renew_syn_sent};
use crate::model::Timer;
use crate::tune::measured::{Measured, Quantiles};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Keep,
    Lower,
    Raise,
    /// For one destination's flows alone.
    Target,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(serialize_with = "name", rename = "timeout")]
    pub timer: Timer,
    pub now_s: Option<u32>,
    pub recommended_s: Option<u32>,
    pub change: Change,
    pub because: String,
    /// The least that is safe by what is known, whether or not it is worth it.
    pub least_s: Option<u32>,
    pub floor_s: u32,
    pub floor_source: String,
    /// What an RFC asks for, where the recommended value is below.
    pub below: Option<&'static str>,
    pub arrivals_per_s: Option<f64>,
    /// Seconds until an entry moved on to the next state, or was answered.
    pub moved_s: Option<Quantiles>,
    /// Share of the entries that stay until their time is over, 0 to 1.
    pub by_timeout: Option<f64>,
    /// Silences, in seconds at most, after which a packet came.
    pub silences_s: Option<Quantiles>,
    pub entries: f64,
    pub peak: u64,
    pub price: Price,
    pub fill: Fill,
    /// Stays and silences that were measured.
    pub samples: u64,
    /// Observing for so long may tell what this observation could not.
    pub observe_s: Option<f64>,
}

/// What the recommended value would have cost in the observation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Price {
    /// Connections whose stay or silence was longer.
    pub cut: u64,
    pub of: u64,
    /// By destination, of the longest ones.
    pub to: Vec<(String, u64)>,
    /// An hour has no more of them, with 95 % confidence, if it is like what was observed.
    pub most_per_hour: Option<f64>,
}

/// Entries in the long run at the observed rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Fill {
    /// Under today's timeout.
    pub now: f64,
    /// Under the recommended one.
    pub then: f64,
    /// Under the least that is safe.
    pub least: f64,
}

fn name<S: Serializer>(timer: &Timer, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(timer.name())
}

/// What all rows share.
pub struct Around<'a> {
    pub evidence: &'a Evidence,
    pub measured: &'a Measured,
    pub headroom: f64,
    pub behind_nat: bool,
    /// So many entries fewer, at the headroom's rate, are worth a change.
    pub worth: f64,
}

impl Around<'_> {
    /// `None` where there is no sysctl, or its value was not read.
    pub fn row(&self, timer: Timer) -> Option<Row> {
        let evidence = self.evidence;
        timer.sysctl()?;
        let now = evidence.timeouts.get(timer)?;
        let of = self.measured.of(timer);
        let traffic = Traffic::new(timer, of, now, &self.whole());
        let floor = floor(timer, &evidence.settings, self.behind_nat);
        let decided = self.decide(&traffic, proposal(&traffic, &self.known(&floor)));
        let fill = |secs| traffic.entries_under(secs);
        let (recommended, least) = (decided.secs, decided.least_secs);
        let floor = match least {
            Some(secs) if timer == Timer::SynSent && secs < floor.secs => Floor {
                asked: floor.asked,
                ..handshake_floor()
            },
            _ => floor,
        };
        Some(Row {
            timer,
            now_s: Some(now),
            recommended_s: Some(recommended),
            change: decided.change,
            because: decided.because,
            least_s: least,
            floor_s: floor.secs,
            floor_source: floor.source.clone(),
            below: floor
                .asked
                .filter(|(secs, _)| recommended < *secs)
                .map(|(_, text)| text),
            arrivals_per_s: traffic.arrivals_per_s,
            moved_s: Quantiles::of(&of.moved_ms),
            by_timeout: traffic.by_timeout,
            silences_s: Quantiles::of(&of.silences_ms),
            entries: traffic.entries,
            peak: of.peak,
            price: self.price(timer, recommended),
            fill: Fill {
                now: fill(now),
                then: fill(recommended),
                least: fill(least.unwrap_or(recommended).min(recommended)),
            },
            samples: of.samples(),
            observe_s: decided.observe_secs,
        })
    }

    /// A value is changed only where that is worth it.
    fn decide(&self, traffic: &Traffic, proposed: Proposal) -> Decided {
        let now = traffic.now_secs;
        let fill = |secs| traffic.entries_under(secs);
        let keep = |least_secs, because| Decided {
            change: Change::Keep,
            secs: now,
            least_secs,
            because,
            observe_secs: None,
        };
        match proposed {
            Proposal::Down { secs, because } => {
                let saved = (fill(now) - fill(secs)) * self.headroom;
                if saved < self.worth {
                    let text = format!(
                        "{} s would do, but free only {} entries at {} times the rate",
                        count(secs),
                        count(saved.max(0.0) as i64),
                        self.headroom
                    );
                    return keep(Some(secs), text);
                }
                Decided {
                    change: Change::Lower,
                    secs,
                    ..keep(Some(secs), because)
                }
            }
            Proposal::Up { secs, because } => Decided {
                change: Change::Raise,
                secs,
                ..keep(Some(secs), because)
            },
            Proposal::Stay { because } => keep(Some(now), because),
            // What holds nothing is not worth a longer look.
            Proposal::Unknown { .. } if fill(now) * self.headroom < self.worth => {
                let text = format!("it holds {} entries: nothing is gained", count(fill(now) as i64));
                keep(None, text)
            }
            Proposal::Unknown {
                observe_secs,
                because,
            } => Decided {
                observe_secs,
                ..keep(None, because)
            },
        }
    }

    fn whole(&self) -> Whole<'_> {
        let rows = self.evidence.states.as_deref().unwrap_or(&[]);
        let met: u64 = Timer::ALL
            .into_iter()
            .map(|timer| self.measured.of(timer).entries)
            .sum();
        let all: f64 = rows.iter().map(|row| row.entries.value).sum();
        let sampled = rows.iter().any(|row| !row.entries.is_exact());
        Whole {
            rows,
            scale: if sampled && met > 0 { all / met as f64 } else { 1.0 },
            secs: self.measured.secs,
            heard_secs: self.measured.heard_secs(),
        }
    }

    fn known<'b>(&'b self, floor: &'b Floor) -> Known<'b> {
        let evidence = self.evidence;
        let idle = evidence.lasting.as_ref().map(|lasting| &lasting.established.stay);
        // Only where every one of the idle entries has an end here.
        let joined = idle.and_then(|stay| Some((stay, stay.joined?)));
        let joined = joined.filter(|(stay, joined)| joined.entries.value >= stay.pile.entries.value);
        Known {
            floor,
            heard_secs: match self.measured.updates {
                0 => 0.0,
                _ => self.measured.heard_secs(),
            },
            secs: self.measured.secs,
            lost: self.measured.lost,
            syn_renews: evidence.host.kernel.as_deref().is_none_or(may_renew_syn_sent),
            idle_joined: joined.map(|(_, joined)| (joined.looked_for, joined.found)),
        }
    }

    fn price(&self, timer: Timer, secs: u32) -> Price {
        let of = self.measured.of(timer);
        let cut = of.longer_than(secs);
        let hours = self.measured.secs / 3_600.0;
        let most = match cut {
            // The rule of three.
            0 => 3.0,
            // An upper bound of a Poisson count's 95 % bound.
            cut => cut as f64 + 1.96 * (cut as f64).sqrt() + 2.0,
        };
        let label = |(place, n): ((std::net::IpAddr, u16, u8), u64)| {
            (std::net::SocketAddr::new(place.0, place.1).to_string(), n)
        };
        Price {
            cut,
            of: of.samples(),
            to: of
                .cut
                .longer_than(secs)
                .into_iter()
                .take(MAX_NAMED)
                .map(label)
                .collect(),
            most_per_hour: (of.samples() > 0 && hours > 0.0).then(|| most / hours),
        }
    }
}

/// What is made of a proposal.
struct Decided {
    change: Change,
    secs: u32,
    least_secs: Option<u32>,
    because: String,
    observe_secs: Option<f64>,
}

/// Destinations named in a price.
const MAX_NAMED: usize = 3;

impl Row {
    /// What is for some destinations alone leaves the others' as it is.
    pub fn target(&mut self, targets: &[Trouble], around: &Around) {
        let mine = || {
            targets
                .iter()
                .filter(|trouble| trouble.timeout == self.timer.name())
        };
        if mine().next().is_none() {
            return;
        }
        let entries: f64 = mine().map(|trouble| trouble.entries).sum();
        let share = (entries / self.entries.max(1.0)).min(1.0);
        self.recommended_s = mine().map(|trouble| trouble.secs).min();
        self.fill.then = self.fill.now - share * (self.fill.now - self.fill.least);
        self.price = around.price(self.timer, self.recommended_s.unwrap_or(u32::MAX));
        self.change = Change::Target;
    }
}
