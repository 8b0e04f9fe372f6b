//! Which of 64 bytes are one byte, with the widest registers that the processor has.

use wide::u8x64;

/// As many bytes as a word has bits.
pub(super) const BLOCK_BYTES: usize = 64;

/// Work that looks at blocks of text.
pub(super) trait BlockWork {
    type Done;

    /// Does the work. To be marked `#[inline(always)]`: it is compiled once for each kind of registers.
    fn work(self, equal: impl Equal) -> Self::Done;
}

/// Gives a bit for each byte of a block that is the given one, the lowest for the first byte.
pub(super) trait Equal: Fn(&[u8; BLOCK_BYTES], u8) -> u64 + Copy {}

impl<F: Fn(&[u8; BLOCK_BYTES], u8) -> u64 + Copy> Equal for F {}

/// Does work on blocks.
#[inline]
pub(super) fn in_blocks<W: BlockWork>(work: W) -> W::Done {
    Registers::of_processor().run(work)
}

/// What a block is compared in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registers {
    /// What every processor of this architecture has; on x86-64 four registers, and no instruction that counts bits.
    Usual,
    #[cfg(target_arch = "x86_64")]
    Two,
    #[cfg(target_arch = "x86_64")]
    One,
}

impl Registers {
    #[inline]
    fn of_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt") {
                if has!("avx512bw") {
                    return Registers::One;
                }
                if has!("avx2") {
                    return Registers::Two;
                }
            }
        }
        Registers::Usual
    }

    #[inline]
    fn run<W: BlockWork>(self, work: W) -> W::Done {
        match self {
            Registers::Usual => {
                work.work(|block, byte| u8x64::new(*block).simd_eq(u8x64::splat(byte)).to_bitmask())
            }
            // SAFETY: of the processor, [`Registers::of_processor`] has said that it has all that the function needs.
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "only a look at the processor makes the call sound")]
            Registers::Two => unsafe { x86::in_two(work) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "only a look at the processor makes the call sound")]
            Registers::One => unsafe { x86::in_one(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_set1_epi8, _mm512_cmpeq_epi8_mask,
        _mm512_set1_epi8,
    };

    use super::{BLOCK_BYTES, BlockWork};

    #[target_feature(enable = "avx512bw,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn in_one<W: BlockWork>(work: W) -> W::Done {
        let equal = |block: &[u8; BLOCK_BYTES], byte| {
            _mm512_cmpeq_epi8_mask(bytemuck::cast::<_, __m512i>(*block), _mm512_set1_epi8(byte as i8))
        };
        work.work(equal)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn in_two<W: BlockWork>(work: W) -> W::Done {
        let equal = |block: &[u8; BLOCK_BYTES], byte| {
            let halves = bytemuck::cast::<_, [__m256i; 2]>(*block);
            let [low, high] = halves.map(|half| {
                _mm256_movemask_epi8(_mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))) as u32
            });
            u64::from(high) << 32 | u64::from(low)
        };
        work.work(equal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Commas([u8; BLOCK_BYTES]);

    impl BlockWork for Commas {
        type Done = u64;

        #[inline(always)]
        fn work(self, equal: impl Equal) -> u64 {
            equal(&self.0, b',')
        }
    }

    /// All that this processor has.
    fn all() -> impl Iterator<Item = Registers> {
        #[cfg(target_arch = "x86_64")]
        let wider = match Registers::of_processor() {
            Registers::One => &[Registers::Two, Registers::One][..],
            Registers::Two => &[Registers::Two],
            Registers::Usual => &[],
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wider = &[];
        wider.iter().copied().chain([Registers::Usual])
    }

    proptest! {
        /// By each of the ways that this processor has.
        #[test]
        fn each_byte_has_its_bit(commas in any::<u64>(), other in any::<u8>().prop_filter("", |byte| *byte != b',')) {
            let bytes = std::array::from_fn(|place| if commas >> place & 1 == 1 { b',' } else { other });
            for registers in all() {
                prop_assert_eq!(registers.run(Commas(bytes)), commas, "{:?}", registers);
            }
        }
    }
}
