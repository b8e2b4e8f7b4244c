//! The screen of `watch`: state, what a key makes of it, and how it is drawn. The terminal is touched in `terminal` alone.

mod chart;
mod draw;
mod paint;
mod panes;
mod plot;
mod screen;
mod terminal;

pub use draw::draw;
pub use plot::plot;
pub use screen::{Key, Pane, Screen, Sort};
pub use terminal::show;
