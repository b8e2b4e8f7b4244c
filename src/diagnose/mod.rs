//! A closed list of rules over the evidence, and the verdict they add up to.

mod cause;
mod report;

pub use cause::{Cause, Side};
pub use report::{
    EvidenceItem, FindingDoc, FindingState, Fix, GapDoc, HostDoc, Judgement, Lean, Report, RuledOut, SCHEMA,
    Trigger,
};
