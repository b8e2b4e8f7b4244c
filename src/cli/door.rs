//! Which door the command goes through: the live kernel, the same with a recording beside it, or a recording alone.

use super::args::CommonArgs;
use crate::kernel::{Kernel, Live, Netns};

/// An open door.
pub struct Door {
    kernel: Box<dyn Kernel>,
}

impl Door {
    pub fn open(common: &CommonArgs) -> anyhow::Result<Door> {
        let netns = common.netns.as_deref().map(Netns::parse);
        let live = Live::open(netns.as_ref())?;
        Ok(Door {
            kernel: Box::new(live),
        })
    }

    pub fn kernel(&mut self) -> &mut dyn Kernel {
        &mut *self.kernel
    }

    /// Ends a recording, where one is made.
    pub fn close(self) -> anyhow::Result<()> {
        Ok(())
    }
}
