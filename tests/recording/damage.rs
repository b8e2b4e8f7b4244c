//! Files that are cut, broken, hostile, or another's.

use std::fs;
use std::path::Path;

use ctlens::kernel::{Errno, Kernel, RecordingError, Replay, is_recording};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::{DataLink, Endianness};
use proptest::prelude::*;

use crate::fake::{BIG, Call, Place, every_call, make, record, replay};

/// Where each block ends, by the lengths in the file alone.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut ends = Vec::new();
    while at < bytes.len() {
        at += u32::from_ne_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends
}

fn recorded(calls: &[Call]) -> (Vec<u8>, Vec<String>) {
    let place = Place::new();
    let (told, _) = record(&place.file("r.pcapng"), calls);
    (fs::read(place.file("r.pcapng")).unwrap(), told)
}

fn open_bytes(path: &Path, bytes: &[u8]) -> Result<Replay, RecordingError> {
    fs::write(path, bytes).unwrap();
    Replay::open(path)
}

#[test]
fn cut_at_any_byte_it_is_read_to_the_last_whole_block() {
    let calls = every_call();
    let (bytes, told) = recorded(&calls);
    let ends = ends(&bytes);
    let header = ends[3]; // section, two interfaces, about
    let closing = bytes.len() - ends[ends.len() - 2];
    // The fake kernel gives the same answers each time, so fewer calls make a prefix of the file.
    let call_ends: Vec<usize> = (1..=calls.len())
        .map(|count| recorded(&calls[..count]).0.len() - closing)
        .collect();
    let place = Place::new();
    let path = place.file("cut.pcapng");
    for length in 0..bytes.len() {
        let opened = open_bytes(&path, &bytes[..length]);
        if length < header {
            let error = opened.err().unwrap_or_else(|| panic!("{length}: opens"));
            assert!(!error.to_string().contains('\n'), "{error}");
            continue;
        }
        let mut replay = opened.unwrap_or_else(|error| panic!("{length}: {error}"));
        let whole = ends.iter().filter(|end| **end <= length).count();
        let sentence = replay
            .cut()
            .unwrap_or_else(|| panic!("{length}: not known as cut"));
        let says = format!("is cut at byte {length}, ");
        let counts = format!(
            "the {whole} whole blocks up to byte {} were read",
            ends[whole - 1]
        );
        assert!(
            sentence.contains(&says) && sentence.ends_with(&counts),
            "{length}: {sentence}"
        );
        let in_it = call_ends.iter().filter(|end| **end <= length).count();
        for (at, call) in calls.iter().enumerate() {
            let got = make(&mut replay, call);
            if at < in_it {
                assert_eq!(got, told[at], "{length}: {call:?}");
                continue;
            }
            // What is not there is missing or an earlier answer, never made up.
            let timeless = matches!(call, Call::Now | Call::Listen(false, _));
            assert!(
                timeless || told.contains(&got) || is_missing(&got),
                "{length}: {call:?} {got}"
            );
        }
    }
    assert_eq!(open_bytes(&path, &bytes).unwrap().cut(), None);
}

fn is_missing(got: &str) -> bool {
    let missing = [Errno::NOT_RECORDED, Errno::CUT_SHORT];
    missing.iter().any(|errno| got.contains(&format!("{errno:?}")))
}

#[test]
fn an_answer_that_the_cut_goes_through_is_cut_short() {
    let request = Call::Request(vec![crate::fake::question(crate::fake::WHOLE)]);
    let calls = [request.clone(), Call::File(BIG), Call::Listen(true, None)];
    let (bytes, told) = recorded(&calls);
    let ends = ends(&bytes);
    let place = Place::new();
    // Four blocks, then request and two of four datagrams.
    let mut cut = open_bytes(&place.file("a.pcapng"), &bytes[..ends[6]]).unwrap();
    let got = make(&mut cut, &request);
    assert_eq!(got.matches("Netfilter").count(), 2);
    assert!(got.ends_with(&format!("[Err({:?})]", Errno::CUT_SHORT)), "{got}");
    // The whole answer, but not how it ended: the reader knew that it was all.
    let mut cut = open_bytes(&place.file("b.pcapng"), &bytes[..ends[8]]).unwrap();
    assert_eq!(make(&mut cut, &request), told[0]);
    // A file with two of its three parts, a listen call with two of its packets.
    let mut cut = open_bytes(&place.file("c.pcapng"), &bytes[..ends[11]]).unwrap();
    assert_eq!(cut.read_file(BIG), Err(Errno::CUT_SHORT));
    let mut cut = open_bytes(&place.file("d.pcapng"), &bytes[..ends[15]]).unwrap();
    assert_eq!(make(&mut cut, &calls[1]), told[1]);
    let heard = make(&mut cut, &calls[2]);
    assert_eq!(heard.matches("packet").count(), 2);
    assert!(
        heard.ends_with(&format!("Err({:?})", Errno::CUT_SHORT)),
        "{heard}"
    );
}

#[test]
fn a_packed_file_that_is_cut_keeps_what_was_unpacked() {
    let place = Place::new();
    let path = place.file("r.pcapng.zst");
    let mut calls = every_call();
    calls.push(Call::File(BIG));
    let (told, _) = record(&path, &calls);
    let bytes = fs::read(&path).unwrap();
    let cut_path = place.file("cut");
    let mut cut = open_bytes(&cut_path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(
        cut.cut()
            .is_some_and(|sentence| sentence.contains("unpacking stopped")),
        "{:?}",
        cut.cut()
    );
    for (call, told) in calls.iter().zip(&told) {
        assert_eq!(make(&mut cut, call), *told, "{call:?}");
    }
    let mut opened = 0;
    for length in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
        match open_bytes(&cut_path, &bytes[..length]) {
            Ok(mut replay) => {
                opened += 1;
                assert!(replay.cut().is_some(), "{length}");
                assert_eq!(make(&mut replay, &calls[0]), told[0]);
            }
            Err(error) => {
                let nothing = matches!(error, RecordingError::NothingLeft { .. });
                assert!(nothing || length < 4, "{length}: {error}");
            }
        }
    }
    assert!(opened > 100, "{opened}");
    // A byte that is wrong: zstd's checksum tells.
    let mut wrong = bytes.clone();
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    assert!(open_bytes(&cut_path, &wrong).unwrap().cut().is_some());
}

#[test]
fn a_block_that_makes_no_sense_ends_the_reading() {
    let (bytes, told) = recorded(&every_call());
    let ends = ends(&bytes);
    let place = Place::new();
    let path = place.file("r.pcapng");
    let broken = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let mut replay = open_bytes(&path, &bytes).unwrap();
        assert_eq!(make(&mut replay, &Call::File("/first")), told[0]);
        replay.cut().unwrap()
    };
    let at = ends[4]; // the sixth block begins
    let place_text = format!("makes no sense from byte {at} on");
    let says = broken(at + 4, &u32::MAX.to_ne_bytes());
    assert!(
        says.contains(&place_text) && says.contains("5 whole blocks"),
        "{says}"
    );
    assert!(broken(at + 4, &7u32.to_ne_bytes()).contains(&place_text));
    assert!(broken(ends[5] - 4, &[9]).contains("two lengths differ"));
    // Behind type, length and PEN the magic of ours, format, and the length of a head that is not there.
    assert!(broken(at + 20, &u32::MAX.to_ne_bytes()).contains("a note of ctlens makes no sense"));
    let twice = open_bytes(&path, &[&bytes[..], &bytes[..]].concat()).unwrap();
    assert!(twice.cut().unwrap().contains("another section begins"));
}

#[test]
fn what_is_no_recording_is_told_in_one_line() {
    let place = Place::new();
    let path = place.file("x");
    let says = |bytes: &[u8], has: &[&str]| {
        let error = open_bytes(&path, bytes).err().expect("refused").to_string();
        assert!(
            has.iter().all(|part| error.contains(part)) && !error.contains('\n'),
            "{error}"
        );
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    };
    let remedy = "ctlens record FILE";
    says(b"", &["is no recording", remedy]);
    says(
        b"tcp 6 431999 ESTABLISHED src=10.0.0.1\n",
        &["is no recording", remedy],
    );
    says(
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0],
        &["is no recording", remedy],
    );
    says(
        &zstd::encode_all(&b"some text"[..], 3).unwrap(),
        &["is no recording", remedy],
    );
    let foreign = |link| {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        writer
            .write_pcapng_block(InterfaceDescriptionBlock::new(link, 0))
            .unwrap();
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: std::time::Duration::ZERO,
            original_len: 40,
            data: [7; 40][..].into(),
            options: vec![],
        };
        writer.write_pcapng_block(packet).unwrap();
        writer.into_inner()
    };
    let missing = ["ctlens did not record", "the clock, the files", remedy];
    says(&foreign(DataLink::NETLINK), &[&["nlmon"][..], &missing].concat());
    says(
        &foreign(DataLink::ETHERNET),
        &[&["a packet capture"][..], &missing].concat(),
    );
    let other = PcapNgWriter::with_endianness(Vec::new(), swapped())
        .unwrap()
        .into_inner();
    assert!(is_recording(&other[..12]));
    says(&other, &["the other byte order"]);
    let (mut newer, _) = recorded(&[]);
    let magic = newer
        .windows(7)
        .position(|window| window == b"ctlens\x01")
        .unwrap();
    newer[magic + 6] = 9;
    says(&newer, &["a newer ctlens (format 9", "update ctlens"]);
    let error = |path: &Path| Replay::open(path).err().expect("refused").to_string();
    assert!(error(&place.file("missing")).contains("cannot read"));
    assert!(
        error(place.dir()).contains("cannot read"),
        "{}",
        error(place.dir())
    );
}

fn swapped() -> Endianness {
    if Endianness::native().is_little() {
        Endianness::Big
    } else {
        Endianness::Little
    }
}

#[test]
fn a_pipe_is_read_too() {
    let place = Place::new();
    let (told, _) = record(&place.file("r.pcapng"), &every_call());
    let pipe = place.file("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo of coreutils");
    assert!(made.success());
    let bytes = fs::read(place.file("r.pcapng")).unwrap();
    let writing = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, bytes)
    });
    let mut replay = replay(&pipe);
    writing.join().unwrap().unwrap();
    assert_eq!(make(&mut replay, &Call::File("/first")), told[0]);
}

fn survive(path: &Path, bytes: &[u8]) {
    if let Ok(mut replay) = open_bytes(path, bytes) {
        let _ = (replay.cut(), replay.about().len(), replay.tool().len());
        every_call().iter().for_each(|call| drop(make(&mut replay, call)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), begin in 0..3usize) {
        let place = Place::new();
        let section = PcapNgWriter::new(Vec::new()).unwrap().into_inner();
        let begin = [&[][..], &section, &[0x28, 0xb5, 0x2f, 0xfd]][begin];
        is_recording(&bytes);
        survive(&place.file("r"), &[begin, &bytes].concat());
    }

    #[test]
    fn a_recording_with_wrong_bytes_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        swap in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let place = Place::new();
        let (mut bytes, _) = recorded(&every_call());
        if let Some((from, to)) = swap {
            // A block in the wrong place.
            let mut ends = ends(&bytes);
            ends.insert(0, 0);
            let (from, to) = (from.index(ends.len() - 1), to.index(ends.len()));
            let block = bytes[ends[from]..ends[from + 1]].to_vec();
            bytes.splice(ends[to]..ends[to], block);
        }
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survive(&place.file("r"), &bytes);
    }
}
