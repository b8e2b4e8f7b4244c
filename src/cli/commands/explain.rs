//! `ctlens explain`: the page of a cause.

use anyhow::bail;

use super::super::Outcome;
use super::super::args::{ExplainArgs, Format};
use super::super::terminal;
use crate::diagnose::{CausePage, pages};
use crate::render;

pub fn explain(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let pages = pages();
    let style = terminal::plain_style(args.colour);
    let text = match (&args.cause, args.format) {
        (None, Format::Text) => render::causes_text(&pages, &style),
        (None, Format::Json) => render::document(&pages),
        (Some(wanted), format) => {
            let page = find(&pages, wanted)?;
            match format {
                Format::Text => render::explain_text(page, &style),
                Format::Json => render::document(page),
            }
        }
    };
    terminal::print(&text)?;
    Ok(Outcome::NothingFound)
}

fn find<'a>(pages: &'a [CausePage], wanted: &str) -> anyhow::Result<&'a CausePage> {
    let lower = wanted.to_ascii_lowercase().replace('_', "-");
    let is = |page: &&CausePage| page.name.name() == lower || page.code.to_ascii_lowercase() == lower;
    if let Some(page) = pages.iter().find(is) {
        return Ok(page);
    }
    match nearest(
        &pages.iter().map(|page| page.name.name()).collect::<Vec<_>>(),
        &lower,
    )[..]
    {
        [] => bail!("there is no cause {wanted}: `ctlens explain` lists them all"),
        [ref most @ .., last] => {
            let most: String = most.iter().map(|name| format!("{name} or ")).collect();
            bail!("there is no cause {wanted}; is it {most}{last}? `ctlens explain` lists them all")
        }
    }
}

/// With one wrong letter in so many, a name may still be meant.
const LETTERS_PER_SLIP: usize = 3;
/// More names would be the list again.
const MOST_NAMES: usize = 6;

/// The names fewest slips away; where none is near, those that share a word with it.
fn nearest<'a>(names: &[&'a str], wanted: &str) -> Vec<&'a str> {
    let slips = names.iter().map(|name| (slips(name, wanted), *name));
    let mut near: Vec<(usize, &str)> = slips
        .filter(|(slips, _)| *slips <= wanted.chars().count() / LETTERS_PER_SLIP)
        .collect();
    near.sort_by_key(|(slips, _)| *slips);
    // A second guess only where it is as good.
    let least = near.first().map(|(slips, _)| *slips);
    near.retain(|(slips, _)| Some(*slips) == least);
    let mut out: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
    if out.is_empty() {
        let shares = |name: &&&str| {
            wanted
                .split('-')
                .any(|part| part.len() > 2 && name.contains(part))
        };
        out.extend(names.iter().filter(shares));
    }
    out.truncate(MOST_NAMES);
    out
}

/// Letters to add, leave out or change to make one word of the other (Levenshtein).
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = line + 1;
        for (at, theirs) in other.iter().enumerate() {
            let changed = corner + usize::from(letter != *theirs);
            corner = row[at + 1];
            row[at + 1] = changed.min(corner + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

/// No name is nearly as long.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(wanted: &str) -> String {
        match find(&pages(), wanted) {
            Ok(page) => page.code.clone(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_cause_is_found_by_code_and_name_in_any_case() {
        for wanted in [
            "CT001",
            "ct001",
            "syn-sent-hold",
            "SYN-SENT-HOLD",
            "syn_sent_hold",
        ] {
            assert_eq!(asked(wanted), "CT001");
        }
    }

    #[test]
    fn what_is_no_cause_names_the_nearest() {
        let list = "`ctlens explain` lists them all";
        let is_it = |wanted: &str, names: &str| format!("there is no cause {wanted}; is it {names}? {list}");
        assert_eq!(asked("syn-snet-hold"), is_it("syn-snet-hold", "syn-sent-hold"));
        assert_eq!(asked("tablefull"), is_it("tablefull", "table-full"));
        assert_eq!(
            asked("exhausted"),
            is_it("exhausted", "nat-ports-exhausted or ephemeral-ports-exhausted")
        );
        for wanted in ["bogus", "CT999", "", "none", "undecided"] {
            assert_eq!(asked(wanted), format!("there is no cause {wanted}: {list}"));
        }
        assert!(slips(&"x".repeat(10), &"y".repeat(1_000_000)) <= LONGEST);
    }
}
