//! `ctlens audit`: lints settings, of a host or of files.

use std::io::Read;

use anyhow::Context;

use super::super::Outcome;
use super::super::args::{AuditArgs, AuditFormat};
use super::super::door::Door;
use super::super::terminal;
use crate::collect::{self, AuditedHost};
use crate::diagnose;
use crate::evidence::{AUDITED, Around};
use crate::model::{Setting, version};
use crate::render;

/// A file of settings is no larger.
const MAX_BYTES: u64 = 4 << 20;

/// Files of one directory.
const MAX_FILES: usize = 256;

/// What is audited, by its names, and the namespace that it is in.
struct Audited {
    names: Vec<String>,
    netns: Option<String>,
    host: AuditedHost,
}

pub fn audit(args: &AuditArgs) -> anyhow::Result<Outcome> {
    let audited = match (&args.from, args.files.is_empty()) {
        (Some(from), _) => host(Door::from(from)?, from)?,
        (None, true) => {
            let name = args.netns.as_deref().unwrap_or("this host");
            host(Door::live(args.netns.as_deref(), None)?, name)?
        }
        (None, false) => files(&args.files)?,
    };
    let host = &audited.host;
    let around = Around {
        kernel: args.kernel.or_else(|| host.release.as_deref().and_then(version)),
        memory_bytes: host.memory_bytes,
        rules: host.rules.as_ref(),
        listening: host.listening.as_deref(),
    };
    let report = diagnose::audit(audited.names, &host.settings, &around);
    let style = terminal::style_within(args.colour, audited.netns.as_deref());
    let text = match args.format {
        AuditFormat::Text => render::audit_text(&report, &style),
        AuditFormat::Json => render::document(&report),
        AuditFormat::Sarif => render::audit_sarif(&report),
    };
    terminal::print(&text)?;
    Ok(match report.errors + report.warnings {
        0 => Outcome::NothingFound,
        _ => Outcome::Found,
    })
}

/// What is, or was, in force; pasted files may be what was asked for.
fn host(mut door: Door, name: &str) -> anyhow::Result<Audited> {
    let netns = door.netns.clone();
    let pasted = door.pasted.clone();
    let kernel = door.kernel();
    let host = match pasted {
        None => collect::audited_host(kernel, &AUDITED, name),
        Some(path) => {
            let pasted = collect::paste(kernel, &path)?;
            AuditedHost {
                settings: pasted.settings,
                release: pasted.snapshot.host.kernel,
                ..AuditedHost::default()
            }
        }
    };
    anyhow::ensure!(
        !host.settings.is_empty(),
        "no setting could be read of {name}; name files instead: ctlens audit /etc/sysctl.conf"
    );
    Ok(Audited {
        names: vec![name.to_string()],
        netns,
        host,
    })
}

fn files(given: &[String]) -> anyhow::Result<Audited> {
    let mut names = Vec::new();
    for name in given {
        match std::fs::metadata(name) {
            Ok(about) if about.is_dir() => names.extend(fragments(name)?),
            // What cannot be read is told where it is read.
            _ => names.push(name.clone()),
        }
    }
    let mut host = AuditedHost::default();
    for name in &names {
        host.settings.extend(file(name)?);
    }
    Ok(Audited {
        names,
        netns: None,
        host,
    })
}

/// A directory's `*.conf`, in the order of their names.
fn fragments(directory: &str) -> anyhow::Result<Vec<String>> {
    let reading = || format!("reading {directory}");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        names.extend(name.into_string().ok().filter(|name| name.ends_with(".conf")));
        anyhow::ensure!(
            names.len() <= MAX_FILES,
            "{directory} has more than {MAX_FILES} files"
        );
    }
    anyhow::ensure!(!names.is_empty(), "{directory} has no *.conf file in it");
    names.sort();
    let whole = |name: &String| format!("{}/{name}", directory.trim_end_matches('/'));
    Ok(names.iter().map(whole).collect())
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
