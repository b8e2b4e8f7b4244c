//! What is on the screen, and what a key changes of it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::render::{Frame, HolderDoc, Style};

/// Looks that can be gone back to: twenty minutes of them at the default interval.
const MAX_FRAMES: usize = 600;
/// What a filter may be long.
const MAX_FILTER: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    Tab,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C
    Interrupt,
}

/// Which pane the arrows move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Holders,
    Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Entries,
    Came,
    Went,
}

impl Sort {
    pub fn name(self) -> &'static str {
        match self {
            Sort::Entries => "entries",
            Sort::Came => "in/s",
            Sort::Went => "out/s",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Entries => Sort::Came,
            Sort::Came => Sort::Went,
            Sort::Went => Sort::Entries,
        }
    }
}

pub struct Screen {
    frames: VecDeque<Arc<Frame>>,
    /// Looks before the first that is kept.
    forgotten: usize,
    /// The look that is shown, counted from the first of all; `None`: the last.
    at: Option<usize>,
    pub pane: Pane,
    pub sort: Sort,
    pub filter: String,
    /// Keys go into the filter.
    pub typing: bool,
    pub help: bool,
    /// By pane; drawing keeps it within what there is.
    pub scroll: [usize; 2],
    /// The pane has the place of all others.
    pub large: bool,
    /// Which namespace, as the user named it.
    pub netns: Option<String>,
    pub style: Style,
    /// The recording is at its end.
    pub ended: bool,
}

impl Screen {
    pub fn new(netns: Option<String>, style: Style) -> Screen {
        Screen {
            frames: VecDeque::new(),
            forgotten: 0,
            at: None,
            pane: Pane::Holders,
            sort: Sort::Entries,
            filter: String::new(),
            typing: false,
            help: false,
            scroll: [0; 2],
            large: false,
            netns,
            style,
            ended: false,
        }
    }

    pub fn push(&mut self, frame: Frame) {
        self.frames.push_back(Arc::new(frame));
        if self.frames.len() > MAX_FRAMES {
            self.frames.pop_front();
            self.forgotten += 1;
            // What is frozen stays as long as it is kept.
            self.at = self.at.map(|at| at.max(self.forgotten));
        }
    }

    pub fn goes_on(&self) -> bool {
        self.at.is_none()
    }

    /// The look that is shown.
    pub fn now(&self) -> Option<&Arc<Frame>> {
        match self.at {
            Some(at) => self.frames.get(at.saturating_sub(self.forgotten)),
            None => self.frames.back(),
        }
    }

    /// Up to the look that is shown, oldest first.
    pub fn past(&self) -> impl Iterator<Item = &Arc<Frame>> {
        let shown = self
            .at
            .map_or(self.frames.len(), |at| at.saturating_sub(self.forgotten) + 1);
        self.frames.iter().take(shown)
    }

    /// Holders that the filter admits, in the order that is asked for.
    pub fn holders(&self) -> Vec<&HolderDoc> {
        let admits = |holder: &&HolderDoc| {
            let text = format!("{} {}", holder.proto, holder.label());
            self.filter.is_empty() || text.contains(&self.filter)
        };
        let holders = self.now().into_iter().flat_map(|frame| &frame.holders);
        let mut out: Vec<&HolderDoc> = holders.filter(admits).collect();
        let by = |holder: &HolderDoc| match self.sort {
            Sort::Entries => holder.entries,
            Sort::Came => holder.came_per_s.unwrap_or(0.0),
            Sort::Went => holder.went_per_s.unwrap_or(0.0),
        };
        // Stable: ties stay in the order of the ledger.
        out.sort_by(|a, b| by(b).total_cmp(&by(a)));
        out
    }

    /// False: the user wants to leave.
    pub fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Interrupt => return false,
            _ if self.typing => self.typed(key),
            _ if self.help => self.help = false,
            Key::Char('q') => return false,
            Key::Char('?') => self.help = true,
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char(' ') => self.freeze(),
            Key::Left => self.step(false),
            Key::Right => self.step(true),
            Key::Home => self.at = (!self.frames.is_empty()).then_some(self.forgotten),
            Key::End | Key::Escape => self.at = None,
            Key::Tab => {
                self.pane = match self.pane {
                    Pane::Holders => Pane::Verdict,
                    Pane::Verdict => Pane::Holders,
                }
            }
            Key::Up => self.scrolled(|by| by.saturating_sub(1)),
            Key::Down => self.scrolled(|by| by.saturating_add(1)),
            Key::Enter => self.large = !self.large,
            Key::Char(_) | Key::Backspace => {}
        }
        true
    }

    fn typed(&mut self, key: Key) {
        match key {
            Key::Enter => self.typing = false,
            Key::Escape => (self.typing, self.filter) = (false, String::new()),
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(letter) if self.filter.len() < MAX_FILTER && !letter.is_control() => {
                self.filter.push(letter);
            }
            _ => {}
        }
    }

    fn freeze(&mut self) {
        self.at = match self.at {
            Some(_) => None,
            None => self.newest(),
        };
    }

    fn newest(&self) -> Option<usize> {
        (self.forgotten + self.frames.len()).checked_sub(1)
    }

    fn step(&mut self, forward: bool) {
        let Some(newest) = self.newest() else { return };
        let at = self.at.unwrap_or(newest);
        self.at = match forward {
            // Beyond the last one it goes on by itself.
            true if at >= newest => None,
            true => Some(at + 1),
            false => Some(at.saturating_sub(1).max(self.forgotten)),
        };
    }

    fn scrolled(&mut self, by: impl Fn(usize) -> usize) {
        let scroll = &mut self.scroll[self.pane as usize];
        *scroll = by(*scroll);
    }
}
