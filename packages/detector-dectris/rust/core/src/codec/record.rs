//! Frame records: what the receiver leaves in a ring for each exposure, and decoding of many at once.
//!
//! A record is 8-byte aligned: `u32 n_blobs`, `u32 0`, `n_blobs` × `u64` lengths, all little-endian, then
//! the blobs, each at the next multiple of 8 from the record's start.

use thiserror::Error;

use super::{BlobError, Decoder, Pixel};

/// A request that can't be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A record reaches beyond the payload, or is none.
    #[error(
        "item {item} of the request: {what} at {start} needs {length} bytes, the payload has {available}"
    )]
    Outside {
        /// Which item.
        item: usize,
        /// What is not there.
        what: &'static str,
        /// Where it starts.
        start: u64,
        /// How long it is.
        length: u64,
        /// Bytes of the payload.
        available: usize,
    },
    /// A record has other blobs than the descriptor says.
    #[error("item {item} of the request: its record has {found} blobs, expected are {expected}")]
    BlobCount {
        /// Which item.
        item: usize,
        /// As recorded.
        found: u32,
        /// As the descriptor says.
        expected: usize,
    },
    /// Starts and lengths, or the output, do not fit the request.
    #[error("{found} {what} for a request that takes {expected}")]
    Count {
        /// What does not fit.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many it takes.
        expected: usize,
    },
    /// A blob does not decode.
    #[error("item {item} of the request, blob {blob}: {error}")]
    Blob {
        /// Which item.
        item: usize,
        /// Which blob of it.
        blob: usize,
        /// Why.
        error: BlobError,
    },
}

/// Which pixels of which blobs of a record are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Records {
    /// Blobs of a record.
    pub n_blobs: usize,
    /// First blob wanted and one past the last.
    pub blobs: (usize, usize),
    /// First pixel wanted of each of them and one past the last.
    pub pixels: (usize, usize),
}

impl Records {
    /// Decode records that start at `offsets`, one behind the other into `out`.
    pub fn decode<T: Pixel>(
        &self,
        decoder: &Decoder,
        payload: &[u8],
        offsets: &[u64],
        out: &mut [T],
    ) -> Result<(), DecodeError> {
        self.each(offsets.len(), out, |item, blob, places| {
            let bytes = self.find(payload, offsets, item, blob)?;
            self.decode_blob(decoder, bytes, (item, blob), places)
        })
    }

    /// Decode blobs that start at `starts`; for each item there are as many as are wanted of a record.
    pub fn decode_blobs<T: Pixel>(
        &self,
        decoder: &Decoder,
        payload: &[u8],
        (starts, lengths): (&[u64], &[u64]),
        out: &mut [T],
    ) -> Result<(), DecodeError> {
        let per_item = self.n_blobs;
        let n_items = starts.len() / per_item.max(1);
        for (what, found) in [("starts", starts.len()), ("lengths", lengths.len())] {
            if found != n_items * per_item {
                return Err(DecodeError::Count {
                    what,
                    found,
                    expected: n_items * per_item,
                });
            }
        }
        self.each(n_items, out, |item, blob, places| {
            let at = item * per_item + blob;
            let (start, length) = match (starts.get(at), lengths.get(at)) {
                (Some(start), Some(length)) => (*start, *length),
                _ => (0, 0),
            };
            let bytes = cut(payload, start, length, item, "a blob")?;
            self.decode_blob(decoder, bytes, (item, blob), places)
        })
    }

    fn each<T: Pixel>(
        &self,
        n_items: usize,
        out: &mut [T],
        mut decode: impl FnMut(usize, usize, &mut [T]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let n_pixels = self.pixels.1.saturating_sub(self.pixels.0);
        let (first, last) = self.blobs;
        let n_blobs = last.saturating_sub(first);
        let expected = n_pixels.saturating_mul(n_blobs).saturating_mul(n_items);
        if out.len() != expected {
            return Err(DecodeError::Count {
                what: "places",
                found: out.len(),
                expected,
            });
        }
        if expected == 0 {
            return Ok(());
        }
        let mut places = out.chunks_exact_mut(n_pixels);
        for item in 0..n_items {
            for (blob, places) in (first..last).zip(&mut places) {
                decode(item, blob, places)?;
            }
        }
        Ok(())
    }

    fn decode_blob<T: Pixel>(
        &self,
        decoder: &Decoder,
        bytes: &[u8],
        (item, blob): (usize, usize),
        places: &mut [T],
    ) -> Result<(), DecodeError> {
        decoder
            .decode(bytes, self.pixels.0, places)
            .map_err(|error| DecodeError::Blob { item, blob, error })
    }

    /// The bytes of a blob of a record.
    fn find<'a>(
        &self,
        payload: &'a [u8],
        offsets: &[u64],
        item: usize,
        blob: usize,
    ) -> Result<&'a [u8], DecodeError> {
        let start = offsets.get(item).copied().unwrap_or(u64::MAX);
        let table_bytes = 8 * self.n_blobs as u64;
        let head = cut(payload, start, 8, item, "a record")?;
        let found = head.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if found as usize != self.n_blobs {
            return Err(DecodeError::BlobCount {
                item,
                found,
                expected: self.n_blobs,
            });
        }
        let table = cut(payload, start + 8, table_bytes, item, "a record's table")?;
        let mut at = start + 8 + table_bytes;
        let (lengths, _) = table.as_chunks::<8>();
        for (i, length) in lengths.iter().enumerate() {
            let length = u64::from_le_bytes(*length);
            let bytes = cut(payload, at, length, item, "a blob")?;
            if i == blob {
                return Ok(bytes);
            }
            at += length.next_multiple_of(8);
        }
        Err(DecodeError::Count {
            what: "blobs",
            found: self.n_blobs,
            expected: blob.saturating_add(1),
        })
    }
}

fn cut<'a>(
    payload: &'a [u8],
    start: u64,
    length: u64,
    item: usize,
    what: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let outside = || DecodeError::Outside {
        item,
        what,
        start,
        length,
        available: payload.len(),
    };
    let stop = start.checked_add(length).ok_or_else(outside)?;
    let (Ok(first), Ok(last)) = (usize::try_from(start), usize::try_from(stop)) else {
        return Err(outside());
    };
    payload.get(first..last).ok_or_else(outside)
}
