//! What is there at all. /proc is read before any netlink message is sent, and no optional module is autoloaded.

use std::ops::ControlFlow;

use super::ask::{Refusal, ask};
use crate::kernel::{Channel, Errno, Kernel};
use crate::wire::netlink::Message;
use crate::wire::{Malformed, nf_tables};

const MAX_PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const STAT_PATH: &str = "/proc/net/stat/nf_conntrack";
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_NET_ADMIN: u32 = 12;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// nf_conntrack is loaded or built in.
    pub conntrack: bool,
    pub release: Option<String>,
    pub net_admin: bool,
    /// May read /proc/net/nf_conntrack, which has mode 0440 and belongs to root.
    pub root_files: bool,
    modules: Modules,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Modules {
    /// No module can be loaded: asking is safe.
    Fixed,
    /// Names that are loaded or built in.
    Known(Vec<String>),
    #[default]
    Unknown,
}

impl Presence {
    pub fn read(kernel: &mut dyn Kernel) -> Presence {
        // Only missing files say that it is not there. Older kernels show a user namespace the counters, not the sysctls.
        let conntrack = [MAX_PATH, STAT_PATH]
            .iter()
            .any(|path| !matches!(kernel.read_file(path), Err(Errno::ENOENT)));
        let release = text(kernel, "/proc/sys/kernel/osrelease").map(|t| t.trim().to_string());
        let status = text(kernel, "/proc/self/status").unwrap_or_default();
        let capabilities = effective(&status).unwrap_or(0);
        let has = |capability: u32| capabilities & 1 << capability != 0;
        let modules = modules(kernel, release.as_deref());
        Presence {
            conntrack,
            release,
            net_admin: has(CAP_NET_ADMIN),
            root_files: is_root(&status) || has(CAP_DAC_OVERRIDE) || has(CAP_DAC_READ_SEARCH),
            modules,
        }
    }

    /// Whether a request to this module can be sent without loading it.
    pub fn has(&self, module: &str) -> bool {
        match &self.modules {
            Modules::Fixed => true,
            Modules::Known(names) => names.iter().any(|name| name == module),
            Modules::Unknown => false,
        }
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// `Uid: real effective saved filesystem`
fn is_root(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.is_some_and(|ids| ids.split_whitespace().nth(3) == Some("0"))
}

fn modules(kernel: &mut dyn Kernel, release: Option<&str>) -> Modules {
    let loaded = match kernel.read_file("/proc/modules") {
        // A kernel built without modules.
        Err(Errno::ENOENT) => return Modules::Fixed,
        Err(_) => return Modules::Unknown,
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    if text(kernel, "/proc/sys/kernel/modules_disabled").is_some_and(|t| t.trim() == "1") {
        return Modules::Fixed;
    }
    let mut names: Vec<String> = loaded
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_string)
        .collect();
    if let Some(list) =
        release.and_then(|release| text(kernel, &format!("/lib/modules/{release}/modules.builtin")))
    {
        // kernel/net/ipv4/tcp_diag.ko
        let stem = |path: &str| Some(path.rsplit('/').next()?.strip_suffix(".ko")?.replace('-', "_"));
        names.extend(list.lines().filter_map(stem));
    }
    Modules::Known(names)
}

/// Whether this namespace tracks connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    Yes,
    No,
    Unknown,
}

/// Conntrack hooks a namespace only where a rule or an object asks for it. An empty table without one says nothing
/// about health. Asked only where the count and all counters are 0.
pub fn tracking(kernel: &mut dyn Kernel, presence: &Presence) -> Tracking {
    let legacy = legacy_tables(kernel);
    let native = match &presence.modules {
        // Not loaded, so it has no rules.
        Modules::Known(_) if !presence.has("nf_tables") => Tracking::No,
        Modules::Unknown => Tracking::Unknown,
        _ => nf_tables(kernel),
    };
    match (native, legacy) {
        (Tracking::Yes, _) => Tracking::Yes,
        (Tracking::No, Tracking::No) => Tracking::No,
        _ => Tracking::Unknown,
    }
}

fn nf_tables(kernel: &mut dyn Kernel) -> Tracking {
    let rules = any_message(kernel, nf_tables::encode_rules(), |message| {
        nf_tables::is_rule(message.kind).then(|| nf_tables::rule_tracks(message.payload))
    });
    match rules {
        Tracking::No => any_message(kernel, nf_tables::encode_objects(), |message| {
            nf_tables::is_object(message.kind).then(|| nf_tables::object_tracks(message.payload))
        }),
        known => known,
    }
}

fn any_message(
    kernel: &mut dyn Kernel,
    request: Vec<u8>,
    tracks: impl Fn(&Message<'_>) -> Option<Result<bool, Malformed>> + Sync,
) -> Tracking {
    let (mut found, mut unread) = (false, false);
    let asked = ask(
        kernel,
        Channel::Netfilter,
        request,
        Vec::new(),
        true,
        &mut |message| {
            match tracks(message) {
                Some(Ok(yes)) => found |= yes,
                Some(Err(_)) => unread = true,
                None => {}
            }
            ControlFlow::Continue(())
        },
    );
    match asked {
        _ if found => Tracking::Yes,
        Ok(()) if !unread => Tracking::No,
        // nfnetlink knows no such subsystem, or, up to 4.9, no objects: then there are none.
        Err(Refusal::Refused(Errno::EINVAL)) => Tracking::No,
        _ => Tracking::Unknown,
    }
}

/// Legacy iptables: a table may or may not hold a rule that tracks, which only its own tool can read.
fn legacy_tables(kernel: &mut dyn Kernel) -> Tracking {
    for path in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"] {
        match kernel.read_file(path) {
            Ok(names) if names.trim_ascii().is_empty() => {}
            // Not loaded.
            Err(Errno::ENOENT) => {}
            _ => return Tracking::Unknown,
        }
    }
    Tracking::No
}

/// A small file as text; `None` where it cannot be read.
pub fn text(kernel: &mut dyn Kernel, path: &str) -> Option<String> {
    kernel
        .read_file(path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
