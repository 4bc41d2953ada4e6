//! The `cs-store` binary.

use std::process::ExitCode;

/// Gives back what is freed, which the C library's keeps for each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option `purge_delay` of mimalloc's `mi_option_t`, which its crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// How long freed memory is kept for what comes next, in milliseconds. With mimalloc's 10 half of
/// the time of writing is the clearing of pages.
const KEPT_MS: i32 = 1_000;

/// What bounds the database's reading, which goes as far ahead as 2 GiB otherwise: the bytes that
/// wait, and the rows of a batch, which have to fit in them with the widest vectors.
const DATABASE_READING: [(&str, &str); 2] = [
    ("LANCE_DEFAULT_IO_BUFFER_SIZE", "33554432"),
    ("LANCE_DEFAULT_BATCH_SIZE", "1024"),
];

fn main() -> ExitCode {
    // SAFETY: sets a number that mimalloc reads when it frees memory; there is one thread yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT_MS.into()) };
    // SAFETY: there is one thread yet.
    unsafe {
        cs_store::set_threads();
        for (name, value) in DATABASE_READING {
            cs_store::set_default(name, value);
        }
    }
    cs_common::tool::run("cs-store", cs_store::run)
}
