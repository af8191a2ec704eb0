//! The kernels in plain Rust: slow but obvious, and the reference for the vectorised ones.
//!
//! In raw data the last pixel of each 64-bit word comes first, so pixel `i` of a big-endian word is
//! its `i`-th group of bits from the low end.  Rotated rows are read from the last word's high end.

use super::pixel::Pixel;
use super::{Encoding, Request};

/// Decode a checked request without vector instructions.
pub(super) fn decode<T: Pixel>(request: &Request<'_>, out: &mut [T]) {
    match request.decoder.format.encoding() {
        Encoding::Plain8 => request.run::<T, Plain8>(out),
        Encoding::Plain16 => request.run::<T, Plain16>(out),
        Encoding::Plain32 => request.run::<T, Plain32>(out),
        Encoding::Plain64 => request.run::<T, Plain64>(out),
        Encoding::Raw1 => request.run::<T, Raw1>(out),
        Encoding::Raw6 => request.run::<T, Raw6>(out),
        Encoding::Raw12 => request.run::<T, Raw12>(out),
        Encoding::Raw24 => request.run::<T, Raw24>(out),
    }
}

/// Decodes one row of one chip, or of a whole plain frame.
pub(super) trait RowKernel<T: Pixel> {
    /// Fill `pixels` from `encoded` (and from `lower`, the lower 12 bits, where there are two images).
    ///
    /// If the lengths do not fit together, pixels are left out; callers have checked that they do.
    fn row(encoded: &[u8], lower: &[u8], rotated: bool, pixels: &mut [T]);
}

pub(super) struct Plain8;
pub(super) struct Plain16;
pub(super) struct Plain32;
pub(super) struct Plain64;
pub(super) struct Raw1;
pub(super) struct Raw6;
pub(super) struct Raw12;
pub(super) struct Raw24;

impl<T: Pixel> RowKernel<T> for Plain8 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], _rotated: bool, pixels: &mut [T]) {
        for (byte, pixel) in encoded.iter().zip(pixels) {
            *pixel = T::from_u8(*byte);
        }
    }
}

macro_rules! plain {
    ($kernel:ident, $number:ty, $cast:ident) => {
        impl<T: Pixel> RowKernel<T> for $kernel {
            #[inline(always)]
            fn row(encoded: &[u8], _lower: &[u8], _rotated: bool, pixels: &mut [T]) {
                let (values, _) = encoded.as_chunks::<{ size_of::<$number>() }>();
                for (bytes, pixel) in values.iter().zip(pixels) {
                    *pixel = T::$cast(<$number>::from_be_bytes(*bytes));
                }
            }
        }
    };
}

plain!(Plain16, u16, from_u16);
plain!(Plain32, u32, from_u32);
plain!(Plain64, u64, from_u64);

/// Visit the big-endian words of a row with the pixels that each of them holds.
#[inline(always)]
fn words<T: Pixel, const PER_WORD: usize>(
    encoded: &[u8],
    rotated: bool,
    pixels: &mut [T],
    value: impl Fn(u64, u32) -> T,
) {
    let bits = (64 / PER_WORD) as u32;
    let (words, _) = encoded.as_chunks::<8>();
    let (groups, _) = pixels.as_chunks_mut::<PER_WORD>();
    let n = words.len();
    for (at, group) in groups.iter_mut().enumerate() {
        let at = if rotated { n.wrapping_sub(1 + at) } else { at };
        let Some(word) = words.get(at) else { return };
        let word = u64::from_be_bytes(*word);
        for (i, pixel) in group.iter_mut().enumerate() {
            let i = if rotated { PER_WORD - 1 - i } else { i };
            *pixel = value(word, i as u32 * bits);
        }
    }
}

impl<T: Pixel> RowKernel<T> for Raw1 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], rotated: bool, pixels: &mut [T]) {
        words::<T, 64>(encoded, rotated, pixels, |word, shift| {
            T::from_u8((word >> shift) as u8 & 1)
        });
    }
}

impl<T: Pixel> RowKernel<T> for Raw6 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], rotated: bool, pixels: &mut [T]) {
        words::<T, 8>(encoded, rotated, pixels, |word, shift| {
            T::from_u8((word >> shift) as u8)
        });
    }
}

impl<T: Pixel> RowKernel<T> for Raw12 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], rotated: bool, pixels: &mut [T]) {
        words::<T, 4>(encoded, rotated, pixels, |word, shift| {
            T::from_u16((word >> shift) as u16)
        });
    }
}

impl<T: Pixel> RowKernel<T> for Raw24 {
    #[inline(always)]
    fn row(encoded: &[u8], lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (upper, _) = encoded.as_chunks::<8>();
        let (lower, _) = lower.as_chunks::<8>();
        let (groups, _) = pixels.as_chunks_mut::<4>();
        let n = upper.len();
        for (at, group) in groups.iter_mut().enumerate() {
            let at = if rotated { n.wrapping_sub(1 + at) } else { at };
            let (Some(upper), Some(lower)) = (upper.get(at), lower.get(at)) else {
                return;
            };
            let (upper, lower) = (u64::from_be_bytes(*upper), u64::from_be_bytes(*lower));
            for (i, pixel) in group.iter_mut().enumerate() {
                let shift = 16 * (if rotated { 3 - i } else { i }) as u32;
                let (upper, lower) = ((upper >> shift) as u16, (lower >> shift) as u16);
                *pixel = T::from_u32((u32::from(upper) << 12) | u32::from(lower));
            }
        }
    }
}
