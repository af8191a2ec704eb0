//! Pixels from encoded bytes.
//!
//! A [`Decoder`] decodes a band of rows of any frames of one format straight into the caller's
//! array, assembling the chips and casting on the way, so that a tile can stay in the core's cache.
//! Every offset is checked against the payload before a byte is read.
//!
//! Each kernel exists twice: in plain Rust (`scalar`, always compiled and tested) and with AVX2
//! (`avx2`, chosen at run time); both give the same pixels.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod pixel;
mod scalar;

pub use pixel::Pixel;

use thiserror::Error;

use crate::format::{ChipLayout, Encoding, FrameFormat, PixelKind};
use scalar::RowKernel;

/// A request that the bytes can't fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame would reach beyond the payload.
    #[error("frame {index} at offset {offset} needs {needed} bytes, but the payload ends at {available}")]
    Truncated {
        /// Position in the list of offsets.
        index: usize,
        /// Where the frame starts.
        offset: u64,
        /// Encoded bytes of one frame.
        needed: usize,
        /// Bytes in the payload.
        available: usize,
    },
    /// The rows are not rows of the frame.
    #[error("rows {start}..{stop} are outside a frame of {rows} rows")]
    Rows {
        /// First row.
        start: usize,
        /// One past the last row.
        stop: usize,
        /// Rows of the assembled frame.
        rows: usize,
    },
    /// The output has another size than the request.
    #[error("output holds {found} pixels, the request is for {expected}")]
    OutputSize {
        /// What the request needs.
        expected: usize,
        /// What is there.
        found: usize,
    },
}

/// Decodes frames of one format.
#[derive(Debug, Clone)]
pub struct Decoder {
    format: FrameFormat,
    flip_y: bool,
    vectorise: bool,
}

impl Decoder {
    /// Decode frames of this format, in the order of rows in which they are sent.
    pub fn new(format: FrameFormat) -> Self {
        Self {
            format,
            flip_y: false,
            vectorise: true,
        }
    }

    /// Turn the image upside down, as the vendor's own display does.
    #[must_use]
    pub fn with_flip_y(mut self, flip_y: bool) -> Self {
        self.flip_y = flip_y;
        self
    }

    /// Whether vector instructions may be used where the processor has them (they may by default).
    #[must_use]
    pub fn with_vectorise(mut self, vectorise: bool) -> Self {
        self.vectorise = vectorise;
        self
    }

    /// Format of the frames.
    pub fn format(&self) -> &FrameFormat {
        &self.format
    }

    /// Decode rows `start..stop` of the frames that start at `offsets` in `payload`.
    ///
    /// `out` is filled completely, frame by frame, row by row.  Integers are cast as by `as`: what
    /// does not fit is cut off.
    pub fn decode<T: Pixel>(
        &self,
        payload: &[u8],
        offsets: &[u64],
        rows: (usize, usize),
        out: &mut [T],
    ) -> Result<(), DecodeError> {
        let request = Request::check(self, payload, offsets, rows, out.len())?;
        #[cfg(target_arch = "x86_64")]
        if self.vectorise && avx2::fits(&self.format) && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { avx2::decode(&request, out) };
            return Ok(());
        }
        scalar::decode(&request, out);
        Ok(())
    }
}

/// A checked request: every frame lies inside the payload.
struct Request<'a> {
    decoder: &'a Decoder,
    payload: &'a [u8],
    offsets: &'a [u64],
    rows: (usize, usize),
    n_rows: usize,
    columns: usize,
}

impl<'a> Request<'a> {
    fn check(
        decoder: &'a Decoder,
        payload: &'a [u8],
        offsets: &'a [u64],
        rows: (usize, usize),
        out_len: usize,
    ) -> Result<Self, DecodeError> {
        let (n_rows, columns) = decoder.format.item_shape();
        let (start, stop) = rows;
        if start > stop || stop > n_rows {
            return Err(DecodeError::Rows {
                start,
                stop,
                rows: n_rows,
            });
        }
        let expected = offsets.len().saturating_mul((stop - start) * columns);
        if out_len != expected {
            return Err(DecodeError::OutputSize {
                expected,
                found: out_len,
            });
        }
        let needed = decoder.format.payload_bytes();
        let outside = offsets.iter().position(|offset| {
            let end = usize::try_from(*offset)
                .ok()
                .and_then(|offset| offset.checked_add(needed));
            end.is_none_or(|end| end > payload.len())
        });
        if let Some(index) = outside {
            let offset = offsets.get(index).copied().unwrap_or_default();
            return Err(DecodeError::Truncated {
                index,
                offset,
                needed,
                available: payload.len(),
            });
        }
        Ok(Self {
            decoder,
            payload,
            offsets,
            rows,
            n_rows,
            columns,
        })
    }

    /// The loop over frames and rows, compiled for each kernel and output type.
    #[inline(always)]
    fn run<T: Pixel, K: RowKernel<T>>(&self, out: &mut [T]) {
        if out.is_empty() {
            return;
        }
        let (start, stop) = self.rows;
        let format = &self.decoder.format;
        let needed = format.payload_bytes();
        let mut lines = out.chunks_exact_mut(self.columns);
        for offset in self.offsets {
            let frame = self
                .payload
                .get(*offset as usize..)
                .and_then(|rest| rest.get(..needed));
            let frame = frame.unwrap_or_default();
            for row in start..stop {
                let row = if self.decoder.flip_y {
                    self.n_rows - 1 - row
                } else {
                    row
                };
                let Some(line) = lines.next() else { return };
                if format.kind() == PixelKind::R64 {
                    raw_row::<T, K>(format, frame, row, line);
                } else {
                    let bytes = frame.len() / self.n_rows;
                    let encoded = frame.get(row * bytes..(row + 1) * bytes).unwrap_or_default();
                    K::row(encoded, &[], false, line);
                }
            }
        }
    }
}

/// Assemble one row of a raw frame from the rows of its chips.
///
/// A row of the payload holds the chips' rows last chip first.  The lower chips of a quad are
/// mounted upside down: their rows come in reverse order and each is read backwards.
#[inline(always)]
fn raw_row<T: Pixel, K: RowKernel<T>>(format: &FrameFormat, frame: &[u8], row: usize, line: &mut [T]) {
    let height = format.header_height() as usize;
    let n_chips = format.n_chips() as usize;
    let gap = format.gap_pixels();
    let is_quad = matches!(format.layout(), ChipLayout::Quad | ChipLayout::QuadGap);
    let (source_row, rotated) = if row < height {
        (row, false)
    } else if row < height + gap {
        line.fill(T::default());
        return;
    } else {
        (2 * height + gap - 1 - row, true)
    };
    let chip_bytes = format.chip_row_bytes();
    let half = if format.encoding() == Encoding::Raw24 {
        frame.len() / 2
    } else {
        0
    };
    let first_slot = if is_quad && rotated { n_chips / 2 } else { n_chips };
    let mut rest = line;
    for chip in 0..format.chips_across() {
        let begin = (source_row * n_chips + first_slot - 1 - chip) * chip_bytes;
        let encoded = frame.get(begin..begin + chip_bytes).unwrap_or_default();
        let lower = frame
            .get(half + begin..half + begin + chip_bytes)
            .unwrap_or_default();
        let Some((pixels, tail)) = rest.split_at_mut_checked(format.chip_pixels()) else {
            return;
        };
        K::row(encoded, lower, rotated, pixels);
        let (cross, tail) = tail.split_at_mut(gap.min(tail.len()));
        cross.fill(T::default());
        rest = tail;
    }
}

#[cfg(test)]
mod tests;
