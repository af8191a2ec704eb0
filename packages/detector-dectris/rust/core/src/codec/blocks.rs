//! The blocks of a blob: where each begins, how many pixels it holds, and whether it is compressed.
//!
//! Layout of `bslz4` and `lz4` (HDF5 filters 32008 and 32004): 8 bytes big-endian size of the pixels, 4
//! bytes big-endian size of a block, then blocks, each behind its 4-byte big-endian compressed length.  A
//! bitshuffled image ends with a shorter block of a multiple of 8 pixels, and up to 7 pixels as they are.

use super::lz4::Lz4Error;
use super::{BlobError, Compression};

pub(super) const HEADER_BYTES: usize = 12;
pub(super) const DEFAULT_BLOCK_BYTES: usize = 8192;
/// Nobody sends more; it bounds the memory that a header can ask for.
pub(super) const MOST_BLOCK_BYTES: usize = 1 << 24;

/// A piece of an image.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// Number of the block.
    pub index: usize,
    /// Number of its first pixel.
    pub first: usize,
    /// How many pixels.
    pub n: usize,
    /// As in the blob.
    pub bytes: &'a [u8],
    /// The same and everything behind it in the blob.
    pub readable: &'a [u8],
    /// Whether `bytes` are the pixels themselves.
    pub stored: bool,
}

impl Block<'_> {
    /// The error of a block that does not decompress.
    pub fn error(&self, size: usize, reason: Lz4Error) -> BlobError {
        BlobError::Block {
            index: self.index,
            compressed: self.bytes.len(),
            expected: self.n * size,
            reason,
        }
    }
}

/// Visits the blocks of a blob; ends after the first error.
#[derive(Debug)]
pub(super) struct Blocks<'a> {
    compression: Compression,
    blob: &'a [u8],
    at: usize,
    size: usize,
    /// Pixels of a full block.
    full: usize,
    n_pixels: usize,
    first: usize,
    index: usize,
}

impl<'a> Blocks<'a> {
    /// Read the header of a blob with `n_pixels` elements of `size` bytes.
    pub fn open(
        compression: Compression,
        blob: &'a [u8],
        n_pixels: usize,
        size: usize,
    ) -> Result<Self, BlobError> {
        let expected = n_pixels.saturating_mul(size);
        let mut blocks = Self {
            compression,
            blob,
            at: 0,
            size,
            full: n_pixels.max(1),
            n_pixels,
            first: 0,
            index: 0,
        };
        if matches!(compression, Compression::None | Compression::Lz4Block) {
            return Ok(blocks);
        }
        let header = blocks.cut(HEADER_BYTES, "the header")?;
        let (total, block) = header.split_at(8);
        let found = be_u64(total);
        let block_bytes = be_u64(block) as u32;
        // Some senders leave the header empty.
        if found != expected as u64 && !(found == 0 && block_bytes == 0) {
            return Err(BlobError::Size { expected, found });
        }
        let unit = if compression == Compression::Bslz4 {
            8 * size
        } else {
            size
        };
        let block_size = match block_bytes as usize {
            0 => DEFAULT_BLOCK_BYTES,
            n => n,
        };
        if block_size % unit != 0 || block_size > MOST_BLOCK_BYTES.max(expected) {
            return Err(BlobError::BlockSize {
                found: block_bytes,
                unit,
                most: MOST_BLOCK_BYTES.max(expected),
            });
        }
        blocks.full = block_size / size;
        Ok(blocks)
    }

    /// After the last block: nothing may follow.
    pub fn finish(&self) -> Result<(), BlobError> {
        match self.blob.len().saturating_sub(self.at) {
            0 => Ok(()),
            found => Err(BlobError::LeftOver { found }),
        }
    }

    fn cut(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], BlobError> {
        let needed = self.at.saturating_add(n);
        let bytes = self.blob.get(self.at..needed).ok_or(BlobError::Truncated {
            what,
            needed,
            available: self.blob.len(),
        })?;
        self.at = needed;
        Ok(bytes)
    }

    fn read(&mut self) -> Result<Block<'a>, BlobError> {
        let left = self.n_pixels - self.first;
        let mut n = left.min(self.full);
        let mut stored = self.compression == Compression::None;
        let bytes = match self.compression {
            Compression::None => self.cut(n.saturating_mul(self.size), "the pixels")?,
            Compression::Lz4Block => self.cut(self.blob.len(), "the block")?,
            Compression::Bslz4 if n < 8 => {
                stored = true;
                self.cut(n * self.size, "the last pixels")?
            }
            Compression::Lz4 | Compression::Bslz4 => {
                if self.compression == Compression::Bslz4 {
                    n -= n % 8;
                }
                let length = be_u64(self.cut(4, "the length of a block")?) as usize;
                stored = self.compression == Compression::Lz4 && length == n * self.size;
                self.cut(length, "a block")?
            }
        };
        // LZ4 makes at most 255 bytes of one: checked before memory is asked for.
        let expected = n.saturating_mul(self.size);
        if !stored && bytes.len().saturating_mul(255) < expected {
            return Err(BlobError::Implausible {
                index: self.index,
                compressed: bytes.len(),
                expected,
            });
        }
        let readable = self.blob.get(self.at - bytes.len()..).unwrap_or(bytes);
        let block = Block {
            readable,
            index: self.index,
            first: self.first,
            n,
            bytes,
            stored,
        };
        self.first += n;
        self.index += 1;
        Ok(block)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.first >= self.n_pixels {
            return None;
        }
        let block = self.read();
        if block.is_err() {
            self.first = self.n_pixels;
        }
        Some(block)
    }
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
