//! Which process holds a socket: links of /proc/PID/fd.

use std::collections::{BTreeMap, BTreeSet};

use super::presence::text;
use crate::kernel::Kernel;
use crate::model::Process;

/// Processes looked at before giving up.
const MAX_PROCESSES: usize = 4096;

/// By inode; stops when all are found. Processes of other users need root.
pub fn owners(kernel: &mut dyn Kernel, inodes: &BTreeSet<u64>) -> BTreeMap<u64, Process> {
    let mut found = BTreeMap::new();
    if inodes.is_empty() {
        return found;
    }
    let Ok(listing) = kernel.read_dir("/proc", "") else {
        return found;
    };
    let listing = String::from_utf8_lossy(&listing).into_owned();
    let mut pids: Vec<u32> = listing.lines().filter_map(|name| name.parse().ok()).collect();
    // The newest first: what connects now is seldom what booted first.
    pids.sort_unstable_by(|a, b| b.cmp(a));
    for pid in pids.into_iter().take(MAX_PROCESSES) {
        let Ok(links) = kernel.read_dir(&format!("/proc/{pid}/fd"), "socket:[") else {
            continue;
        };
        let mut name = None;
        for line in String::from_utf8_lossy(&links).lines() {
            let Some(inode) = socket_inode(line).filter(|inode| inodes.contains(inode)) else {
                continue;
            };
            let name = name.get_or_insert_with(|| {
                text(kernel, &format!("/proc/{pid}/comm"))
                    .map_or_else(|| "?".into(), |c| c.trim().to_string())
            });
            found.entry(inode).or_insert_with(|| Process {
                pid,
                name: name.clone(),
            });
        }
        if found.len() == inodes.len() {
            break;
        }
    }
    found
}

/// `7 -> socket:[12345]`
fn socket_inode(line: &str) -> Option<u64> {
    line.split_once(" -> socket:[")?.1.strip_suffix(']')?.parse().ok()
}
