//! What would be written, checked before anything is.

use std::fs;
use std::io::Read;

use anyhow::Context;

use super::super::args::ApplyArgs;
use super::is_initial;
use super::undo::{Undo, now, path_of};
use crate::kernel::{Change, Errno};
use crate::model::Profile;
use crate::render::{SettingChange, nft_text};
use crate::wire::profile::decode_profile;

/// Changes of sysctls, and the policies of targets.
pub struct Plan {
    pub profile: Profile,
    /// Where it comes from.
    pub from: String,
    pub changes: Vec<SettingChange>,
    /// Already in force.
    pub same: Vec<String>,
    /// For nft.
    pub policies: Option<String>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.policies.is_none()
    }

    /// Somebody may have changed a value since it was shown.
    pub fn still_holds(&self) -> anyhow::Result<()> {
        for change in &self.changes {
            let is = now(&change.name).unwrap_or_default();
            anyhow::ensure!(
                is == change.now,
                "{} is {is} now, and was {} when this began: begin anew. Nothing is changed",
                change.name,
                change.now
            );
        }
        Ok(())
    }

    pub fn undo(&self) -> Vec<Undo> {
        let sysctls = self.changes.iter().map(|change| Undo::Sysctl {
            name: change.name.clone(),
            old: change.now.clone(),
            new: change.then.clone(),
        });
        let policies = self.policies.iter().map(|_| Undo::Nft);
        sysctls.chain(policies).collect()
    }
}

/// The profile of the file and of the options; the options win.
pub fn profile(args: &ApplyArgs) -> anyhow::Result<(Profile, String)> {
    let (mut profile, mut from) = (Profile::default(), Vec::new());
    if let Some(file) = &args.profile {
        let text = match file.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context("reading standard input")?;
                text
            }
            path => fs::read_to_string(path).with_context(|| format!("reading {path}"))?,
        };
        profile = decode_profile(&text).with_context(|| file.clone())?;
        from.push(file.clone());
    }
    for (timer, secs) in &args.set {
        profile.timeouts.insert(*timer, *secs);
        from.push(format!("--set {}={secs}", timer.name()));
    }
    Ok((profile, from.join(" ")))
}

/// Nothing is written where one of them could not be.
pub fn plan(change: &mut dyn Change, profile: Profile, from: String) -> anyhow::Result<Plan> {
    let (mut changes, mut same) = (Vec::new(), Vec::new());
    for (name, then) in profile.sysctls() {
        let is = now(&name).with_context(|| {
            format!("{name}: there is no such setting here; leave it out, or load nf_conntrack first")
        })?;
        if is == then {
            same.push(name);
            continue;
        }
        match change.may_write(&path_of(&name)) {
            // Kernels before 5.13 (2671fa4dc010) let every namespace write them.
            may if is_global(&name) && (may == Err(Errno::EACCES) || !is_initial()) => anyhow::bail!(
                "{name} is one value for the host, and only the initial network namespace may write it: leave it out of \
                 the profile, or apply it there"
            ),
            Ok(()) => changes.push(SettingChange { name, now: is, then }),
            Err(errno) => anyhow::bail!("{name} cannot be written: {errno}; run as root. Nothing is changed"),
        }
    }
    if let Some(timer) = profile.timeouts.keys().find(|timer| timer.sysctl().is_none()) {
        anyhow::bail!("{} has no sysctl: leave it out of the profile", timer.name());
    }
    let policies = (!profile.targets.is_empty())
        .then(|| nft_text(&profile, "by ctlens apply; ctlens rollback deletes it"));
    Ok(Plan {
        profile,
        from,
        changes,
        same,
        policies,
    })
}

fn is_global(name: &str) -> bool {
    ["max", "buckets", "expect_max"]
        .iter()
        .any(|rest| name == format!("net.netfilter.nf_conntrack_{rest}"))
}
