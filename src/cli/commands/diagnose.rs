//! `ctlens diagnose`: the verdict.

use super::super::Outcome;
use super::super::args::{DiagnoseArgs, ReadArgs, WindowArgs};
use super::super::look::{Ask, Tap};
use super::report;
use crate::render;

/// The tap's length where nobody asked for one.
const TAP_SECS: f64 = 3.0;

pub fn diagnose(args: &DiagnoseArgs) -> anyhow::Result<Outcome> {
    let seen = report::evidence(&args.common, &ask(&args.read, &args.watch))?;
    report::print(&args.common, &seen, render::diagnose_text)
}

/// What a diagnosis looks at; `record` writes the same.
pub fn ask(read: &ReadArgs, watch: &WindowArgs) -> Ask {
    let tap = match watch.tap.map(|tap| tap.as_secs_f64()) {
        None => Tap::Where(TAP_SECS),
        Some(secs) if secs > 0.0 => Tap::Always(secs),
        Some(_) => Tap::Off,
    };
    Ask {
        window_secs: watch.window.as_secs_f64(),
        tap,
        wish: report::wish(read),
    }
}
