//! Other calls get what was recorded nearest, and never more than was recorded.

use ctlens::kernel::{Channel, Errno, Heard, Kernel, Record};
use ctlens::model::Moment;

use crate::fake::{
    BIG, Call, Fake, OVERRUN, Place, Question, REFUSED, WHOLE, ask, make, question, record, replay, request,
    tap,
};

fn whole(stop_after: Option<usize>) -> Call {
    Call::Request(vec![Question {
        stop_after,
        ..question(WHOLE)
    }])
}

#[test]
fn a_call_finds_the_next_answer_and_takes_the_clock_along() {
    let place = Place::new();
    let calls = [
        Call::Now,        // 1
        Call::File("/a"), // 2
        Call::Now,        // 3
        Call::File("/a"), // 4
        Call::Now,        // 5
        Call::File("/b"), // 6
        Call::Now,        // 7
    ];
    record(&place.file("r.pcapng"), &calls);
    let mut replay = replay(&place.file("r.pcapng"));
    let secs = |moment: Moment| moment.mono_ns / 1_000_000_007;
    assert_eq!(replay.read_file("/b").unwrap(), b"/b 6\n");
    assert_eq!(secs(replay.now()), 7);
    // None is left: the last one, again and again.
    assert_eq!([secs(replay.now()), secs(replay.now())], [7, 7]);
    // The nearest earlier reading, and the clock that goes with it.
    assert_eq!(replay.read_file("/a").unwrap(), b"/a 4\n");
    assert_eq!(secs(replay.now()), 5);
    assert_eq!(replay.read_file("/a").unwrap(), b"/a 4\n");
    assert_eq!(secs(replay.now()), 5);
    assert_eq!(replay.read_file("/c"), Err(Errno::NOT_RECORDED));
    assert_eq!(secs(replay.now()), 7);
}

#[test]
fn sequence_and_port_do_not_matter() {
    let place = Place::new();
    let (told, _) = record(&place.file("r.pcapng"), &[whole(None)]);
    let mut replay = replay(&place.file("r.pcapng"));
    let mut other = question(WHOLE);
    other.request = request(WHOLE, 77);
    other.request[12] = 5;
    assert_eq!(ask(&mut replay, &[other.clone()]), told[0]);
    other.channel = Channel::SockDiag;
    assert_eq!(
        ask(&mut replay, &[other]),
        format!("[[]] [Err({:?})]", Errno::NOT_RECORDED)
    );
}

#[test]
fn a_sample_is_cut_short_for_who_wants_more() {
    let place = Place::new();
    let (told, _) = record(&place.file("r.pcapng"), &[whole(Some(2))]);
    let mut replay = replay(&place.file("r.pcapng"));
    assert_eq!(make(&mut replay, &whole(Some(2))), told[0]);
    assert!(make(&mut replay, &whole(Some(1))).ends_with("[Ok(())]"));
    let more = make(&mut replay, &whole(None));
    assert_eq!(
        more,
        told[0].replace("Ok(())", &format!("Err({:?})", Errno::CUT_SHORT))
    );
}

#[test]
fn an_error_is_recorded_like_an_answer() {
    let place = Place::new();
    let calls = [
        Call::Request(vec![question(OVERRUN), question(REFUSED)]),
        Call::File("/missing"),
        Call::Dir("/secret", ""),
    ];
    record(&place.file("r.pcapng"), &calls);
    let mut replay = replay(&place.file("r.pcapng"));
    assert_eq!(
        ask(&mut replay, &[question(REFUSED)]),
        format!("[[]] [Err({:?})]", Errno::EPERM)
    );
    let broken = ask(&mut replay, &[question(OVERRUN)]);
    assert!(
        broken.ends_with(&format!("[Err({:?})]", Errno::ENOBUFS)),
        "{broken}"
    );
    // Who wants no more than came before the error never meets it, as with the kernel itself.
    let content = Question {
        stop_after: Some(2),
        ..question(OVERRUN)
    };
    assert!(ask(&mut replay, &[content]).ends_with("[Ok(())]"));
    assert_eq!(replay.read_file("/missing"), Err(Errno::ENOENT));
    assert_eq!(replay.read_dir("/secret", ""), Err(Errno::EACCES));
    // A listing of everything was refused, so a part of it is too.
    assert_eq!(replay.read_dir("/secret", "x"), Err(Errno::EACCES));
    assert_eq!(replay.read_dir("/other", ""), Err(Errno::NOT_RECORDED));
}

#[test]
fn wider_requests_answer_in_their_order() {
    let place = Place::new();
    let calls = [7, 8].map(|kind| Call::Request(vec![question(kind)]));
    let (told, _) = record(&place.file("r.pcapng"), &calls);
    let mut replay = replay(&place.file("r.pcapng"));
    let mut narrow = |kind, wider: &[u8]| {
        let wider = wider.iter().map(|kind| request(*kind, 3)).collect();
        ask(
            &mut replay,
            &[Question {
                wider,
                ..question(kind)
            }],
        )
    };
    assert_eq!(narrow(9, &[6, 8, 7]), told[1]);
    assert_eq!(narrow(9, &[6, 7, 8]), told[0]);
    assert_eq!(narrow(8, &[7]), told[1]);
    assert!(narrow(9, &[6]).contains(&format!("{:?}", Errno::NOT_RECORDED)));
}

#[test]
fn a_wider_listing_answers_by_its_lines() {
    let place = Place::new();
    record(
        &place.file("r.pcapng"),
        &[Call::Dir("/wide", ""), Call::Dir("/links", "socket")],
    );
    let mut replay = replay(&place.file("r.pcapng"));
    let mut list = |path, part| {
        replay
            .read_dir(path, part)
            .map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(list("/wide", "socket:["), Ok("1 -> socket:[11]1\n".into()));
    assert_eq!(list("/wide", "no such part"), Ok(String::new()));
    assert_eq!(list("/links", "socket:["), Ok("1 -> socket:[11]2\n".into()));
    assert_eq!(list("/links", "sock"), Err(Errno::NOT_RECORDED));
    assert_eq!(list("/links", ""), Err(Errno::NOT_RECORDED));
}

#[test]
fn who_listens_hears_the_same_kind_of_source() {
    let place = Place::new();
    let (told, _) = record(&place.file("r.pcapng"), &[Call::Listen(true, None)]);
    let mut replay = replay(&place.file("r.pcapng"));
    let late = Moment {
        mono_ns: u64::MAX,
        real_ns: 0,
    };
    let mut got = Vec::new();
    let lost = replay.listen(&[tap(9), tap(8)], late, &mut |source, packet| {
        got.push((source, String::from_utf8_lossy(packet).into_owned()));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(format!("{got:?} {lost:?}"), told[0]);
    let mut silent = |sources: &[_]| replay.listen(sources, late, &mut |_, _| panic!("nothing was recorded"));
    assert_eq!(silent(&[tap(1)]), Err(Errno::NOT_RECORDED));
    // Waiting needs no recording, and no time.
    assert_eq!(silent(&[]), Ok(Heard::default()));
}

#[test]
fn a_recording_holds_only_the_links_that_were_wanted() {
    let place = Place::new();
    let wanted = |inodes: &[u64]| inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let mut live = Record::new(
        Box::new(Links(
            "1 -> socket:[11]\n2 -> socket:[12]\n3 -> pipe:[22]\n4 -> socket:[13]\n",
        )),
        &place.file("r.pcapng"),
        "",
    )
    .unwrap();
    let told = live.find_links("/proc/7/fd", &wanted(&[12, 13, 99]));
    assert_eq!(told.as_deref(), Ok(&b"2 -> socket:[12]\n4 -> socket:[13]\n"[..]));
    live.finish().unwrap();
    let bytes = std::fs::read(place.file("r.pcapng")).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"socket:[12]") && !holds(b"socket:[11]") && !holds(b"pipe:["));
    let mut replay = replay(&place.file("r.pcapng"));
    assert_eq!(replay.find_links("/proc/7/fd", &wanted(&[12, 13, 99])), told);
    assert_eq!(
        replay.find_links("/proc/7/fd", &wanted(&[13])),
        Ok(b"4 -> socket:[13]\n".to_vec())
    );
    // What was not wanted is not known to be absent.
    assert_eq!(
        replay.read_dir("/proc/7/fd", "socket:["),
        Err(Errno::NOT_RECORDED)
    );
    // A recording that lists every socket answers as well.
    record(&place.file("all.pcapng"), &[Call::Dir("/links", "socket:[")]);
    let mut replay = crate::fake::replay(&place.file("all.pcapng"));
    assert_eq!(replay.find_links("/links", &wanted(&[11])), Ok(Vec::new())); // the fake marks its lines
    assert_eq!(
        replay.find_links("/other", &wanted(&[11])),
        Err(Errno::NOT_RECORDED)
    );
}

/// A kernel with one directory.
struct Links(&'static str);

impl Kernel for Links {
    fn now(&mut self) -> Moment {
        Moment::default()
    }
    fn read_file(&mut self, _: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }
    fn read_dir(&mut self, _: &str, _: &str) -> Result<Vec<u8>, Errno> {
        Ok(self.0.as_bytes().to_vec())
    }
    fn request(&mut self, _: &mut [ctlens::kernel::Job<'_>]) {}
    fn listen(
        &mut self,
        _: &[ctlens::kernel::Source],
        _: Moment,
        _: &mut dyn FnMut(usize, &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        Ok(Heard::default())
    }
}

#[test]
fn a_file_in_parts_comes_again_as_far_as_it_was_read() {
    use std::ops::ControlFlow;

    let parts = |kernel: &mut dyn Kernel, path: &str, most: usize| {
        let mut got = Vec::new();
        let result = kernel.read_parts(path, Moment::default(), &mut |part| {
            got.extend_from_slice(part);
            if got.len() < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        (got, result)
    };
    let place = Place::new();
    let mut recorder = Record::new(Box::new(Fake::default()), &place.file("r.pcapng"), "").unwrap();
    let all = parts(&mut recorder, BIG, usize::MAX);
    let some = parts(&mut recorder, "/some", 1);
    let missing = parts(&mut recorder, "/missing", 1);
    recorder.finish().unwrap();
    assert_eq!(missing, (Vec::new(), Err(Errno::ENOENT)));

    let mut replay = replay(&place.file("r.pcapng"));
    assert_eq!(parts(&mut replay, BIG, usize::MAX), all);
    assert!(all.1.is_ok() && all.0.len() > 1 << 20);
    assert_eq!(parts(&mut replay, "/some", 1), some);
    // Who had enough did not see the end.
    assert_eq!(
        parts(&mut replay, "/some", usize::MAX),
        (some.0.clone(), Err(Errno::CUT_SHORT))
    );
    assert_eq!(replay.read_file("/some"), Err(Errno::CUT_SHORT));
    assert_eq!(parts(&mut replay, "/missing", 1), missing);
    assert_eq!(
        parts(&mut replay, "/other", 1),
        (Vec::new(), Err(Errno::NOT_RECORDED))
    );
    // The parts are read one by one: the first is enough for who wants no more.
    assert!(parts(&mut replay, BIG, 1).0.len() < all.0.len());
}
