//! The kernels with AVX2: 32 bytes at a time.
//!
//! A kernel brings 32 pixels as bytes, or 16 as 16-bit words, into a register; [`Lanes`] casts and
//! stores them as the output type.  What the compiler vectorises well by itself (plain 32 and 64
//! bit) is the scalar kernel, compiled again with AVX2 enabled.
//!
//! All functions here are inlined into [`decode`], the only one that enables the instructions; the
//! intrinsics are `unsafe` only because of that, and because loads and stores take pointers.

use std::arch::x86_64::*;

use super::pixel::Pixel;
use super::scalar::{self, RowKernel};
use super::{Encoding, FrameFormat, PixelKind, Request};

/// Whether the kernels here can decode a format: rows of raw chips must be of whole registers, as
/// those of every real detector are.
pub(super) fn fits(format: &FrameFormat) -> bool {
    format.kind() != PixelKind::R64 || format.chip_pixels().is_multiple_of(64)
}

/// Decode a checked request with AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn decode<T: Pixel>(request: &Request<'_>, out: &mut [T]) {
    match request.decoder.format.encoding() {
        Encoding::Plain8 => request.run::<T, Plain8>(out),
        Encoding::Plain16 => request.run::<T, Plain16>(out),
        Encoding::Plain32 => request.run::<T, scalar::Plain32>(out),
        Encoding::Plain64 => request.run::<T, scalar::Plain64>(out),
        Encoding::Raw1 => request.run::<T, Raw1>(out),
        Encoding::Raw6 => request.run::<T, Raw6>(out),
        Encoding::Raw12 => request.run::<T, Raw12>(out),
        Encoding::Raw24 => request.run::<T, Raw24>(out),
    }
}

/// Casts and stores a register full of pixels.
///
/// # Safety
/// The methods must be inlined into a function with AVX2 enabled, on a processor that has it.
pub trait Lanes: Copy + Default {
    /// Store 32 pixels given as bytes.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store_u8(pixels: __m256i, out: &mut [Self; 32]);

    /// Store 16 pixels given as 16-bit words.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store_u16(pixels: __m256i, out: &mut [Self; 16]);

    /// Store 8 pixels given as 32-bit words below 2^31.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store_u32(pixels: __m256i, out: &mut [Self; 8]);

    /// Store the 32 bits of a word as 0 and 1: bit 0 first, or bit 31 first if `ROTATED`.
    ///
    /// # Safety
    /// See the trait.
    #[inline(always)]
    unsafe fn store_bits<const ROTATED: bool>(word: u32, out: &mut [Self; 32]) {
        // SAFETY: as demanded from the caller.
        unsafe { Self::store_u8(bits_to_bytes::<ROTATED>(word), out) };
    }
}

/// Spread the bits of a word over 32 bytes, each 0 or 1.
#[inline(always)]
unsafe fn bits_to_bytes<const ROTATED: bool>(word: u32) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let (byte_of, bit_of) = if ROTATED {
            (
                _mm256_setr_epi64x(
                    0x0303_0303_0303_0303,
                    0x0202_0202_0202_0202,
                    0x0101_0101_0101_0101,
                    0,
                ),
                _mm256_set1_epi64x(0x0102_0408_1020_4080),
            )
        } else {
            (
                _mm256_setr_epi64x(
                    0,
                    0x0101_0101_0101_0101,
                    0x0202_0202_0202_0202,
                    0x0303_0303_0303_0303,
                ),
                _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64),
            )
        };
        let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word as i32), byte_of);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of);
        _mm256_and_si256(set, _mm256_set1_epi8(1))
    }
}

/// Where the bits of a word are looked for when each takes 4 bytes: group `$i` of eight.
#[inline(always)]
unsafe fn bit_masks<const ROTATED: bool>(group: i32) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let b = if ROTATED {
            _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0)
        } else {
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)
        };
        let first = if ROTATED { 24 - 8 * group } else { 8 * group };
        _mm256_sllv_epi32(
            _mm256_set1_epi32(1),
            _mm256_add_epi32(b, _mm256_set1_epi32(first)),
        )
    }
}

/// Store each bit of a word as one of two 32-bit patterns: 0 or `one`.
#[inline(always)]
unsafe fn store_bits_wide<const ROTATED: bool>(word: u32, one: i32, out: *mut __m256i) {
    // SAFETY: the caller has AVX2 and room for four registers at `out`.
    unsafe {
        let word = _mm256_set1_epi32(word as i32);
        let one = _mm256_set1_epi32(one);
        for group in 0..4 {
            let mask = bit_masks::<ROTATED>(group);
            let set = _mm256_cmpeq_epi32(_mm256_and_si256(word, mask), mask);
            _mm256_storeu_si256(out.add(group as usize), _mm256_and_si256(set, one));
        }
    }
}

/// Widen 32 bytes four times to eight 32-bit words and hand each to `store`.
#[inline(always)]
unsafe fn widen_u8(pixels: __m256i, mut store: impl FnMut(usize, __m256i)) {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let (low, high) = (
            _mm256_castsi256_si128(pixels),
            _mm256_extracti128_si256::<1>(pixels),
        );
        store(0, _mm256_cvtepu8_epi32(low));
        store(1, _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(low)));
        store(2, _mm256_cvtepu8_epi32(high));
        store(3, _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(high)));
    }
}

/// Widen 16 words twice to eight 32-bit words and hand each to `store`.
#[inline(always)]
unsafe fn widen_u16(pixels: __m256i, mut store: impl FnMut(usize, __m256i)) {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        store(0, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(pixels)));
        store(1, _mm256_cvtepu16_epi32(_mm256_extracti128_si256::<1>(pixels)));
    }
}

macro_rules! lanes_8 {
    ($($number:ty),*) => {$(
        impl Lanes for $number {
            #[inline(always)]
            unsafe fn store_u8(pixels: __m256i, out: &mut [Self; 32]) {
                // SAFETY: `out` has room for 32 bytes; the caller has AVX2.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), pixels) };
            }

            #[inline(always)]
            unsafe fn store_u16(pixels: __m256i, out: &mut [Self; 16]) {
                // SAFETY: `out` has room for 16 bytes; the caller has AVX2.
                unsafe {
                    let low = _mm256_and_si256(pixels, _mm256_set1_epi16(0xff));
                    let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi16(low, low));
                    _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
                }
            }

            #[inline(always)]
            unsafe fn store_u32(pixels: __m256i, out: &mut [Self; 8]) {
                // SAFETY: the caller has AVX2.
                unsafe { store_each(pixels, out) };
            }
        }
    )*};
}
lanes_8!(u8, i8);

macro_rules! lanes_16 {
    ($($number:ty),*) => {$(
        impl Lanes for $number {
            #[inline(always)]
            unsafe fn store_u8(pixels: __m256i, out: &mut [Self; 32]) {
                let out: *mut __m256i = out.as_mut_ptr().cast();
                // SAFETY: `out` has room for two registers; the caller has AVX2.
                unsafe {
                    _mm256_storeu_si256(out, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(pixels)));
                    let high = _mm256_extracti128_si256::<1>(pixels);
                    _mm256_storeu_si256(out.add(1), _mm256_cvtepu8_epi16(high));
                }
            }

            #[inline(always)]
            unsafe fn store_u16(pixels: __m256i, out: &mut [Self; 16]) {
                // SAFETY: `out` has room for one register; the caller has AVX2.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), pixels) };
            }

            #[inline(always)]
            unsafe fn store_u32(pixels: __m256i, out: &mut [Self; 8]) {
                // SAFETY: the caller has AVX2.
                unsafe { store_each(pixels, out) };
            }
        }
    )*};
}
lanes_16!(u16, i16);

/// Output types that 32-bit words are stored as by one function of register and pointer.
macro_rules! lanes_wide {
    ($($number:ty, $store:ident;)*) => {$(
        impl Lanes for $number {
            #[inline(always)]
            unsafe fn store_u8(pixels: __m256i, out: &mut [Self; 32]) {
                let out = out.as_mut_ptr();
                // SAFETY: four times 8 pixels fit `out`; the caller has AVX2.
                unsafe { widen_u8(pixels, |i, words| $store(words, out.add(8 * i))) };
            }

            #[inline(always)]
            unsafe fn store_u16(pixels: __m256i, out: &mut [Self; 16]) {
                let out = out.as_mut_ptr();
                // SAFETY: twice 8 pixels fit `out`; the caller has AVX2.
                unsafe { widen_u16(pixels, |i, words| $store(words, out.add(8 * i))) };
            }

            #[inline(always)]
            unsafe fn store_u32(pixels: __m256i, out: &mut [Self; 8]) {
                // SAFETY: 8 pixels fit `out`; the caller has AVX2.
                unsafe { $store(pixels, out.as_mut_ptr()) };
            }

            #[inline(always)]
            unsafe fn store_bits<const ROTATED: bool>(word: u32, out: &mut [Self; 32]) {
                if size_of::<Self>() == 4 {
                    let one = if stringify!($number) == "f32" { 0x3f80_0000 } else { 1 };
                    // SAFETY: 32 values of 4 bytes are four registers; the caller has AVX2.
                    unsafe { store_bits_wide::<ROTATED>(word, one, out.as_mut_ptr().cast()) };
                } else {
                    // SAFETY: as demanded from the caller.
                    unsafe { Self::store_u8(bits_to_bytes::<ROTATED>(word), out) };
                }
            }
        }
    )*};
}
lanes_wide! { u32, as_u32; i32, as_i32; f32, as_f32; u64, as_u64; i64, as_i64; f64, as_f64; }

#[inline(always)]
unsafe fn as_u32(words: __m256i, out: *mut u32) {
    // SAFETY: the caller has AVX2 and room for 8 values.
    unsafe { _mm256_storeu_si256(out.cast(), words) };
}

#[inline(always)]
unsafe fn as_i32(words: __m256i, out: *mut i32) {
    // SAFETY: the caller has AVX2 and room for 8 values.
    unsafe { _mm256_storeu_si256(out.cast(), words) };
}

#[inline(always)]
unsafe fn as_f32(words: __m256i, out: *mut f32) {
    // SAFETY: the caller has AVX2 and room for 8 values.
    unsafe { _mm256_storeu_ps(out, _mm256_cvtepi32_ps(words)) };
}

#[inline(always)]
unsafe fn as_u64(words: __m256i, out: *mut u64) {
    // SAFETY: the caller has AVX2 and room for 8 values.
    unsafe {
        let high = _mm256_extracti128_si256::<1>(words);
        _mm256_storeu_si256(out.cast(), _mm256_cvtepu32_epi64(_mm256_castsi256_si128(words)));
        _mm256_storeu_si256(out.add(4).cast(), _mm256_cvtepu32_epi64(high));
    }
}

#[inline(always)]
unsafe fn as_i64(words: __m256i, out: *mut i64) {
    // SAFETY: as demanded from the caller; both types have the same layout.
    unsafe { as_u64(words, out.cast()) };
}

#[inline(always)]
unsafe fn as_f64(words: __m256i, out: *mut f64) {
    // SAFETY: the caller has AVX2 and room for 8 values.
    unsafe {
        _mm256_storeu_pd(out, _mm256_cvtepi32_pd(_mm256_castsi256_si128(words)));
        _mm256_storeu_pd(
            out.add(4),
            _mm256_cvtepi32_pd(_mm256_extracti128_si256::<1>(words)),
        );
    }
}

/// Narrow types hardly ever receive 24-bit data: store one by one.
#[inline(always)]
unsafe fn store_each<T: super::pixel::Cast>(words: __m256i, out: &mut [T; 8]) {
    let mut values = [0_u32; 8];
    // SAFETY: `values` has room for one register; the caller has AVX2.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), words) };
    for (value, pixel) in values.iter().zip(out) {
        *pixel = T::from_u32(*value);
    }
}

#[inline(always)]
unsafe fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes can be read; the caller has AVX2.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Reverse the bytes of each 64-bit word.
#[inline(always)]
unsafe fn reverse_in_words(bytes: __m256i) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(
            7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8,
        ));
        _mm256_shuffle_epi8(bytes, order)
    }
}

/// Swap the two bytes of each 16-bit value.
#[inline(always)]
unsafe fn swap_pairs(bytes: __m256i) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(
            1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14,
        ));
        _mm256_shuffle_epi8(bytes, order)
    }
}

/// Reverse the order of the four 64-bit words.
#[inline(always)]
unsafe fn reverse_words(bytes: __m256i) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe { _mm256_permute4x64_epi64::<0b00_01_10_11>(bytes) }
}

struct Plain8;
struct Plain16;
struct Raw1;
struct Raw6;
struct Raw12;
struct Raw24;

impl<T: Pixel> RowKernel<T> for Plain8 {
    #[inline(always)]
    fn row(encoded: &[u8], lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (blocks, encoded) = encoded.as_chunks::<32>();
        let (groups, pixels) = pixels.as_chunks_mut::<32>();
        for (block, group) in blocks.iter().zip(groups) {
            // SAFETY: inlined into `decode`, which has AVX2.
            unsafe { T::store_u8(load(block), group) };
        }
        scalar::Plain8::row(encoded, lower, rotated, pixels);
    }
}

impl<T: Pixel> RowKernel<T> for Plain16 {
    #[inline(always)]
    fn row(encoded: &[u8], lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (blocks, encoded) = encoded.as_chunks::<32>();
        let (groups, pixels) = pixels.as_chunks_mut::<16>();
        for (block, group) in blocks.iter().zip(groups) {
            // SAFETY: inlined into `decode`, which has AVX2.
            unsafe { T::store_u16(swap_pairs(load(block)), group) };
        }
        scalar::Plain16::row(encoded, lower, rotated, pixels);
    }
}

impl<T: Pixel> RowKernel<T> for Raw1 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (words, _) = encoded.as_chunks::<8>();
        let (groups, _) = pixels.as_chunks_mut::<32>();
        let (pairs, _) = groups.as_chunks_mut::<2>();
        if rotated {
            for (word, [first, second]) in words.iter().rev().zip(pairs) {
                let word = u64::from_be_bytes(*word);
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe {
                    T::store_bits::<true>((word >> 32) as u32, first);
                    T::store_bits::<true>(word as u32, second);
                }
            }
        } else {
            for (word, [first, second]) in words.iter().zip(pairs) {
                let word = u64::from_be_bytes(*word);
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe {
                    T::store_bits::<false>(word as u32, first);
                    T::store_bits::<false>((word >> 32) as u32, second);
                }
            }
        }
    }
}

impl<T: Pixel> RowKernel<T> for Raw6 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (blocks, _) = encoded.as_chunks::<32>();
        let (groups, _) = pixels.as_chunks_mut::<32>();
        if rotated {
            for (block, group) in blocks.iter().rev().zip(groups) {
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe { T::store_u8(reverse_words(load(block)), group) };
            }
        } else {
            for (block, group) in blocks.iter().zip(groups) {
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe { T::store_u8(reverse_in_words(load(block)), group) };
            }
        }
    }
}

/// Sixteen 12-bit pixels of a block, in the order of the image.
#[inline(always)]
unsafe fn pixels_12(block: &[u8; 32], rotated: bool) -> __m256i {
    // SAFETY: the caller has AVX2.
    unsafe {
        if rotated {
            reverse_words(swap_pairs(load(block)))
        } else {
            reverse_in_words(load(block))
        }
    }
}

impl<T: Pixel> RowKernel<T> for Raw12 {
    #[inline(always)]
    fn row(encoded: &[u8], _lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (blocks, _) = encoded.as_chunks::<32>();
        let (groups, _) = pixels.as_chunks_mut::<16>();
        if rotated {
            for (block, group) in blocks.iter().rev().zip(groups) {
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe { T::store_u16(pixels_12(block, true), group) };
            }
        } else {
            for (block, group) in blocks.iter().zip(groups) {
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe { T::store_u16(pixels_12(block, false), group) };
            }
        }
    }
}

/// Join the upper and lower 12 bits of sixteen pixels and store them.
#[inline(always)]
unsafe fn store_24<T: Pixel>(upper: __m256i, lower: __m256i, out: &mut [[T; 8]; 2]) {
    let [first, second] = out;
    // SAFETY: the caller has AVX2.
    unsafe {
        let join = |upper, lower| {
            let upper = _mm256_slli_epi32::<12>(_mm256_cvtepu16_epi32(upper));
            _mm256_or_si256(upper, _mm256_cvtepu16_epi32(lower))
        };
        T::store_u32(
            join(_mm256_castsi256_si128(upper), _mm256_castsi256_si128(lower)),
            first,
        );
        let (upper, lower) = (
            _mm256_extracti128_si256::<1>(upper),
            _mm256_extracti128_si256::<1>(lower),
        );
        T::store_u32(join(upper, lower), second);
    }
}

impl<T: Pixel> RowKernel<T> for Raw24 {
    #[inline(always)]
    fn row(encoded: &[u8], lower: &[u8], rotated: bool, pixels: &mut [T]) {
        let (upper, _) = encoded.as_chunks::<32>();
        let (lower, _) = lower.as_chunks::<32>();
        let (groups, _) = pixels.as_chunks_mut::<8>();
        let (groups, _) = groups.as_chunks_mut::<2>();
        let blocks = upper.iter().zip(lower);
        if rotated {
            for ((upper, lower), group) in blocks.rev().zip(groups) {
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe { store_24(pixels_12(upper, true), pixels_12(lower, true), group) };
            }
        } else {
            for ((upper, lower), group) in blocks.zip(groups) {
                // SAFETY: inlined into `decode`, which has AVX2.
                unsafe { store_24(pixels_12(upper, false), pixels_12(lower, false), group) };
            }
        }
    }
}
