//! An image as it came: which one it is, and its pixels, compressed.

use thiserror::Error;

use crate::codec::{Compression, Element};
use crate::stream_v2;

/// More pixels than any detector has.
pub const MAX_PIXELS: usize = 64 << 20;
/// More channels than any detector has.
pub const MAX_CHANNELS: usize = 8;

/// A message, or a part of it, that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct MessageError(String);

impl MessageError {
    /// What is wrong, in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// How the pixels of an image are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFormat {
    /// Compression and framing.
    pub compression: Compression,
    /// Type of a pixel.
    pub element: Element,
    /// Byte order of a pixel.
    pub big_endian: bool,
    /// Pixels along y.
    pub rows: u32,
    /// Pixels along x.
    pub columns: u32,
}

impl ImageFormat {
    /// Make a format; sizes come from the wire.
    pub fn new(
        compression: Compression,
        element: Element,
        big_endian: bool,
        (rows, columns): (u64, u64),
    ) -> Result<Self, MessageError> {
        let n = rows.checked_mul(columns);
        let size = u32::try_from(rows).ok().zip(u32::try_from(columns).ok());
        match (n, size) {
            (Some(n), Some((rows, columns))) if n > 0 && n <= MAX_PIXELS as u64 => Ok(Self {
                compression,
                element,
                big_endian,
                rows,
                columns,
            }),
            _ => Err(MessageError::new(format!(
                "{rows} rows of {columns} pixels are no image: it has 1 to {MAX_PIXELS} pixels"
            ))),
        }
    }

    /// Pixels of an image.
    pub fn n_pixels(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    /// Bytes of the pixels when unpacked.
    pub fn n_bytes(&self) -> usize {
        self.n_pixels() * self.element.size()
    }
}

impl std::fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, columns, .. } = self;
        let order = if self.big_endian { " big-endian" } else { "" };
        let bits = 8 * self.element.size();
        let compression = match self.compression {
            Compression::None => "not compressed",
            Compression::Lz4Block => "lz4 block",
            Compression::Lz4 => "lz4",
            Compression::Bslz4 => "bslz4",
        };
        write!(f, "{rows}x{columns} of {bits} bit{order}, {compression}")
    }
}

/// The pixels of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels<'a> {
    /// How they are packed.
    pub format: ImageFormat,
    /// Exactly the bytes of the wire.
    pub blob: &'a [u8],
}

/// An image of all its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    /// Series it belongs to.
    pub series: u64,
    /// Index in the series, from 0.
    pub index: u64,
    /// Its pixels.
    pub payload: Payload<'a>,
}

/// Where an image's pixels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Stream V1 has one channel.
    Single(Result<Pixels<'a>, MessageError>),
    /// The `data` of stream V2: a CBOR map from channel to pixels.
    Channels(&'a [u8]),
}

impl<'a> Image<'a> {
    /// The pixels of a channel; V1 has only one, whatever its name.
    pub fn channel(&self, name: &str) -> Result<Pixels<'a>, MessageError> {
        match &self.payload {
            Payload::Single(pixels) => pixels.clone(),
            Payload::Channels(map) => stream_v2::channel(map, name),
        }
    }

    /// Names of the channels, in the order of the image; V1 has none.
    pub fn channel_names(&self) -> Result<Vec<String>, MessageError> {
        match &self.payload {
            Payload::Single(_) => Ok(Vec::new()),
            Payload::Channels(map) => stream_v2::channel_names(map),
        }
    }
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// A series was armed.
    Start(Box<crate::announcement::Announcement>),
    /// An image.
    Image(Image<'a>),
    /// A series is over.
    End {
        /// Its number.
        series: u64,
    },
    /// Nothing to do.
    Ignored,
}
