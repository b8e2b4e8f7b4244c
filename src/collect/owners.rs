//! Which process holds a socket: links of /proc/PID/fd.

use std::collections::{BTreeMap, BTreeSet};

use super::presence::text;
use crate::kernel::{Errno, Kernel};
use crate::model::{Gap, Process};

/// Processes looked at before giving up: about a second where each has few files open.
const MAX_PROCESSES: usize = 32_768;

/// By inode; stops when all are found. Processes of other users need root. The gap: not every process was looked at.
pub fn owners(kernel: &mut dyn Kernel, inodes: &BTreeSet<u64>) -> (BTreeMap<u64, Process>, Option<Gap>) {
    let mut found = BTreeMap::new();
    if inodes.is_empty() {
        return (found, None);
    }
    let Ok(listing) = kernel.read_dir("/proc", "") else {
        return (found, None);
    };
    let listing = String::from_utf8_lossy(&listing).into_owned();
    let pids: Vec<u32> = listing.lines().filter_map(|name| name.parse().ok()).collect();
    let mut wanted: BTreeSet<String> = inodes.iter().map(|inode| link_to(*inode)).collect();
    let mut crowded = 0;
    for pid in from_both_ends(&pids).take(MAX_PROCESSES) {
        match kernel.find_links(&format!("/proc/{pid}/fd"), &wanted) {
            Ok(links) => {
                for inode in String::from_utf8_lossy(&links).lines().filter_map(socket_inode) {
                    // A socket that processes share belongs to the first that is met.
                    if wanted.remove(&link_to(inode)) {
                        let name = name_of(kernel, pid, &found);
                        found.insert(inode, Process { pid, name });
                    }
                }
            }
            Err(Errno::TOO_LARGE) => crowded += 1,
            Err(_) => {}
        }
        if wanted.is_empty() {
            return (found, None);
        }
    }
    let unseen = pids.len().saturating_sub(MAX_PROCESSES) + crowded;
    let gap = (unseen > 0).then(|| {
        Gap::new(
            "processes",
            format!(
                "{unseen} of {} were not looked through for who holds the sockets",
                pids.len()
            ),
            "ss -tnp state syn-sent",
        )
    });
    (found, gap)
}

/// The oldest, the newest, the second oldest, …: who holds sockets is a daemon since boot, or has just been started.
fn from_both_ends(pids: &[u32]) -> impl Iterator<Item = u32> {
    let mut sorted = pids.to_vec();
    sorted.sort_unstable();
    let (old, new) = (sorted.clone(), sorted.into_iter().rev());
    let count = old.len();
    old.into_iter().zip(new).flat_map(|(a, b)| [a, b]).take(count)
}

/// Read once for each process.
fn name_of(kernel: &mut dyn Kernel, pid: u32, found: &BTreeMap<u64, Process>) -> String {
    let known = found.values().find(|process| process.pid == pid);
    known.map(|process| process.name.clone()).unwrap_or_else(|| {
        text(kernel, &format!("/proc/{pid}/comm")).map_or_else(|| "?".into(), |comm| comm.trim().to_string())
    })
}

fn link_to(inode: u64) -> String {
    format!("socket:[{inode}]")
}

/// `7 -> socket:[12345]`
fn socket_inode(line: &str) -> Option<u64> {
    line.split_once(" -> socket:[")?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_once_the_ends_first() {
        let order = |pids: &[u32]| from_both_ends(pids).collect::<Vec<_>>();
        assert_eq!(order(&[3, 1, 5, 4, 2]), [1, 5, 2, 4, 3]);
        assert_eq!(order(&[2, 1]), [1, 2]);
        assert!(order(&[]).is_empty());
    }
}
