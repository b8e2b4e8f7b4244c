//! The packet filter's rules, and what their counters did over the window.

use std::collections::BTreeMap;

use crate::model::Ruleset;

/// The ruleset at the window's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulesetFacts {
    pub ruleset: Ruleset,
    /// Packets that a rule's counter rose by over the window, by the rule's index in `ruleset.rules`; absent where it has
    /// no counter, or where no window was watched.
    pub rises: BTreeMap<usize, u64>,
}
