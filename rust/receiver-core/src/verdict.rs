//! What a receiver tells of its acquisitions: how they ended, and counters.

use std::borrow::Cow;

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

impl Cause {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Stalled => "stalled",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Frames that are missing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// First missing index.
    pub start: u64,
    /// One past the last.
    pub stop: u64,
    /// In words.
    pub reason: Cow<'static, str>,
}

impl Gap {
    /// Frames `[start, stop)`, missing for a reason.
    pub fn new(start: u64, stop: u64, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { start, stop, reason }
    }
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
    /// Indices that never came, ascending.
    pub gaps: Vec<Gap>,
    /// In words; empty if there is nothing to say.
    pub reason: String,
    /// What kind of error, if it was one.
    pub cause: Option<Cause>,
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
    /// Messages of a kind that is ignored.
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
