//! `ctlens status`: the table on one screen.

use super::super::Outcome;
use super::super::args::StatusArgs;
use super::super::look::{Ask, Tap};
use super::report;
use crate::render;

pub fn status(args: &StatusArgs) -> anyhow::Result<Outcome> {
    let seen = report::evidence(&args.common, &ask_status(args))?;
    report::print(&args.common, &seen, render::status_text)
}

/// What a status looks at.
pub fn ask_status(args: &StatusArgs) -> Ask {
    let window_secs = args.window.as_secs_f64();
    Ask {
        window_secs,
        // As long as the window, which passes anyway.
        tap: if window_secs > 0.0 {
            Tap::Where(window_secs)
        } else {
            Tap::Off
        },
        wish: report::wish(&args.read),
    }
}
