//! What this processor can do, and in which numbers an encoder's products are made.

use super::kernel;

/// The numbers in which the weights' products are made. States, norms and attention are always
/// f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with f32's range, summed in f32.
    Bf16,
    /// Eight bits, 32 numbers of a row to a scale (GGML's Q8_0), for weights and states alike.
    Q8,
}

impl Precision {
    /// Returns its name in arguments and in a stream's metadata.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8_0",
        }
    }
}

/// Which vector instructions plain code is compiled for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vectors {
    /// Those that every processor of this kind has.
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The kernels that this processor can run.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    vectors: Vectors,
    /// The same for code that is written in vectors.
    pub(super) arch: pulp::Arch,
    /// The product of f32 numbers.
    pub(super) f32: kernel::F32,
    bf16: bool,
    vnni: bool,
    /// Whether bf16 products are made by matrix tiles.
    pub(super) tiles: bool,
}

impl Machine {
    /// Asks the processor.
    pub(crate) fn detect() -> Self {
        let mut machine = Self {
            vectors: Vectors::Baseline,
            arch: pulp::Arch::new(),
            f32: kernel::f32_plain,
            bf16: false,
            vnni: false,
            tiles: false,
        };
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                machine.vectors = Vectors::Avx2;
                machine.f32 = kernel::f32_avx2;
            }
            // All that came with the first server processors that had AVX-512.
            if machine.vectors == Vectors::Avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                machine.vectors = Vectors::Avx512;
                machine.f32 = kernel::f32_avx512;
                machine.bf16 = is_x86_feature_detected!("avx512bf16");
                machine.vnni = is_x86_feature_detected!("avx512vnni");
                machine.tiles = super::amx::is_there();
            }
        }
        machine
    }

    /// Returns what processors of this kind have, from the least to this one: all of it runs here.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        let own = Self::detect();
        let mut all = vec![Self {
            vectors: Vectors::Baseline,
            arch: pulp::Arch::Scalar,
            f32: kernel::f32_plain,
            bf16: false,
            vnni: false,
            tiles: false,
        }];
        #[cfg(target_arch = "x86_64")]
        if own.vectors == Vectors::Avx512 {
            all.push(Self {
                vectors: Vectors::Avx2,
                arch: pulp::x86::V3::try_new().map_or(pulp::Arch::Scalar, pulp::Arch::V3),
                f32: kernel::f32_avx2,
                ..all[0]
            });
            all.push(Self {
                tiles: false,
                ..own
            });
        }
        all.push(own);
        all
    }

    /// Runs plain code compiled for this processor's vector instructions: what is inlined into `f`,
    /// and only that.
    #[inline(always)]
    pub(super) fn vectorize<R>(&self, f: impl FnOnce() -> R) -> R {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
            fn avx512<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
            #[target_feature(enable = "avx2,fma")]
            fn avx2<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
            match self.vectors {
                // SAFETY: `detect` alone chooses `Avx512`, once it has found every feature that
                // `avx512` enables.
                Vectors::Avx512 => unsafe { avx512(f) },
                // SAFETY: `detect` chooses `Avx2` once it has found the two features that `avx2`
                // enables. `all` does so where `detect` has found those of `Avx512`, which
                // include them.
                Vectors::Avx2 => unsafe { avx2(f) },
                Vectors::Baseline => f(),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        f()
    }

    /// Tells whether products of such numbers are made by instructions of their own.
    pub(crate) fn has(&self, precision: Precision) -> bool {
        match precision {
            Precision::F32 => true,
            Precision::Bf16 => self.bf16 || self.tiles,
            Precision::Q8 => self.vnni,
        }
    }
}
