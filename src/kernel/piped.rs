//! Text that came through a pipe and can be read only once, beside all that another kernel says.

use std::ops::ControlFlow;

use super::{Errno, Heard, Job, Kernel, Source};
use crate::model::Moment;

pub struct Piped {
    inner: Box<dyn Kernel>,
    path: String,
    text: Vec<u8>,
}

impl Piped {
    /// `text` is the whole content at `path`, however often it is read.
    pub fn new(inner: Box<dyn Kernel>, path: &str, text: Vec<u8>) -> Piped {
        Piped {
            inner,
            path: path.to_string(),
            text,
        }
    }
}

impl Kernel for Piped {
    fn now(&mut self) -> Moment {
        self.inner.now()
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        if path == self.path {
            Ok(self.text.clone())
        } else {
            self.inner.read_file(path)
        }
    }

    fn run(&mut self, command: &str) -> Result<Vec<u8>, Errno> {
        self.inner.run(command)
    }

    fn read_dir(&mut self, path: &str, part: &str) -> Result<Vec<u8>, Errno> {
        if path == self.path {
            Err(Errno::ENOTDIR)
        } else {
            self.inner.read_dir(path, part)
        }
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        self.inner.request(jobs);
    }

    fn hush(&mut self) {
        self.inner.hush();
    }

    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        self.inner.listen(sources, deadline, each)
    }
}
