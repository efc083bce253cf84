//! The program: arguments in, exit code out.
//! Given the command line, hands it to `cli` and ends with the code that comes back.
//! Never does anything else; it is the only place that ends the process.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reseller_gateway::cli::run()
}
