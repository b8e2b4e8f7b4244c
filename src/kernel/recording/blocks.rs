//! Reads a pcapng block by block, and stops at the first that is cut or makes no sense.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use pcap_file::pcapng::PcapNgParser;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, SECTION_HEADER_BLOCK};
use pcap_file::{DataLink, pcapng};

use super::note::{CUSTOM_BLOCK, Note, Unreadable};
use super::{MAX_BLOCK_BYTES, Span, Tag};

/// Type and length before a block, length after it.
const FRAME_BYTES: usize = 12;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const MAX_INTERFACES: usize = 16;
const COOKED_BYTES: usize = 16;
/// PACKET_OUTGOING (include/uapi/linux/if_packet.h).
const OUTGOING: u16 = 4;
/// Datagrams have up to 32 KiB.
const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub enum Block<'a> {
    Datagram {
        tag: Option<Tag>,
        outgoing: bool,
        family: u16,
        bytes: &'a [u8],
    },
    Tapped {
        tag: Option<Tag>,
        bytes: &'a [u8],
    },
    Note(Note, &'a [u8]),
    /// What a reader may skip; a packet of no link type of ours is one.
    Other {
        packet: bool,
    },
}

/// Why there is no further block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    End,
    /// The file ends inside a block.
    Cut,
    Broken(String),
    Newer(u8),
}

/// Why there is not even a first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSection {
    NotPcapng,
    OtherByteOrder,
    Stop(Stop),
}

pub struct Blocks {
    input: BufReader<File>,
    length: u64,
    at: u64,
    block: Vec<u8>,
    parser: PcapNgParser,
}

impl Blocks {
    pub fn open(file: File, length: u64) -> Result<Blocks, NoSection> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        byte_order(&mut input, length)?;
        let mut block = Vec::new();
        frame(&mut input, length, &mut block).map_err(NoSection::Stop)?;
        let parser = match PcapNgParser::new(&block) {
            Ok((_, parser)) => parser,
            Err(error) => return Err(NoSection::Stop(Stop::Broken(error.to_string()))),
        };
        Ok(Blocks {
            input,
            length,
            at: block.len() as u64,
            block,
            parser,
        })
    }

    /// Where the next block begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// The link type of the first interface.
    pub fn link(&self) -> Option<DataLink> {
        self.parser
            .interfaces()
            .first()
            .map(|interface| interface.linktype)
    }

    /// The block that begins at `at` comes next.
    pub fn seek(&mut self, at: u64) -> Result<(), Stop> {
        self.input
            .seek(SeekFrom::Start(at))
            .map_err(|error| Stop::Broken(error.to_string()))?;
        self.at = at;
        Ok(())
    }

    /// The next block.
    pub fn next(&mut self) -> Result<Block<'_>, Stop> {
        let left = self.length.saturating_sub(self.at);
        let kind = frame(&mut self.input, left, &mut self.block)?;
        let block = match kind {
            SECTION_HEADER_BLOCK => return Err(Stop::Broken("another section begins".to_string())),
            INTERFACE_DESCRIPTION_BLOCK if self.parser.interfaces().len() >= MAX_INTERFACES => {
                return Err(Stop::Broken(format!("more than {MAX_INTERFACES} interfaces")));
            }
            INTERFACE_DESCRIPTION_BLOCK | ENHANCED_PACKET_BLOCK => {
                let parsed = self.parser.next_block(&self.block);
                match parsed.map_err(|error| Stop::Broken(error.to_string()))?.1 {
                    pcapng::Block::EnhancedPacket(packet) => {
                        let link = self.parser.packet_interface(&packet).map(|i| i.linktype);
                        read_packet(packet, link)
                    }
                    _ => Block::Other { packet: false },
                }
            }
            CUSTOM_BLOCK => match Note::decode(&self.block[8..self.block.len() - 4]) {
                None => Block::Other { packet: false },
                Some(Ok((note, body))) => Block::Note(note, body),
                Some(Err(Unreadable::Newer(format))) => return Err(Stop::Newer(format)),
                Some(Err(Unreadable::Malformed)) => {
                    return Err(Stop::Broken("a note of ctlens makes no sense".to_string()));
                }
            },
            _ => Block::Other { packet: false },
        };
        self.at += self.block.len() as u64;
        Ok(block)
    }

    /// Hands on the blocks of a span until `Break`.
    pub fn each(
        &mut self,
        span: Span,
        mut each: impl FnMut(Block<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.seek(span.start).is_err() {
            return ControlFlow::Continue(());
        }
        while self.at < span.end {
            match self.next() {
                Ok(block) => each(block)?,
                Err(_) => break,
            }
        }
        ControlFlow::Continue(())
    }
}

fn byte_order(input: &mut BufReader<File>, length: u64) -> Result<(), NoSection> {
    let broken = |error: std::io::Error| NoSection::Stop(Stop::Broken(error.to_string()));
    let mut head = [0u8; 12];
    let known = length.min(12) as usize;
    input.read_exact(&mut head[..known]).map_err(broken)?;
    input.seek(SeekFrom::Start(0)).map_err(broken)?;
    let head = &head[..known];
    let kind = SECTION_HEADER_BLOCK.to_ne_bytes();
    if head.is_empty() || !head.iter().zip(kind).all(|(a, b)| *a == b) {
        return Err(NoSection::NotPcapng);
    }
    match head.get(8..) {
        Some([a, b, c, d]) => match u32::from_ne_bytes([*a, *b, *c, *d]) {
            BYTE_ORDER => Ok(()),
            order if order == BYTE_ORDER.swap_bytes() => Err(NoSection::OtherByteOrder),
            _ => Err(NoSection::NotPcapng),
        },
        _ => Err(NoSection::Stop(Stop::Cut)),
    }
}

/// Reads one block whole, `left` bytes being there; returns its type.
fn frame(input: &mut BufReader<File>, left: u64, block: &mut Vec<u8>) -> Result<u32, Stop> {
    let broken = |error: std::io::Error| Stop::Broken(error.to_string());
    if left == 0 {
        return Err(Stop::End);
    }
    if left < 8 {
        return Err(Stop::Cut);
    }
    block.resize(8, 0);
    input.read_exact(block).map_err(broken)?;
    let [kind, length] = [0, 4].map(|at| number(block, at));
    let length = length as usize;
    if length < FRAME_BYTES || !length.is_multiple_of(4) || length > MAX_BLOCK_BYTES {
        return Err(Stop::Broken(format!("a block of {length} bytes")));
    }
    if length as u64 > left {
        return Err(Stop::Cut);
    }
    block.resize(length, 0);
    input.read_exact(&mut block[8..]).map_err(broken)?;
    if number(block, length - 4) as usize != length {
        return Err(Stop::Broken("a block's two lengths differ".to_string()));
    }
    Ok(kind)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn read_packet(packet: EnhancedPacketBlock<'_>, link: Option<DataLink>) -> Block<'_> {
    let tag = packet.options.iter().find_map(|option| match option {
        EnhancedPacketOption::Comment(text) => Tag::from_comment(text),
        _ => None,
    });
    let Cow::Borrowed(bytes) = packet.data else {
        return Block::Other { packet: true };
    };
    match (link, bytes.split_at_checked(COOKED_BYTES)) {
        (Some(DataLink::LINUX_SLL2), _) => Block::Tapped { tag, bytes },
        (Some(DataLink::NETLINK), Some((header, bytes))) => Block::Datagram {
            tag,
            outgoing: u16::from_be_bytes([header[0], header[1]]) == OUTGOING,
            family: u16::from_be_bytes([header[14], header[15]]),
            bytes,
        },
        _ => Block::Other { packet: true },
    }
}
