//! Which door the command goes through: the live kernel, the same with a recording beside it, a recording alone, or
//! pasted text in files or from a pipe.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use clap::Parser;

use super::args::{Cli, Command, CommonArgs};
use super::terminal;
use crate::kernel::{Kernel, Live, MAGIC_BYTES, Netns, Piped, Record, Replay, Written, is_recording};
use crate::render::shell_quoted;

/// Pasted text that comes through a pipe is held in memory.
const MAX_PIPED_BYTES: u64 = 256 << 20;

/// An open door, and the namespace behind it as the user named it.
pub struct Door {
    way: Way,
    pub netns: Option<String>,
    /// Of a recording: how it was made, as far as this version understands it.
    pub made_by: Option<Command>,
    /// The file or folder of pasted text to read instead of asking the kernel.
    pub pasted: Option<String>,
}

enum Way {
    Live(Live),
    Recorded(Box<Record>),
    Replay(Box<Replay>),
    Piped(Box<Piped>),
}

impl Door {
    pub fn open(common: &CommonArgs) -> anyhow::Result<Door> {
        match &common.from {
            Some(from) => Door::from(from),
            None => Door::live(common.netns.as_deref(), common.record.as_deref()),
        }
    }

    /// What is no recording is pasted text, or refused as neither. It is opened once: a pipe says nothing twice.
    pub fn from(from: &str) -> anyhow::Result<Door> {
        let opening = || format!("opening {from}");
        let mut file = File::open(from).with_context(opening)?;
        let about = file.metadata().with_context(opening)?;
        let mut text = Vec::new();
        if !about.is_dir() {
            let first = (&mut file).take(MAGIC_BYTES).read_to_end(&mut text);
            first.with_context(|| format!("reading {from}"))?;
        }
        if is_recording(&text) {
            return Door::replay(from, file, text);
        }
        let live = Live::open(None)?;
        let way = if about.is_dir() || about.is_file() {
            Way::Live(live)
        } else {
            let rest = file.take(MAX_PIPED_BYTES).read_to_end(&mut text);
            rest.with_context(|| format!("reading {from}"))?;
            anyhow::ensure!(
                (text.len() as u64) < MAX_PIPED_BYTES,
                "reading {from}: more than {MAX_PIPED_BYTES} bytes come through the pipe; write them into a file"
            );
            Way::Piped(Box::new(Piped::new(Box::new(live), from, text)))
        };
        Ok(Door {
            way,
            netns: None,
            made_by: None,
            pasted: Some(from.to_string()),
        })
    }

    /// On this machine, with a recording of all that is looked at where a file for it is named.
    pub fn live(netns: Option<&str>, record: Option<&str>) -> anyhow::Result<Door> {
        let live = Live::open(netns.map(Netns::parse).as_ref())?;
        let way = match record {
            None => Way::Live(live),
            Some(file) => {
                let words: Vec<String> = std::env::args().skip(1).collect();
                let about = words.iter().map(|word| shell_quoted(word)).collect::<Vec<_>>();
                Way::Recorded(Box::new(Record::new(
                    Box::new(live),
                    Path::new(file),
                    &about.join(" "),
                )?))
            }
        };
        let netns = netns.map(str::to_string);
        Ok(Door {
            way,
            netns,
            made_by: None,
            pasted: None,
        })
    }

    fn replay(from: &str, file: File, first: Vec<u8>) -> anyhow::Result<Door> {
        let replay = Replay::open_from(Path::new(from), file, first)?;
        if let Some(cut) = replay.cut() {
            terminal::note(&cut);
        }
        let made_by = made_by(replay.about());
        let netns = made_by.as_ref().and_then(recorded_netns);
        Ok(Door {
            way: Way::Replay(Box::new(replay)),
            netns,
            made_by,
            pasted: None,
        })
    }

    pub fn kernel(&mut self) -> &mut dyn Kernel {
        match &mut self.way {
            Way::Live(live) => live,
            Way::Recorded(record) => &mut **record,
            Way::Replay(replay) => &mut **replay,
            Way::Piped(piped) => &mut **piped,
        }
    }

    /// Ends the recording, where one is made.
    pub fn close(self) -> anyhow::Result<Option<Written>> {
        match self.way {
            Way::Recorded(record) => Ok(Some(record.finish()?)),
            Way::Live(_) | Way::Replay(_) | Way::Piped(_) => Ok(None),
        }
    }
}

fn made_by(about: &str) -> Option<Command> {
    let words = std::iter::once("ctlens".to_string()).chain(shlex::split(about)?);
    Some(Cli::try_parse_from(words).ok()?.command)
}

/// The namespace that the recording's own command named: its report's commands name it again.
fn recorded_netns(command: &Command) -> Option<String> {
    let netns = match command {
        Command::Status(args) => &args.common.netns,
        Command::Diagnose(args) => &args.common.netns,
        Command::List(args) => &args.common.netns,
        Command::Events(args) => &args.common.netns,
        Command::Watch(args) => &args.common.netns,
        Command::Record(args) => &args.netns,
        Command::Recommend(args) => &args.netns,
        _ => return None,
    };
    // Whoever wrote the file chose it, and it ends up in commands for root.
    netns.clone().filter(|name| Netns::is_plausible(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_names_its_namespace_but_no_command() {
        let named = |about: &str| made_by(about).as_ref().and_then(recorded_netns);
        assert_eq!(named("diagnose --netns edge --window 0").as_deref(), Some("edge"));
        assert_eq!(
            named("record x.pcapng --netns /run/netns/a-b").as_deref(),
            Some("/run/netns/a-b")
        );
        for about in [
            "diagnose --netns $(id)",
            "diagnose --netns a;id",
            "diagnose --netns=-e",
            "diagnose --netns `id`",
            "diagnose",
            "diagnose --netns 'edge",
            "rm -rf",
        ] {
            assert_eq!(named(about), None, "{about}");
        }
    }
}
