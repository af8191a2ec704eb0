//! The bit transposition, undone.
//!
//! A transposed block of `n` elements (a multiple of 8) is a sequence of bit planes of `n / 8` bytes:
//! plane `8 · byte + bit` has bit `bit` of byte `byte` (little-endian) of all elements, the lowest bit of
//! each plane byte first.  K. Masui et al., "A compression scheme for radio data in high performance
//! computing", Astronomy and Computing 12 (2015) 181, describes the idea.

use super::pixel::{self, Pixel};

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Elements that are done together.
const GROUP: usize = 256;

/// A group of elements of up to four bytes.
type Group = [u8; 4 * GROUP];

/// A transposed block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes<'a> {
    /// The planes one behind the other, as far as they are present.
    pub bytes: &'a [u8],
    /// Bytes of a plane: an eighth of the number of elements.
    pub stride: usize,
    /// The planes from here on are zero; a multiple of 2, and of 4 or 8 where it is above that within a byte.
    pub present: usize,
    /// Bytes of an element: 1, 2 or 4.
    pub size: usize,
    /// Whether the first byte of an element is the highest.
    pub big_endian: bool,
}

impl Planes<'_> {
    /// How many planes of the first `n` are to be there, for the kernels to find what they read.
    pub fn rounded(n: usize) -> usize {
        match n % 8 {
            1 => n + 1,
            3 => n + 1,
            5.. => n.next_multiple_of(8),
            _ => n,
        }
    }

    /// Bytes of a value that need not be zero: 0, 1, 2 or 4.
    fn width(&self) -> usize {
        if self.big_endian && self.present > 0 {
            return self.size;
        }
        match self.present.div_ceil(8) {
            3 => 4,
            n => n,
        }
    }

    /// The first plane of a byte of the values; 0 is the lowest byte.
    fn first_of(&self, byte: usize) -> usize {
        8 * if self.big_endian {
            (self.size - 1).saturating_sub(byte)
        } else {
            byte
        }
    }

    /// Undo the transposition of elements `first..first + out.len()` and cast them.
    pub fn untranspose<T: Pixel>(&self, first: usize, out: &mut [T], vectorise: bool) {
        #[cfg(target_arch = "x86_64")]
        if vectorise && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { self.untranspose_avx2(first, out) };
            return;
        }
        self.each_group(first, out, |planes, at, group| scalar(planes, at, group));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn untranspose_avx2<T: Pixel>(&self, first: usize, out: &mut [T]) {
        self.each_group(first, out, |planes, at, group| {
            if GROUP / 8 * (at + 1) <= planes.stride {
                avx2::untranspose(planes, at, group)
            } else {
                scalar(planes, at, group)
            }
        });
    }

    #[inline(always)]
    fn each_group<T: Pixel>(
        &self,
        first: usize,
        out: &mut [T],
        untranspose: impl Fn(&Self, usize, &mut Group) -> bool,
    ) {
        let mut group: Group = [0; 4 * GROUP];
        let (mut at, mut rest) = (first, out);
        while !rest.is_empty() {
            let skipped = at % GROUP;
            let n = (GROUP - skipped).min(rest.len());
            let (places, behind) = std::mem::take(&mut rest).split_at_mut(n);
            if untranspose(self, at / GROUP, &mut group) {
                let width = self.width();
                let wanted = group
                    .get(skipped * width..(skipped + n) * width)
                    .unwrap_or_default();
                match width {
                    1 => pixel::each(wanted, places, |[byte]| T::from_u8(byte)),
                    2 => pixel::each(wanted, places, |word| T::from_u16(u16::from_le_bytes(word))),
                    _ => pixel::each(wanted, places, |word| T::from_u32(u32::from_le_bytes(word))),
                }
            } else {
                places.fill(T::default());
            }
            at += n;
            rest = behind;
        }
    }
}

/// One group in plain Rust, eight elements at a time; `false` if all of it is zero.
fn scalar(planes: &Planes<'_>, at: usize, group: &mut Group) -> bool {
    let width = planes.width();
    if width == 0 {
        return false;
    }
    let first = at * (GROUP / 8);
    let n = (GROUP / 8).min(planes.stride.saturating_sub(first));
    for byte in 0..width {
        let plane = planes.first_of(byte);
        let mut squares = [0_u64; GROUP / 8];
        for bit in 0..8_usize.min(planes.present.saturating_sub(plane)) {
            let start = (plane + bit) * planes.stride + first;
            let row = planes.bytes.get(start..start + n).unwrap_or_default();
            for (square, value) in squares.iter_mut().zip(row) {
                *square |= u64::from(*value) << (8 * bit);
            }
        }
        let (places, columns) = (group.chunks_exact_mut(8 * width), squares.map(transpose_square));
        for (places, column) in places.zip(columns).take(n) {
            for (place, value) in places.chunks_exact_mut(width).zip(column.to_le_bytes()) {
                if let Some(place) = place.get_mut(byte) {
                    *place = value;
                }
            }
        }
    }
    true
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
