//! Which files a paste consists of.

use super::PasteError;
use crate::kernel::{Errno, Kernel};
use crate::model::Gap;

/// Files of one directory that are read, in the order of their names.
const MAX_FILES: usize = 256;

pub struct File {
    pub path: String,
    /// Without directories: what gaps and settings name.
    pub name: String,
}

pub struct Listed {
    pub files: Vec<File>,
    pub gaps: Vec<Gap>,
}

pub fn list(kernel: &mut dyn Kernel, path: &str) -> Result<Listed, PasteError> {
    let listing = match kernel.read_dir(path, "") {
        Ok(listing) => String::from_utf8_lossy(&listing).into_owned(),
        Err(Errno::ENOTDIR) => {
            let name = path.rsplit('/').next().unwrap_or(path).to_string();
            let file = File {
                path: path.to_string(),
                name,
            };
            return Ok(Listed {
                files: vec![file],
                gaps: Vec::new(),
            });
        }
        Err(errno) => {
            let path = path.to_string();
            return Err(PasteError::Unreadable { path, errno });
        }
    };
    let names = listing
        .lines()
        .map(|line| line.split_once(" -> ").map_or(line, |(name, _)| name))
        .filter(|name| !is_prose(name));
    let mut files: Vec<File> = names
        .map(|name| File {
            path: format!("{}/{name}", path.trim_end_matches('/')),
            name: name.to_string(),
        })
        .collect();
    let mut gaps = Vec::new();
    if files.len() > MAX_FILES {
        let reason = format!("{} files: only the first {MAX_FILES} are read", files.len());
        gaps.push(Gap::new(path, reason, "paste fewer files"));
        files.truncate(MAX_FILES);
    }
    Ok(Listed { files, gaps })
}

/// Notes beside the pasted text: they claim nothing.
fn is_prose(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.starts_with('.') || lower.ends_with('~') || lower.ends_with(".md")
}

pub fn empty(path: &str, directories: &[String]) -> PasteError {
    let hint = match directories {
        [] => String::new(),
        names => format!(
            ", only directories, of which one may be meant: {}",
            names.join(", ")
        ),
    };
    let path = path.to_string();
    PasteError::Empty { path, hint }
}
