//! Which door the command goes through: the live kernel, the same with a recording beside it, a recording alone, or
//! files of pasted text.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use clap::Parser;

use super::args::{Cli, Command, CommonArgs};
use super::terminal;
use crate::kernel::{Kernel, Live, Netns, Record, Replay, Written, is_recording};

/// So many bytes tell what a file is.
const MAGIC_BYTES: u64 = 12;

/// An open door, and the namespace behind it as the user named it.
pub struct Door {
    way: Way,
    pub netns: Option<String>,
    /// The file or folder of pasted text to read instead of asking the kernel.
    pub pasted: Option<String>,
}

enum Way {
    Live(Live),
    Recorded(Box<Record>),
    Replay(Box<Replay>),
}

impl Door {
    pub fn open(common: &CommonArgs) -> anyhow::Result<Door> {
        match &common.from {
            Some(from) if is_recording_at(from)? => Door::replay(from),
            Some(from) => Ok(Door {
                way: Way::Live(Live::open(None)?),
                netns: None,
                pasted: Some(from.clone()),
            }),
            None => Door::live(common.netns.as_deref(), common.record.as_deref()),
        }
    }

    /// On this machine, with a recording of all that is looked at where a file for it is named.
    pub fn live(netns: Option<&str>, record: Option<&str>) -> anyhow::Result<Door> {
        let live = Live::open(netns.map(Netns::parse).as_ref())?;
        let way = match record {
            None => Way::Live(live),
            Some(file) => {
                let about: Vec<String> = std::env::args().skip(1).collect();
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
            pasted: None,
        })
    }

    fn replay(from: &str) -> anyhow::Result<Door> {
        let replay = Replay::open(Path::new(from))?;
        if let Some(cut) = replay.cut() {
            terminal::note(&cut);
        }
        let netns = recorded_netns(replay.about());
        Ok(Door {
            way: Way::Replay(Box::new(replay)),
            netns,
            pasted: None,
        })
    }

    pub fn kernel(&mut self) -> &mut dyn Kernel {
        match &mut self.way {
            Way::Live(live) => live,
            Way::Recorded(record) => &mut **record,
            Way::Replay(replay) => &mut **replay,
        }
    }

    /// Ends the recording, where one is made.
    pub fn close(self) -> anyhow::Result<Option<Written>> {
        match self.way {
            Way::Recorded(record) => Ok(Some(record.finish()?)),
            Way::Live(_) | Way::Replay(_) => Ok(None),
        }
    }
}

/// What is no recording is pasted text, or refused as neither.
fn is_recording_at(from: &str) -> anyhow::Result<bool> {
    let opened = File::open(from).with_context(|| format!("opening {from}"))?;
    if opened.metadata().is_ok_and(|about| about.is_dir()) {
        return Ok(false);
    }
    let mut first = Vec::new();
    let _ = opened.take(MAGIC_BYTES).read_to_end(&mut first);
    Ok(is_recording(&first))
}

/// The namespace that the recording's own command named: its report's commands name it again.
fn recorded_netns(about: &str) -> Option<String> {
    let words = std::iter::once("ctlens").chain(about.split_whitespace());
    let netns = match Cli::try_parse_from(words).ok()?.command {
        Command::Status(args) => args.common.netns,
        Command::Diagnose(args) => args.common.netns,
        Command::List(args) => args.common.netns,
        Command::Record(args) => args.netns,
    };
    // Whoever wrote the file chose it, and it ends up in commands for root.
    netns.filter(|name| Netns::is_plausible(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_names_its_namespace_but_no_command() {
        let named = recorded_netns("diagnose --netns edge --window 0");
        assert_eq!(named.as_deref(), Some("edge"));
        assert_eq!(
            recorded_netns("record x.pcapng --netns /run/netns/a-b").as_deref(),
            Some("/run/netns/a-b")
        );
        for about in [
            "diagnose --netns $(id)",
            "diagnose --netns a;id",
            "diagnose --netns=-e",
            "diagnose --netns `id`",
            "diagnose",
            "rm -rf",
        ] {
            assert_eq!(recorded_netns(about), None, "{about}");
        }
    }
}
