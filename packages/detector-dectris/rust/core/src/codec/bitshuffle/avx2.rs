//! The transposition with AVX2: 256 elements at a time.
//!
//! Eight planes of one byte of the elements are eight registers of 32 plane bytes.  Swapping bits between
//! pairs of registers (three rounds) leaves in register `i` the bytes of elements `8j + i`; interleaving the
//! registers (three rounds) brings them in order.  Counts are small: there are kernels for two and for four
//! planes, in which the compiler drops what works on zeros.

use std::arch::x86_64::*;

use super::{GROUP, Group, Planes};

/// Undo the transposition of group number `at`; `false`, and nothing written, if all of it is zero.
///
/// Elements have `planes.width()` bytes in `group`.  The group has to be a whole one.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn untranspose(planes: &Planes<'_>, at: usize, group: &mut Group) -> bool {
    let (places, _) = group.as_chunks_mut::<32>();
    match planes.width() {
        0 => false,
        1 => match lane(planes, 0, at) {
            None => false,
            Some(lane) => {
                bytes(lane, places);
                true
            }
        },
        2 => {
            let (low, high) = (lane(planes, 0, at), lane(planes, 1, at));
            if low.is_none() && high.is_none() {
                return false;
            }
            words(low.unwrap_or(zeros()), high.unwrap_or(zeros()), places);
            true
        }
        _ => {
            let lanes = [0, 1, 2, 3].map(|byte| lane(planes, byte, at));
            if lanes.iter().all(Option::is_none) {
                return false;
            }
            doubles(lanes.map(|lane| lane.unwrap_or(zeros())), places);
            true
        }
    }
}

type Registers = [__m256i; 8];

#[inline]
#[target_feature(enable = "avx2")]
fn zeros() -> Registers {
    [_mm256_setzero_si256(); 8]
}

/// One byte of 256 elements: register `m` has elements `16m..16m + 16` and `128 + 16m..128 + 16m + 16`;
/// `None` if all are zero.
#[inline]
#[target_feature(enable = "avx2")]
fn lane(planes: &Planes<'_>, byte: usize, at: usize) -> Option<Registers> {
    let first = planes.first_of(byte);
    match planes.present.saturating_sub(first) {
        0 => None,
        1 | 2 => lane_of::<2>(planes, first, at),
        3 | 4 => lane_of::<4>(planes, first, at),
        _ => lane_of::<8>(planes, first, at),
    }
}

/// The same from the first `N` planes of the byte.
#[inline]
#[target_feature(enable = "avx2")]
fn lane_of<const N: usize>(planes: &Planes<'_>, first: usize, at: usize) -> Option<Registers> {
    let mut rows = zeros();
    let mut any = _mm256_setzero_si256();
    for (bit, row) in rows.iter_mut().enumerate().take(N) {
        let start = (first + bit) * planes.stride + at * (GROUP / 8);
        let plane = planes
            .bytes
            .get(start..)
            .and_then(|rest| rest.first_chunk::<32>());
        if let Some(plane) = plane {
            // SAFETY: 32 bytes are read from an array of 32 bytes.
            *row = unsafe { _mm256_loadu_si256(plane.as_ptr().cast()) };
        }
        any = _mm256_or_si256(any, *row);
    }
    if _mm256_testz_si256(any, any) == 1 {
        return None;
    }
    let [a, b, c, d, e, f, g, h] = rows;
    // Bit k of the plane number against bit k of the element number.
    let ((a, b), (c, d)) = (swap::<1>(a, b, 0x55), swap::<1>(c, d, 0x55));
    let ((e, f), (g, h)) = (swap::<1>(e, f, 0x55), swap::<1>(g, h, 0x55));
    let ((a, c), (b, d)) = (swap::<2>(a, c, 0x33), swap::<2>(b, d, 0x33));
    let ((e, g), (f, h)) = (swap::<2>(e, g, 0x33), swap::<2>(f, h, 0x33));
    let ((a, e), (b, f)) = (swap::<4>(a, e, 0x0f), swap::<4>(b, f, 0x0f));
    let ((c, g), (d, h)) = (swap::<4>(c, g, 0x0f), swap::<4>(d, h, 0x0f));
    Some(interleave([a, b, c, d, e, f, g, h]))
}

/// Swap the upper bits of each group in `low` with the lower bits in `high`.
#[inline]
#[target_feature(enable = "avx2")]
fn swap<const SHIFT: i32>(low: __m256i, high: __m256i, mask: i8) -> (__m256i, __m256i) {
    let mask = _mm256_set1_epi8(mask);
    let differing = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi16::<SHIFT>(low), high), mask);
    (
        _mm256_xor_si256(low, _mm256_slli_epi16::<SHIFT>(differing)),
        _mm256_xor_si256(high, differing),
    )
}

/// Bring bytes into order: register `i` has those of elements `8j + i`.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave([a, b, c, d, e, f, g, h]: Registers) -> Registers {
    let pairs = [(a, b), (c, d), (e, f), (g, h)];
    let low = pairs.map(|(x, y)| _mm256_unpacklo_epi8(x, y));
    let high = pairs.map(|(x, y)| _mm256_unpackhi_epi8(x, y));
    let [q0, q1, q2, q3] = fours(low);
    let [q4, q5, q6, q7] = fours(high);
    [q0, q1, q2, q3, q4, q5, q6, q7]
}

/// Pairs of neighbours to eights of neighbours, for half of a register's bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn fours([ab, cd, ef, gh]: [__m256i; 4]) -> [__m256i; 4] {
    let (p, q) = (_mm256_unpacklo_epi16(ab, cd), _mm256_unpacklo_epi16(ef, gh));
    let (r, s) = (_mm256_unpackhi_epi16(ab, cd), _mm256_unpackhi_epi16(ef, gh));
    [
        _mm256_unpacklo_epi32(p, q),
        _mm256_unpackhi_epi32(p, q),
        _mm256_unpacklo_epi32(r, s),
        _mm256_unpackhi_epi32(r, s),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(register: __m256i, place: &mut [u8; 32]) {
    // SAFETY: 32 bytes are written to an array of 32 bytes.
    unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), register) };
}

#[inline]
#[target_feature(enable = "avx2")]
fn bytes([a, b, c, d, e, f, g, h]: Registers, places: &mut [[u8; 32]]) {
    let pairs = [(a, b), (c, d), (e, f), (g, h)];
    let (first, second) = places.split_at_mut(4);
    for (((a, b), first), second) in pairs.into_iter().zip(first).zip(second) {
        store(_mm256_permute2x128_si256::<0x20>(a, b), first);
        store(_mm256_permute2x128_si256::<0x31>(a, b), second);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn words(low: Registers, high: Registers, places: &mut [[u8; 32]]) {
    let (first, second) = places.split_at_mut(8);
    for (((low, high), first), second) in low.into_iter().zip(high).zip(first).zip(second) {
        let (a, b) = (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
        store(_mm256_permute2x128_si256::<0x20>(a, b), first);
        store(_mm256_permute2x128_si256::<0x31>(a, b), second);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn doubles([b0, b1, b2, b3]: [Registers; 4], places: &mut [[u8; 32]]) {
    let (first, second) = places.split_at_mut(16);
    let (first, _) = first.as_chunks_mut::<2>();
    let (second, _) = second.as_chunks_mut::<2>();
    let low = b0.into_iter().zip(b1);
    let high = b2.into_iter().zip(b3);
    for (((low, high), first), second) in low.zip(high).zip(first).zip(second) {
        let (a, b) = (
            _mm256_unpacklo_epi8(low.0, low.1),
            _mm256_unpackhi_epi8(low.0, low.1),
        );
        let (c, d) = (
            _mm256_unpacklo_epi8(high.0, high.1),
            _mm256_unpackhi_epi8(high.0, high.1),
        );
        let (p, q) = (_mm256_unpacklo_epi16(a, c), _mm256_unpackhi_epi16(a, c));
        let (r, s) = (_mm256_unpacklo_epi16(b, d), _mm256_unpackhi_epi16(b, d));
        let [x, y] = first;
        store(_mm256_permute2x128_si256::<0x20>(p, q), x);
        store(_mm256_permute2x128_si256::<0x20>(r, s), y);
        let [x, y] = second;
        store(_mm256_permute2x128_si256::<0x31>(p, q), x);
        store(_mm256_permute2x128_si256::<0x31>(r, s), y);
    }
}
