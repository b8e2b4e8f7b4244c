//! Writes a recording, block by block as it comes; the file gets its name when it is whole.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::unknown::UnknownBlock;
use pcap_file::pcapng::{Block, PcapNgBlock, PcapNgWriter};
use pcap_file::{Endianness, PcapError};

use super::note::{CUSTOM_BLOCK, Note, number_of};
use super::{LINK_TYPES, MAX_BLOCK_BYTES, NETLINK, RecordingError, TAPPED, Tag};
use crate::kernel::Errno;
use crate::model::Moment;

const ARPHRD_NETLINK: u16 = 824;
/// if_tsresol: 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Frame, packet header, options and padding of one block are shorter.
const OVERHEAD_BYTES: usize = 1024;
/// Content is cut into parts of so many bytes.
const PART_BYTES: usize = 1 << 20;
/// So much is handed to zstd at once, which ends a zstd block: a file cut later loses no more than this.
const BUFFER_BYTES: usize = 16 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// What a finished recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub blocks: u64,
    /// The file's size on disk.
    pub bytes: u64,
}

pub struct Tape {
    out: PcapNgWriter<BufWriter<Output>>,
    blocks: u64,
    stamp: Duration,
    /// The first error; nothing is written after it.
    failed: Option<String>,
    partial: Partial,
}

impl Tape {
    pub fn create(path: &Path) -> Result<Tape, RecordingError> {
        let why_not = |why| RecordingError::Create {
            path: path.display().to_string(),
            why,
        };
        // A rename would put a file in place of a device or a link: of /dev/stdout, say.
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(RecordingError::NotAFile {
                path: path.display().to_string(),
            });
        }
        let (partial, file) = Partial::beside(path).map_err(|error| why_not(error.to_string()))?;
        let packed = path.extension().is_some_and(|extension| extension == "zst");
        Tape::begin(partial, file, packed).map_err(why_not)
    }

    fn begin(partial: Partial, file: File, packed: bool) -> Result<Tape, String> {
        let output = Output::new(file, packed).map_err(|e| e.to_string())?;
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(tool().into())],
            ..SectionHeaderBlock::default()
        };
        let buffer = BufWriter::with_capacity(BUFFER_BYTES, output);
        let out = PcapNgWriter::with_section_header(buffer, section).map_err(explain)?;
        let mut tape = Tape {
            out,
            blocks: 1,
            stamp: Duration::ZERO,
            failed: None,
            partial,
        };
        for (link, name) in LINK_TYPES.into_iter().zip(["netlink", "tap"]) {
            let mut interface = InterfaceDescriptionBlock::new(link, 0);
            interface.options = vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ];
            tape.put(interface.into_block());
        }
        Ok(tape)
    }

    /// Packets from now on have this time.
    pub fn stamp(&mut self, moment: Moment) {
        self.stamp = Duration::from_nanos(moment.real_ns);
    }

    pub fn about(&mut self, options: &str) {
        let note = Note::About {
            tool: tool(),
            options: options.to_string(),
        };
        self.note(&note, &[]);
    }

    pub fn note(&mut self, note: &Note, body: &[u8]) {
        let value = note.encode(body);
        if self.fits(value.len()) {
            let block = UnknownBlock::new(CUSTOM_BLOCK, 0, &value);
            self.put(block.into_block());
        }
    }

    /// A `File` or `Dir` as `note` makes it of an error number and a length, and its content in parts.
    pub fn content(&mut self, result: &Result<Vec<u8>, Errno>, note: impl FnOnce(Option<i32>, u64) -> Note) {
        let ended = result.as_ref().map(|_| ()).map_err(|errno| *errno);
        self.parts(result.as_deref().unwrap_or(&[]), &ended, note);
    }

    /// The same of content that may have come before an error.
    pub fn parts(
        &mut self,
        content: &[u8],
        ended: &Result<(), Errno>,
        note: impl FnOnce(Option<i32>, u64) -> Note,
    ) {
        let (first, rest) = content.split_at(content.len().min(PART_BYTES));
        self.note(&note(number_of(ended), content.len() as u64), first);
        for part in rest.chunks(PART_BYTES) {
            self.note(&Note::More, part);
        }
    }

    pub fn datagram(&mut self, tag: Tag, outgoing: bool, family: u16, datagram: &[u8]) {
        let mut data = Vec::with_capacity(16 + datagram.len());
        data.extend_from_slice(&(if outgoing { 4u16 } else { 0 }).to_be_bytes());
        data.extend_from_slice(&ARPHRD_NETLINK.to_be_bytes());
        data.extend_from_slice(&[0; 10]);
        data.extend_from_slice(&family.to_be_bytes());
        data.extend_from_slice(datagram);
        self.packet(NETLINK, tag, &data);
    }

    pub fn tapped(&mut self, tag: Tag, sll2: &[u8]) {
        self.packet(TAPPED, tag, sll2);
    }

    /// Closes the file and gives it its name.
    pub fn finish(mut self) -> Result<Written, RecordingError> {
        self.note(&Note::Closed, &[]);
        let Tape {
            out,
            blocks,
            failed,
            mut partial,
            ..
        } = self;
        let kept = || -> Result<u64, String> {
            if let Some(why) = failed {
                return Err(why);
            }
            let output = out.into_inner().into_inner().map_err(|e| e.error().to_string())?;
            let file = output.finish().map_err(|e| e.to_string())?;
            let bytes = file.metadata().map_err(|e| e.to_string())?.len();
            partial.keep().map_err(|e| e.to_string())?;
            Ok(bytes)
        };
        match kept() {
            Ok(bytes) => Ok(Written { blocks, bytes }),
            Err(why) => Err(RecordingError::Write {
                path: partial.target.display().to_string(),
                why,
            }),
        }
    }

    fn packet(&mut self, interface_id: u32, tag: Tag, data: &[u8]) {
        if !self.fits(data.len()) {
            return;
        }
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: self.stamp,
            original_len: data.len() as u32,
            data: Cow::Borrowed(data),
            options: vec![EnhancedPacketOption::Comment(tag.comment().into())],
        };
        self.put(block.into_block());
    }

    /// A block that no reader would believe is not written.
    fn fits(&mut self, bytes: usize) -> bool {
        let fits = bytes <= MAX_BLOCK_BYTES - OVERHEAD_BYTES;
        if !fits && self.failed.is_none() {
            self.failed = Some(format!("a block of {bytes} bytes is too long"));
        }
        fits
    }

    fn put(&mut self, block: Block<'_>) {
        if self.failed.is_some() {
            return;
        }
        match self.out.write_block(&block) {
            Ok(_) => self.blocks += 1,
            Err(error) => self.failed = Some(explain(error)),
        }
    }
}

fn tool() -> String {
    format!("ctlens {}", env!("CARGO_PKG_VERSION"))
}

fn explain(error: PcapError) -> String {
    match error {
        PcapError::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// The file before it is whole: `FILE.PID.partial`, gone again where it never becomes so.
struct Partial {
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Partial {
    /// Only a file that was made here is ever removed again.
    fn beside(target: &Path) -> io::Result<(Partial, File)> {
        let mut name = target.to_path_buf().into_os_string();
        name.push(format!(".{}.partial", std::process::id()));
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true) // O_EXCL, which follows no link either
            .mode(0o600) // it tells addresses of a host and its peers
            .open(&path)?;
        let partial = Partial {
            path,
            target: target.to_path_buf(),
            kept: false,
        };
        Ok((partial, file))
    }

    /// A link that was put under the name meanwhile is replaced, never followed.
    fn keep(&mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

enum Output {
    Plain(File),
    Packed(zstd::Encoder<'static, File>),
}

impl Output {
    fn new(file: File, packed: bool) -> io::Result<Output> {
        if !packed {
            return Ok(Output::Plain(file));
        }
        let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Output::Packed(encoder))
    }

    fn finish(self) -> io::Result<File> {
        match self {
            Output::Plain(file) => Ok(file),
            Output::Packed(encoder) => encoder.finish(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Plain(file) => file.write(bytes),
            Output::Packed(encoder) => {
                encoder.write_all(bytes)?;
                encoder.flush()?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Plain(file) => file.flush(),
            Output::Packed(encoder) => encoder.flush(),
        }
    }
}
