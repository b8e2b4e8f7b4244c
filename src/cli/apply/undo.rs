//! The way back: what each change was before, and how it is restored.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::journal::{Journal, said};
use super::whole::replace;
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

impl Undo {
    /// The kernel made `is` of what was written.
    pub fn became(&mut self, written: &str, is: &str) {
        if let Undo::Sysctl { name, new, .. } = self
            && name == written
        {
            *new = is.to_string();
        }
    }

    pub fn is_file(&self, of: &str) -> bool {
        matches!(self, Undo::File { path, .. } if path == of)
    }
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
            let _ = journal.log("restore", NFT_TABLE, ("loaded", "deleted"), &said(&done));
            done.map_err(|why| format!("deleting the table inet {NFT_TABLE}: {why}"))
        }
        Undo::File { path, old } => {
            let done = match old {
                Some(text) => replace(Path::new(path), text),
                None => match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                },
            };
            let _ = journal.log(
                "restore",
                path,
                ("", old.as_deref().unwrap_or("no file")),
                &said(&done),
            );
            done.map_err(|error| format!("restoring {path}: {error}"))
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
    let _ = journal.log("restore", name, (&is, old), &said(&done));
    done.map_err(|errno| format!("restoring {name} = {old}: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Errno, Job};

    /// Takes everything, and remembers it.
    #[derive(Default)]
    struct Fake(Vec<String>);

    impl Change for Fake {
        fn may_write(&mut self, _: &str) -> Result<(), Errno> {
            Ok(())
        }

        fn write_file(&mut self, path: &str, content: &str) -> Result<(), Errno> {
            self.0.push(format!("{path} {content}"));
            match path.contains("refused") {
                true => Err(Errno::EINVAL),
                false => Ok(()),
            }
        }

        fn tell(&mut self, _: &mut Job<'_>) {}

        fn feed(&mut self, command: &[&str], _: &str) -> Result<(), String> {
            self.0.push(command.join(" "));
            Ok(())
        }
    }

    #[test]
    fn all_is_restored_last_first_and_what_is_not_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::in_folder(folder.path(), "here").expect("a log");
        let (old, new) = (folder.path().join("old.conf"), folder.path().join("new.conf"));
        for path in [&old, &new] {
            fs::write(path, "changed").expect("it is written");
        }
        let name = |path: &std::path::Path| path.display().to_string();
        let undo = [
            // This one is at its old value already.
            Undo::Sysctl {
                name: "kernel.osrelease".to_string(),
                old: now("kernel.osrelease").expect("every Linux has it"),
                new: "0".to_string(),
            },
            Undo::Sysctl {
                name: "kernel.ostype".to_string(),
                old: "Plan9".to_string(),
                new: "Linux".to_string(),
            },
            Undo::Sysctl {
                name: "kernel.refused".to_string(),
                old: "1".to_string(),
                new: String::new(),
            },
            Undo::Nft,
            Undo::File {
                path: name(&old),
                old: Some("before".to_string()),
            },
            Undo::File {
                path: name(&new),
                old: None,
            },
        ];
        let mut fake = Fake::default();
        let problems = restore(&mut fake, &undo, &mut journal, false);
        assert_eq!(
            fake.0,
            [
                "nft -f -",
                "/proc/sys/kernel/refused 1",
                "/proc/sys/kernel/ostype Plan9"
            ]
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("restoring kernel.refused = 1: rejected"),
            "{problems:?}"
        );
        assert_eq!(fs::read_to_string(&old).ok().as_deref(), Some("before"));
        assert!(!new.exists());
        let log = fs::read_to_string(folder.path().join("changes.log")).expect("the log");
        assert!(
            log.lines().count() >= 6 && log.contains("\"new\":\"Plan9\",\"result\":\"done\""),
            "{log}"
        );
    }

    #[test]
    fn what_somebody_else_changed_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::in_folder(folder.path(), "here").expect("a log");
        let undo = [Undo::Sysctl {
            name: "kernel.ostype".to_string(),
            old: "Plan9".to_string(),
            new: "Hurd".to_string(),
        }];
        let mut fake = Fake::default();
        let problems = restore(&mut fake, &undo, &mut journal, false);
        assert!(
            problems[0].contains("somebody has changed it since"),
            "{problems:?}"
        );
        assert!(fake.0.is_empty());
        assert!(restore(&mut fake, &undo, &mut journal, true).is_empty());
        assert_eq!(fake.0.len(), 1);
    }
}
