//! `ctlens audit`: lints settings, of this host or of files.

use std::io::Read;

use anyhow::Context;

use super::super::Outcome;
use super::super::args::{AuditArgs, AuditFormat};
use super::super::door::Door;
use super::super::terminal;
use crate::collect::{self, Presence};
use crate::diagnose::{AUDITED, audit as lint};
use crate::kernel::Kernel;
use crate::model::{Ruleset, Setting};
use crate::render;

/// A file of settings is no larger.
const MAX_BYTES: u64 = 4 << 20;

pub fn audit(args: &AuditArgs) -> anyhow::Result<Outcome> {
    let (audited, settings, rules) = if args.files.is_empty() {
        running(args)?
    } else {
        let mut settings = Vec::new();
        for name in &args.files {
            settings.extend(file(name)?);
        }
        (args.files.clone(), settings, None)
    };
    let report = lint(audited, &settings, rules.as_ref());
    let text = match args.format {
        AuditFormat::Text => render::audit_text(&report, &terminal::plain_style(args.colour)),
        AuditFormat::Json => render::document(&report),
        AuditFormat::Sarif => render::audit_sarif(&report),
    };
    terminal::print(&text)?;
    Ok(match report.errors + report.warnings {
        0 => Outcome::NothingFound,
        _ => Outcome::Found,
    })
}

/// What is in force here.
fn running(args: &AuditArgs) -> anyhow::Result<(Vec<String>, Vec<Setting>, Option<Ruleset>)> {
    let mut door = Door::live(args.netns.as_deref(), None)?;
    let host = args.netns.clone().unwrap_or_else(|| "this host".to_string());
    let kernel = door.kernel();
    let settings = collect::kernel_settings(kernel, &AUDITED, &host);
    if settings.is_empty() {
        anyhow::bail!(
            "no setting could be read of {host}: is /proc mounted? or name files: ctlens audit /etc/sysctl.conf"
        );
    }
    Ok((vec![host], settings, rules(kernel)))
}

/// Only where they can be read: an audit asks for no privilege.
fn rules(kernel: &mut dyn Kernel) -> Option<Ruleset> {
    let presence = Presence::read(kernel);
    (presence.conntrack && presence.net_admin)
        .then(|| collect::ruleset(kernel, &presence, false).ok())
        .flatten()
}

fn file(name: &str) -> anyhow::Result<Vec<Setting>> {
    let mut text = Vec::new();
    let read = match name {
        "-" => std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut text),
        path => std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)),
    };
    read.with_context(|| format!("reading {name}"))?;
    if text.len() as u64 > MAX_BYTES {
        anyhow::bail!(
            "{name} is larger than {} MiB: that is no file of settings",
            MAX_BYTES >> 20
        );
    }
    collect::file_settings(&String::from_utf8_lossy(&text), name)
        .map_err(|why| anyhow::anyhow!("{name}: {why}"))
}
