//! The types that pixels can be decoded into.

#[cfg(target_arch = "x86_64")]
use super::avx2::Lanes;

mod sealed {
    pub trait Sealed {}
}

/// A number that pixels can be cast to, as by `as`.
#[cfg(target_arch = "x86_64")]
pub trait Pixel: Cast + Lanes {}
/// A number that pixels can be cast to, as by `as`.
#[cfg(not(target_arch = "x86_64"))]
pub trait Pixel: Cast {}

/// Casts from the native types of the detector.
pub trait Cast: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// Cast, cutting off what does not fit.
    fn from_u8(value: u8) -> Self;
    /// Cast, cutting off what does not fit.
    fn from_u16(value: u16) -> Self;
    /// Cast, cutting off what does not fit.
    fn from_u32(value: u32) -> Self;
    /// Cast, cutting off what does not fit.
    fn from_u64(value: u64) -> Self;
}

macro_rules! pixel {
    ($($number:ty),*) => {$(
        impl sealed::Sealed for $number {}
        impl Pixel for $number {}
        impl Cast for $number {
            #[inline(always)]
            fn from_u8(value: u8) -> Self { value as $number }
            #[inline(always)]
            fn from_u16(value: u16) -> Self { value as $number }
            #[inline(always)]
            fn from_u32(value: u32) -> Self { value as $number }
            #[inline(always)]
            fn from_u64(value: u64) -> Self { value as $number }
        }
    )*};
}

pixel!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
