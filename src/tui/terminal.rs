//! The terminal itself: raw mode and its own screen while looks come, and as it was before when they end, also by a panic.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{restore, try_init};

use super::draw::draw;
use super::screen::{Key, Screen};
use crate::render::Frame;

/// How long a key may wait for a look, and a look for a key.
const TICK: Duration = Duration::from_millis(100);

/// Shows looks until the user leaves or `over` says so. Where no more come, the last one stays.
pub fn show(screen: &mut Screen, frames: &Receiver<Frame>, over: &dyn Fn() -> bool) -> std::io::Result<()> {
    let mut terminal = try_init()?;
    let result = (|| {
        // Nothing but a look, a key or a new size makes another picture.
        let mut changed = true;
        loop {
            changed |= take(screen, frames);
            if std::mem::take(&mut changed) {
                terminal.draw(|canvas| draw(canvas, screen))?;
            }
            if over() {
                return Ok(());
            }
            if !event::poll(TICK)? {
                continue;
            }
            changed = true;
            if let Event::Key(pressed) = event::read()?
                && let Some(key) = key(pressed)
                && !screen.press(key)
            {
                return Ok(());
            }
        }
    })();
    restore();
    result
}

/// Looks that wait, and that no more come: whether there was any of that.
fn take(screen: &mut Screen, frames: &Receiver<Frame>) -> bool {
    let mut any = false;
    loop {
        match frames.try_recv() {
            Ok(frame) => screen.push(frame),
            Err(TryRecvError::Disconnected) if !screen.ended => screen.ended = true,
            Err(_) => return any,
        }
        any = true;
    }
}

fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
