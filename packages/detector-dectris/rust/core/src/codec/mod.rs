//! Pixels from compressed images.
//!
//! A [`Decoder`] decodes any range of pixels of a frame straight into the caller's array.  One block
//! (8 KiB as sent) at a time is decompressed, untransposed and cast while it is in the first-level
//! cache.  Lengths come from the wire: every one is checked before a byte is read or written, and a
//! blob that lies is a typed [`BlobError`].

mod bitshuffle;
mod blocks;
mod encode;
mod lz4;
mod pixel;
mod record;

pub use encode::{EncodeError, encode};
pub use lz4::Lz4Error;
pub use pixel::{Element, Pixel};
pub use record::{DecodeError, Records};

use std::cell::RefCell;
use std::str::FromStr;

use bitshuffle::Planes;
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

impl Compression {
    /// All, by their names in `codec_params`.
    pub const NAMES: [(&'static str, Compression); 4] = [
        ("bslz4", Compression::Bslz4),
        ("lz4", Compression::Lz4),
        ("lz4-block", Compression::Lz4Block),
        ("none", Compression::None),
    ];

    /// Its name in `codec_params`.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, compression)| *compression == self)
            .map_or("", |(name, _)| name)
    }
}

/// Nothing is compressed so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("compression {0:?} is not known; use bslz4, lz4, lz4-block or none")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, compression)| *compression)
            .ok_or_else(|| UnknownCompression(name.to_owned()))
    }
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
    /// There are bytes behind the last pixel.
    #[error("{found} bytes follow the last block; the image is complete without them")]
    LeftOver {
        /// How many.
        found: usize,
    },
    /// So few bytes can't hold so many pixels.
    #[error("block {index} of {compressed} bytes can't hold {expected} bytes of pixels")]
    Implausible {
        /// Which block.
        index: usize,
        /// Its compressed size.
        compressed: usize,
        /// The size it should have.
        expected: usize,
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
        reason: Lz4Error,
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

/// Decodes images of one format.  Any number of threads may use it at once.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    compression: Compression,
    element: Element,
    big_endian: bool,
    n_pixels: usize,
    vectorise: bool,
}

/// One block as compressed in the blob, if nothing may be read behind it there, and as decompressed; both
/// with the slack that LZ4 takes.
#[derive(Debug, Default)]
struct Scratch {
    source: Vec<u8>,
    bytes: Vec<u8>,
}

thread_local! {
    /// Each thread keeps its own from call to call.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
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

    /// How images are packed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Type of a pixel as sent.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Whether the pixels are big-endian.
    pub fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    /// Pixels of an image.
    pub fn n_pixels(&self) -> usize {
        self.n_pixels
    }

    /// Decode pixels `start..start + out.len()` of an image, cast as by `as`.
    ///
    /// Blocks outside of the range are skipped without being decompressed.
    pub fn decode<T: Pixel>(&self, blob: &[u8], start: usize, out: &mut [T]) -> Result<(), BlobError> {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.decode_with(&mut scratch, blob, start, out),
            Err(_) => self.decode_with(&mut Scratch::default(), blob, start, out),
        })
    }

    fn decode_with<T: Pixel>(
        &self,
        scratch: &mut Scratch,
        blob: &[u8],
        start: usize,
        out: &mut [T],
    ) -> Result<(), BlobError> {
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
        for block in Blocks::open(self.compression, blob, self.n_pixels, size)? {
            let block = block?;
            let (first, last) = (block.first.max(start), (block.first + block.n).min(stop));
            if first >= last {
                continue;
            }
            let Some(places) = out.get_mut(first - start..last - start) else {
                continue;
            };
            let skipped = first - block.first;
            if block.stored {
                self.cast(block.bytes, skipped, places);
                continue;
            }
            let n = block.n * size;
            let planes = if self.compression == Compression::Bslz4 {
                let stride = block.n / 8;
                let present = self.decompress(&block, n, stride, scratch)?;
                Some((stride, present))
            } else {
                self.decompress(&block, n, n, scratch)?;
                None
            };
            let bytes = scratch.bytes.get(..n).unwrap_or_default();
            match planes {
                None => self.cast(bytes, skipped, places),
                Some((stride, present)) => Planes {
                    bytes,
                    stride,
                    present,
                    size,
                    big_endian: self.big_endian,
                }
                .untranspose(skipped, places, self.vectorise),
            }
        }
        Ok(())
    }

    /// Decompress a block of `n` bytes into the scratch; return how many planes of `stride` bytes are there:
    /// what is behind them is zero, and not written.
    fn decompress(
        &self,
        block: &Block<'_>,
        n: usize,
        stride: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, BlobError> {
        let Scratch { source, bytes } = scratch;
        // Sizes are bounded: `Blocks` has checked them against the image and the blob.
        if bytes.len() < n + lz4::SLACK {
            bytes.resize(n + lz4::SLACK, 0);
        }
        let length = block.bytes.len();
        let readable = if block.readable.len() - length >= lz4::SOURCE_SLACK {
            block.readable
        } else {
            source.clear();
            source.extend_from_slice(block.bytes);
            source.extend_from_slice(&[0; lz4::SOURCE_SLACK]);
            source
        };
        let zero_from = lz4::decompress(readable, length, bytes, n, self.vectorise)
            .map_err(|reason| block.error(self.element.size(), reason))?;
        if zero_from == n {
            return Ok(n / stride.max(1));
        }
        let present = Planes::rounded(zero_from.div_ceil(stride.max(1)));
        if let Some(rest) = bytes.get_mut(zero_from..n.min(present * stride)) {
            rest.fill(0);
        }
        Ok(present)
    }

    /// Cast the pixels from number `skipped` on.
    fn cast<T: Pixel>(&self, bytes: &[u8], skipped: usize, places: &mut [T]) {
        let wanted = bytes.get(skipped * self.element.size()..).unwrap_or_default();
        pixel::cast(wanted, self.element, self.big_endian, self.vectorise, places);
    }
}

/// Check the header of a blob and the lengths of its blocks, without decompressing anything.
///
/// What passes can still fail to decode: the bytes within the blocks are not looked at.
pub fn inspect(
    blob: &[u8],
    compression: Compression,
    element_bytes: usize,
    n_pixels: usize,
) -> Result<(), BlobError> {
    let mut blocks = Blocks::open(compression, blob, n_pixels, element_bytes)?;
    blocks.by_ref().try_for_each(|block| block.map(drop))?;
    blocks.finish()
}

#[cfg(test)]
mod tests;
