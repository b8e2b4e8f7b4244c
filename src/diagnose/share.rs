//! How much of the table's limit one kind of entries takes, and from where on that is a fault.

use super::half_open::EXACT;
use super::report::Fix;
use super::rule::{Verdict, Weighed, count, estimate, fix, whole};
use crate::evidence::{Evidence, Table};
use crate::model::Estimate;

/// Entries that nobody needs are a fault where they take half of the limit: everything else can then no longer double,
/// which a spike does within one timeout. Below that they are arrivals times timeout, and harm nobody.
pub const OWN_SHARE: f64 = 0.5;
/// Or where so little room is left that a quarter more of everything fills the table …
pub const HIGH_FILL: f64 = 0.8;
/// … and they are the greater part of what is in it.
pub const MAJORITY: f64 = 0.5;

/// The kernel keeps both sizes in an int.
const LARGEST_MAX: u64 = i32::MAX as u64;

/// What entries take of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub entries: Estimate,
    /// Of nf_conntrack_max.
    pub of_max: Estimate,
    pub max: f64,
    /// All entries that are not expired, of nf_conntrack_max.
    pub fill: f64,
}

/// The share, where it is a fault; else what the rule is to answer. `name`: `TIME_WAIT entries`.
pub fn pressing(evidence: &Evidence, entries: Estimate, name: &str) -> Result<Share, Verdict> {
    let max = evidence.table.as_ref().and_then(|t| t.max);
    let Some(max) = max.map(|max| max as f64) else {
        return Err(Verdict::unknown("nf_conntrack_max was not read"));
    };
    if max <= 0.0 {
        return Err(Verdict::clear("nf_conntrack_max is 0: the table has no limit"));
    }
    let of = |n: f64| n / max;
    let alive = evidence
        .states
        .as_ref()
        .map(|rows| Estimate::sum(rows.iter().map(|r| r.entries)).value);
    let counted = evidence.table.as_ref().and_then(|t| t.count).map(|n| n as f64);
    let all = alive.or(counted).unwrap_or(entries.value).max(entries.value);
    let share = Share {
        entries,
        of_max: Estimate {
            value: of(entries.value),
            low: of(entries.low),
            high: of(entries.high),
        },
        max,
        fill: of(all),
    };
    let presses = |n: f64| of(n) >= OWN_SHARE || share.fill >= HIGH_FILL && n >= all * MAJORITY;
    let text = format!(
        "{} {name} take {:.1} % of the limit, which is {:.1} % used",
        count(entries),
        share.of_max.value * 100.0,
        share.fill * 100.0
    );
    match (presses(entries.low), presses(entries.high)) {
        (true, _) => Ok(share),
        (false, true) => Err(Verdict::leaning(text, EXACT)),
        (false, false) => Err(Verdict::clear(text)),
    }
}

/// The answer where a kind of entries was not told apart: all entries together may be too few for `share` of the limit,
/// whichever they are.
pub fn unseen(evidence: &Evidence, share: f64, because: &str) -> Verdict {
    match evidence.table.as_ref().and_then(|t| t.fill) {
        Some(fill) if fill < share => Verdict::clear(format!(
            "{because}, but all entries together take {:.1} % of the limit",
            fill * 100.0
        )),
        _ => Verdict::unknown(because),
    }
}

impl Share {
    pub fn weighed(&self, nats: f64, name: &str) -> Weighed {
        let text = format!(
            "{} {name} take {:.0} % of the limit of {}, which is {:.0} % used",
            count(self.entries),
            self.of_max.value * 100.0,
            whole(self.max),
            self.fill * 100.0
        );
        estimate("share-of-limit", nats, text, self.of_max, "of max")
    }
}

/// How so many entries come about: arrivals x timeout. It explains them, and proves nothing of who is at fault.
pub fn little(entries: Estimate, new_per_s: Option<Estimate>, timeout: Option<u32>) -> Option<Weighed> {
    let timeout = timeout?;
    let rate = new_per_s.filter(|rate| rate.value >= 1.0)?;
    let times = |n: f64| n * f64::from(timeout);
    let predicted = times(rate.value);
    let fits = (entries.value / predicted - 1.0).abs() <= 0.3;
    let text = format!(
        "{} a second x {timeout} s timeout = {}{}",
        whole(rate.value),
        whole(predicted),
        if fits {
            ", which is what the table holds"
        } else {
            ": where the pile is heading at this rate"
        }
    );
    let bounds = Estimate {
        value: predicted,
        low: times(rate.low),
        high: times(rate.high),
    };
    Some(estimate("rate-times-timeout", 0.0, text, bounds, "entries"))
}

/// Raises the limit, and the hash with it.
pub fn more_room(table: &Table) -> Vec<Fix> {
    let mut out = Vec::new();
    if let Some(max) = table.max.filter(|max| *max > 0) {
        let twice = max.saturating_mul(2).min(LARGEST_MAX);
        let command = format!("sysctl -w net.netfilter.nf_conntrack_max={twice}");
        let effect = "at once; run it in the initial namespace: the limit is one for the host";
        out.push(fix(
            "Double the limit (about 320 bytes an entry)",
            Some(command),
            effect,
        ));
        if table.buckets.is_some_and(|buckets| buckets < twice) {
            let command = format!("sysctl -w net.netfilter.nf_conntrack_buckets={twice}");
            out.push(fix(
                "Let the hash keep up with it",
                Some(command),
                "keeps the chains short",
            ));
        }
    }
    out
}

/// For new entries and those that a packet touches: what is in the table keeps what it has.
pub fn shorter(sysctl: &str, from: Option<u32>, to: u32, price: &str) -> Fix {
    let now = from.map_or("the timeout in force".into(), |secs| format!("{secs} s"));
    fix(
        format!("Shorten the timeout for new entries ({price})"),
        Some(format!("sysctl -w net.netfilter.nf_conntrack_{sysctl}={to}")),
        format!("new entries only: those present drain over {now}"),
    )
}
