//! The page of a cause: what it is, why it matters, how it is told apart, what to do.

use serde::Serialize;

use super::cause::{Cause, Side};
use super::rules::RULES;

/// A page's sections, in this order.
pub const TITLES: [&str; 5] = [
    "What",
    "Why it matters",
    "Example",
    "How it is told apart",
    "What to do",
];

pub const CAUSE_SCHEMA: &str = "ctlens.cause/1";

/// `--format json` of `explain`: schema `ctlens.cause/1`.
#[derive(Clone, Debug, Serialize)]
pub struct CausePage {
    pub schema: &'static str,
    pub code: String,
    pub name: Cause,
    pub side: Side,
    pub sections: Vec<Section>,
    /// What would refute a finding of it.
    pub refutes: &'static str,
    /// Causes that its page tells it from.
    pub related: Vec<Cause>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    pub title: &'static str,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Prose(String),
    Command(String),
}

/// Every cause that has a rule, in the order of the codes.
pub fn pages() -> Vec<CausePage> {
    Cause::ALL.into_iter().filter_map(page).collect()
}

fn page(cause: Cause) -> Option<CausePage> {
    let rule = RULES.iter().find(|rule| rule.cause == cause)?;
    let named = |other: &Cause| *other != cause && names(rule.explain, other.name());
    Some(CausePage {
        schema: CAUSE_SCHEMA,
        code: cause.code()?,
        name: cause,
        side: cause.side(),
        sections: sections(rule.explain),
        refutes: rule.refutes,
        related: Cause::ALL.into_iter().filter(named).collect(),
    })
}

/// Whether a text has the name as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

/// A section begins with its title and a colon; a line that begins with `$ ` is a command.
fn sections(text: &'static str) -> Vec<Section> {
    let mut out: Vec<Section> = Vec::new();
    for line in text.lines() {
        let opens = |title: &&&str| {
            line.strip_prefix(**title)
                .is_some_and(|rest| rest.starts_with(':'))
        };
        let title = TITLES.iter().find(opens).copied();
        let line = match title {
            Some(title) => {
                out.push(Section {
                    title,
                    parts: Vec::new(),
                });
                line[title.len() + 1..].trim()
            }
            None => line.trim(),
        };
        let Some(section) = out.last_mut() else { continue };
        match (line.strip_prefix("$ "), section.parts.last_mut()) {
            (Some(command), _) => section.parts.push(Part::Command(command.to_string())),
            (None, _) if line.is_empty() => {}
            (None, Some(Part::Prose(prose))) => {
                prose.push(' ');
                prose.push_str(line);
            }
            (None, _) => section.parts.push(Part::Prose(line.to_string())),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_whole_page() {
        for page in pages() {
            let titles: Vec<&str> = page.sections.iter().map(|section| section.title).collect();
            assert_eq!(titles, TITLES, "{}", page.name.name());
            for section in &page.sections {
                assert!(
                    !section.parts.is_empty(),
                    "{}: {}",
                    page.name.name(),
                    section.title
                );
            }
            assert!(
                !page.refutes.is_empty() && !page.related.is_empty(),
                "{}",
                page.name.name()
            );
        }
    }

    #[test]
    fn every_cause_of_the_list_has_a_page() {
        let named: Vec<Cause> = pages().iter().map(|page| page.name).collect();
        assert_eq!(named, Cause::ALL);
    }

    /// Wrapped into prose it could not be copied.
    #[test]
    fn every_example_is_a_command_and_what_it_shows() {
        for page in pages() {
            let example = &page.sections[2].parts;
            let whole = matches!(example[..], [Part::Command(_), Part::Prose(_)]);
            assert!(whole, "{}: {example:?}", page.name.name());
        }
    }

    #[test]
    fn names_are_words() {
        assert!(names("(table-full is another)", "table-full"));
        assert!(!names("the syn-sent-holder", "syn-sent-hold"));
    }
}
