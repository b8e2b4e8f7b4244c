//! What the user typed to audit.

use clap::{Args, ValueEnum};

use super::super::values::release;
use super::When;

#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Files of settings, or directories of *.conf, in the order in which they apply
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,
    /// Look into this network namespace: a name of `ip netns`, a process id, or a path
    #[arg(long, value_name = "NAME|PID|PATH", conflicts_with_all = ["files", "from"])]
    pub netns: Option<String>,
    /// Audit what a recording, or pasted text (a file, or a folder of them), tells of a host's settings
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "files")]
    pub from: Option<String>,
    /// The kernel that the settings are for: 6.1, or a whole release. Without it, the one that runs; for files, any
    #[arg(long, value_name = "RELEASE", value_parser = release)]
    pub kernel: Option<(u32, u32)>,
    /// text for people, json for programs, sarif for code scanning
    #[arg(long, value_enum, default_value_t = AuditFormat::Text)]
    pub format: AuditFormat,
    /// Colour in text: never in a pipe, and never with NO_COLOR set, unless `always`
    #[arg(long, value_enum, default_value_t = When::Auto, visible_alias = "color")]
    pub colour: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    Text,
    Json,
    Sarif,
}
