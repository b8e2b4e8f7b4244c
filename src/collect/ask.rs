//! One request over netlink, message by message until its answer ends.

use std::ops::ControlFlow;

use crate::kernel::{Channel, Errno, Job, Kernel};
use crate::model::Gap;
use crate::wire::netlink::{Ending, Message, ending, messages};

/// What to do where CAP_NET_ADMIN is missing. CAP_DAC_READ_SEARCH opens /proc/slabinfo, which tells whether a dump is
/// harmless, and /proc/net/nf_conntrack, which is read where it is not.
pub const ADMIN_REMEDY: &str =
    "run as root, or: setcap cap_net_admin,cap_net_raw,cap_dac_read_search+ep $(command -v ctlens)";

/// Why an answer is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel answered with an error.
    Refused(Errno),
    /// The door failed, or what came in is no netlink.
    Failed(Errno),
    Malformed,
    /// It came to its end, but changed while it was read: something may be missing.
    Interrupted,
}

impl Refusal {
    pub fn errno(self) -> Option<Errno> {
        match self {
            Refusal::Refused(errno) | Refusal::Failed(errno) => Some(errno),
            Refusal::Malformed | Refusal::Interrupted => None,
        }
    }

    pub fn reason(self) -> String {
        match self {
            Refusal::Refused(Errno::EPERM) => "not permitted: needs CAP_NET_ADMIN".to_string(),
            Refusal::Refused(errno) | Refusal::Failed(errno) => errno.to_string(),
            Refusal::Malformed => "the answer is not well-formed netlink".to_string(),
            Refusal::Interrupted => "it changed while it was read".to_string(),
        }
    }
}

/// Feeds every message but the ending. `each` may `Break` when it has enough. `many`: the answer is a dump, which
/// ends with NLMSG_DONE; else one datagram is the whole answer.
pub fn ask(
    kernel: &mut dyn Kernel,
    channel: Channel,
    request: Vec<u8>,
    wider: Vec<Vec<u8>>,
    many: bool,
    each: &mut (dyn FnMut(&Message<'_>) -> ControlFlow<()> + Send),
) -> Result<(), Refusal> {
    let mut outcome = Ok(());
    let mut interrupted = false;
    let mut sink = |datagram: &[u8]| {
        for message in messages(datagram) {
            let Ok(message) = message else {
                outcome = Err(Refusal::Malformed);
                return ControlFlow::Break(());
            };
            interrupted |= message.interrupted();
            match ending(&message) {
                Some(Ending::Done | Ending::Acked) => {
                    if interrupted {
                        outcome = Err(Refusal::Interrupted);
                    }
                    return ControlFlow::Break(());
                }
                Some(Ending::Cut) => {
                    outcome = Err(Refusal::Malformed);
                    return ControlFlow::Break(());
                }
                Some(Ending::Refused(number)) => {
                    outcome = Err(Refusal::Refused(Errno(number)));
                    return ControlFlow::Break(());
                }
                None => {}
            }
            if each(&message).is_break() {
                return ControlFlow::Break(());
            }
        }
        if many {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let mut job = Job::new(channel, request, &mut sink);
    job.wider = wider;
    let mut jobs = [job];
    kernel.request(&mut jobs);
    let [job] = jobs;
    let result = job.result;
    outcome.and(result.map_err(Refusal::Failed))
}

/// The reason why something was refused, as a gap.
pub fn refused(source: &str, refusal: Refusal, remedy: &str) -> Gap {
    let remedy = match refusal.errno() {
        Some(Errno::EPERM) => ADMIN_REMEDY,
        Some(Errno::NOT_RECORDED | Errno::CUT_SHORT) => "record again with this command's options",
        _ => remedy,
    };
    Gap::new(source, refusal.reason(), remedy)
}
