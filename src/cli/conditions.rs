//! `fill>0.8`: what a watch may wait for, or warn of.

use crate::model::{ConntrackStats, TcpState};
use crate::render::Frame;
use crate::tune::Mode;

/// Words, of the verdict but for the last; everything else is a number.
const WORDS: [&str; 4] = ["cause", "bottleneck", "trigger", "profile"];
const NUMBERS: [&str; 9] = [
    "fill",
    "count",
    "growth",
    "full_in",
    "plateau",
    "new",
    "gone",
    "lost",
    "confidence",
];
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// As it was typed.
    pub text: String,
    name: String,
    op: Op,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Above,
    AtLeast,
    Below,
    AtMost,
    Is,
    IsNot,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Word(String),
}

/// Longer ones first: `>=` begins with `>`.
const OPS: [(&str, Op); 6] = [
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("!=", Op::IsNot),
    (">", Op::Above),
    ("<", Op::Below),
    ("=", Op::Is),
];

pub fn condition(text: &str) -> Result<Condition, String> {
    let (at, sign, op) = OPS
        .iter()
        .filter_map(|(sign, op)| Some((text.find(sign)?, *sign, *op)))
        .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())))
        .ok_or("no comparison: NAME OP VALUE, such as fill>0.8")?;
    let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
    if value.is_empty() {
        return Err(format!("nothing behind {sign}"));
    }
    let value = if WORDS.contains(&name) {
        if !matches!(op, Op::Is | Op::IsNot) {
            return Err(format!("{name} is a word: = or !="));
        }
        Value::Word(value.to_string())
    } else if NUMBERS.contains(&name) || is_counter(name) || TcpState::from_name(name).is_some() {
        let number = value.parse().map_err(|_| format!("{value} is no number"))?;
        Value::Number(number)
    } else {
        return Err(format!(
            "nothing is called {name}: there are {}, {}, TCP states such as SYN_SENT, and counters such as drop",
            NUMBERS.join(", "),
            WORDS.join(", ")
        ));
    };
    Ok(Condition {
        text: text.to_string(),
        name: name.to_string(),
        op,
        value,
    })
}

/// One of conntrack's, which is told as its rise in a second.
fn is_counter(name: &str) -> bool {
    let all = ConntrackStats::default().named();
    all.iter().any(|(counter, _)| *counter == name)
}

impl Condition {
    /// What is not known holds in no comparison.
    pub fn holds(&self, frame: &Frame) -> bool {
        match &self.value {
            Value::Word(wanted) => {
                let is = word(frame, &self.name) == *wanted;
                is == (self.op == Op::Is)
            }
            Value::Number(wanted) => number(frame, &self.name).is_some_and(|got| match self.op {
                Op::Above => got > *wanted,
                Op::AtLeast => got >= *wanted,
                Op::Below => got < *wanted,
                Op::AtMost => got <= *wanted,
                Op::Is => got == *wanted,
                Op::IsNot => got != *wanted,
            }),
        }
    }
}

fn word(frame: &Frame, name: &str) -> &'static str {
    let verdict = &frame.report.verdict;
    match name {
        "cause" => verdict.cause.name(),
        "bottleneck" => verdict.bottleneck.name(),
        "profile" => frame.profile.map_or("none", Mode::name),
        _ => verdict
            .trigger
            .as_ref()
            .map_or("none", |trigger| trigger.cause.name()),
    }
}

fn number(frame: &Frame, name: &str) -> Option<f64> {
    let report = &frame.report;
    let table = report.table.as_ref();
    let forecast = frame.forecast.as_ref();
    let heard = frame.heard.as_ref();
    match name {
        "fill" => table?.fill,
        "count" => table?.count.map(|count| count as f64),
        "growth" => Some(forecast?.growth_per_s),
        "full_in" => forecast?.full_in_s,
        "plateau" => forecast?.plateau,
        "new" => Some(heard?.came_per_s),
        "gone" => Some(heard?.went_per_s),
        "lost" => Some(heard?.lost as f64 / report.window_s.max(f64::MIN_POSITIVE)),
        "confidence" => Some(report.verdict.confidence),
        name if TcpState::from_name(name).is_some() => {
            let rows = report.states.as_ref()?.iter();
            // A state without a row has no entry.
            Some(
                rows.filter(|row| row.state.as_deref() == Some(name))
                    .map(|row| row.entries.value)
                    .sum(),
            )
        }
        counter => {
            let rise = *report.counters.as_ref()?.get(counter)?;
            (report.window_s > 0.0).then(|| rise as f64 / report.window_s)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_typed() {
        for good in [
            "fill>0.8",
            "SYN_SENT >= 5000",
            "drop>0",
            "full_in<60",
            "cause=table-full",
            "trigger!=none",
            "growth<=-1.5",
        ] {
            assert_eq!(condition(good).map(|c| c.text), Ok(good.to_string()));
        }
        let at_least = condition("count>=10").expect("a condition");
        assert_eq!((at_least.op, at_least.value), (Op::AtLeast, Value::Number(10.0)));
        for bad in [
            "",
            "fill",
            "fill>",
            "fill>x",
            "fil>1",
            "cause>x",
            ">1",
            "syn_sent>1",
        ] {
            assert!(condition(bad).is_err(), "{bad}");
        }
    }
}
