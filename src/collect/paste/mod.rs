//! Pasted text, a file or the files of a directory, as the nouns that a live look gives. What was not pasted and
//! matters becomes a gap with the command that would show it.

mod files;
mod gaps;
mod gather;

use std::ops::ControlFlow;

use foldhash::{HashMap, HashMapExt};

use super::tally::Each;
use crate::kernel::{Errno, Kernel};
use crate::model::{Flow, Gap, Moment, Pasted, TableLook, TableSource, Tuple};
use crate::wire::paste::{Unread, parse, walk};
use files::Listed;
use gather::Gather;

/// Bytes read in all, over all files.
const MAX_BYTES: u64 = 512 << 20;
/// Entries of several files remembered, so that none counts twice.
const MAX_REMEMBERED: usize = 1_000_000;

/// Why pasted text says nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasteError {
    #[error("reading {path}: {errno}; --from takes a file, or a directory of files, with pasted text")]
    Unreadable { path: String, errno: Errno },
    #[error(
        "{path} has no file with pasted text in it{hint}; put `conntrack -L`, `ss -tan`, `sysctl -a` … there, each in a \
         file of its own"
    )]
    Empty { path: String, hint: String },
    #[error("reading {file} as pasted text, {unread}; paste each tool's output as it printed it")]
    Unread { file: String, unread: Unread },
}

/// Reads everything but the entries, which [`pasted_entries`] hands on. In a directory, files that are prose (`*.md`),
/// hidden or backups (`*~`) are passed over, and directories are not entered; a file that nothing recognises becomes
/// a gap there, and an error where it is all there is.
pub fn paste(kernel: &mut dyn Kernel, path: &str) -> Result<Pasted, PasteError> {
    let Listed { files, mut gaps } = files::list(kernel, path)?;
    let mut gather = Gather::default();
    let (mut bytes_left, mut refused, mut directories, mut used) = (MAX_BYTES, None, Vec::new(), 0);
    for file in &files {
        let bytes = match kernel.read_file(&file.path) {
            Ok(bytes) => bytes,
            Err(Errno::EISDIR) => {
                directories.push(file.name.clone());
                continue;
            }
            Err(errno) if files.len() == 1 => {
                let path = file.path.clone();
                return Err(PasteError::Unreadable { path, errno });
            }
            Err(errno) => {
                gaps.push(Gap::new(&file.name, errno.to_string(), "make it readable"));
                continue;
            }
        };
        let Some(left) = bytes_left.checked_sub(bytes.len() as u64) else {
            let reason = format!("not read: more than {} MiB were pasted in all", MAX_BYTES >> 20);
            gaps.push(Gap::new(&file.name, reason, "paste fewer files"));
            continue;
        };
        bytes_left = left;
        match parse(&String::from_utf8_lossy(&bytes), &file.name) {
            Ok(parts) => {
                used += 1;
                parts.into_iter().for_each(|part| gather.take(part, file));
            }
            Err(unread) => {
                let reason = format!("{unread}; the file is not used");
                gaps.push(Gap::new(
                    &file.name,
                    reason,
                    "paste the tool's output as it printed it",
                ));
                let file = file.path.clone();
                refused.get_or_insert(PasteError::Unread { file, unread });
            }
        }
    }
    if used == 0 {
        return Err(refused.unwrap_or_else(|| files::empty(path, &directories)));
    }
    let mut out = gather.finish();
    gaps.append(&mut out.snapshot.gaps);
    gaps.extend(gaps::missing(&out));
    out.snapshot.gaps = gaps;
    Ok(out)
}

/// Hands on the pasted entries, each once. `None` where none were pasted.
pub fn pasted_entries(kernel: &mut dyn Kernel, pasted: &Pasted, each: &mut Each<'_>) -> Option<TableLook> {
    if pasted.entry_files.is_empty() {
        return None;
    }
    let mut look = TableLook {
        source: TableSource::Pasted,
        started: Moment::default(),
        ended: Moment::default(),
        dumped: 0,
        sampled_of: None,
        count_after: None,
        duplicates: 0,
        malformed: 0,
    };
    let mut seen = (pasted.entry_files.len() > 1).then(Seen::default);
    for (index, path) in pasted.entry_files.iter().enumerate() {
        let Ok(bytes) = kernel.read_file(path) else {
            continue;
        };
        let mut stopped = false;
        let (_, bad) = walk(&String::from_utf8_lossy(&bytes), &mut |flow| {
            if seen.as_mut().is_some_and(|seen| seen.again(flow, index)) {
                look.duplicates += 1;
                return ControlFlow::Continue(());
            }
            look.dumped += 1;
            let next = each(flow);
            stopped = next.is_break();
            next
        });
        look.malformed += bad;
        if stopped {
            break;
        }
    }
    Some(look)
}

/// Which file an entry was first met in: `conntrack -L` and /proc/net/nf_conntrack of one table hold the same.
struct Seen(HashMap<(u8, Tuple, u16), usize>);

impl Default for Seen {
    fn default() -> Seen {
        Seen(HashMap::with_capacity(0))
    }
}

impl Seen {
    fn again(&mut self, flow: &Flow, file: usize) -> bool {
        let key = (flow.proto, flow.orig, flow.zone.unwrap_or(0));
        match self.0.get(&key) {
            Some(first) => *first != file,
            None => {
                if self.0.len() < MAX_REMEMBERED {
                    self.0.insert(key, file);
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
