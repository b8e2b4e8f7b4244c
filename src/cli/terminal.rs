//! Standard output and error: the result on one, progress and reasons on the other.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::args::{CommonArgs, When};
use super::look::Note;
use crate::kernel::Netns;
use crate::render::{Style, shell_quoted};

/// What is buffered of a stream of rows.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes a result. A reader that has gone away (`| head`) has seen enough: that is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_more(text).map(drop)
}

/// A part of a result that goes on; false where nobody reads any more.
pub fn print_more(text: &str) -> anyhow::Result<bool> {
    clear();
    let mut out = io::stdout().lock();
    forgive(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
        .context("writing the result to standard output")
}

/// Rows as they come.
pub struct Rows {
    out: io::BufWriter<io::Stdout>,
    row: Vec<u8>,
}

impl Rows {
    pub fn new() -> Rows {
        Rows {
            out: io::BufWriter::with_capacity(BUFFER_BYTES, io::stdout()),
            row: Vec::new(),
        }
    }

    /// Writes what `fill` puts into the row; false where nobody reads any more.
    pub fn write(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<bool> {
        clear();
        self.row.clear();
        fill(&mut self.row);
        forgive(self.out.write_all(&self.row))
    }

    /// False where nobody reads any more.
    pub fn flush(&mut self) -> io::Result<bool> {
        forgive(self.out.flush())
    }

    pub fn finish(mut self) -> io::Result<()> {
        forgive(self.out.flush())?;
        Ok(())
    }
}

/// False for a broken pipe.
fn forgive(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// One line on standard error.
pub fn note(text: &str) {
    clear();
    let _ = writeln!(io::stderr(), "ctlens: {text}");
}

/// An error with its causes, in one line.
pub fn complain(error: &anyhow::Error) {
    note(&format!("{error:#}"));
}

/// Whether a line of progress stands on the terminal, which results may share.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Takes the line of progress away.
fn clear() {
    // Asked once per row: the load is free, the exchange is not.
    if SHOWN.load(Ordering::Relaxed) && SHOWN.swap(false, Ordering::Relaxed) {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

/// Of a part that went wrong beside a result.
pub fn complain_of(part: &anyhow::Result<()>) {
    if let Err(error) = part {
        complain(error);
    }
}

/// Progress shows only on a terminal, and goes away; reasons only with -v.
pub struct Progress {
    verbose: bool,
    terminal: bool,
}

impl Progress {
    pub fn new(verbose: bool) -> Progress {
        Progress {
            verbose,
            terminal: io::stderr().is_terminal(),
        }
    }

    pub fn show(&mut self, text: Note<'_>) {
        match text {
            Note::Progress(text) if self.terminal => {
                let _ = write!(io::stderr(), "\r\x1b[Kctlens: {text} …");
                SHOWN.store(true, Ordering::Relaxed);
            }
            Note::Reason(text) if self.verbose => {
                note(text);
            }
            _ => {}
        }
    }

    pub fn clear(&mut self) {
        clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether a screen of its own can be drawn, and keys can be read.
pub fn is_interactive() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// Colour only where a person reads, unless told otherwise (<https://no-color.org>).
pub fn plain_style(colour: When) -> Style {
    let colour = match colour {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
        }
    };
    Style {
        colour,
        ..Style::default()
    }
}

/// The same, and commands that reach `netns`.
pub fn style(common: &CommonArgs, netns: Option<&str>) -> Style {
    style_within(common.colour, netns)
}

pub fn style_within(colour: When, netns: Option<&str>) -> Style {
    let again = netns.map_or(String::new(), |netns| format!("--netns {}", shell_quoted(netns)));
    let inside = netns.map_or(Vec::new(), |netns| Netns::parse(netns).entered_by());
    let inside: Vec<_> = inside.iter().map(|word| shell_quoted(word)).collect();
    Style {
        again,
        inside: inside.join(" "),
        ..plain_style(colour)
    }
}
