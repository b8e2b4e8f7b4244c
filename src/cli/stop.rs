//! Ctrl-C, SIGTERM and SIGHUP: what runs until it is stopped ends as it would by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// True once one of them has come. A second one ends the process at once, as it would without this.
pub fn stop() -> anyhow::Result<Arc<AtomicBool>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build()
        .context("waiting for signals")?;
    let mut signals = {
        let _inside = runtime.enter();
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()
        .context("waiting for signals")?
    };
    let flag = Arc::clone(&stopped);
    thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals[..] else {
                return;
            };
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    // 128 + SIGINT, as a shell has it.
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(stopped)
}
