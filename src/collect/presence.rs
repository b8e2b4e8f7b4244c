//! What is there at all. /proc is read before any netlink message is sent, and no optional module is autoloaded.

use std::ops::ControlFlow;

use super::ask::{Refusal, ask};
use super::plan::{Closed, Doors};
use crate::kernel::{Channel, Errno, Kernel};
use crate::model::version;
use crate::wire::netlink::Message;
use crate::wire::{Malformed, nf_tables};

const MAX_PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const STAT_PATH: &str = "/proc/net/stat/nf_conntrack";
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_NET_ADMIN: u32 = 12;
/// From this release on /proc/net/nf_conntrack resumes where the last read ended; before it, each read walks the hash
/// from the first bucket (ct_get_idx). A backport to an older release cannot be told from outside.
const PROC_RESUMES: (u32, u32) = (6, 15);

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
    /// Names that are loaded or built in; whether the list of what is built in could be read.
    Known { names: Vec<String>, whole: bool },
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
            Modules::Known { names, .. } => names.iter().any(|name| name == module),
            Modules::Unknown => false,
        }
    }

    /// Whether it is certain that nothing of this module runs here.
    pub fn lacks(&self, module: &str) -> bool {
        matches!(self.modules, Modules::Known { whole: true, .. }) && !self.has(module)
    }

    /// Whether a request to this subsystem of nfnetlink loads nothing: socket() would load nfnetlink itself, and
    /// nfnetlink_rcv_msg() the subsystem.
    pub fn has_nfnetlink(&self, subsystem: &str) -> bool {
        self.has("nfnetlink") && self.has(subsystem)
    }

    /// Whether ctnetlink can be asked without loading it, and will answer.
    pub fn ctnetlink(&self) -> bool {
        self.doors().ctnetlink.is_none()
    }

    /// Which ways to the table are open.
    pub fn doors(&self) -> Doors {
        let ctnetlink = if !self.net_admin {
            Some(Closed::NotPermitted)
        } else if !(self.conntrack && self.has_nfnetlink("nf_conntrack_netlink")) {
            Some(Closed::NotLoaded)
        } else {
            None
        };
        let release = self.release.as_deref().and_then(version);
        Doors {
            ctnetlink,
            proc: self.root_files,
            proc_rewalks: release.is_none_or(|release| release < PROC_RESUMES),
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
    // A container seldom has it.
    let builtin =
        release.and_then(|release| text(kernel, &format!("/lib/modules/{release}/modules.builtin")));
    if let Some(list) = &builtin {
        // kernel/net/ipv4/tcp_diag.ko
        let stem = |path: &str| Some(path.rsplit('/').next()?.strip_suffix(".ko")?.replace('-', "_"));
        names.extend(list.lines().filter_map(stem));
    }
    Modules::Known {
        names,
        whole: builtin.is_some(),
    }
}

/// Whether this namespace tracks connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    Yes,
    No,
    Unknown,
}

/// Conntrack hooks a namespace only where a rule or an object asks for it. An empty table without one says nothing
/// about health, and counters that are not 0 may be of rules that are gone.
pub fn tracking(kernel: &mut dyn Kernel, presence: &Presence) -> Tracking {
    let legacy = legacy_tables(kernel);
    let native = if presence.lacks("nf_tables") {
        // Not loaded, so it has no rules.
        Tracking::No
    } else if presence.net_admin && presence.has_nfnetlink("nf_tables") {
        nf_tables(kernel)
    } else {
        Tracking::Unknown
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

/// Whether any message of a dump says yes.
pub fn any_message(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_walk_the_hash_for_each_read() {
        let rewalks = |release: Option<&str>| {
            let presence = Presence {
                release: release.map(str::to_string),
                ..Presence::default()
            };
            presence.doors().proc_rewalks
        };
        for old in ["4.4.0-210-generic", "5.15.0", "6.14.11-300.fc42.x86_64", "x", ""] {
            assert!(rewalks(Some(old)), "{old}");
        }
        for new in ["6.15.0", "6.18.44-fc", "7.0-rc1"] {
            assert!(!rewalks(Some(new)), "{new}");
        }
        assert!(rewalks(None));
    }
}
