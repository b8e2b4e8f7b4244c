//! Faults on demand.

use ctlens::kernel::{Channel, Errno, Kernel, Script};
use ctlens::model::Moment;
use ctlens::wire::netlink::{Ending, ending, messages};

use crate::fake::{Call, Fake, Place, Question, WHOLE, ask, make, question, record, replay, tap};

fn script() -> Script {
    Script::new(Box::new(Fake::default()))
}

/// How many datagrams came, and what the job said.
fn told(mut script: Script) -> (usize, String) {
    let told = ask(&mut script, &[question(WHOLE)]);
    (
        told.matches("Netfilter").count(),
        told[told.rfind('[').unwrap()..].to_string(),
    )
}

#[test]
fn nothing_is_changed_where_nothing_is_asked() {
    assert_eq!(told(script()), (4, "[Ok(())]".into()));
    assert_eq!(
        told(script().refuse(Channel::Route, Errno::EPERM)),
        (4, "[Ok(())]".into())
    );
}

#[test]
fn a_dump_breaks_off() {
    let failed = format!("[Err({:?})]", Errno::ENOBUFS);
    for datagrams in 0..4 {
        let script = script().fail_after(Channel::Netfilter, datagrams, Errno::ENOBUFS);
        assert_eq!(told(script), (datagrams, failed.clone()));
    }
    let script = script().fail_after(Channel::Netfilter, 4, Errno::ENOBUFS);
    assert_eq!(told(script), (4, "[Ok(())]".into()));
}

#[test]
fn a_datagram_is_cut_or_comes_twice() {
    assert_eq!(
        told(script().repeat_datagram(Channel::Netfilter, 1)),
        (5, "[Ok(())]".into())
    );
    let mut cut = script().cut_datagram(Channel::Netfilter, 1, 12);
    let told = ask(&mut cut, &[question(WHOLE)]);
    assert!(told.contains("\"Netfilter [2\""), "{told}");
    assert_eq!(told.matches("Netfilter").count(), 4);
}

#[test]
fn a_refusal_is_the_kernels_own_message() {
    let mut script = script().refuse(Channel::Netfilter, Errno::EPERM);
    let mut got = Vec::new();
    let mut sink = |datagram: &[u8]| {
        let message = messages(datagram).next().expect("one").expect("well-formed");
        got.push((message.seq, ending(&message)));
        std::ops::ControlFlow::Break(())
    };
    let request = question(WHOLE).request;
    let mut jobs = [ctlens::kernel::Job::new(Channel::Netfilter, request, &mut sink)];
    script.request(&mut jobs);
    assert_eq!(jobs[0].result, Ok(()));
    assert_eq!(got, [(1, Some(Ending::Refused(1)))]);
    // What no kernel says is the door's own error.
    let mut script = Script::new(Box::new(Fake::default())).refuse(Channel::Netfilter, Errno::NOT_RECORDED);
    let told = ask(&mut script, &[question(WHOLE)]);
    assert_eq!(told, format!("[[]] [Err({:?})]", Errno::NOT_RECORDED));
}

#[test]
fn files_and_sources_are_refused() {
    let mut script = script()
        .refuse_file("/a", Errno::EACCES)
        .refuse_file("/links", Errno::ENOENT)
        .refuse_listen(Errno::EPERM)
        .lose(100);
    assert_eq!(script.read_file("/a"), Err(Errno::EACCES));
    assert_eq!(script.read_dir("/links", ""), Err(Errno::ENOENT));
    assert!(script.read_file("/b").is_ok());
    let mut listen = |sources: &[_]| {
        let each = &mut |_, _: &[u8]| std::ops::ControlFlow::Continue(());
        script.listen(sources, Moment::default(), each)
    };
    assert_eq!(listen(&[tap(1)]), Err(Errno::EPERM));
    assert_eq!(listen(&[]).map(|heard| heard.lost), Ok(102));
}

#[test]
fn faults_work_on_a_replay_too() {
    let place = Place::new();
    let narrow = Question {
        wider: vec![question(WHOLE).request],
        ..question(9)
    };
    record(&place.file("r.pcapng"), &[Call::Request(vec![question(WHOLE)])]);
    let inner = Box::new(replay(&place.file("r.pcapng")));
    let mut script = Script::new(inner).fail_after(Channel::Netfilter, 2, Errno::ENOBUFS);
    let told = make(&mut script, &Call::Request(vec![narrow]));
    assert_eq!(told.matches("Netfilter").count(), 2);
    assert!(told.ends_with(&format!("[Err({:?})]", Errno::ENOBUFS)), "{told}");
}
