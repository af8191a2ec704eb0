//! What the receiver tells its owner: events of the stream, and counters.

use std::sync::Arc;

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

/// How an acquisition ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All frames came, or the last one did.
    Complete,
    /// Ended early by the detector or by us.
    Aborted,
    /// Ended by an error.
    Failed,
    /// The connection broke.
    Truncated,
}

impl Status {
    /// The word for it in the stream protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Truncated => "truncated",
        }
    }
}

/// The kind of error behind a failed acquisition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The detector sent what can't be understood.
    Protocol,
    /// The detector fell silent.
    Stalled,
    /// The connection broke.
    Disconnected,
}

/// The end of an acquisition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Number of the acquisition.
    pub number: u64,
    /// How it ended.
    pub status: Status,
    /// One more than the highest index that came or was lost.
    pub n_items: u64,
    /// Indices that never came, as `[start, stop)`.
    pub gaps: Vec<(u64, u64)>,
    /// In words; empty if complete.
    pub reason: String,
    /// What kind of error, if it was one.
    pub cause: Option<Cause>,
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

/// Counters since the connection was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counters {
    /// Frames accepted.
    pub n_items: u64,
    /// Bytes received.
    pub n_bytes: u64,
    /// Frames that never came, up to now.
    pub n_lost: u64,
    /// Frames without an acquisition: left over from an earlier one.
    pub n_stale: u64,
    /// Frames that came again, and were discarded.
    pub n_duplicate: u64,
    /// Frames that came late and were placed right.
    pub n_out_of_order: u64,
    /// Messages that could not be understood.
    pub n_corrupt: u64,
    /// Frames of acquisitions that were aborted or abandoned by us.
    pub n_discarded: u64,
    /// Messages of a kind that is ignored (beam profiles, repeated headers).
    pub n_ignored: u64,
    /// Acquisitions announced.
    pub n_acquisitions: u64,
    /// Times the connection was made anew.
    pub n_reconnects: u64,
    /// Monotonic time of the newest acquisition's first frame, seconds.
    pub first_item_time_s: Option<f64>,
    /// Monotonic time of its newest frame, seconds.
    pub last_item_time_s: Option<f64>,
}
