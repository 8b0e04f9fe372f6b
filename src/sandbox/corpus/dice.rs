//! Numbers that look random and are a pure function of the seed and of what they are for.

/// A stream of numbers; two dice with the same key throw the same.
pub struct Dice(u64);

/// What a stream is for, so that two purposes never share throws.
#[derive(Clone, Copy)]
pub enum Purpose {
    Transaction = 1,
    Rate = 3,
    Payment = 4,
    Claim = 5,
    PaymentRate = 7,
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit of the result,
/// and different inputs give different results.
#[must_use]
pub fn scramble(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Dice {
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose, key: u64) -> Self {
        Dice(scramble(scramble(seed ^ ((purpose as u64) << 56)) ^ scramble(key)))
    }

    /// 64 even bits.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scramble(self.0)
    }

    /// A number from 0 to `count - 1`.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.throw()) * count as u128) >> 64) as usize
    }

    /// True in `part` of `whole` throws.
    pub fn chance(&mut self, part: usize, whole: usize) -> bool {
        self.below(whole) < part
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
