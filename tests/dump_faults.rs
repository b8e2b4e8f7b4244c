//! A table that breaks off, is cut, repeats itself or changes under the pass: gaps and true rows, never made-up ones.

mod fake;

use std::ops::ControlFlow;

use ctlens::collect::{self, Closed, How, Plan};
use ctlens::kernel::{Errno, Heard, Job, Kernel, Source};
use ctlens::model::{Flow, Gap, Limits, Moment, TableLook};
use ctlens::wire::ctnetlink::{DumpFilter, encode_dump};

use fake::{DUMP_INTR, Datagram, Fake, MULTI, attribute, done, entries, limits, message, plan, refused};

const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

type Passed = Result<(TableLook, Option<Gap>), Gap>;

/// One pass over a table that answers so; also what was handed on.
fn pass(how: How, limits: &Limits, datagrams: Vec<Datagram>) -> (Passed, Vec<Flow>) {
    let mut kernel = Fake::new(move |_, _: &[u8]| datagrams.clone());
    let mut flows = Vec::new();
    let passed = collect::pass(&mut kernel, &plan(how), limits, &mut |flow| {
        flows.push(*flow);
        ControlFlow::Continue(())
    });
    (passed, flows)
}

fn ports(flows: &[Flow]) -> Vec<u16> {
    flows.iter().map(|flow| flow.orig.sport).collect()
}

#[test]
fn a_dump_that_breaks_off_is_not_taken_for_the_whole() {
    for errno in [Errno::ETIMEDOUT, Errno::ENOBUFS, Errno::TRUNCATED] {
        let (passed, flows) = pass(How::Full, &limits(4), vec![Ok(entries([1, 2])), Err(errno)]);
        let gap = passed.unwrap_err();
        assert_eq!(
            (gap.source.as_str(), gap.reason),
            ("ctnetlink", errno.to_string())
        );
        assert_eq!(ports(&flows), [1, 2]);
    }
    // No NLMSG_DONE, and nothing more comes.
    let (passed, _) = pass(How::Full, &limits(4), vec![Ok(entries([1, 2]))]);
    assert!(passed.is_err());
    // The kernel gives up in the middle.
    let (passed, _) = pass(
        How::Full,
        &limits(4),
        vec![Ok(entries([1, 2])), Ok(refused(Errno(12)))],
    );
    assert_eq!(passed.unwrap_err().reason, "Cannot allocate memory (os error 12)");
}

#[test]
fn a_datagram_that_was_cut_gives_the_entries_before_the_cut_and_a_gap() {
    let whole = entries([1, 2, 3]);
    let one = whole.len() / 3;
    for cut in [one + 1, one + 15, one + 40, 2 * one - 1] {
        let (passed, flows) = pass(How::Full, &limits(3), vec![Ok(whole[..cut].to_vec()), Ok(done())]);
        assert!(passed.unwrap_err().reason.contains("well-formed"), "{cut}");
        assert_eq!(ports(&flows), [1], "{cut}");
    }
    // An end that is cut is no end, and an error without a number is no answer.
    for bad in [done()[..12].to_vec(), message(fake::NLMSG_ERROR, 0, &[])] {
        let (passed, _) = pass(How::Full, &limits(3), vec![Ok(entries([1])), Ok(bad)]);
        assert!(passed.is_err());
    }
}

#[test]
fn entries_that_come_again_at_a_boundary_are_removed_and_counted() {
    // The bucket of 3, 4, 5 begins anew: 5 did not fit, 9 was inserted at its head meanwhile.
    let answer = vec![
        Ok(entries([1, 2, 3, 4])),
        Ok(entries([9, 3, 4, 5, 6])),
        Ok(done()),
    ];
    let (passed, flows) = pass(How::Full, &limits(7), answer);
    let (look, gap) = passed.unwrap();
    assert_eq!(
        (look.dumped, look.duplicates, look.malformed, gap),
        (7, 2, 0, None)
    );
    assert_eq!(ports(&flows), [1, 2, 3, 4, 9, 5, 6]);
}

#[test]
fn a_table_that_changes_under_the_dump_gives_each_entry_once() {
    // A full chain of 80 comes again, its timeouts a second older, one entry gone and one new.
    let first: Vec<u16> = (100..180).collect();
    let older = |port: u16| {
        message(
            fake::CT_NEW,
            MULTI,
            &fake::syn_sent(port, 0xabcd_0000 | u32::from(port), 99),
        )
    };
    let again: Vec<u8> = (101..181).flat_map(older).collect();
    let (passed, flows) = pass(
        How::Full,
        &limits(81),
        vec![Ok(entries(first)), Ok(again), Ok(done())],
    );
    let (look, _) = passed.unwrap();
    assert_eq!((look.dumped, look.duplicates), (81, 79));
    assert_eq!(ports(&flows), (100..181).collect::<Vec<u16>>());
    // Entries of the same tuple in other zones or protocols, or recreated with another id, are entries of their own.
    let mut zoned = fake::syn_sent(7, 1, 100);
    zoned.extend(attribute(18, &5u16.to_be_bytes()));
    let mut udp = fake::syn_sent(7, 1, 100);
    let number = udp.windows(5).position(|w| w == [5, 0, 1, 0, 6]);
    if let Some(at) = number {
        udp[at + 4] = 17;
    }
    let other = [fake::syn_sent(7, 1, 100), zoned, udp, fake::syn_sent(7, 2, 100)];
    let datagram: Vec<u8> = other
        .iter()
        .flat_map(|p| message(fake::CT_NEW, MULTI, p))
        .collect();
    let (passed, flows) = pass(How::Full, &limits(4), vec![Ok(datagram), Ok(done())]);
    assert_eq!(passed.unwrap().0.duplicates, 0);
    assert_eq!(flows.len(), 4);
}

#[test]
fn a_dump_that_says_it_was_interrupted_is_used_and_says_so() {
    let answer = vec![
        Ok(entries([1, 2])),
        Ok(message(fake::NLMSG_DONE, MULTI | DUMP_INTR, &[0; 4])),
    ];
    let (passed, flows) = pass(How::Full, &limits(2), answer);
    let (look, gap) = passed.unwrap();
    assert_eq!((look.dumped, flows.len()), (2, 2));
    assert!(gap.unwrap().reason.contains("changed"));
}

#[test]
fn entries_that_cannot_be_decoded_are_a_gap() {
    let mut odd = fake::syn_sent(2, 2, 100);
    let state = odd.len() - 4;
    odd[state] = 77;
    let datagram = [entries([1]), message(fake::CT_NEW, MULTI, &odd), entries([3])].concat();
    let (passed, flows) = pass(How::Full, &limits(3), vec![Ok(datagram), Ok(done())]);
    let (look, gap) = passed.unwrap();
    assert_eq!((look.dumped, look.malformed, ports(&flows)), (2, 1, vec![1, 3]));
    assert!(gap.unwrap().reason.contains("1 entries could not be decoded"));
}

#[test]
fn a_sample_stops_in_time_and_says_of_what() {
    let answer = || vec![Ok(entries(1..=50)), Ok(entries(51..=100)), Ok(done())];
    let (passed, flows) = pass(How::Sample(60), &limits(100), answer());
    let (look, _) = passed.unwrap();
    assert_eq!((look.dumped, look.sampled_of, flows.len()), (60, Some(100), 60));
    // What the count fell by meanwhile.
    let mut kernel = Fake::new(move |_, _: &[u8]| answer()).file(COUNT, "93\n");
    let passed = collect::pass(&mut kernel, &plan(How::Sample(60)), &limits(100), &mut |_| {
        ControlFlow::Continue(())
    });
    let look = passed.unwrap().0;
    assert_eq!((look.sampled_of, look.count_after), (Some(100), Some(93)));
    // The whole table was smaller than the sample.
    let (passed, _) = pass(How::Sample(101), &limits(100), answer());
    assert_eq!(passed.unwrap().0.sampled_of, None);
    // A part of nobody knows what would pass for the whole.
    let (passed, _) = pass(How::Sample(60), &Limits::default(), answer());
    assert!(passed.unwrap_err().reason.contains("not known"));
}

#[test]
fn lines_of_proc_that_are_none_are_counted_not_invented() {
    let text = "ipv4     2 tcp      6 118 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=80 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=1 mark=0 zone=0 use=2\n\
        ipv4     2 tcp      6 118 SYN_SENT src=10.0.0.1 dst=10.0.\n";
    let mut kernel = Fake::new(|_, _: &[u8]| Vec::new()).file("/proc/net/nf_conntrack", text);
    let mut flows = Vec::new();
    let passed = collect::pass(&mut kernel, &plan(How::Procfs), &limits(2), &mut |flow| {
        flows.push(*flow);
        ControlFlow::Continue(())
    });
    let (look, gap) = passed.unwrap();
    assert_eq!((look.dumped, look.malformed, ports(&flows)), (1, 1, vec![1]));
    assert!(gap.is_some());
}

#[test]
fn a_reader_that_has_enough_ends_the_pass() {
    for (how, proc) in [(How::Full, false), (How::Procfs, true)] {
        let mut kernel = Fake::new(|_, _: &[u8]| vec![Ok(entries(1..=5)), Err(Errno::ETIMEDOUT)]).file(
            "/proc/net/nf_conntrack",
            "udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1\nnonsense\n",
        );
        let mut met = 0;
        let passed = collect::pass(&mut kernel, &plan(how), &limits(5), &mut |_| {
            met += 1;
            if proc || met == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let (look, gap) = passed.unwrap();
        assert_eq!((look.dumped, gap), (met, None));
    }
}

#[test]
fn a_filter_that_the_kernel_refuses_is_done_without() {
    let wanted = DumpFilter {
        zone: Some(5),
        ..DumpFilter::default()
    };
    for (errno, asked) in [(Errno::EINVAL, 2), (Errno::EOPNOTSUPP, 2), (Errno::EPERM, 1)] {
        let everything = encode_dump(&DumpFilter::default());
        let mut kernel = Fake::new(move |_, request: &[u8]| {
            if request == everything {
                vec![Ok(entries([1, 2])), Ok(done())]
            } else {
                vec![Ok(refused(errno))]
            }
        });
        let mut met = 0;
        let passed = collect::pass(
            &mut kernel,
            &plan(How::Filtered(wanted.clone())),
            &limits(2),
            &mut |_| {
                met += 1;
                ControlFlow::Continue(())
            },
        );
        assert_eq!(
            (passed.is_ok(), met),
            (asked == 2, if asked == 2 { 2 } else { 0 })
        );
        assert_eq!(kernel.requests.len(), asked);
    }
}

const PROC: &str = "/proc/net/nf_conntrack";

fn line(sport: u16) -> String {
    format!(
        "ipv4     2 tcp      6 118 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport={sport} dport=80 [UNREPLIED] \
         src=10.0.0.2 dst=10.0.0.1 sport=80 dport={sport} mark=0 zone=0 use=2\n"
    )
}

#[test]
fn entries_that_come_again_in_proc_are_counted_once() {
    let text: String = [1, 2, 3, 2, 3, 4].map(line).concat();
    let mut kernel = Fake::new(|_, _: &[u8]| Vec::new()).file(PROC, &text);
    let mut flows = Vec::new();
    let passed = collect::pass(&mut kernel, &plan(How::Procfs), &limits(4), &mut |flow| {
        flows.push(*flow);
        ControlFlow::Continue(())
    });
    let (look, gap) = passed.unwrap();
    assert_eq!((look.dumped, look.duplicates, gap), (4, 2, None));
    assert_eq!(ports(&flows), [1, 2, 3, 4]);
}

#[test]
fn the_other_form_of_the_table_is_looked_for_where_one_is_not_recorded() {
    for how in [How::Full, How::Sample(9), How::Procfs] {
        let mut from_proc = Fake::new(|_, _: &[u8]| vec![Err(Errno::NOT_RECORDED)]).file(PROC, &line(1));
        let mut dumped = Fake::new(|_, _: &[u8]| vec![Ok(entries([1])), Ok(done())]);
        dumped.no_file = Errno::NOT_RECORDED;
        let count = |kernel: &mut dyn Kernel| {
            let passed = collect::pass(kernel, &plan(how.clone()), &limits(1), &mut |_| {
                ControlFlow::Continue(())
            });
            passed.map(|(look, gap)| (look.dumped, gap))
        };
        assert_eq!(count(&mut from_proc), Ok((1, None)), "{how:?}");
        assert_eq!(count(&mut dumped), Ok((1, None)), "{how:?}");
        let mut neither = Fake::new(|_, _: &[u8]| vec![Err(Errno::NOT_RECORDED)]);
        neither.no_file = Errno::NOT_RECORDED;
        let gap = count(&mut neither).unwrap_err();
        assert!(
            gap.reason.contains("not in the recording") && gap.remedy.contains("record again"),
            "{gap:?}"
        );
    }
}

/// A file of which only the first lines come.
struct Slow(Errno);

impl Kernel for Slow {
    fn now(&mut self) -> Moment {
        Moment::default()
    }

    fn read_file(&mut self, _: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::TOO_LARGE)
    }

    fn read_parts(
        &mut self,
        _: &str,
        _: Moment,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let text = [1, 2, 3].map(line).concat();
        let _ = each(&text.as_bytes()[..text.len() - 20]);
        Err(self.0)
    }

    fn read_dir(&mut self, _: &str, _: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }

    fn request(&mut self, _: &mut [Job<'_>]) {}

    fn listen(
        &mut self,
        _: &[Source],
        _: Moment,
        _: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        Ok(Heard::default())
    }
}

#[test]
fn what_came_of_proc_in_time_is_a_sample_and_says_so() {
    for errno in [Errno::ETIMEDOUT, Errno::TOO_LARGE, Errno::CUT_SHORT] {
        let sparse = Plan {
            closed: Some(Closed::Sparse),
            ..plan(How::Procfs)
        };
        let passed = collect::pass(&mut Slow(errno), &sparse, &limits(900), &mut |_| {
            ControlFlow::Continue(())
        });
        let (look, gap) = passed.unwrap();
        // The third line is cut: it is no entry, and not malformed either.
        assert_eq!(
            (look.dumped, look.sampled_of, look.malformed),
            (2, Some(900), 0),
            "{errno}"
        );
        let gap = gap.expect("a gap");
        let unprivileged = Plan {
            closed: Some(Closed::NotPermitted),
            ..plan(How::Procfs)
        };
        let passed = collect::pass(&mut Slow(errno), &unprivileged, &limits(900), &mut |_| {
            ControlFlow::Continue(())
        });
        let remedy = passed.unwrap().1.expect("a gap").remedy;
        assert!(
            remedy.contains("root") || errno == Errno::CUT_SHORT,
            "{errno}: {remedy}"
        );
        assert!(
            gap.source == PROC && !gap.remedy.contains("root"),
            "{errno}: {gap:?}"
        );
    }
}

#[test]
fn each_refusal_has_the_remedy_that_helps() {
    let remedy = |closed, how, errno| {
        let mut kernel = Fake::new(|_, _: &[u8]| Vec::new());
        kernel.no_file = errno;
        let plan = Plan {
            closed: Some(closed),
            ..plan(how)
        };
        let passed = collect::pass(&mut kernel, &plan, &limits(9), &mut |_| ControlFlow::Continue(()));
        passed.unwrap_err().remedy
    };
    const STALL: &str = "--even-if-it-stalls";
    for (closed, how, errno, want) in [
        (
            Closed::NotPermitted,
            How::Refuse,
            Errno::ENOENT,
            "cap_dac_read_search",
        ),
        (Closed::NotLoaded, How::Refuse, Errno::ENOENT, "modprobe"),
        (Closed::Sparse, How::Refuse, Errno::ENOENT, STALL),
        (Closed::Sparse, How::Procfs, Errno::ENOENT, STALL),
        (Closed::NotLoaded, How::Procfs, Errno::ENOENT, "modprobe"),
        (Closed::NotPermitted, How::Procfs, Errno::ENOENT, "cap_net_admin"),
        (Closed::Sparse, How::Procfs, Errno::EACCES, "cap_dac_read_search"),
    ] {
        let said = remedy(closed, how.clone(), errno);
        assert!(said.contains(want), "{closed:?} {how:?} {errno}: {said}");
        assert!(!said.contains("--exact"), "{said}");
    }
}
