//! The innermost products: a tile of a few rows by [`NR`] columns.
//!
//! Weights are stored in panels of [`NR`] columns, so that each step reads a panel in order. The
//! rows of the other side stay where they are and are broadcast number by number (Goto and van de
//! Geijn, 2008). With AVX-512 two vectors of columns by twelve rows keep 24 sums in registers,
//! enough to hide the latency of the multiply-add: measured, each kernel runs at the processor's
//! peak.
//!
//! f32 products use AVX2, AVX-512 or plain code. bf16 products use AVX512_BF16, and 8-bit products
//! AVX512_VNNI.

/// The most rows that a kernel takes.
pub(super) const MR: usize = 12;

/// Rows that there is room for in a tile: those of the kernel that takes most.
pub(super) const TILE_ROWS: usize = 32;

/// Columns of a tile.
pub(super) const NR: usize = 32;

/// Numbers that share one scale in eight-bit products, as in GGML's Q8_0.
pub(super) const BLOCK: usize = 32;

/// A matrix that is read where it lies: its first number, and how far a row is from the next.
#[derive(Clone, Copy)]
pub(super) struct At<T> {
    pub(super) first: *const T,
    pub(super) stride: usize,
}

impl<T> At<T> {
    /// A matrix that fills a slice.
    pub(super) fn of(numbers: &[T], stride: usize) -> Self {
        Self {
            first: numbers.as_ptr(),
            stride,
        }
    }

    /// Returns the matrix without its first `rows` rows.
    pub(super) fn below(self, rows: usize) -> Self {
        Self {
            first: self.first.wrapping_add(rows * self.stride),
            stride: self.stride,
        }
    }
}

/// Tells whether a slice has `rows` rows of `width` numbers, each `stride` after the one before.
pub(super) fn holds<T>(numbers: &[T], stride: usize, rows: usize, width: usize) -> bool {
    rows == 0 || (rows - 1) * stride + width <= numbers.len()
}

/// The sums of a tile, a row of [`NR`] after the other.
pub(super) type Tile = [[f32; NR]; TILE_ROWS];

/// Computes the first `rows` rows of `c = a b`: `a` has rows of `depth` numbers, `b` has `depth`
/// rows of [`NR`].
///
/// # Safety
/// `a` can be read for `rows` rows of `depth` numbers, and `b` for `depth` rows of [`NR`]. Both are
/// aligned for their numbers, and nothing writes to them during the call. `rows` is at most [`MR`].
/// The processor has the target features that the kernel enables.
pub(super) type F32 = unsafe fn(rows: usize, depth: usize, a: At<f32>, b: At<f32>, c: &mut Tile);

/// Calls a kernel compiled for just this many rows.
macro_rules! by_rows {
    ($rows:expr, $kernel:ident, $arguments:tt, $($n:literal)+) => {
        match $rows {
            $($n => $kernel::<$n>$arguments,)+
            _ => unreachable!("a tile has at most as many rows as a kernel"),
        }
    };
}

/// [`F32`] in plain Rust, for compilers to vectorise; multiply-adds are not fused.
///
/// # Safety
/// As for [`F32`]. No target features are needed.
pub(super) unsafe fn f32_plain(rows: usize, depth: usize, a: At<f32>, b: At<f32>, c: &mut Tile) {
    for (row, sums) in c.iter_mut().take(rows).enumerate() {
        *sums = [0.0; NR];
        for k in 0..depth {
            // SAFETY: the caller lets `a` be read for `rows` rows of `depth` numbers. `row` is
            // below `rows`, and `k` below `depth`.
            let x = unsafe { *a.first.add(row * a.stride + k) };
            // SAFETY: the caller lets `b` be read for `depth` rows of `NR` numbers. An array has
            // the alignment of its numbers. Nothing writes to it as long as `panel` lives.
            let panel = unsafe { &*b.first.add(k * b.stride).cast::<[f32; NR]>() };
            for (sum, y) in sums.iter_mut().zip(panel) {
                *sum += x * y;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{At, BLOCK, NR, Tile};

    /// [`super::F32`] with AVX2.
    ///
    /// # Safety
    /// As for [`super::F32`]: the processor has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) unsafe fn f32_avx2(
        rows: usize,
        depth: usize,
        a: At<f32>,
        b: At<f32>,
        c: &mut Tile,
    ) {
        // Sixteen registers hold six rows of sixteen columns.
        for top in (0..rows).step_by(6) {
            for left in [0, 16] {
                let b = At {
                    first: b.first.wrapping_add(left),
                    stride: b.stride,
                };
                let count = (rows - top).min(6);
                let (a, c) = (a.below(top), &mut c[top..top + count]);
                // SAFETY: this function enables what the kernel needs. The rows from `top` to
                // `top + count` are among the caller's. The 16 columns from `left` on are among the
                // `NR` of each row of `b`. `ROWS` is `count`.
                unsafe { by_rows!(count, f32_tile_avx2, (depth, a, b, c, left), 1 2 3 4 5 6) }
            }
        }
    }

    /// Computes 16 columns of a tile of [`f32_avx2`], from column `left` on.
    ///
    /// # Safety
    /// `a` can be read for `ROWS` rows of `depth` numbers, and `b` for `depth` rows of 16. Nothing
    /// writes to them during the call. The processor has AVX2 and FMA.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn f32_tile_avx2<const ROWS: usize>(
        depth: usize,
        a: At<f32>,
        b: At<f32>,
        c: &mut [[f32; NR]],
        left: usize,
    ) {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        // SAFETY: `k` is below `depth` and `row` below `ROWS`, and the caller lets that be read of
        // `a` and `b`. Two vectors of 8 make the 16 numbers of a row of `b`. The stores write to 16
        // numbers of a row of `c`, which slicing has checked. Loads and stores are unaligned ones.
        unsafe {
            for k in 0..depth {
                let at = b.first.add(k * b.stride);
                let panel = [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_broadcast_ss(&*a.first.add(row * a.stride + k));
                    sums[0] = _mm256_fmadd_ps(x, panel[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, panel[1], sums[1]);
                }
            }
            for (row, sums) in c.iter_mut().zip(&sums) {
                let at = row[left..left + 16].as_mut_ptr();
                _mm256_storeu_ps(at, sums[0]);
                _mm256_storeu_ps(at.add(8), sums[1]);
            }
        }
    }

    /// [`super::F32`] with AVX-512F.
    ///
    /// # Safety
    /// As for [`super::F32`]: the processor has AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub(in super::super) unsafe fn f32_avx512(
        rows: usize,
        depth: usize,
        a: At<f32>,
        b: At<f32>,
        c: &mut Tile,
    ) {
        // SAFETY: this function enables what the kernel needs. `ROWS` is `rows`, and the caller
        // lets `a` and `b` be read for that many rows.
        unsafe { by_rows!(rows, f32_tile, (depth, a, b, c), 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    /// A tile of [`f32_avx512`].
    ///
    /// # Safety
    /// As for [`super::F32`] with `ROWS` rows: the processor has AVX-512F.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn f32_tile<const ROWS: usize>(depth: usize, a: At<f32>, b: At<f32>, c: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        // SAFETY: `k` is below `depth` and `row` below `ROWS`, and the caller lets that be read of
        // `a` and `b`. Two vectors of 16 make the `NR` numbers of a row of `b`. The loads of
        // vectors are unaligned ones.
        unsafe {
            for k in 0..depth {
                let at = b.first.add(k * b.stride);
                let (left, right) = (_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16)));
                for (row, [low, high]) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.first.add(row * a.stride + k));
                    *low = _mm512_fmadd_ps(x, left, *low);
                    *high = _mm512_fmadd_ps(x, right, *high);
                }
            }
        }
        store(&sums, c);
    }

    /// The same of bf16 numbers, summed in f32: two depths of a column lie together, `depth`
    /// counts such pairs and a row of `b` is [`NR`] of them.
    ///
    /// # Safety
    /// As for [`super::F32`], with pairs for numbers: the processor has AVX-512F and AVX512_BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(in super::super) unsafe fn bf16(
        rows: usize,
        depth: usize,
        a: At<u32>,
        b: At<u32>,
        c: &mut Tile,
    ) {
        // SAFETY: this function enables what the kernel needs. `ROWS` is `rows`, and the caller
        // lets `a` and `b` be read for that many rows.
        unsafe { by_rows!(rows, bf16_tile, (depth, a, b, c), 1 2 3 4 5 6 7 8 9 10 11 12) }
    }

    /// A tile of [`bf16`].
    ///
    /// # Safety
    /// As for [`bf16`] with `ROWS` rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn bf16_tile<const ROWS: usize>(depth: usize, a: At<u32>, b: At<u32>, c: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        // SAFETY: `k` is below `depth` and `row` below `ROWS`, and the caller lets that be read of
        // `a` and `b`. Two vectors of 16 pairs make the `NR` pairs of a row of `b`. The loads of
        // vectors are unaligned ones. `__m512i` and `__m512bh` are 64 bytes of any value.
        unsafe {
            let pairs = |bits| std::mem::transmute::<__m512i, __m512bh>(bits);
            for k in 0..depth {
                let at = b.first.add(k * b.stride);
                let left = pairs(_mm512_loadu_si512(at.cast()));
                let right = pairs(_mm512_loadu_si512(at.add(16).cast()));
                for (row, [low, high]) in sums.iter_mut().enumerate() {
                    let x = *a.first.add(row * a.stride + k);
                    let x = pairs(_mm512_set1_epi32(x.cast_signed()));
                    *low = _mm512_dpbf16_ps(*low, x, left);
                    *high = _mm512_dpbf16_ps(*high, x, right);
                }
            }
        }
        store(&sums, c);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store<const ROWS: usize>(sums: &[[__m512; 2]; ROWS], c: &mut [[f32; NR]]) {
        for (row, [low, high]) in c.iter_mut().zip(sums) {
            // SAFETY: a row has `NR` numbers, which two vectors of 16 fill, and is borrowed
            // exclusively. The stores are unaligned ones.
            unsafe {
                _mm512_storeu_ps(row.as_mut_ptr(), *low);
                _mm512_storeu_ps(row.as_mut_ptr().add(16), *high);
            }
        }
    }

    /// The most rows of a tile of [`q8`], which needs two sums for each.
    pub(in super::super) const MR_Q8: usize = 6;

    /// Rows of eight-bit numbers in blocks of [`BLOCK`].
    #[derive(Clone, Copy)]
    pub(in super::super) struct Q8Rows {
        /// The numbers, four at a time.
        pub(in super::super) numbers: At<u32>,
        /// A scale for each block.
        pub(in super::super) scales: At<f32>,
        /// For each block -128 times the sum of its numbers: what the offset of the weights adds.
        pub(in super::super) offsets: At<i32>,
    }

    /// A panel of eight-bit weights; 128 is added to each, as the instruction takes one side
    /// without sign.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Q8Panel {
        /// Rows of [`NR`] columns, four depths of each.
        pub(in super::super) numbers: *const u32,
        /// [`NR`] scales for each block of depths.
        pub(in super::super) scales: *const f32,
    }

    /// The product of eight-bit numbers: exact within a block, blocks are scaled and summed in f32.
    ///
    /// # Safety
    /// `a` can be read for `rows` rows: of `blocks * BLOCK / 4` words, and of `blocks` scales and
    /// offsets. `b` can be read for as many words and scales, [`NR`] of each. All are aligned for
    /// their numbers, and nothing writes to them during the call. `rows` is at most [`MR_Q8`]. The
    /// processor has AVX-512F and AVX512_VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(in super::super) unsafe fn q8(
        rows: usize,
        blocks: usize,
        a: Q8Rows,
        b: Q8Panel,
        c: &mut [[f32; NR]],
    ) {
        // SAFETY: this function enables what the kernel needs. `ROWS` is `rows`, and the caller
        // lets `a` be read for that many rows and `b` for `blocks` blocks.
        unsafe { by_rows!(rows, q8_tile, (blocks, a, b, c), 1 2 3 4 5 6) }
    }

    /// A tile of [`q8`].
    ///
    /// # Safety
    /// As for [`q8`] with `ROWS` rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn q8_tile<const ROWS: usize>(
        blocks: usize,
        a: Q8Rows,
        b: Q8Panel,
        c: &mut [[f32; NR]],
    ) {
        const STEPS: usize = BLOCK / 4;
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        // SAFETY: `block` is below `blocks`, `row` below `ROWS` and `step` below the
        // `blocks * STEPS` words of a row. The caller lets that be read of `a` and `b`. Two vectors
        // of 16 make the `NR` words or scales of a row of `b`. The loads of vectors are unaligned
        // ones.
        unsafe {
            for block in 0..blocks {
                let mut dots: [[__m512i; 2]; ROWS] = std::array::from_fn(|row| {
                    let offset = *a.offsets.first.add(row * a.offsets.stride + block);
                    [_mm512_set1_epi32(offset); 2]
                });
                for step in block * STEPS..(block + 1) * STEPS {
                    let at = b.numbers.add(step * NR);
                    let left = _mm512_loadu_si512(at.cast());
                    let right = _mm512_loadu_si512(at.add(16).cast());
                    for (row, [low, high]) in dots.iter_mut().enumerate() {
                        let x = *a.numbers.first.add(row * a.numbers.stride + step);
                        let x = _mm512_set1_epi32(x.cast_signed());
                        *low = _mm512_dpbusd_epi32(*low, left, x);
                        *high = _mm512_dpbusd_epi32(*high, right, x);
                    }
                }
                let at = b.scales.add(block * NR);
                let (left, right) = (_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16)));
                for (row, ([low, high], dots)) in sums.iter_mut().zip(&dots).enumerate() {
                    let scale = *a.scales.first.add(row * a.scales.stride + block);
                    let scale = _mm512_set1_ps(scale);
                    let (l, h) = (_mm512_cvtepi32_ps(dots[0]), _mm512_cvtepi32_ps(dots[1]));
                    *low = _mm512_fmadd_ps(l, _mm512_mul_ps(scale, left), *low);
                    *high = _mm512_fmadd_ps(h, _mm512_mul_ps(scale, right), *high);
                }
            }
        }
        store(&sums, c);
    }
}
