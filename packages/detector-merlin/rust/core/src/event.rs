//! What the receiver tells its owner: events of the stream.

use std::sync::Arc;

pub use receiver_core::{Cause, Counters, Ended, Gap, Status};
use thiserror::Error;

use crate::format::FrameFormat;
use crate::header::{AcquisitionHeader, FrameHeader, HeaderError};

/// Bytes that the data channel must not carry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}, at byte {offset} of the data connection")]
pub struct ProtocolError {
    /// Where the offending message starts, counted from the connection's first byte.
    pub offset: u64,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The message can't be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A frame does not fit into a slot of the ring.
    #[error("a frame of {frame} bytes does not fit into a slot of {slot} bytes; open with a larger slot_mb")]
    SlotTooSmall {
        /// Bytes of the frame's message.
        frame: u64,
        /// Bytes of a slot that data may take.
        slot: usize,
    },
    /// Frames of one acquisition must be alike.
    #[error("frame {number} differs from the first one of the acquisition: {what}")]
    Changed {
        /// Number of the frame.
        number: u64,
        /// In what, both values.
        what: String,
    },
    /// The frame comes from another counter, or is another colour layer, than the first.
    #[error(
        "frame {number} is of counter {found}, the acquisition began with counter {first}; read one \
         counter only (ENABLECOUNTER1 0 or 1, COLOURMODE 0)"
    )]
    Counter {
        /// Number of the frame.
        number: u64,
        /// Its counter.
        found: u32,
        /// Counter of the first frame.
        first: u32,
    },
    /// The frame's number can't belong to the acquisition.
    #[error("frame number {number} is outside the acquisition of {announced} frames")]
    Number {
        /// Number of the frame.
        number: u64,
        /// Frames announced, in words.
        announced: String,
    },
}

/// Something that happened on the data connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The connection stands, for the first time or again.
    Connected,
    /// The connection broke; it is being made anew.
    Disconnected {
        /// Why, in words.
        reason: String,
        /// Whether it was dropped because of what the detector sent.
        is_protocol_error: bool,
    },
    /// An acquisition was announced.
    Armed {
        /// Its number, counted from 1.
        number: u64,
        /// What it says of itself.
        header: Arc<AcquisitionHeader>,
    },
    /// The first frame of an acquisition arrived.
    FirstFrame {
        /// Number of the acquisition.
        number: u64,
        /// Its header.
        header: FrameHeader,
        /// Format of all frames of the acquisition.
        format: FrameFormat,
    },
    /// An acquisition is over; all its frames have been committed to the ring.
    Ended(Ended),
}
