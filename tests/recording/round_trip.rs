//! The same calls get the same bytes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ctlens::kernel::{Kernel, Record, RecordingError, Replay, is_recording};
use ctlens::model::Moment;
use proptest::prelude::*;

use crate::fake::{
    BIG, Call, Fake, OVERRUN, Place, Question, WHOLE, every_call, make, question, record, replay,
};

fn a_question() -> impl Strategy<Value = Question> {
    (0..3u8, prop::option::of(1..6usize)).prop_map(|(kind, stop_after)| Question {
        stop_after,
        ..question(kind)
    })
}

fn a_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Now),
        prop::sample::select(vec!["/a", "/b", "/missing", "/empty"]).prop_map(Call::File),
        (
            prop::sample::select(vec!["/links", "/secret"]),
            prop::sample::select(vec!["", "socket", "socket:["])
        )
            .prop_map(|(path, part)| Call::Dir(path, part)),
        prop::collection::vec(a_question(), 0..4).prop_map(Call::Request),
        (any::<bool>(), prop::option::of(1..9usize)).prop_map(|(tapped, stop)| Call::Listen(tapped, stop)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn in_every_order(calls in prop::collection::vec(a_call(), 0..24), packed: bool) {
        let place = Place::new();
        let file = place.file(if packed { "r.pcapng.zst" } else { "r.pcapng" });
        let (told, _) = record(&file, &calls);
        let mut replay = replay(&file);
        prop_assert_eq!(replay.cut(), None);
        for (call, told) in calls.iter().zip(told) {
            prop_assert_eq!(make(&mut replay, call), told);
        }
    }
}

#[test]
fn the_tee_changes_nothing() {
    let place = Place::new();
    let mut bare = Fake::default();
    let (told, _) = record(&place.file("r.pcapng"), &every_call());
    let bare: Vec<String> = every_call().iter().map(|call| make(&mut bare, call)).collect();
    assert_eq!(told, bare);
}

#[test]
fn packed_and_plain_are_equal() {
    let place = Place::new();
    let (plain, packed) = (place.file("r.pcapng"), place.file("r.pcapng.zst"));
    let (_, in_plain) = record(&plain, &every_call());
    let (_, in_packed) = record(&packed, &every_call());
    assert_eq!(in_plain.blocks, in_packed.blocks);
    let (plain_bytes, packed_bytes) = (fs::read(&plain).unwrap(), fs::read(&packed).unwrap());
    assert_eq!(in_plain.bytes, plain_bytes.len() as u64);
    assert_eq!(in_packed.bytes, packed_bytes.len() as u64);
    assert!(packed_bytes.len() < plain_bytes.len());
    assert_eq!(zstd::decode_all(&packed_bytes[..]).unwrap(), plain_bytes);
    assert!(is_recording(&plain_bytes[..12]) && is_recording(&packed_bytes[..12]));
    // Known by what is in it, not by its name.
    fs::rename(&packed, place.file("named-wrongly.pcapng")).unwrap();
    let mut replay = replay(&place.file("named-wrongly.pcapng"));
    assert_eq!(make(&mut replay, &Call::File("/first")), "\"/first 1\\n\"");
}

#[test]
fn it_says_who_recorded_what() {
    let place = Place::new();
    record(&place.file("r.pcapng"), &[]);
    let mut replay = replay(&place.file("r.pcapng"));
    assert_eq!(replay.about(), "diagnose --window 2s");
    assert_eq!(replay.tool(), format!("ctlens {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(replay.now(), Moment::default());
}

#[test]
fn a_recording_of_a_replay_replays_alike() {
    let place = Place::new();
    let (told, _) = record(&place.file("one.pcapng"), &every_call());
    let first = replay(&place.file("one.pcapng"));
    let mut again = Record::new(Box::new(first), &place.file("two.pcapng.zst"), "again").unwrap();
    every_call().iter().for_each(|call| drop(make(&mut again, call)));
    again.finish().unwrap();
    let mut second = replay(&place.file("two.pcapng.zst"));
    for (call, told) in every_call().iter().zip(told) {
        assert_eq!(make(&mut second, call), told);
    }
}

#[test]
fn a_long_file_comes_back_from_its_parts() {
    let place = Place::new();
    let calls = [Call::File(BIG), Call::Now, Call::File(BIG)];
    let (told, written) = record(&place.file("r.pcapng"), &calls);
    // Section, two interfaces, about, two files in three parts each, a moment, closed.
    assert_eq!(written.blocks, 4 + 3 + 1 + 3 + 1);
    let mut replay = replay(&place.file("r.pcapng"));
    for (call, told) in calls.iter().zip(told) {
        assert_eq!(make(&mut replay, call), told);
    }
}

#[test]
fn the_file_is_private_and_whole_or_not_there() {
    let place = Place::new();
    let file = place.file("r.pcapng");
    fs::write(&file, "something older").unwrap();
    let mut record = Record::new(Box::new(Fake::default()), &file, "").unwrap();
    make(
        &mut record,
        &Call::Request(vec![question(WHOLE), question(OVERRUN)]),
    );
    assert_eq!(fs::read(&file).unwrap(), b"something older");
    let names = || fs::read_dir(place.dir()).unwrap().count();
    assert_eq!(names(), 2);
    record.finish().unwrap();
    assert_eq!(names(), 1);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Replay::open(&file).is_ok());
    // Given up: nothing is left.
    drop(Record::new(Box::new(Fake::default()), &place.file("other.pcapng"), "").unwrap());
    assert_eq!(names(), 1);
}

#[test]
fn devices_and_directories_are_no_place_for_it() {
    let place = Place::new();
    let begin = |path: &Path| {
        Record::new(Box::new(Fake::default()), path, "")
            .err()
            .expect("refused")
    };
    symlink("/dev/null", place.file("link")).unwrap();
    // Neither what a link names is written over, nor what it would name.
    fs::write(place.file("theirs"), "precious").unwrap();
    symlink(place.file("theirs"), place.file("to-a-file")).unwrap();
    symlink(place.file("nothing"), place.file("dangling")).unwrap();
    let names = ["link", "to-a-file", "dangling"].map(|name| place.file(name));
    for path in ["/dev/null".into(), place.dir().to_path_buf()]
        .into_iter()
        .chain(names)
    {
        assert!(
            matches!(begin(&path), RecordingError::NotAFile { .. }),
            "{path:?}"
        );
    }
    assert_eq!(fs::read(place.file("theirs")).unwrap(), b"precious");
    let error = begin(&place.file("no/such/r.pcapng"));
    assert!(matches!(error, RecordingError::Create { .. }), "{error}");
}

#[test]
fn a_link_that_is_put_in_the_way_is_never_followed() {
    let place = Place::new();
    let file = place.file("r.pcapng");
    fs::write(place.file("theirs"), "precious").unwrap();
    // Under the name that the unfinished file would have: it stays, and what it names too.
    let partial = place.file(&format!("r.pcapng.{}.partial", std::process::id()));
    symlink(place.file("theirs"), &partial).unwrap();
    let error = Record::new(Box::new(Fake::default()), &file, "")
        .err()
        .expect("refused");
    assert!(matches!(error, RecordingError::Create { .. }), "{error}");
    assert!(fs::symlink_metadata(&partial).is_ok());
    fs::remove_file(&partial).unwrap();
    // Under the recording's name while it is made.
    let record = Record::new(Box::new(Fake::default()), &file, "").unwrap();
    symlink(place.file("theirs"), &file).unwrap();
    record.finish().unwrap();
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert_eq!(fs::read(place.file("theirs")).unwrap(), b"precious");
}

#[test]
fn an_error_in_writing_spoils_the_recording_but_not_the_look() {
    let place = Place::new();
    let file = place.file("r.pcapng");
    let mut record = Record::new(Box::new(TooLong), &file, "").unwrap();
    let told = make(
        &mut record,
        &Call::Request(vec![Question {
            stop_after: Some(1),
            ..question(WHOLE)
        }]),
    );
    assert!(told.ends_with("[Ok(())]"), "{}", &told[told.len() - 20..]);
    let error = record.finish().unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    assert_eq!(fs::read_dir(place.dir()).unwrap().count(), 0);
}

/// A datagram that fits into no block.
struct TooLong;

impl Kernel for TooLong {
    fn now(&mut self) -> Moment {
        Fake::default().now()
    }
    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, ctlens::kernel::Errno> {
        Fake::default().read_file(path)
    }
    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, ctlens::kernel::Errno> {
        Fake::default().read_dir(path, part)
    }
    fn request(&mut self, jobs: &mut [ctlens::kernel::Job<'_>]) {
        for job in jobs {
            assert!((job.sink)(&vec![b'x'; 16 << 20]).is_break());
            job.result = Ok(());
        }
    }
    fn listen(
        &mut self,
        sources: &[ctlens::kernel::Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<ctlens::kernel::Heard, ctlens::kernel::Errno> {
        Fake::default().listen(sources, deadline, each)
    }
}
