//! Ctrl-C, SIGTERM and SIGHUP: what runs until it is stopped ends as it would by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// True once one of them has come: who runs until it is stopped looks at it at least once a second.
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
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            flag.store(true, Ordering::Relaxed);
        });
    });
    Ok(stopped)
}

/// How often who waits looks whether it is over.
const PATIENCE: Duration = Duration::from_millis(50);

/// Waits for so long, or until it is stopped.
pub fn pause(lasting: Duration, stopped: &AtomicBool) {
    let due = Instant::now() + lasting;
    while !stopped.load(Ordering::Relaxed) {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left.min(PATIENCE));
    }
}
