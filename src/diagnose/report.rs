//! What `status` and `diagnose` say: all that render reads, already in the words and order of the JSON.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::cause::{Cause, Side};
use crate::evidence::{DeadSetting, StateRow, Table};

/// `--format json` of `status` and `diagnose`: schema `ctlens.report/1`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema: &'static str,
    pub host: HostDoc,
    /// When it was looked at, UTC, to the second (RFC 3339); null for pasted text.
    pub taken: Option<String>,
    /// Seconds the counters were watched; 0 = totals since boot.
    pub window_s: f64,
    pub table: Option<Table>,
    /// One row per protocol and TCP state; null where the entries were not read.
    pub states: Option<Vec<StateRow>>,
    /// Conntrack's counters over the window (or since boot where `window_s` is 0); absent where not read.
    pub counters: Option<BTreeMap<&'static str, u64>>,
    pub verdict: Judgement,
    pub findings: Vec<FindingDoc>,
    pub dead_settings: Vec<DeadSetting>,
    pub gaps: Vec<GapDoc>,
}

pub const SCHEMA: &str = "ctlens.report/1";

#[derive(Clone, Debug, Serialize)]
pub struct HostDoc {
    pub kernel: Option<String>,
    pub netns: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct GapDoc {
    pub source: String,
    pub reason: String,
    pub remedy: String,
}

/// The verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    pub bottleneck: Side,
    pub cause: Cause,
    /// 0 to 1, computed from the evidence's weights.
    pub confidence: f64,
    /// One sentence that a tired person understands.
    pub headline: String,
    /// Half-open entries per live attempt; null where nothing is live.
    pub amplification: Option<f64>,
    pub trigger: Option<Trigger>,
    pub evidence: Vec<EvidenceItem>,
    /// What else was found, by the damage it does.
    pub others: Vec<Other>,
    pub ruled_out: Vec<RuledOut>,
    pub fix_first: Vec<Fix>,
    /// For `undecided`: the cause it leans to, and what would settle it.
    pub leans_to: Option<Lean>,
}

impl Judgement {
    /// What every verdict begins with.
    pub fn blank(cause: Cause) -> Judgement {
        Judgement {
            bottleneck: cause.side(),
            cause,
            confidence: 0.5,
            headline: String::new(),
            amplification: None,
            trigger: None,
            evidence: Vec::new(),
            others: Vec::new(),
            ruled_out: Vec::new(),
            fix_first: Vec::new(),
            leans_to: None,
        }
    }
}

/// Who leaves the SYNs unanswered in the first place.
#[derive(Clone, Debug, Serialize)]
pub struct Trigger {
    pub side: Side,
    pub cause: Cause,
    #[serde(rename = "where")]
    pub place: Vec<String>,
    pub confidence: f64,
    pub because: String,
    pub leans_to: Option<Lean>,
}

/// A fault beside the bottleneck.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    pub side: Side,
    pub cause: Cause,
    #[serde(rename = "where")]
    pub place: Vec<String>,
    pub confidence: f64,
    pub headline: String,
    /// Entries of the pile-up that this explains; faults may explain the same ones.
    pub entries_explained: Option<f64>,
    pub fix_first: Vec<Fix>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Lean {
    /// Most likely first.
    pub causes: Vec<Cause>,
    pub because: String,
    /// The one command whose output would decide.
    pub settle: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct EvidenceItem {
    pub id: &'static str,
    /// True: speaks for the verdict; false: against it.
    pub supports: bool,
    pub text: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    #[serde(serialize_with = "or_null")]
    pub unit: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct RuledOut {
    pub cause: Cause,
    pub because: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Fix {
    pub what: String,
    /// Exact command, where one line does it.
    pub command: Option<String>,
    pub effect: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    Found,
    Clear,
    Unknown,
}

#[derive(Clone, Debug, Serialize)]
pub struct FindingDoc {
    pub code: String,
    pub name: Cause,
    pub state: FindingState,
    pub because: String,
    /// Entries of the pile-up that this explains.
    pub entries_explained: Option<f64>,
    /// What would refute it.
    #[serde(serialize_with = "or_null")]
    pub refutes: String,
    /// Whether that was looked for; null where nothing was found.
    pub refutes_looked_for: Option<bool>,
    /// What was there instead, or why it could not be looked for.
    pub refutes_seen: Option<String>,
    pub confidence: Option<f64>,
}

/// Absent is null: an empty word is none.
fn or_null<S: Serializer>(text: &(impl AsRef<str> + ?Sized), serializer: S) -> Result<S::Ok, S::Error> {
    match text.as_ref() {
        "" => serializer.serialize_none(),
        text => serializer.serialize_str(text),
    }
}
