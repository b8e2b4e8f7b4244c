//! Every write, as a line of JSON: before it is done, and what became of it.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// Where it is kept, unless systemd's LOGS_DIRECTORY says otherwise.
const FOLDER: &str = "/var/log/ctlens";
const FILE: &str = "changes.log";

pub struct Journal {
    file: File,
    netns: String,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    netns: &'a str,
    pid: u32,
    uid: Option<u32>,
    /// Who became root.
    sudo_user: Option<String>,
    what: &'a str,
    name: &'a str,
    old: &'a str,
    new: &'a str,
    result: &'a str,
}

impl Journal {
    /// What cannot be logged is not written.
    pub fn open(netns: &str) -> anyhow::Result<Journal> {
        let folder = std::env::var_os("LOGS_DIRECTORY").map_or(PathBuf::from(FOLDER), PathBuf::from);
        Journal::in_folder(&folder, netns)
    }

    pub(super) fn in_folder(folder: &Path, netns: &str) -> anyhow::Result<Journal> {
        let path = folder.join(FILE);
        let open = || {
            fs::create_dir_all(folder)?;
            OpenOptions::new().create(true).append(true).open(&path)
        };
        let file = open().with_context(|| {
            format!(
                "opening the log {}: nothing is changed without it (run as root, or set LOGS_DIRECTORY)",
                path.display()
            )
        })?;
        Ok(Journal {
            file,
            netns: netns.to_string(),
        })
    }

    /// `result` is empty before the write.
    pub fn log(
        &mut self,
        what: &str,
        name: &str,
        (old, new): (&str, &str),
        result: &str,
    ) -> anyhow::Result<()> {
        let line = Line {
            time: jiff::Timestamp::now().to_string(),
            netns: &self.netns,
            pid: std::process::id(),
            uid: uid(),
            sudo_user: std::env::var("SUDO_USER").ok(),
            what,
            name,
            old,
            new,
            result,
        };
        let mut text = serde_json::to_string(&line).context("writing a line of the log")?;
        text.push('\n');
        // One write: lines of two processes do not mix.
        self.file
            .write_all(text.as_bytes())
            .context("writing to the log of changes")
    }
}

/// What became of a write, for its line.
pub fn said<T, E: Display>(done: &Result<T, E>) -> String {
    match done {
        Ok(_) => "done".to_string(),
        Err(error) => error.to_string(),
    }
}

fn uid() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}
