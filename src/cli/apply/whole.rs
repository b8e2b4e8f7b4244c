//! A file written whole or not at all, and on the disk.

use std::fs;
use std::io::Write;
use std::path::Path;

pub fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".ctlens-new");
    let mut file = fs::File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
