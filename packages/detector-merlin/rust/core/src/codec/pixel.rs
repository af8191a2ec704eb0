//! The types that pixels can be decoded into.

pub use receiver_core::Cast;

#[cfg(target_arch = "x86_64")]
use super::avx2::Lanes;

/// A number that pixels can be cast to, as by `as`.
#[cfg(target_arch = "x86_64")]
pub trait Pixel: Cast + Lanes {}
#[cfg(target_arch = "x86_64")]
impl<T: Cast + Lanes> Pixel for T {}

/// A number that pixels can be cast to, as by `as`.
#[cfg(not(target_arch = "x86_64"))]
pub trait Pixel: Cast {}
#[cfg(not(target_arch = "x86_64"))]
impl<T: Cast> Pixel for T {}
