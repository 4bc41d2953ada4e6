//! The `cs-store` binary.

use std::process::ExitCode;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_set_default, mi_option_t};

/// Gives back what is freed, which the C library's keeps for each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option `purge_delay` of mimalloc's `mi_option_t`, which its crate does not name: after how
/// many milliseconds freed memory is given back.
const PURGE_DELAY: mi_option_t = 15;

/// The option `arena_max_object_size`: from how many KiB memory is asked of the system and given
/// back to it when it is freed.
const ARENA_MAX_OBJECT_SIZE: mi_option_t = 45;

/// How long freed memory is kept for what comes next, in milliseconds. With mimalloc's 10 half of
/// the time of writing is the clearing of pages.
const KEPT_MS: i32 = 1_000;

/// The same once indexes are made: each needs other memory than the one before.
const KEPT_BETWEEN_INDEXES_MS: i32 = 10;

/// What is freed of this many KiB is not kept: each thread looks for such memory in another place,
/// so that what one has freed is of no use to the next one. Without it a million rows take 1 GiB.
const KEPT_KIB: i32 = 1_024;

/// What bounds the database's memory, which goes as far as 2 GiB otherwise: the bytes that are read
/// ahead, the rows of a batch, which have to fit in them with the widest vectors, and the bytes that
/// are sorted for an index before they go to disk.
const DATABASE_BOUNDS: [(&str, &str); 3] = [
    ("LANCE_DEFAULT_IO_BUFFER_SIZE", "33554432"),
    ("LANCE_DEFAULT_BATCH_SIZE", "1024"),
    ("LANCE_MEM_POOL_SIZE", "67108864"),
];

fn main() -> ExitCode {
    // SAFETY: sets numbers that mimalloc reads when it has or frees memory; there is one thread yet.
    unsafe {
        mi_option_set_default(PURGE_DELAY, KEPT_MS.into());
        mi_option_set_default(ARENA_MAX_OBJECT_SIZE, KEPT_KIB.into());
    }
    // SAFETY: there is one thread yet.
    unsafe {
        cs_store::set_threads();
        for (name, value) in DATABASE_BOUNDS {
            cs_store::set_default(name, value);
        }
    }
    cs_store::before_each_index(give_back);
    cs_common::tool::run("cs-store", cs_store::run)
}

/// Gives back what was freed, and keeps nothing for long from then on.
fn give_back() {
    // SAFETY: mimalloc reads the option as one word and without a lock, and lets any thread collect.
    unsafe {
        mi_option_set(PURGE_DELAY, KEPT_BETWEEN_INDEXES_MS.into());
        mi_collect(true);
    }
}
