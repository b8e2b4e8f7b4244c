//! The same for the next boot: a file of sysctl.d.

use std::path::Path;

use anyhow::Context;

use super::undo::Undo;
use super::whole::{read, replace};
use crate::model::Profile;
use crate::render::sysctl_text;

const FILE: &str = "60-ctlens.conf";

pub fn path(folder: &str) -> String {
    Path::new(folder).join(FILE).display().to_string()
}

/// What stands there now.
pub fn undo(folder: &str) -> anyhow::Result<Undo> {
    let path = path(folder);
    let old = read(Path::new(&path)).with_context(|| format!("reading {path}"))?;
    Ok(Undo::File { path, old })
}

pub fn persist(folder: &str, profile: &Profile, from: &str) -> anyhow::Result<()> {
    let path = path(folder);
    let head = format!(
        "Written by ctlens {} on {}, from {from}.\nTo undo it: ctlens rollback, or delete this file and reboot.\nIt counts \
         only where nf_conntrack is loaded before systemd-sysctl runs (/etc/modules-load.d).",
        env!("CARGO_PKG_VERSION"),
        jiff::Timestamp::now()
    );
    replace(Path::new(&path), &sysctl_text(profile, &head)).with_context(|| format!("writing {path}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::Timer;
    use crate::wire::profile::decode_profile;

    #[test]
    fn the_file_says_the_profile_and_how_to_undo_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let profile = Profile {
            timeouts: [(Timer::SynSent, 20)].into(),
            ..Profile::default()
        };
        let place = folder.path().display().to_string();
        let first = undo(&place).expect("it is read");
        persist(&place, &profile, "calm.conf").expect("it is written");
        let text = fs::read_to_string(folder.path().join(FILE)).expect("it is there");
        assert!(
            text.contains("from calm.conf") && text.contains("ctlens rollback"),
            "{text}"
        );
        assert_eq!(decode_profile(&text), Ok(profile.clone()));
        assert!(matches!(first, Undo::File { old: None, .. }));
        let second = undo(&place).expect("it is read");
        assert!(matches!(second, Undo::File { old: Some(old), .. } if old == text));
        assert!(persist("/no/such/folder", &profile, "x").is_err());
    }
}
