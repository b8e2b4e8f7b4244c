//! ctlens, the program: see the library for how it is built.

fn main() -> std::process::ExitCode {
    ctlens::cli::run()
}
