//! The types of pixels, as sent and as wanted.

pub use receiver_core::Cast as Pixel;

/// Type of a pixel as the detector sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// 8 bit, unsigned.
    U8,
    /// 16 bit, unsigned.
    U16,
    /// 32 bit, unsigned.
    U32,
}

impl Element {
    /// Bytes of a pixel.
    pub fn size(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::U16 => 2,
            Element::U32 => 4,
        }
    }
}

/// Cast the bytes of pixels; as many as both sides have.
pub(super) fn cast<T: Pixel>(
    bytes: &[u8],
    element: Element,
    big_endian: bool,
    vectorise: bool,
    out: &mut [T],
) {
    #[cfg(target_arch = "x86_64")]
    if vectorise && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { cast_avx2(bytes, element, big_endian, out) };
        return;
    }
    cast_plain(bytes, element, big_endian, out);
}

/// The plain loops, compiled again with AVX2: the compiler vectorises them well.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn cast_avx2<T: Pixel>(bytes: &[u8], element: Element, big_endian: bool, out: &mut [T]) {
    cast_plain(bytes, element, big_endian, out);
}

#[inline(always)]
fn cast_plain<T: Pixel>(bytes: &[u8], element: Element, big_endian: bool, out: &mut [T]) {
    match (element, big_endian) {
        (Element::U8, _) => each(bytes, out, |[byte]| T::from_u8(byte)),
        (Element::U16, false) => each(bytes, out, |word| T::from_u16(u16::from_le_bytes(word))),
        (Element::U16, true) => each(bytes, out, |word| T::from_u16(u16::from_be_bytes(word))),
        (Element::U32, false) => each(bytes, out, |word| T::from_u32(u32::from_le_bytes(word))),
        (Element::U32, true) => each(bytes, out, |word| T::from_u32(u32::from_be_bytes(word))),
    }
}

/// Make values of words of `N` bytes, as many as both sides have.
#[inline(always)]
pub(super) fn each<T, const N: usize>(bytes: &[u8], out: &mut [T], value: impl Fn([u8; N]) -> T) {
    let (words, _) = bytes.as_chunks::<N>();
    for (word, place) in words.iter().zip(out) {
        *place = value(*word);
    }
}
