//! One pass over /proc/net/nf_conntrack, line by line as it is read. It stalls nobody, but may take its time.

use std::ops::ControlFlow;

use super::ask::ADMIN_REMEDY;
use super::plan::{Closed, MAX_PROC_SECS, Plan};
use super::tally::{Each, Failure, Passed, Tally, unread, whole};
use crate::kernel::{Errno, Kernel};
use crate::model::{Gap, Limits, TableLook, TableSource};
use crate::wire::procfs;

const PROC: &str = "/proc/net/nf_conntrack";
/// A longer line is none of an entry: with all that the kernel may print it has less than 600 bytes.
const MAX_LINE_BYTES: usize = 4096;

pub fn listing(
    kernel: &mut dyn Kernel,
    plan: &Plan,
    limits: &Limits,
    each: &mut Each<'_>,
) -> Result<Passed, Failure> {
    let started = kernel.now();
    let mut tally = Tally::default();
    let mut lines = Lines::default();
    let mut take = |line: &[u8]| {
        let flow = procfs::flow_line(&String::from_utf8_lossy(line)).ok();
        tally.take(flow.as_ref(), each)
    };
    let mut enough = false;
    let read = kernel.read_parts(PROC, started.plus_secs(MAX_PROC_SECS), &mut |part| {
        let taken = lines.add(part, &mut take);
        enough = taken.is_break();
        taken
    });
    if read.is_ok() && !enough {
        let _ = lines.finish(&mut take);
    }
    let ended = kernel.now();
    let broken_off = read
        .err()
        .map(|errno| broken_off(errno, plan, tally.dumped))
        .transpose()?;
    let sampled_of = whole(broken_off.is_some(), limits, tally.dumped).map_err(Failure::of)?;
    let look = TableLook {
        source: TableSource::Procfs,
        started,
        ended,
        dumped: tally.dumped,
        sampled_of,
        count_after: None,
        duplicates: tally.duplicates,
        malformed: tally.malformed,
    };
    Ok((
        look,
        broken_off.or(unread(PROC, tally.malformed)).or(instead(plan)),
    ))
}

/// A part of the table is a sample of it; none is nothing.
fn broken_off(errno: Errno, plan: &Plan, dumped: u64) -> Result<Gap, Failure> {
    let part = |reason: String, remedy: &str| {
        Gap::new(PROC, format!("{reason}: {dumped} entries were read"), remedy)
    };
    match errno {
        Errno::ETIMEDOUT if dumped > 0 => Ok(part(
            format!("reading was stopped after {MAX_PROC_SECS:.0} s"),
            by_dump(plan),
        )),
        Errno::TOO_LARGE if dumped > 0 => Ok(part("the rest is too large".into(), by_dump(plan))),
        Errno::CUT_SHORT if dumped > 0 => Ok(part(
            "the recording holds only a part of the table".into(),
            "record again without --limit",
        )),
        Errno::NOT_RECORDED | Errno::CUT_SHORT => Err(Failure {
            not_recorded: errno == Errno::NOT_RECORDED,
            gap: Gap::new(
                PROC,
                errno.to_string(),
                "record again with this command's options",
            ),
        }),
        _ => Err(Failure::of(Gap::new(
            PROC,
            errno.to_string(),
            remedy(errno, plan),
        ))),
    }
}

fn remedy(errno: Errno, plan: &Plan) -> &'static str {
    match errno {
        Errno::ENOENT => match plan.closed {
            Some(Closed::NotPermitted) => ADMIN_REMEDY,
            Some(Closed::NotLoaded) => LOAD,
            _ => {
                "this kernel has no CONFIG_NF_CONNTRACK_PROCFS: --even-if-it-stalls dumps over ctnetlink, and may hold \
                 up packets"
            }
        },
        Errno::EPERM | Errno::EACCES => ADMIN_REMEDY,
        Errno::TOO_LARGE => by_dump(plan),
        _ => "run it again",
    }
}

/// What gives the whole table where the file does not.
fn by_dump(plan: &Plan) -> &'static str {
    match plan.closed {
        Some(Closed::NotPermitted) => ADMIN_REMEDY,
        Some(Closed::NotLoaded) => LOAD,
        _ => {
            "--even-if-it-stalls dumps all over ctnetlink, and may hold up packets; kernels from 6.15 on read /proc \
             faster"
        }
    }
}

/// A command that can be typed as it is.
pub const LOAD: &str = "modprobe nf_conntrack_netlink   # in a container: on the host; then look again";

/// The file shows no ids and not all status bits.
fn instead(plan: &Plan) -> Option<Gap> {
    (plan.closed == Some(Closed::NotLoaded)).then(|| {
        Gap::new(
            "ctnetlink",
            "nf_conntrack_netlink is not known to be loaded, and looking loads no module: /proc/net/nf_conntrack was read instead",
            LOAD,
        )
    })
}

/// Cuts what comes in parts into lines.
#[derive(Default)]
struct Lines {
    /// The beginning of a line whose end has not come yet, at most MAX_LINE_BYTES of it.
    begun: Vec<u8>,
}

impl Lines {
    fn add(&mut self, part: &[u8], take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if ends && self.begun.is_empty() {
                take(piece.trim_ascii_end())?;
                continue;
            }
            let room = MAX_LINE_BYTES - self.begun.len();
            self.begun.extend_from_slice(&piece[..piece.len().min(room)]);
            if ends {
                self.finish(take)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn finish(&mut self, take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        let line = std::mem::take(&mut self.begun);
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        take(line.trim_ascii_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_they_are_cut() {
        let text = b"one\n\ntwo words\nthree";
        for size in 1..=text.len() {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            let mut take = |line: &[u8]| {
                got.push(String::from_utf8_lossy(line).into_owned());
                ControlFlow::Continue(())
            };
            for part in text.chunks(size) {
                assert!(lines.add(part, &mut take).is_continue());
            }
            assert!(lines.finish(&mut take).is_continue());
            assert_eq!(got, ["one", "", "two words", "three"], "{size}");
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::default();
        let mut longest = 0;
        let mut take = |line: &[u8]| {
            longest = longest.max(line.len());
            ControlFlow::Continue(())
        };
        for _ in 0..100 {
            let _ = lines.add(&[b'x'; 1000], &mut take);
        }
        let _ = lines.finish(&mut take);
        assert_eq!(longest, MAX_LINE_BYTES);
    }
}
