//! Settings that do nothing, or harm: what is known of them, in one table for an audit and for a pasted diagnosis.
//!
//! A lint is one entry of one of the lists in [`TABLE`].

mod context;
mod gone;
mod idle;
mod names;
mod numbers;

pub use numbers::grouped;
mod ports;
mod refused;
mod sizes;
mod tcp;
mod timeouts;
mod tracking;
mod units;
mod unread;

use serde::Serialize;

use super::DeadSetting;
use crate::model::Setting;
pub use context::{Around, Context, Said};
pub use names::AUDITED;

/// How bad a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Harmless, or a matter of choice.
    Note,
    /// Likely not what was meant.
    Warning,
    /// It does not do what it says, or it breaks connections.
    Error,
}

/// One thing that can be wrong with settings.
pub struct Lint {
    /// `AU001` …, for good.
    pub code: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    pub severity: Severity,
    /// Where that can be read.
    pub source: &'static str,
    /// It judges a line by itself, and a pasted diagnosis tells it too.
    pub dead: bool,
    pub check: fn(&Context, &mut Vec<Said>),
}

/// In the order in which reasons for one line are told.
const TABLE: [&[Lint]; 10] = [
    unread::LINTS,
    refused::LINTS,
    gone::LINTS,
    idle::LINTS,
    units::LINTS,
    sizes::LINTS,
    timeouts::LINTS,
    tracking::LINTS,
    tcp::LINTS,
    ports::LINTS,
];

/// All lints, by their codes.
pub fn lints() -> Vec<&'static Lint> {
    let mut all: Vec<&Lint> = TABLE.iter().flat_map(|list| list.iter()).collect();
    all.sort_by_key(|lint| lint.code);
    all
}

/// What all lints say, in the table's order.
pub fn lint(settings: &[Setting], around: &Around) -> Vec<(&'static Lint, Said)> {
    said(settings, around, |_| true)
}

fn said(settings: &[Setting], around: &Around, wanted: fn(&Lint) -> bool) -> Vec<(&'static Lint, Said)> {
    let context = Context::new(settings, around);
    let mut out = Vec::new();
    for lint in TABLE
        .iter()
        .flat_map(|list| list.iter())
        .filter(|lint| wanted(lint))
    {
        let mut here = Vec::new();
        (lint.check)(&context, &mut here);
        out.extend(here.into_iter().map(|said| (lint, said)));
    }
    out
}

/// Settings that are dead by themselves, in the order in which they were pasted, and whether their values never came
/// into force on any kernel.
pub fn dead(settings: &[Setting]) -> Vec<(DeadSetting, bool)> {
    let all = said(settings, &Around::default(), |lint| lint.dead);
    let judged = settings.iter().enumerate().map(|(index, setting)| {
        let reasons: Vec<&str> = all
            .iter()
            .filter(|(_, said)| said.index == index)
            .map(|(_, said)| said.why.as_str())
            .collect();
        let dead = DeadSetting {
            file: setting.file.clone(),
            name: setting.name.clone(),
            value: setting.value.clone(),
            why: reasons.join("; "),
        };
        (dead, refused::everywhere(setting))
    });
    judged.filter(|(dead, _)| !dead.why.is_empty()).collect()
}

#[cfg(test)]
mod tests;
