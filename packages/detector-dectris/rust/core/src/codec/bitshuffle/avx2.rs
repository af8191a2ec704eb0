//! The transposition with AVX2: 256 elements at a time.
//!
//! Eight planes of one byte lane are eight registers of 32 plane bytes.  Swapping bits between pairs of
//! registers (three rounds) leaves in register `i` the bytes of elements `8j + i`; interleaving the
//! registers (three rounds) brings them in order.  Counts are small, so the planes of the upper bytes are
//! mostly empty: a group of empty planes is recognised and costs loads only.

use std::arch::x86_64::*;

/// Elements that are done together.
const GROUP: usize = 256;

/// Undo the transposition of as many whole groups as there are; return how many elements were done.
#[target_feature(enable = "avx2")]
pub(super) fn untranspose(planes: &[u8], size: usize, out: &mut [u8]) -> usize {
    let stride = planes.len() / (8 * size);
    let n = (8 * stride).min(out.len() / size) / GROUP * GROUP;
    for (group, places) in out.chunks_exact_mut(GROUP * size).enumerate().take(n / GROUP) {
        let at = group * (GROUP / 8);
        match size {
            1 => bytes(planes, stride, at, places),
            2 => words(planes, stride, at, places),
            _ => doubles(planes, stride, at, places),
        }
    }
    n
}

type Registers = [__m256i; 8];

/// One byte of 256 elements: register `m` has elements `16m..16m + 16` and `128 + 16m..128 + 16m + 16`;
/// `None` if all are zero.
#[inline]
#[target_feature(enable = "avx2")]
fn lane(planes: &[u8], stride: usize, byte: usize, at: usize) -> Option<Registers> {
    let mut rows: Registers = [_mm256_setzero_si256(); 8];
    let mut any = _mm256_setzero_si256();
    for (bit, row) in rows.iter_mut().enumerate() {
        let start = (8 * byte + bit) * stride + at;
        let plane = planes.get(start..).and_then(|rest| rest.first_chunk::<32>());
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
fn bytes(planes: &[u8], stride: usize, at: usize, places: &mut [u8]) {
    let Some(lane) = lane(planes, stride, 0, at) else {
        places.fill(0);
        return;
    };
    let (places, _) = places.as_chunks_mut::<32>();
    let (first, second) = places.split_at_mut(4);
    for (m, (first, second)) in first.iter_mut().zip(second).enumerate() {
        let (Some(a), Some(b)) = (lane.get(2 * m), lane.get(2 * m + 1)) else {
            return;
        };
        store(_mm256_permute2x128_si256::<0x20>(*a, *b), first);
        store(_mm256_permute2x128_si256::<0x31>(*a, *b), second);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn words(planes: &[u8], stride: usize, at: usize, places: &mut [u8]) {
    let (low, high) = (lane(planes, stride, 0, at), lane(planes, stride, 1, at));
    if low.is_none() && high.is_none() {
        places.fill(0);
        return;
    }
    let zero = [_mm256_setzero_si256(); 8];
    let (low, high) = (low.unwrap_or(zero), high.unwrap_or(zero));
    let (places, _) = places.as_chunks_mut::<32>();
    let (first, second) = places.split_at_mut(8);
    for (((low, high), first), second) in low.iter().zip(&high).zip(first).zip(second) {
        let (a, b) = (
            _mm256_unpacklo_epi8(*low, *high),
            _mm256_unpackhi_epi8(*low, *high),
        );
        store(_mm256_permute2x128_si256::<0x20>(a, b), first);
        store(_mm256_permute2x128_si256::<0x31>(a, b), second);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn doubles(planes: &[u8], stride: usize, at: usize, places: &mut [u8]) {
    let lanes = [0, 1, 2, 3].map(|byte| lane(planes, stride, byte, at));
    if lanes.iter().all(Option::is_none) {
        places.fill(0);
        return;
    }
    let zero = [_mm256_setzero_si256(); 8];
    let [b0, b1, b2, b3] = lanes.map(|lane| lane.unwrap_or(zero));
    let (places, _) = places.as_chunks_mut::<32>();
    let (first, second) = places.split_at_mut(16);
    let (first, _) = first.as_chunks_mut::<2>();
    let (second, _) = second.as_chunks_mut::<2>();
    let low = b0.iter().zip(&b1);
    let high = b2.iter().zip(&b3);
    for (((low, high), first), second) in low.zip(high).zip(first).zip(second) {
        let (a, b) = (
            _mm256_unpacklo_epi8(*low.0, *low.1),
            _mm256_unpackhi_epi8(*low.0, *low.1),
        );
        let (c, d) = (
            _mm256_unpacklo_epi8(*high.0, *high.1),
            _mm256_unpackhi_epi8(*high.0, *high.1),
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
