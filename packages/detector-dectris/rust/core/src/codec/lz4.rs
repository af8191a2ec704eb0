//! LZ4 blocks, decompressed into a buffer that is longer than needed.
//!
//! Nearly all of a bit-transposed block is short: a few literals, a match of a few bytes, often a repetition
//! of the last few.  So both are copied 16 bytes at a time, whatever their length, behind one another's
//! ends; source and destination have room for it, which leaves few checks to make.  What repeats with a
//! period below 16 is made in a register.  Mostly a block ends with empty planes, which are one run of
//! zeros: it is found and not even written.
//!
//! Format: "LZ4 Block Format Description" (Y. Collet).

use thiserror::Error;

/// Bytes that may be read behind the source.
pub(super) const SOURCE_SLACK: usize = 32;
/// Bytes that may be written behind the destination.
pub(super) const SLACK: usize = 64;

/// A block that does not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Lz4Error {
    /// It ends within something.
    #[error("it ends within a sequence")]
    Truncated,
    /// It is more than expected.
    #[error("it has more bytes than that")]
    TooLong,
    /// It is less than expected.
    #[error("it ends after {0} bytes")]
    TooShort(usize),
    /// It repeats what was before its start.
    #[error("at byte {at} it repeats what was {distance} bytes before")]
    Distance {
        /// Bytes that there are.
        at: usize,
        /// How far it looks back.
        distance: usize,
    },
    /// The decoder for other processors says so.
    #[error("it is no LZ4")]
    Malformed,
}

/// Decompress a block of `n` bytes into `target`; return from where on all of it is zero, which may not
/// have been written.
///
/// `source` has the block's `length` bytes and [`SOURCE_SLACK`] more, `target` `n` and [`SLACK`] more;
/// otherwise, or if `vectorise` is false, everything is written, and slowly.
pub(super) fn decompress(
    source: &[u8],
    length: usize,
    target: &mut [u8],
    n: usize,
    vectorise: bool,
) -> Result<usize, Lz4Error> {
    #[cfg(target_arch = "x86_64")]
    if vectorise
        && source.len().saturating_sub(length) >= SOURCE_SLACK
        && target.len().saturating_sub(n) >= SLACK
        && std::arch::is_x86_feature_detected!("avx2")
    {
        // SAFETY: the processor has AVX2; `length + SOURCE_SLACK` bytes can be read, `n + SLACK` written.
        return unsafe { avx2::decompress(source.as_ptr(), length, target.as_mut_ptr(), n) };
    }
    let (Some(source), Some(target)) = (source.get(..length), target.get_mut(..n)) else {
        return Err(Lz4Error::Truncated);
    };
    match lz4_flex::block::decompress_into(source, target) {
        Ok(found) if found == n => Ok(n),
        Ok(found) => Err(Lz4Error::TooShort(found)),
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) => Err(Lz4Error::TooLong),
        Err(_) => Err(Lz4Error::Malformed),
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::Lz4Error;

    /// Row `d` repeats the first `d` of 16 bytes; from 16 on nothing is to be repeated.
    static REPEAT: [[u8; 16]; 17] = repeat();
    /// The longest multiple of the period up to 16.
    static STEP: [u8; 16] = [16, 16, 16, 15, 16, 15, 12, 14, 16, 9, 10, 11, 12, 13, 14, 15];

    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    const fn repeat() -> [[u8; 16]; 17] {
        let mut table = [[0; 16]; 17];
        let mut distance = 1;
        while distance <= 16 {
            let mut i = 0;
            while i < 16 {
                table[distance][i] = (i % distance) as u8;
                i += 1;
            }
            distance += 1;
        }
        table
    }

    /// Add up the bytes that continue a length; `at` moves behind them.
    ///
    /// # Safety
    /// `source` has `end` bytes.
    #[inline(always)]
    unsafe fn continued(source: *const u8, at: &mut usize, end: usize) -> Result<usize, Lz4Error> {
        let mut sum = 0;
        loop {
            if *at >= end {
                return Err(Lz4Error::Truncated);
            }
            // SAFETY: `at < end`.
            let byte = unsafe { *source.add(*at) };
            *at += 1;
            sum += usize::from(byte);
            if byte != 255 {
                return Ok(sum);
            }
        }
    }

    /// See above.
    ///
    /// # Safety
    /// `source` can be read for `end + SOURCE_SLACK` bytes, `target` written for `n + SLACK`; both are
    /// initialised and do not overlap.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn decompress(
        source: *const u8,
        end: usize,
        target: *mut u8,
        n: usize,
    ) -> Result<usize, Lz4Error> {
        let (mut from, mut to) = (0_usize, 0_usize);
        loop {
            // Here `from` is at most `end`, and `to` at most `n`.
            if from >= end {
                return Err(Lz4Error::Truncated);
            }
            // SAFETY: `from < end`.
            let token = unsafe { *source.add(from) };
            from += 1;
            let mut n_literals = usize::from(token >> 4);
            // SAFETY: `from <= end` and `to <= n`: 16 bytes are within the slack of both.
            unsafe { copy_16(source.add(from), target.add(to)) };
            if n_literals == 15 {
                // SAFETY: `source` has `end` bytes.
                n_literals += unsafe { continued(source, &mut from, end)? };
                if n_literals > end - from {
                    return Err(Lz4Error::Truncated);
                }
                if n_literals > n - to {
                    return Err(Lz4Error::TooLong);
                }
                let mut i = 0;
                while i < n_literals {
                    // SAFETY: what is copied begins before `end` and before `n`: 32 bytes are within the slack.
                    unsafe { copy_32(source.add(from + i), target.add(to + i)) };
                    i += 32;
                }
            }
            from += n_literals;
            to += n_literals;
            if from >= end {
                return if from > end {
                    Err(Lz4Error::Truncated)
                } else if to > n {
                    Err(Lz4Error::TooLong)
                } else if to < n {
                    Err(Lz4Error::TooShort(to))
                } else {
                    Ok(n)
                };
            }
            // SAFETY: `from < end`, and there is slack behind.
            let distance = usize::from(u16::from_le(unsafe {
                source.add(from).cast::<u16>().read_unaligned()
            }));
            from += 2;
            if distance.wrapping_sub(1) >= to {
                return Err(Lz4Error::Distance { at: to, distance });
            }
            // `to` is at most `n + 14`: short literals have not been checked.
            // SAFETY: `1 <= distance <= to`, so the start is in `target`; 16 bytes are within its slack;
            // the row is one of 0 to 16.
            let pattern = unsafe {
                let last = _mm_loadu_si128(target.add(to - distance).cast());
                let row = REPEAT.as_ptr().add(distance.min(16));
                _mm_shuffle_epi8(last, _mm_loadu_si128(row.cast()))
            };
            // SAFETY: 16 bytes from at most `n + 14` are within the slack.
            unsafe { _mm_storeu_si128(target.add(to).cast(), pattern) };
            let mut length = usize::from(token & 15) + 4;
            if length < 19 {
                if length > 16 {
                    // SAFETY: at most 18 bytes from `n + 14` are within the slack; what is repeated is written.
                    unsafe {
                        let next = target.add(to + 16);
                        *next = *next.sub(distance);
                        *next.add(1) = *next.add(1).sub(distance);
                    }
                }
                to += length;
                if to > n {
                    return Err(Lz4Error::TooLong);
                }
                continue;
            }
            // SAFETY: `source` has `end` bytes.
            length += unsafe { continued(source, &mut from, end)? };
            if to > n || length > n - to {
                return Err(Lz4Error::TooLong);
            }
            if distance >= 32 {
                let mut i = 0;
                while i < length {
                    // SAFETY: what is repeated is 32 or more bytes back, hence written; both begin before `n`.
                    unsafe { copy_32(target.add(to + i - distance), target.add(to + i)) };
                    i += 32;
                }
            } else if distance >= 16 {
                let mut i = 0;
                while i < length {
                    // SAFETY: the same with 16 bytes.
                    unsafe { copy_16(target.add(to + i - distance), target.add(to + i)) };
                    i += 16;
                }
            } else {
                if _mm_testz_si128(pattern, pattern) == 1 {
                    // SAFETY: `source` has `end` bytes and its slack.
                    if unsafe { only_zeros_follow(source, from, end, n - to - length) } {
                        return Ok(to);
                    }
                }
                let wide = _mm256_broadcastsi128_si256(pattern);
                if distance.is_power_of_two() {
                    let mut i = 0;
                    while i < length {
                        // SAFETY: it begins before `n`: 32 bytes are within the slack.
                        unsafe { _mm256_storeu_si256(target.add(to + i).cast(), wide) };
                        i += 32;
                    }
                } else {
                    // SAFETY: `distance < 16`.
                    let step = usize::from(unsafe { *STEP.as_ptr().add(distance) });
                    let mut i = 0;
                    while i < length {
                        // SAFETY: it begins before `n`: 16 bytes are within the slack.
                        unsafe { _mm_storeu_si128(target.add(to + i).cast(), pattern) };
                        i += step;
                    }
                }
            }
            to += length;
        }
    }

    /// Whether the block ends here with fewer than 15 literals, all zero, which are the `left` bytes wanted.
    ///
    /// # Safety
    /// `source` can be read for `end + SOURCE_SLACK` bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn only_zeros_follow(source: *const u8, at: usize, end: usize, left: usize) -> bool {
        if left >= 15 || at + 1 + left != end {
            return false;
        }
        // SAFETY: `at < end`, and 16 bytes from `end` on can be read.
        unsafe {
            if usize::from(*source.add(at) >> 4) != left {
                return false;
            }
            let bytes = _mm_loadu_si128(source.add(at + 1).cast());
            let zero = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
            (!zero & ((1 << left) - 1)) == 0
        }
    }

    /// # Safety
    /// 16 bytes can be read and written.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn copy_16(from: *const u8, to: *mut u8) {
        // SAFETY: as the caller says.
        unsafe { _mm_storeu_si128(to.cast(), _mm_loadu_si128(from.cast())) };
    }

    /// # Safety
    /// 32 bytes can be read and written.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn copy_32(from: *const u8, to: *mut u8) {
        // SAFETY: as the caller says.
        unsafe { _mm256_storeu_si256(to.cast(), _mm256_loadu_si256(from.cast())) };
    }
}

#[cfg(test)]
mod tests;
