//! The texts of the data channel: message prefix, acquisition header, frame header.
//!
//! Pure functions of bytes.  They trust nothing: every length is checked before it is used, nothing
//! is allocated before that, and no input makes them panic.

mod acquisition;
mod frame;
mod prefix;
mod text;

pub use acquisition::{AcquisitionHeader, MAX_HEADER_BYTES};
pub use frame::FrameHeader;
pub use prefix::{MessageKind, PREFIX_BYTES, Prefix, stray_bytes};

use thiserror::Error;

use crate::format::FormatError;

/// Bytes that are not a message of the data channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A message does not start with `MPX,` + ten digits + comma.
    #[error("expected a message 'MPX,<10 digits>,' but found {found:?}")]
    Prefix {
        /// The bytes that are there, printable.
        found: String,
    },
    /// A message says that it is longer than any message can be.
    #[error("message of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLong {
        /// As the prefix says.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A mandatory key is missing in the acquisition header.
    #[error("acquisition header (HDR) lacks {0:?}")]
    MissingKey(&'static str),
    /// A value in the acquisition header can't be read.
    #[error("acquisition header (HDR): {key:?} has the value {value:?}, which is not a whole number")]
    Value {
        /// Key of the line.
        key: &'static str,
        /// What is there, printable.
        value: String,
    },
    /// A field of a frame header is missing or not of its type.
    #[error("frame header (MQ1): field {name} is {found:?}")]
    Field {
        /// Name of the field.
        name: &'static str,
        /// What is there, printable; empty if missing.
        found: String,
    },
    /// The frame header says that pixels start where they can't.
    #[error("frame header (MQ1): data offset {offset} is outside the message of {bytes} bytes")]
    DataOffset {
        /// As the header says.
        offset: usize,
        /// Bytes of the message's body.
        bytes: usize,
    },
    /// The payload's size does not follow from the header.
    #[error(
        "frame header (MQ1) announces {expected} bytes of pixels ({width}x{height}, {n_chips} chips, \
         depth {depth}), the message holds {found}"
    )]
    PayloadSize {
        /// What the header means.
        expected: usize,
        /// What is there.
        found: usize,
        /// Header width.
        width: u32,
        /// Header height.
        height: u32,
        /// Number of chips.
        n_chips: u32,
        /// Counter depth.
        depth: u32,
    },
    /// The message's type is not known.
    #[error("message of unknown type {0:?}; expected HDR, MQ1 or PR1")]
    Kind(String),
    /// The format is not one that this crate decodes.
    #[error(transparent)]
    Format(#[from] FormatError),
}
