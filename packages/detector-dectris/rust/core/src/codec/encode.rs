//! Blobs from pixels, for simulators and files: the inverse of the decoder.

use thiserror::Error;

use super::blocks::{DEFAULT_BLOCK_BYTES, HEADER_BYTES, MOST_BLOCK_BYTES};
use super::{Compression, bitshuffle};

/// An image that can't be encoded as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The size of blocks does not fit.
    #[error("blocks of {found} bytes can't be: {compression} takes multiples of {unit} up to {most}")]
    BlockBytes {
        /// What was asked for.
        found: usize,
        /// Name of the compression.
        compression: &'static str,
        /// It must be a multiple of this.
        unit: usize,
        /// Upper limit.
        most: usize,
    },
    /// LZ4 can't say how long the block is.
    #[error("a block compresses to {found} bytes, more than its length field can say")]
    TooLong {
        /// Its compressed size.
        found: usize,
    },
}

/// Encode the pixels of one image: `pixels` are elements of `size` (1, 2 or 4) bytes in the byte order
/// that is to be sent.  `block_bytes` of 0 stands for 8192.
pub fn encode(
    pixels: &[u8],
    size: usize,
    compression: Compression,
    block_bytes: usize,
) -> Result<Vec<u8>, EncodeError> {
    match compression {
        Compression::None => return Ok(pixels.to_vec()),
        Compression::Lz4Block => return Ok(lz4_flex::block::compress(pixels)),
        Compression::Lz4 | Compression::Bslz4 => {}
    }
    let shuffle = compression == Compression::Bslz4;
    let unit = if shuffle { 8 * size } else { size }.max(1);
    let full = if block_bytes == 0 {
        DEFAULT_BLOCK_BYTES
    } else {
        block_bytes
    };
    if !full.is_multiple_of(unit) || full > MOST_BLOCK_BYTES {
        return Err(EncodeError::BlockBytes {
            found: block_bytes,
            compression: compression.name(),
            unit,
            most: MOST_BLOCK_BYTES,
        });
    }
    let (whole, rest) = if shuffle {
        pixels.split_at(pixels.len() / unit * unit)
    } else {
        (pixels, [].as_slice())
    };
    let mut blob = Vec::with_capacity(HEADER_BYTES + pixels.len() / 2);
    blob.extend((pixels.len() as u64).to_be_bytes());
    blob.extend((block_bytes as u32).to_be_bytes());
    let mut planes = vec![0; full.min(pixels.len())];
    for part in whole.chunks(full) {
        let packed = match planes.get_mut(..part.len()) {
            Some(planes) if shuffle => {
                bitshuffle::transpose(part, size, planes);
                planes
            }
            _ => part,
        };
        let compressed = lz4_flex::block::compress(packed);
        // The HDF5 filter for LZ4 takes a block of full length for one that is not compressed.
        let stored = !shuffle && compressed.len() >= part.len();
        let bytes = if stored { part } else { &compressed };
        let length = u32::try_from(bytes.len()).map_err(|_| EncodeError::TooLong { found: bytes.len() })?;
        blob.extend(length.to_be_bytes());
        blob.extend_from_slice(bytes);
    }
    blob.extend_from_slice(rest);
    Ok(blob)
}
