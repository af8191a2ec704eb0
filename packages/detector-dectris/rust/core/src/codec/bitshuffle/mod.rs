//! The bit transposition, undone.
//!
//! A transposed block of `n` elements (a multiple of 8) is a sequence of bit planes of `n / 8` bytes:
//! plane `8 · byte + bit` has bit `bit` of byte `byte` (little-endian) of all elements, the lowest bit of
//! each plane byte first.  K. Masui et al., "A compression scheme for radio data in high performance
//! computing", Astronomy and Computing 12 (2015) 181, describes the idea.

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Undo the transposition of a block of elements of `size` bytes.
///
/// `planes` and `out` have the same length, a multiple of `8 · size`; `size` is 1, 2 or 4.
pub(super) fn untranspose(planes: &[u8], size: usize, out: &mut [u8], vectorise: bool) {
    let n = out.len() / size.max(1);
    debug_assert!(planes.len() == out.len() && n.is_multiple_of(8));
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if vectorise && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        done = unsafe { avx2::untranspose(planes, size, out) };
    }
    scalar(planes, size, n, done, out);
}

/// The same from element `first` on, in plain Rust: eight elements at a time.
fn scalar(planes: &[u8], size: usize, n: usize, first: usize, out: &mut [u8]) {
    let stride = n / 8;
    for group in first / 8..stride {
        for byte in 0..size {
            let mut square = 0_u64;
            for bit in 0..8 {
                let plane = planes.get((8 * byte + bit) * stride + group);
                square |= u64::from(plane.copied().unwrap_or_default()) << (8 * bit);
            }
            for (i, value) in transpose_square(square).to_le_bytes().into_iter().enumerate() {
                if let Some(place) = out.get_mut((8 * group + i) * size + byte) {
                    *place = value;
                }
            }
        }
    }
}

/// Transpose a block of elements of `size` bytes; what `untranspose` undoes.
pub(super) fn transpose(elements: &[u8], size: usize, planes: &mut [u8]) {
    let stride = elements.len() / (8 * size.max(1));
    for (group, eight) in elements.chunks_exact(8 * size.max(1)).enumerate() {
        for byte in 0..size {
            let mut column = [0; 8];
            for (value, element) in column.iter_mut().zip(eight.chunks_exact(size)) {
                *value = element.get(byte).copied().unwrap_or_default();
            }
            let square = transpose_square(u64::from_le_bytes(column)).to_le_bytes();
            for (bit, value) in square.into_iter().enumerate() {
                if let Some(place) = planes.get_mut((8 * byte + bit) * stride + group) {
                    *place = value;
                }
            }
        }
    }
}

/// Transpose a square of 8 × 8 bits: bit `i` of byte `k` becomes bit `k` of byte `i`.
fn transpose_square(square: u64) -> u64 {
    let mut x = square;
    for (shift, mask) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let swap = (x ^ (x >> shift)) & mask;
        x ^= swap ^ (swap << shift);
    }
    x
}
