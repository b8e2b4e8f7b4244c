//! When a look listens: silence tells something of an entry only where the tap heard the time up to the reading.

use std::ops::ControlFlow;

use ctlens::cli::look::{Ask, Tap, look};
use ctlens::collect::Wish;
use ctlens::kernel::{Errno, Heard, Job, Kernel, Source};
use ctlens::model::Moment;

/// A host that forwards, with nothing to read but that; its clock moves only while it listens.
#[derive(Default)]
struct Clock {
    now: Moment,
    /// (seconds, tapped) of each time it listened.
    heard: Vec<(f64, bool)>,
}

impl Kernel for Clock {
    fn now(&mut self) -> Moment {
        self.now
    }

    fn read_file(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        match path {
            "/proc/sys/net/netfilter/nf_conntrack_max" => Ok(b"262144\n".to_vec()),
            "/proc/sys/net/netfilter/nf_conntrack_count" => Ok(b"9\n".to_vec()),
            "/proc/sys/net/ipv4/ip_forward" => Ok(b"1\n".to_vec()),
            _ => Err(Errno::ENOENT),
        }
    }

    fn read_dir(&mut self, _: &str, _: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        jobs.iter_mut().for_each(|job| job.result = Err(Errno::EPERM));
    }

    fn listen(
        &mut self,
        sources: &[Source],
        deadline: Moment,
        _: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        let secs = deadline.secs_since(self.now);
        self.now = self.now.plus_secs(secs);
        if secs > 0.0 {
            self.heard.push((secs, !sources.is_empty()));
        }
        Ok(Heard::default())
    }
}

fn heard(window_secs: f64, tap: Tap) -> (Vec<(f64, bool)>, f64) {
    let mut clock = Clock::default();
    let ask = Ask {
        window_secs,
        tap,
        wish: Wish::default(),
    };
    let evidence = look(&mut clock, &ask, &mut |_| {}).expect("there is a table");
    (clock.heard, evidence.window_secs)
}

#[test]
fn the_tap_ends_with_the_window() {
    assert_eq!(
        heard(10.0, Tap::Always(3.0)),
        (vec![(7.0, false), (3.0, true)], 10.0)
    );
    assert_eq!(
        heard(60.0, Tap::Where(3.0)),
        (vec![(57.0, false), (3.0, true)], 60.0)
    );
    // A tap longer than the window widens it.
    assert_eq!(heard(2.0, Tap::Always(3.0)), (vec![(3.0, true)], 3.0));
    assert_eq!(heard(2.0, Tap::Off), (vec![(2.0, false)], 2.0));
    assert_eq!(heard(0.0, Tap::Always(3.0)), (vec![(3.0, true)], 0.0));
}
