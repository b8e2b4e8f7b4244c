//! One entry looked at, deleted or shortened, by its whole tuple.

use std::ops::ControlFlow;

use crate::kernel::{Change, Channel, Errno, Job};
use crate::model::Flow;
use crate::wire::ct_change::{encode_delete, encode_get, encode_timeout};
use crate::wire::ctnetlink::{fill_flow, is_flow};
use crate::wire::netlink::{Ending, ending, messages};

/// The entry as it is now; ENOENT where there is none.
pub fn entry_now(change: &mut dyn Change, flow: &Flow) -> Result<Flow, Errno> {
    let mut found = None;
    told(change, encode_get(flow), &mut |kind, payload| {
        let mut now = Flow::default();
        if is_flow(kind) && fill_flow(payload, &mut now).is_ok() {
            found = Some(now);
        }
    })?;
    found.ok_or(Errno::ENOENT)
}

pub fn delete_entry(change: &mut dyn Change, flow: &Flow) -> Result<(), Errno> {
    told(change, encode_delete(flow), &mut |_, _| {})
}

pub fn shorten_entry(change: &mut dyn Change, flow: &Flow, secs: u32) -> Result<(), Errno> {
    told(change, encode_timeout(flow, secs), &mut |_, _| {})
}

/// Until the acknowledgement.
fn told(
    change: &mut dyn Change,
    request: Vec<u8>,
    each: &mut (dyn FnMut(u16, &[u8]) + Send),
) -> Result<(), Errno> {
    let mut outcome = Err(Errno::EIO);
    let mut sink = |datagram: &[u8]| {
        for message in messages(datagram) {
            let Ok(message) = message else {
                return ControlFlow::Break(());
            };
            match ending(&message) {
                Some(Ending::Acked | Ending::Done) => outcome = Ok(()),
                Some(Ending::Refused(number)) => outcome = Err(Errno(number)),
                Some(Ending::Cut) => {}
                None => {
                    each(message.kind, message.payload);
                    continue;
                }
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let mut job = Job::new(Channel::Netfilter, request, &mut sink);
    change.tell(&mut job);
    let result = job.result;
    result.and(outcome)
}
