//! Which door the command goes through: the live kernel, the same with a recording beside it, or a recording alone.

use std::path::Path;

use clap::Parser;

use super::args::{Cli, Command, CommonArgs};
use super::terminal;
use crate::kernel::{Kernel, Live, Netns, Record, Replay, Written};

/// An open door, and the namespace behind it as the user named it.
pub struct Door {
    way: Way,
    pub netns: Option<String>,
}

enum Way {
    Live(Live),
    Recorded(Box<Record>),
    Replay(Box<Replay>),
}

impl Door {
    pub fn open(common: &CommonArgs) -> anyhow::Result<Door> {
        match &common.from {
            Some(from) => Door::replay(from),
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
        Ok(Door { way, netns })
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

/// The namespace that the recording's own command named: its report's commands name it again.
fn recorded_netns(about: &str) -> Option<String> {
    let words = std::iter::once("ctlens").chain(about.split_whitespace());
    match Cli::try_parse_from(words).ok()?.command {
        Command::Status(args) => args.common.netns,
        Command::Diagnose(args) => args.common.netns,
        Command::List(args) => args.common.netns,
        Command::Record(args) => args.netns,
    }
}
