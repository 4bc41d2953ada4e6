//! The `cs-store` binary.
//!
//! The database sizes its buffers for servers. This file bounds how far it reads ahead and how much
//! it sorts in memory, and gives it all cores. Variables of the environment are the only way to do
//! so, and values that are set already stay. The allocator is jemalloc with two heaps for all
//! threads, because the database often frees in one thread what it allocated in another.

use std::process::ExitCode;

/// Shares what one thread has freed with all others, and gives the rest back. Of the C library's
/// and of mimalloc's memory each thread keeps its own: a million rows took twice as much.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads when it starts: two heaps for all threads, each with a small store of its own
/// before it, and how many milliseconds freed memory is kept for what comes next.
// SAFETY: the name is the one that jemalloc looks for, and the text ends with a zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 68] =
    b"narenas:2,oversize_threshold:0,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// What bounds the database's memory, which goes as far as 2 GiB otherwise: the bytes that are read
/// ahead, the rows of a batch, which have to fit in them with the widest vectors, and the bytes that
/// are sorted for an index before they go to disk.
const DATABASE_BOUNDS: [(&str, &str); 3] = [
    ("LANCE_DEFAULT_IO_BUFFER_SIZE", "33554432"),
    ("LANCE_DEFAULT_BATCH_SIZE", "1024"),
    ("LANCE_MEM_POOL_SIZE", "67108864"),
];

fn main() -> ExitCode {
    // SAFETY: there is one thread yet.
    unsafe {
        cs_store::set_threads();
        for (name, value) in DATABASE_BOUNDS {
            cs_store::set_default(name, value);
        }
    }
    cs_common::tool::run("cs-store", cs_store::run)
}
