//! Products of bf16 numbers by matrix tiles: Intel's AMX (Intel 64 and IA-32 Architectures Software
//! Developer's Manual, volume 1, chapter 18).
//!
//! The compiler's own functions for it are not stable, so the few instructions are written out. A
//! register holds 16 rows of 64 bytes. Four of them are a tile of 32 rows by 32 columns of sums,
//! two hold rows, two hold weights, whose panels are laid out as for the vector instructions. AMX
//! is used only after a test product was correct on this machine.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};

use super::kernel::{At, NR, TILE_ROWS, Tile, holds};

/// The most rows of a tile.
pub(super) const MR: usize = TILE_ROWS;

/// Rows of a register.
pub(super) const REGISTER: usize = 16;

/// The part of a thread's state that holds the shapes of tiles, a bit of `XCR0`.
const SHAPES: u32 = 17;

/// The part that holds their contents.
const CONTENTS: u32 = 18;

/// Tells whether the processor has the instructions and the system lets this process use them.
pub(super) fn is_there() -> bool {
    /// Bits of register `edx` of leaf 7: AMX-BF16 and AMX-TILE.
    const INSTRUCTIONS: u32 = 1 << 22 | 1 << 24;
    let state = 1_u64 << SHAPES | 1 << CONTENTS;
    is_x86_feature_detected!("xsave")
        && __cpuid_count(0, 0).eax >= 7
        && __cpuid_count(7, 0).edx & INSTRUCTIONS == INSTRUCTIONS
        // SAFETY: `xcr0` enables the feature `xsave`, which was detected above.
        && unsafe { xcr0() } & state == state
        && is_permitted()
        && is_right()
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: `_xgetbv` needs the feature `xsave`, which this function enables. The standard
    // library detects it only where the system lets programs run the instruction. `XCR0` exists
    // there.
    unsafe { _xgetbv(0) }
}

/// Asks Linux for the tiles' state, which it gives to those processes only that ask.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of Linux' `asm/prctl.h`.
    const REQUEST: libc::c_ulong = 0x1023;
    let contents = libc::c_ulong::from(CONTENTS);
    // SAFETY: the call takes two numbers by value and accesses no memory of the process. It only
    // changes what the process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, contents) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Multiplies small numbers, whose sums are exact, and compares: an emulator or a hypervisor that
/// promises the instructions and does something else is found out before it makes vectors.
fn is_right() -> bool {
    const DEPTH: usize = 32;
    let number = |i: usize| ((i * 7 + i / 5) % 9) as f32 - 4.0;
    let pair = |i: usize| number(2 * i).to_bits() >> 16 | number(2 * i + 1).to_bits() & 0xffff_0000;
    let a: Vec<u32> = (0..MR * DEPTH).map(pair).collect();
    let b: Vec<u32> = (0..DEPTH * NR).map(|i| pair(i + 11)).collect();
    let half = |pair: u32| [pair << 16, pair & 0xffff_0000].map(f32::from_bits);
    let mut c = [[0.0; NR]; MR];
    let _tiles = Tiles::configure();
    debug_assert!(holds(&a, DEPTH, MR, DEPTH) && holds(&b, NR, DEPTH, NR));
    // SAFETY: `_tiles` keeps the tiles of this thread configured until this function returns. `a`
    // has `MR` rows of `DEPTH` pairs and `b` has `DEPTH` rows of `NR`. `MR` and `DEPTH` are
    // multiples of `REGISTER`. Nothing writes to `a` or `b` during the call.
    unsafe { bf16(MR, DEPTH, At::of(&a, DEPTH), At::of(&b, NR), &mut c) };
    (0..MR).all(|row| {
        (0..NR).all(|column| {
            let products = (0..DEPTH).map(|k| {
                let ([x0, x1], [y0, y1]) = (half(a[row * DEPTH + k]), half(b[k * NR + column]));
                x0 * y0 + x1 * y1
            });
            products.sum::<f32>() == c[row][column]
        })
    })
}

/// The shapes of this thread's tiles, set as long as this lives.
pub(super) struct Tiles(());

impl Tiles {
    /// Makes all eight registers 16 rows of 64 bytes.
    ///
    /// Processor and system must have tiles. [`is_there`] checks that before it calls
    /// [`is_right`], and `Machine::tiles` is true only where it said yes. A thread must not have
    /// two of these at once, as dropping one takes the shapes from both.
    pub(super) fn configure() -> Self {
        /// The memory operand of `ldtilecfg`.
        #[repr(C, align(64))]
        struct Shapes {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut shapes = Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        shapes.row_bytes[..8].fill(64);
        shapes.rows[..8].fill(REGISTER as u8);
        debug_assert_eq!(size_of::<Shapes>(), 64);
        // SAFETY: `ldtilecfg` reads 64 bytes at any alignment: `shapes`, which lives on after it.
        // Palette 1 allows eight registers of 16 rows of 64 bytes. Both callers know that there are
        // tiles: `is_right` by the checks before it, `run_some` by `Machine::tiles`. The registers
        // become zero, and nothing else holds values in them: the compiler emits no tile
        // instructions without intrinsics, and no other `Tiles` live on this thread.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // Without tiles in use, the system need not save them when it switches threads.
        // SAFETY: only `configure` makes `Tiles`, so the instruction exists. It accesses no memory.
        // Neither caller of `configure` moves them, so this is the thread that was configured. No
        // register holds a value that is still needed, as `bf16` stores all sums before it returns.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Computes the first `rows` rows of `c = a b` for bf16 numbers, two depths of a column together;
/// `depth` counts such pairs.
///
/// # Safety
/// [`Tiles`] are configured on this thread, and `rows` is at most [`MR`]. `depth` is a multiple of
/// [`REGISTER`]. `a` can be read for `rows`, filled up to a multiple of [`REGISTER`], of `depth`
/// pairs. `b` can be read for `depth` rows of [`NR`]. Nothing writes to them during the call.
pub(super) unsafe fn bf16(rows: usize, depth: usize, a: At<u32>, b: At<u32>, c: &mut Tile) {
    debug_assert!(rows <= MR && depth.is_multiple_of(REGISTER));
    let (a_bytes, b_bytes) = (a.stride * 4, b.stride * 4);
    let c_bytes = size_of::<[f32; NR]>();
    let sums = c.as_mut_ptr().cast::<f32>();
    let [left, right] = [sums, sums.wrapping_add(REGISTER)];
    // SAFETY: the caller has configured the tiles: a register has 16 rows of 64 bytes, or 16 pairs.
    // `tmm4` takes rows 0 to 15 of `a`, which has that many. `tmm5` takes rows 16 to 31, which it
    // has when `rows > REGISTER`. `tmm6` and `tmm7` take 16 of the `depth` rows of `b`, 32 columns
    // together. The four stores fill the 32 rows of `c`, 128 bytes each, and nothing else uses `c`
    // meanwhile. Tiles need no alignment. The sums stay in registers from one `asm!` to the next
    // because the compiler emits no tile instructions; the language does not promise it.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, nomem)
        );
        for k in (0..depth).step_by(REGISTER) {
            let weights = b.first.add(k * b.stride);
            asm!(
                "tileloadd tmm4, [{a} + {a_bytes}]",
                "tileloadd tmm6, [{left} + {b_bytes}]",
                "tileloadd tmm7, [{right} + {b_bytes}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                a = in(reg) a.first.add(k),
                a_bytes = in(reg) a_bytes,
                left = in(reg) weights,
                right = in(reg) weights.add(REGISTER),
                b_bytes = in(reg) b_bytes,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly)
            );
            if rows > REGISTER {
                asm!(
                    "tileloadd tmm5, [{a} + {a_bytes}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    a = in(reg) a.first.add(REGISTER * a.stride + k),
                    a_bytes = in(reg) a_bytes,
                    out("tmm2") _, out("tmm3") _, out("tmm5") _,
                    options(nostack, readonly)
                );
            }
        }
        asm!(
            "tilestored [{left} + {bytes}], tmm0",
            "tilestored [{right} + {bytes}], tmm1",
            "tilestored [{low_left} + {bytes}], tmm2",
            "tilestored [{low_right} + {bytes}], tmm3",
            left = in(reg) left,
            right = in(reg) right,
            low_left = in(reg) left.add(REGISTER * NR),
            low_right = in(reg) right.add(REGISTER * NR),
            bytes = in(reg) c_bytes,
            options(nostack)
        );
    }
}
