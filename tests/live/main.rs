//! Live scenarios: namespaces with real traffic between them, the real program looking in, its JSON asserted.
//!
//! They need root. `CTLENS_MAKE_FIXTURES=DIR` records some of them instead; `CTLENS_MATRIX=FILE` writes truth against
//! verdict of whatever was run.

mod delay;
mod filler;
mod global;
mod inside;
mod lab;
mod matrix;
mod pace;
mod packet;
mod race;
mod recordings;
mod scenarios;
mod settings;
mod socket;
mod stage;
mod terminal;
mod traffic;
mod verdict;

use std::process::ExitCode;

use libtest_mimic::Arguments;

/// Scenarios mostly wait: so many at once load two cores lightly.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    global::change_and_hang();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let mut trials = scenarios::all();
    trials.extend(settings::trials());
    if !arguments.list {
        if let Err(why) = able() {
            println!("live scenarios skipped: {why}");
            let skipped = trials.into_iter().map(|trial| trial.with_ignored_flag(true));
            trials = skipped.collect();
            (arguments.ignored, arguments.include_ignored) = (false, false);
        } else if let Some(directory) = std::env::var_os("CTLENS_MAKE_FIXTURES") {
            return recordings::make(directory.as_ref());
        }
    }
    trials.splice(0..0, [global::trial(), matrix::trial()]);
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.list {
        return conclusion.exit_code();
    }
    println!("{}", matrix::summary());
    let whole = whole && conclusion.num_ignored == 0;
    let compared = if whole && !conclusion.has_failed() {
        matrix::compare()
    } else {
        println!("not compared with README: only a whole run that passes makes its table");
        Ok(())
    };
    match matrix::write(whole).and(compared) {
        Ok(()) => conclusion.exit_code(),
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this process may make namespaces with tracking in them; else why not.
fn able() -> Result<(), String> {
    for program in ["ip", "nft"] {
        inside::run(program, &["-V"], "").map_err(|why| format!("{why}; install iproute2 and nftables"))?;
    }
    lab::sweep();
    lab::probe()?;
    socket::raise_file_limit()
}
