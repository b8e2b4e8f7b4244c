//! Who follows a look while it runs.

use std::ops::ControlFlow;

use crate::kernel::Kernel;
use crate::model::{Flow, Moment, Timeouts};

/// What the user may want to know while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// What takes a while now.
    Progress(&'a str),
    /// Why it is done so.
    Reason(&'a str),
}

pub type Notes<'a> = dyn FnMut(Note<'_>) + Send + 'a;

/// Who looks over the shoulder.
pub trait Onlooker: Send {
    fn note(&mut self, note: Note<'_>);

    /// While nothing is to be done until `until`.
    fn idle(&mut self, kernel: &mut dyn Kernel, until: Moment) {
        let _ = kernel.listen(&[], until, &mut |_, _| ControlFlow::Continue(()));
    }

    /// A pass over the table is about to begin; whether it will meet every entry.
    fn pass(&mut self, _kernel: &mut dyn Kernel, _whole: bool, _timeouts: &Timeouts) {}

    fn entry(&mut self, _flow: &Flow) {}

    /// Whether it did.
    fn passed(&mut self, _whole: bool) {}
}

/// Only the notes.
pub struct Noted<'a, 'b>(pub &'a mut Notes<'b>);

impl Onlooker for Noted<'_, '_> {
    fn note(&mut self, note: Note<'_>) {
        (self.0)(note);
    }
}
