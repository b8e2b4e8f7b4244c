//! Text of /proc and of tools, pasted or not.
#![no_main]

use ctlens::wire::{paste, proc_tcp, procfs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = procfs::nf_conntrack_stat(&text);
    let _ = procfs::conntrack_s(&text);
    let _ = procfs::group_counters(&text);
    let _ = procfs::sockstat(&text);
    let _ = procfs::slab_objects(&text, "nf_conntrack");
    let _ = paste::parse(&text, "conntrack");
    for line in text.lines() {
        let _ = procfs::flow_line(line);
        let _ = proc_tcp::socket_line(line);
    }
});
