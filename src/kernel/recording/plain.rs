//! A recording's plain bytes as a file to seek in: zstd, and what is no regular file, is unpacked into a nameless one.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::RecordingError;

const PCAPNG: &[u8] = &[0x0a, 0x0d, 0x0d, 0x0a];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Byte-order magic, behind the section header's type and length.
const SECTION: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// Reading stops here; a recording of a million entries has 300 MB.
const MAX_PLAIN_BYTES: u64 = 16 << 30;
/// zstd's own default: more would need `--long` when it was packed.
const MAX_WINDOW_LOG: u32 = 27;
/// Names tried for the nameless file.
const ATTEMPTS: u32 = 100;

/// So many bytes tell for sure whether a file may be a recording.
pub const MAGIC_BYTES: u64 = 12;

/// Whether a file that begins so may be a recording.
pub fn is_recording(first_bytes: &[u8]) -> bool {
    let reversed: Vec<u8> = SECTION.into_iter().rev().collect();
    let order = first_bytes.get(8..12);
    first_bytes.starts_with(ZSTD)
        || first_bytes.starts_with(PCAPNG) && order.is_none_or(|order| order == SECTION || order == reversed)
}

/// Plain bytes, and why they end where they do if not by themselves.
pub struct Plain {
    pub file: File,
    pub length: u64,
    pub broken: Option<String>,
}

/// `file` is open at `path`, and `first` is what was read of it already: a pipe gives it only once.
pub fn open(path: &Path, mut file: File, first: Vec<u8>) -> Result<Plain, RecordingError> {
    let unreadable = |error: std::io::Error| RecordingError::Read {
        path: path.display().to_string(),
        why: error.to_string(),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    let packed = first.starts_with(ZSTD);
    if metadata.is_file() && !packed {
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        return Ok(Plain {
            file,
            length: metadata.len().min(MAX_PLAIN_BYTES),
            broken: None,
        });
    }
    let all = first.as_slice().chain(file);
    let mut source: Box<dyn Read> = if packed {
        let mut decoder = zstd::Decoder::new(all).map_err(unreadable)?;
        decoder.window_log_max(MAX_WINDOW_LOG).map_err(unreadable)?;
        Box::new(decoder)
    } else {
        Box::new(BufReader::new(all))
    };
    unpack(&mut source).map_err(|error| RecordingError::Unpack {
        path: path.display().to_string(),
        dir: env::temp_dir().display().to_string(),
        why: error.to_string(),
    })
}

/// Errors are those of writing; a source that breaks off leaves what came before.
fn unpack(source: &mut dyn Read) -> std::io::Result<Plain> {
    let mut out = BufWriter::new(nameless()?);
    let mut length = 0;
    let mut piece = vec![0; 64 * 1024];
    let broken = loop {
        match source.read(&mut piece) {
            Ok(0) => break None,
            Ok(got) => {
                out.write_all(&piece[..got])?;
                length += got as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => break Some(format!("unpacking stopped: {error}")),
        }
        if length > MAX_PLAIN_BYTES {
            break Some(format!("no more than {MAX_PLAIN_BYTES} bytes are unpacked"));
        }
    };
    let mut file = out.into_inner().map_err(|error| error.into_error())?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Plain { file, length, broken })
}

fn nameless() -> std::io::Result<File> {
    let dir = env::temp_dir();
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        let name = dir.join(format!("ctlens-{}-{attempt}", std::process::id()));
        let mut options = OpenOptions::new();
        match options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&name)
        {
            Ok(file) => {
                fs::remove_file(&name)?;
                return Ok(file);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_by_its_first_bytes() {
        let little = [0x0a, 0x0d, 0x0d, 0x0a, 0x1c, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a];
        let big = [0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 0x1c, 0x1a, 0x2b, 0x3c, 0x4d];
        assert!(is_recording(&little) && is_recording(&big) && is_recording(&little[..4]));
        assert!(is_recording(&[0x28, 0xb5, 0x2f, 0xfd, 4]));
        assert!(!is_recording(b"\n\r\r\nplain text that starts with blank lines"));
        assert!(!is_recording(b"tcp      6 431999 ESTABLISHED") && !is_recording(b""));
        assert!(!is_recording(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0])); // pcap
    }

    #[test]
    fn a_nameless_file_leaves_no_name() {
        let before = fs::read_dir(env::temp_dir()).unwrap().count();
        let held: Vec<File> = (0..3).map(|_| nameless().unwrap()).collect();
        let prefix = format!("ctlens-{}-", std::process::id());
        let names = fs::read_dir(env::temp_dir()).unwrap().flatten();
        let left = names
            .filter(|n| n.file_name().to_string_lossy().starts_with(&prefix))
            .count();
        assert_eq!((held.len(), left), (3, 0), "{before} before");
    }
}
