//! Neither the tee nor the replay holds the table in memory.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use ctlens::kernel::{Channel, Errno, Heard, Job, Kernel, Record, Source};
use ctlens::model::Moment;

use crate::fake::{Place, WHOLE, replay, request};

/// Set for the process that is measured: where its recording goes.
const MEASURED: &str = "CTLENS_RECORDING_TEST_FILE";
/// A table of some 270,000 entries.
const DATAGRAMS: u32 = 2000;
const DATAGRAM_BYTES: usize = 32 * 1024;
/// zstd's window and buffers are the most of it.
const MOST_KIB: u64 = 16 * 1024;

struct Long;

impl Kernel for Long {
    fn now(&mut self) -> Moment {
        Moment::default()
    }

    fn read_file(&mut self, _path: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }

    fn read_dir(&mut self, _path: &str, _part: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOENT)
    }

    fn request(&mut self, jobs: &mut [Job<'_>]) {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        for job in jobs {
            for number in 0..DATAGRAMS {
                for (at, byte) in datagram.iter_mut().enumerate() {
                    *byte = (at as u32)
                        .wrapping_mul(number.wrapping_add(2_654_435_761))
                        .to_be_bytes()[0];
                }
                let _ = (job.sink)(&datagram);
            }
            job.result = Ok(());
        }
    }

    fn listen(
        &mut self,
        _sources: &[Source],
        _deadline: Moment,
        _each: &mut dyn FnMut(usize, &[u8]) -> ControlFlow<()>,
    ) -> Result<Heard, Errno> {
        Ok(Heard::default())
    }
}

fn count(kernel: &mut dyn Kernel) -> u32 {
    let mut count = 0;
    let mut sink = |datagram: &[u8]| {
        assert_eq!(datagram.len(), DATAGRAM_BYTES);
        count += 1;
        ControlFlow::Continue(())
    };
    let mut jobs = [Job::new(Channel::Netfilter, request(WHOLE, 1), &mut sink)];
    kernel.request(&mut jobs);
    count
}

/// The most memory that this process ever had resident.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn it_does_not_grow_with_the_table() {
    for name in ["r.pcapng", "r.pcapng.zst"] {
        let place = Place::new();
        let output = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "memory::measured", "--nocapture"])
            .env(MEASURED, place.file(name))
            .output()
            .expect("runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(told.contains("grew by"), "{told}");
        println!("{name}: {told}");
    }
}

/// Runs in a process of its own; does nothing as a test of its own.
#[test]
fn measured() {
    let Some(file) = env::var_os(MEASURED) else {
        return;
    };
    let file = Path::new(&file);
    let before = peak_kib();
    let mut record = Record::new(Box::new(Long), file, "").expect("begins");
    assert_eq!(count(&mut record), DATAGRAMS);
    record.finish().expect("finishes");
    let mut replay = replay(file);
    assert_eq!(count(&mut replay), DATAGRAMS);
    let grew = peak_kib() - before;
    println!("grew by {grew} KiB");
    assert!(grew < MOST_KIB, "{grew} KiB");
}
