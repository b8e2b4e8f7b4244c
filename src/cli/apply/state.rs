//! What the last apply of a namespace changed, for `confirm` and `rollback`; it outlives the process, not the machine.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::undo::Undo;
use super::whole::{read, replace};

/// Where it is kept, unless systemd's RUNTIME_DIRECTORY says otherwise.
const FOLDER: &str = "/run/ctlens";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Of the apply that wrote it.
    pub pid: u32,
    pub time: String,
    /// It waits to be confirmed.
    pub waiting: bool,
    /// It was to be taken back, and something of it could not be.
    #[serde(default)]
    pub stuck: bool,
    pub undo: Vec<Undo>,
}

impl State {
    /// Whether both are of one apply.
    pub fn is_of(&self, other: &State) -> bool {
        (self.pid, &self.time) == (other.pid, &other.time)
    }
}

/// One namespace's files.
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// Of the namespace that this process is in.
    pub fn here() -> anyhow::Result<Place> {
        let link = fs::read_link("/proc/self/ns/net").context("reading /proc/self/ns/net")?;
        let name: String = link
            .to_string_lossy()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let folder = std::env::var_os("RUNTIME_DIRECTORY").map_or(PathBuf::from(FOLDER), PathBuf::from);
        Ok(Place { folder, name })
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("apply-{}.json", self.name))
    }

    /// Exists once somebody has confirmed.
    fn marker(&self) -> PathBuf {
        self.folder.join(format!("confirmed-{}", self.name))
    }

    pub fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.file();
        let reading = || format!("reading {}", path.display());
        let text = read(&path).with_context(reading)?;
        text.map(|text| serde_json::from_str(&text).with_context(reading))
            .transpose()
    }

    pub fn save(&self, state: &State) -> anyhow::Result<()> {
        let path = self.file();
        let text = serde_json::to_string_pretty(state).context("writing the state")?;
        let write = || {
            fs::create_dir_all(&self.folder)?;
            replace(&path, &text)
        };
        write().with_context(|| {
            format!(
                "writing {}: nothing is changed without it (run as root, or set RUNTIME_DIRECTORY)",
                path.display()
            )
        })
    }

    pub fn forget(&self) {
        let _ = fs::remove_file(self.file());
        let _ = fs::remove_file(self.marker());
    }

    /// To what an apply before had changed.
    pub fn go_back(&self, before: Option<&State>) {
        self.forget();
        if let Some(before) = before {
            let _ = self.save(before);
        }
    }

    /// What could not be taken back stays known, for `rollback`.
    pub fn taken_back(&self, whole: bool, before: Option<&State>) {
        let left = match whole {
            true => None,
            false => self.load().ok().flatten(),
        };
        match left {
            Some(state) => {
                let _ = self.save(&State {
                    waiting: false,
                    stuck: true,
                    ..state
                });
                self.unconfirm();
            }
            None => self.go_back(before),
        }
    }

    pub fn unconfirm(&self) {
        let _ = fs::remove_file(self.marker());
    }

    pub fn is_confirmed(&self) -> bool {
        self.marker().exists()
    }

    pub fn confirm(&self) -> anyhow::Result<()> {
        let path = self.marker();
        fs::write(&path, "").with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_gives_way_to_what_was_before_and_what_was_not_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place {
            folder: folder.path().to_path_buf(),
            name: "1".to_string(),
        };
        let state = |pid, waiting| State {
            pid,
            time: "now".to_string(),
            waiting,
            stuck: false,
            undo: vec![Undo::Nft],
        };
        let (first, second) = (state(1, false), state(2, true));
        place.save(&second).expect("it is written");
        place.taken_back(false, Some(&first));
        let left = place.load().expect("it is read").expect("it is there");
        assert!(left.is_of(&second) && left.stuck && !left.waiting);
        place.taken_back(true, Some(&first));
        let left = place.load().expect("it is read").expect("it is there");
        assert!(left.is_of(&first) && !left.stuck);
        place.taken_back(true, None);
        assert!(place.load().expect("it is read").is_none());
    }
}
