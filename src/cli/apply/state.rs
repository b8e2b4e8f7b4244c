//! What the last apply of a namespace changed, for `confirm` and `rollback`; it outlives the process, not the machine.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::undo::Undo;
use super::whole::replace;

/// Where it is kept, unless systemd's RUNTIME_DIRECTORY says otherwise.
const FOLDER: &str = "/run/ctlens";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Of the apply that wrote it.
    pub pid: u32,
    pub time: String,
    /// It waits to be confirmed.
    pub waiting: bool,
    pub undo: Vec<Undo>,
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
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let state = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        Ok(Some(state))
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
