//! What a rule is, and what it may answer.

use super::cause::Cause;
use super::report::{EvidenceItem, Fix};
use crate::evidence::Evidence;
use crate::model::Estimate;

/// One cause's rule.
pub struct Rule {
    pub cause: Cause,
    /// What, why it matters, how it is told apart, what to do: the page of the cause.
    pub explain: &'static str,
    /// What would refute a finding of this rule.
    pub refutes: &'static str,
    pub check: fn(&Evidence) -> Verdict,
}

/// A rule's answer. Never `Clear` on missing input.
#[derive(Debug)]
pub enum Verdict {
    Clear {
        because: String,
    },
    Found(Box<Finding>),
    Unknown {
        because: String,
        /// Set where the facts lean towards a cause: the command whose output would decide.
        settle: Option<String>,
        /// The causes they lean to, most likely first; empty: the rule's own.
        towards: Vec<Cause>,
    },
}

impl Verdict {
    pub fn clear(because: impl Into<String>) -> Verdict {
        Verdict::Clear {
            because: because.into(),
        }
    }

    pub fn unknown(because: impl Into<String>) -> Verdict {
        Verdict::Unknown {
            because: because.into(),
            settle: None,
            towards: Vec::new(),
        }
    }

    pub fn leaning(because: impl Into<String>, settle: impl Into<String>) -> Verdict {
        Verdict::Unknown {
            because: because.into(),
            settle: Some(settle.into()),
            towards: Vec::new(),
        }
    }

    /// What the rule saw speaks for other causes than its own.
    pub fn leaning_to(towards: Vec<Cause>, because: impl Into<String>, settle: impl Into<String>) -> Verdict {
        Verdict::Unknown {
            because: because.into(),
            settle: Some(settle.into()),
            towards,
        }
    }
}

#[derive(Debug)]
pub struct Finding {
    pub headline: String,
    /// Destinations or ports, largest first.
    pub place: Vec<String>,
    /// Entries of the pile-up that this explains.
    pub entries: Option<Estimate>,
    pub evidence: Vec<Weighed>,
    /// In the order in which to do them.
    pub fixes: Vec<Fix>,
    /// Whether what would refute it was looked for.
    pub looked: Looked,
}

/// What became of the search for that which would refute a finding.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// It was looked for, and this was there.
    For(String),
    /// It could not be looked for, and why not.
    Not(String),
}

/// A piece of evidence and how much it moves the odds, in nats (+2.3 makes them ten times better).
#[derive(Clone, Debug)]
pub struct Weighed {
    pub item: EvidenceItem,
    pub nats: f64,
}

/// The evidence's weights add up to log-odds: confidence = 1 / (1 + e^-sum), never above [`MOST_CERTAIN`].
pub fn confidence<'a>(evidence: impl IntoIterator<Item = &'a Weighed>) -> f64 {
    let sum: f64 = evidence.into_iter().map(|w| w.nats).sum();
    let odds = 1.0 / (1.0 + (-sum).exp());
    (odds.min(MOST_CERTAIN) * 100.0).round() / 100.0
}

const MOST_CERTAIN: f64 = 0.99;
/// Below this a finding is more likely wrong than right: it is none.
pub const EVEN_ODDS: f64 = 0.5;

/// An exact figure as evidence.
pub fn fact(id: &'static str, nats: f64, text: impl Into<String>, value: f64, unit: &'static str) -> Weighed {
    estimate(id, nats, text, Estimate::exact(value), unit)
}

/// A figure with bounds as evidence.
pub fn estimate(
    id: &'static str,
    nats: f64,
    text: impl Into<String>,
    value: Estimate,
    unit: &'static str,
) -> Weighed {
    Weighed {
        item: EvidenceItem {
            id,
            supports: nats >= 0.0,
            text: text.into(),
            value: Some(value.value),
            low: Some(value.low),
            high: Some(value.high),
            unit,
        },
        nats,
    }
}

/// Something that was seen but has no figure.
pub fn remark(id: &'static str, nats: f64, text: impl Into<String>) -> Weighed {
    Weighed {
        item: EvidenceItem {
            id,
            supports: nats >= 0.0,
            text: text.into(),
            value: None,
            low: None,
            high: None,
            unit: "",
        },
        nats,
    }
}

pub fn fix(what: impl Into<String>, command: Option<String>, effect: impl Into<String>) -> Fix {
    Fix {
        what: what.into(),
        command,
        effect: effect.into(),
    }
}

/// `12,517`, and `~12,500` for what a sample gave, cut to what its interval can tell.
pub fn count(value: Estimate) -> String {
    let value = value.rounded();
    let digits = format!("{:.0}", value.value.max(0.0));
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if value.is_exact() { out } else { format!("~{out}") }
}

/// [`count`] of an exact figure.
pub fn whole(value: f64) -> String {
    count(Estimate::exact(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_a_confidence() {
        let for_it = |nats| remark("x", nats, "");
        assert_eq!(confidence(&[]), 0.5);
        assert_eq!(confidence(&[for_it(2.2)]), 0.9);
        assert_eq!(confidence(&[for_it(2.2), for_it(-2.2)]), 0.5);
        assert_eq!(confidence(&[for_it(50.0)]), 0.99);
    }

    #[test]
    fn figures_read_easily() {
        assert_eq!(whole(1_234_567.0), "1,234,567");
        assert_eq!(whole(12.0), "12");
        assert_eq!(
            count(Estimate {
                value: 4e5,
                low: 3e5,
                high: 5e5
            }),
            "~400,000"
        );
    }
}
