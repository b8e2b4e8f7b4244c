//! How things stand out, with colour and without.

use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Borders};

use super::screen::{Pane, Screen};

pub fn paint(screen: &Screen, colour: Color) -> Style {
    match screen.style.colour {
        true => Style::default().fg(colour),
        false => Style::default(),
    }
}

pub fn bold() -> Style {
    Style::default().add_modifier(Modifier::BOLD)
}

/// The frame of a pane; the one that keys move stands out.
pub fn framed(screen: &Screen, pane: Pane, title: String) -> Block<'static> {
    let block = Block::default().borders(Borders::ALL).title(title);
    if screen.pane == pane {
        block.title_style(bold().add_modifier(Modifier::REVERSED))
    } else {
        block
    }
}
