//! The entrance: runs a command and turns what became of it into an exit code.
//!
//! 0 done, 1 refused or a check failed, 2 wrong usage or configuration, 3 a failure at run time.

use std::process::ExitCode;

fn main() -> ExitCode {
    r2d_edge::run()
}
