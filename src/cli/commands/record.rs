//! `ctlens record`: what a diagnosis looks at, into a file.

use super::super::Outcome;
use super::super::args::RecordArgs;
use super::super::door::Door;
use super::super::look::look;
use super::super::terminal::{self, Progress};
use super::{diagnose, report};
use crate::render::shell_quoted;

pub fn record(args: &RecordArgs) -> anyhow::Result<Outcome> {
    let mut progress = Progress::new(args.verbose);
    let mut door = Door::live(args.netns.as_deref(), Some(&args.file))?;
    let ask = diagnose::ask(&args.read, &args.watch);
    let looked = look(door.kernel(), &ask, &mut |text| progress.show(text));
    progress.clear();
    let written = door.close()?;
    if let Some(written) = written {
        let file = &args.file;
        terminal::print(&format!(
            "{file}: {} blocks, {} bytes\nIt holds addresses of this host and its peers: mind whom you send it to.\n\
             Next: $ ctlens diagnose --from {}\n",
            written.blocks,
            written.bytes,
            shell_quoted(file)
        ))?;
    }
    // What cannot be looked at is recorded all the same: it replays the refusal.
    match report::partial(&looked?) {
        Some(line) => {
            terminal::note(&line);
            Ok(Outcome::CouldNotLook)
        }
        None => Ok(Outcome::NothingFound),
    }
}
