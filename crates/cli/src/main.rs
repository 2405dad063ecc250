//! `jeton`: OAuth 2.0 client credentials from the command line.

use std::alloc::System;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed: the buffers in which hyper and rustls had secrets and tokens are theirs to free, and they do not wipe them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    jeton_cli::run_process()
}
