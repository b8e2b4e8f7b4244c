//! The way back: what each change was before, and how it is restored.

use std::fs;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use crate::kernel::Change;
use crate::render::NFT_TABLE;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Undo {
    Sysctl {
        name: String,
        old: String,
        new: String,
    },
    /// The table of policies.
    Nft,
    /// A file for the next boot; `old` is what stood in it, if there was one.
    File {
        path: String,
        old: Option<String>,
    },
}

pub fn path_of(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// What the kernel has there now.
pub fn now(name: &str) -> Option<String> {
    let text = fs::read_to_string(path_of(name)).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Restores everything, last first; what could not be, in a line each. `force`: also what was changed by others since.
pub fn restore(change: &mut dyn Change, all: &[Undo], journal: &mut Journal, force: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for undo in all.iter().rev() {
        if let Err(problem) = one(change, undo, journal, force) {
            problems.push(problem);
        }
    }
    problems
}

fn one(change: &mut dyn Change, undo: &Undo, journal: &mut Journal, force: bool) -> Result<(), String> {
    match undo {
        Undo::Sysctl { name, old, new } => sysctl(change, (name, old, new), journal, force),
        Undo::Nft => {
            let text = format!("table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n");
            let done = change.feed(&["nft", "-f", "-"], &text);
            let said = done.as_ref().err().cloned().unwrap_or("done".to_string());
            let _ = journal.log("restore", NFT_TABLE, ("loaded", "deleted"), &said);
            done.map_err(|why| format!("deleting the table inet {NFT_TABLE}: {why}"))
        }
        Undo::File { path, old } => {
            let done = match old {
                Some(text) => super::persist::replace(path, text),
                None => match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                },
            };
            let said = done
                .as_ref()
                .err()
                .map_or("done".to_string(), |error| format!("{error:#}"));
            let _ = journal.log("restore", path, ("", old.as_deref().unwrap_or("no file")), &said);
            done.map_err(|error| format!("restoring {path}: {error:#}"))
        }
    }
}

fn sysctl(
    change: &mut dyn Change,
    (name, old, new): (&str, &str, &str),
    journal: &mut Journal,
    force: bool,
) -> Result<(), String> {
    let is = now(name).unwrap_or_default();
    if is == old {
        return Ok(());
    }
    if is != new && !force {
        return Err(format!(
            "{name} is {is} now, neither {new} nor {old}: somebody has changed it since; left alone (--force restores {old})"
        ));
    }
    // Restoring goes on without its log: a value that stays wrong is worse.
    let _ = journal.log("restore", name, (&is, old), "");
    let done = change.write_file(&path_of(name), old);
    let said = done
        .as_ref()
        .err()
        .map_or("done".to_string(), ToString::to_string);
    let _ = journal.log("restore", name, (&is, old), &said);
    done.map_err(|errno| format!("restoring {name} = {old}: {errno}"))
}
