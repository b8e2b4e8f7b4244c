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
    let alike: Vec<&str> = pages
        .iter()
        .map(|page| page.name.name())
        .filter(|name| lower.split('-').any(|part| part.len() > 2 && name.contains(part)))
        .collect();
    match alike[..] {
        [] => bail!("there is no cause {wanted}: `ctlens explain` lists them all"),
        _ => bail!("there is no cause {wanted}; there are {}", alike.join(", ")),
    }
}
