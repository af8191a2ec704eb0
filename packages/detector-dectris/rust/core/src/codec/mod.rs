//! Pixels from compressed images.
//!
//! A [`Decoder`] decodes any range of pixels of a frame straight into the caller's array.  One block
//! (8 KiB as sent) at a time is decompressed, untransposed and cast while it is in the first-level
//! cache.  Lengths come from the wire: every one is checked before a byte is read or written, and a
//! blob that lies is a typed [`BlobError`].

mod bitshuffle;
mod blocks;
mod pixel;

pub use pixel::{Element, Pixel};

use blocks::{Block, Blocks};
use thiserror::Error;

/// How the pixels of an image are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// One bare LZ4 block (`lz4` in stream V1).
    Lz4Block,
    /// Blocks of LZ4 with lengths (`lz4` in stream V2 and HDF5 filter 32004).
    Lz4,
    /// Blocks of bit-transposed pixels in LZ4 (`bslz4`, HDF5 filter 32008).
    Bslz4,
}

/// A blob that can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The blob ends within something.
    #[error("the blob ends after {available} bytes, within {what}, which needs {needed}")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Bytes needed up to its end.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// The header announces another image.
    #[error("the blob says it holds {found} bytes of pixels, the image has {expected}")]
    Size {
        /// Bytes that the image has.
        expected: usize,
        /// What the header says.
        found: u64,
    },
    /// The size of blocks makes no sense.
    #[error("a block size of {found} bytes is no multiple of {unit} between {unit} and {most}")]
    BlockSize {
        /// What the header says.
        found: u32,
        /// It must be a multiple of this.
        unit: usize,
        /// Upper limit.
        most: usize,
    },
    /// A block does not decompress.
    #[error("block {index} of {compressed} bytes does not decompress to {expected} bytes: {reason}")]
    Block {
        /// Which block.
        index: usize,
        /// Its compressed size.
        compressed: usize,
        /// The size it should have.
        expected: usize,
        /// What is wrong.
        reason: String,
    },
    /// The request is not for pixels of this image.
    #[error("pixels {start}..{stop} into {room} places, of an image with {n_pixels} pixels")]
    Range {
        /// First pixel.
        start: usize,
        /// One past the last pixel.
        stop: usize,
        /// Places in the output.
        room: usize,
        /// Pixels of the image.
        n_pixels: usize,
    },
}

/// Decodes images of one format.
#[derive(Debug, Clone)]
pub struct Decoder {
    compression: Compression,
    element: Element,
    big_endian: bool,
    n_pixels: usize,
    vectorise: bool,
    /// One block as compressed in the blob, and one of pixels; reused from call to call.
    scratch: Vec<u8>,
    pixels: Vec<u8>,
}

impl Decoder {
    /// Decode images of `n_pixels` little-endian elements.
    pub fn new(compression: Compression, element: Element, n_pixels: usize) -> Self {
        Self {
            compression,
            element,
            big_endian: false,
            n_pixels,
            vectorise: true,
            scratch: Vec::new(),
            pixels: Vec::new(),
        }
    }

    /// Whether the pixels were big-endian before they were compressed.
    #[must_use]
    pub fn with_big_endian(mut self, big_endian: bool) -> Self {
        self.big_endian = big_endian;
        self
    }

    /// Whether vector instructions may be used where the processor has them (they may by default).
    #[must_use]
    pub fn with_vectorise(mut self, vectorise: bool) -> Self {
        self.vectorise = vectorise;
        self
    }

    /// Decode pixels `start..start + out.len()` of an image, cast as by `as`.
    ///
    /// Blocks outside of the range are skipped without being decompressed.
    pub fn decode<T: Pixel>(&mut self, blob: &[u8], start: usize, out: &mut [T]) -> Result<(), BlobError> {
        let stop = start.saturating_add(out.len());
        if stop > self.n_pixels {
            return Err(BlobError::Range {
                start,
                stop,
                room: out.len(),
                n_pixels: self.n_pixels,
            });
        }
        let size = self.element.size();
        let blocks = Blocks::open(self.compression, blob, self.n_pixels, size)?;
        let (mut scratch, mut pixels) = (
            std::mem::take(&mut self.scratch),
            std::mem::take(&mut self.pixels),
        );
        let mut result = Ok(());
        for block in blocks {
            result = block.and_then(|block| {
                let (first, last) = (block.first.max(start), (block.first + block.n).min(stop));
                if first >= last {
                    return Ok(());
                }
                let Some(places) = out.get_mut(first - start..last - start) else {
                    return Ok(());
                };
                let bytes = self.unpack(&block, &mut scratch, &mut pixels)?;
                let from = (first - block.first) * size;
                let wanted = bytes.get(from..from + places.len() * size).unwrap_or_default();
                self.cast(wanted, places);
                Ok(())
            });
            if result.is_err() {
                break;
            }
        }
        (self.scratch, self.pixels) = (scratch, pixels);
        result
    }

    /// Return the native bytes of a block.
    fn unpack<'a>(
        &self,
        block: &Block<'a>,
        scratch: &'a mut Vec<u8>,
        pixels: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], BlobError> {
        let size = self.element.size();
        if block.stored {
            return Ok(block.bytes);
        }
        // Sizes are bounded: `Blocks` has checked them against the image.
        scratch.resize(block.n * size, 0);
        let written = lz4_flex::block::decompress_into(block.bytes, scratch);
        match written {
            Ok(n) if n == scratch.len() => {}
            Ok(n) => return Err(block.error(size, format!("it has {n} bytes"))),
            Err(error) => return Err(block.error(size, error.to_string())),
        }
        if self.compression != Compression::Bslz4 {
            return Ok(scratch);
        }
        pixels.resize(block.n * size, 0);
        bitshuffle::untranspose(scratch, size, pixels, self.vectorise);
        Ok(pixels)
    }

    fn cast<T: Pixel>(&self, bytes: &[u8], out: &mut [T]) {
        pixel::cast(bytes, self.element, self.big_endian, self.vectorise, out);
    }
}

#[cfg(test)]
mod tests;
