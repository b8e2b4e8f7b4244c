//! What lints look at, and what they say.

use std::collections::BTreeMap;

use super::numbers::first;
use super::{Severity, refused};
use crate::model::{Ruleset, Setting, current_name};

/// What is known beside the settings; what is absent is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// The kernel that runs, or will: 6 and 1 for 6.1.
    pub kernel: Option<(u32, u32)>,
    /// `MemTotal`.
    pub memory_bytes: Option<u64>,
    pub rules: Option<&'a Ruleset>,
    /// Ports on which sockets of this host listen, in order.
    pub listening: Option<&'a [u16]>,
}

pub struct Context<'a> {
    /// In force in the end, by today's names: the last one of each that the kernel takes.
    last: BTreeMap<String, usize>,
    all: &'a [Setting],
    pub around: &'a Around<'a>,
}

impl<'a> Context<'a> {
    pub fn new(all: &'a [Setting], around: &'a Around<'a>) -> Context<'a> {
        let last = all
            .iter()
            .enumerate()
            .filter(|(_, setting)| refused::why(setting, around.kernel).is_none())
            .map(|(index, setting)| (current_name(&setting.name).into_owned(), index))
            .collect();
        Context { last, all, around }
    }

    /// All settings with their places, in the order in which they apply.
    pub fn all(&self) -> impl Iterator<Item = (usize, &'a Setting)> + use<'a> {
        self.all.iter().enumerate()
    }

    /// Those that a file asks for: what a kernel printed, it has and took.
    pub fn asked(&self) -> impl Iterator<Item = (usize, &'a Setting)> + use<'a> {
        self.all().filter(|(_, setting)| !setting.in_force)
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.last.get(name).copied()
    }

    pub fn get(&self, name: &str) -> Option<&'a Setting> {
        self.index(name).map(|index| &self.all[index])
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        first(&self.get(name)?.value)
    }

    pub fn pair(&self, name: &str) -> Option<(u64, u64)> {
        let mut words = self.get(name)?.value.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }

    /// Settings whose name in today's words begins so, in the order of their names: rest, place and number.
    pub fn beginning<'b>(&'b self, start: &'b str) -> impl Iterator<Item = (&'b str, usize, i64)> {
        self.last.iter().filter_map(move |(name, index)| {
            let number = first(&self.all[*index].value)?;
            Some((name.strip_prefix(start)?, *index, number))
        })
    }

    /// Says `why` of the setting where its value is such, and how to undo it.
    pub fn where_it_is(&self, out: &mut Vec<Said>, name: &str, is: fn(i64) -> bool, why: &str, undo: i64) {
        if let (Some(index), Some(number)) = (self.index(name), self.number(name))
            && is(number)
        {
            out.push(Said::of(index, why).write(format!("{name} = {undo}")));
        }
    }

    /// False only where the kernel is known to be older.
    pub fn may_be_from(&self, release: (u32, u32)) -> bool {
        self.around.kernel.is_none_or(|kernel| kernel >= release)
    }
}

/// What a lint says of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its place among all settings.
    pub index: usize,
    pub why: String,
    /// The line to write instead.
    pub instead: Option<String>,
    /// Without a line to write: whether to delete it.
    pub delete: bool,
    /// Graver, or less grave, than the lint usually is.
    pub severity: Option<Severity>,
    /// Where that can be read, where it is not the lint's own.
    pub source: Option<&'static str>,
}

impl Said {
    pub fn of(index: usize, why: impl Into<String>) -> Said {
        Said {
            index,
            why: why.into(),
            instead: None,
            delete: false,
            severity: None,
            source: None,
        }
    }

    pub fn write(mut self, line: impl Into<String>) -> Said {
        self.instead = Some(line.into());
        self.delete = false;
        self
    }

    pub fn delete(mut self) -> Said {
        self.instead = None;
        self.delete = true;
        self
    }

    pub fn as_severe(mut self, severity: Severity) -> Said {
        self.severity = Some(severity);
        self
    }

    pub fn by(mut self, source: &'static str) -> Said {
        self.source = Some(source);
        self
    }
}
