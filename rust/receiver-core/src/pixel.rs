//! The types that pixels can be decoded into.

mod sealed {
    pub trait Sealed {}
}

/// A number that pixels can be cast to, as by `as`: integers that do not fit are cut off.
pub trait Cast: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// Cast.
    fn from_u8(value: u8) -> Self;
    /// Cast.
    fn from_u16(value: u16) -> Self;
    /// Cast.
    fn from_u32(value: u32) -> Self;
    /// Cast.
    fn from_u64(value: u64) -> Self;
}

macro_rules! cast {
    ($($number:ty),*) => {$(
        impl sealed::Sealed for $number {}
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

cast!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
