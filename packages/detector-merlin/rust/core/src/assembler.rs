//! From a stream of bytes to acquisitions and their frames: the receiver's state machine, sans I/O.
//!
//! Feed it the bytes at the front of the stream with [`Assembler::step`]; it says how many more it
//! needs, how many to drop, or where a frame is.  Frames are placed by number: nothing that is lost,
//! doubled or left over from an earlier acquisition can shift another frame.
//!
//! ```text
//! WAITING --HDR--> ARMED --frame 1--> RUNNING --frame N / error / abort / silence--> WAITING
//!    frames: stale     HDR: replaces      HDR: ends the acquisition, arms the next
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use receiver_core::{Placement, default_stall, monotonic_s};

use crate::event::{Cause, Counters, Ended, Event, Gap, Problem, ProtocolError, Status};
use crate::format::{FrameFormat, MAX_FRAME_BYTES};
use crate::frame_ledger::NumberLedger;
use crate::header::{
    AcquisitionHeader, FrameHeader, HeaderError, MAX_HEADER_BYTES, MessageKind, PREFIX_BYTES, Prefix,
    stray_bytes,
};

/// After the last frame, missing ones may still come for so long.
const LATE_FRAMES: Duration = Duration::from_millis(200);
/// Bytes that tell what kind of message it is.
const KIND_BYTES: usize = PREFIX_BYTES + 3;

/// What to do with the bytes at the front of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet: so many bytes must be there, counted from the front.
    Need(usize),
    /// So many bytes hold nothing to keep.
    Skip(usize),
    /// A frame to keep.
    Frame {
        /// Bytes of its message.
        message_bytes: usize,
        /// Number of its acquisition.
        acquisition: u64,
        /// Index of the frame in its acquisition, from 0.
        index: u64,
        /// Where its pixels start, counted from the front.
        payload_offset: usize,
    },
}

/// An acquisition from its header on.
#[derive(Debug)]
struct Run {
    number: u64,
    header: Arc<AcquisitionHeader>,
    first: Option<FirstFrame>,
    frames: NumberLedger,
    is_wanted: bool,
}

impl Run {
    /// How far it got, for error messages.
    fn progress(&self) -> String {
        let n = self.frames.frames().next() - self.frames.frames().n_missing();
        self.header
            .n_frames
            .map_or(format!("{n} frames"), |of| format!("{n} of {of} frames"))
    }
}

#[derive(Debug, Clone, Copy)]
struct FirstFrame {
    message_bytes: usize,
    counter: u32,
    format: FrameFormat,
    stall: Duration,
}

/// The state of one data connection.
#[derive(Debug)]
pub struct Assembler {
    slot_bytes: usize,
    stall_timeout: Option<Duration>,
    run: Option<Run>,
    /// The last acquisition was ended by us, frames of it may still come.
    was_aborted: bool,
    last_bytes: Instant,
    /// Position of the front in the stream.
    offset: u64,
    n_lost_before: u64,
    counters: Counters,
    events: VecDeque<Event>,
}

impl Assembler {
    /// Begin without a connection.
    ///
    /// No message may be longer than `slot_bytes`.  `stall_timeout` is the silence within an
    /// acquisition that ends it; by default it follows from the shutter time, at least 10 s.
    pub fn new(slot_bytes: usize, stall_timeout: Option<Duration>, now: Instant) -> Self {
        Self {
            slot_bytes,
            stall_timeout,
            run: None,
            was_aborted: false,
            last_bytes: now,
            offset: 0,
            n_lost_before: 0,
            counters: Counters::default(),
            events: VecDeque::new(),
        }
    }

    /// Look at the front of the stream.  Call again with what follows a skipped or taken message.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, ProtocolError> {
        let step = self.examine(bytes).map_err(|problem| {
            self.counters.n_corrupt += 1;
            ProtocolError {
                offset: self.offset,
                problem,
            }
        })?;
        match step {
            Step::Need(_) => {}
            Step::Skip(n) => self.offset += n as u64,
            Step::Frame { message_bytes, .. } => self.offset += message_bytes as u64,
        }
        Ok(step)
    }

    fn examine(&mut self, bytes: &[u8]) -> Result<Step, Problem> {
        let stray = stray_bytes(bytes);
        if stray > 0 {
            return Ok(Step::Skip(stray));
        }
        let Some(prefix) = Prefix::parse(bytes)? else {
            return Ok(Step::Need(PREFIX_BYTES));
        };
        let message_bytes = prefix.message_bytes();
        let Some(message) = bytes.get(PREFIX_BYTES..KIND_BYTES.min(message_bytes as usize)) else {
            return Ok(Step::Need(KIND_BYTES.min(message_bytes as usize)));
        };
        let kind = MessageKind::of(message)?;
        self.check_length(kind, bytes, prefix)?;
        let message_bytes = message_bytes as usize;
        let Some(body) = bytes.get(PREFIX_BYTES..message_bytes) else {
            return Ok(Step::Need(message_bytes));
        };
        match kind {
            MessageKind::Acquisition => {
                self.begin(AcquisitionHeader::parse(body)?);
                Ok(Step::Skip(message_bytes))
            }
            MessageKind::Profile => {
                self.counters.n_ignored += 1;
                Ok(Step::Skip(message_bytes))
            }
            MessageKind::Frame => self.frame(body, message_bytes),
        }
    }

    /// Refuse a length as soon as it is known, before anybody waits for so many bytes.
    fn check_length(&self, kind: MessageKind, bytes: &[u8], prefix: Prefix) -> Result<(), Problem> {
        let length = prefix.message_bytes();
        let limit = match kind {
            MessageKind::Acquisition => MAX_HEADER_BYTES,
            MessageKind::Frame | MessageKind::Profile => MAX_FRAME_BYTES,
        };
        if length > limit as u64 {
            return Err(HeaderError::TooLong {
                bytes: length,
                limit: limit as u64,
            }
            .into());
        }
        if length > self.slot_bytes as u64 {
            return Err(Problem::SlotTooSmall {
                frame: length,
                slot: self.slot_bytes,
            });
        }
        let first = self.run.as_ref().and_then(|run| run.first);
        match (kind, first) {
            (MessageKind::Frame, Some(first)) if length != first.message_bytes as u64 => {
                let number = bytes
                    .get(PREFIX_BYTES + 4..)
                    .and_then(leading_number)
                    .unwrap_or(0);
                let what = format!(
                    "its message has {length} bytes instead of {}",
                    first.message_bytes
                );
                Err(Problem::Changed { number, what })
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, header: AcquisitionHeader) {
        if let Some(run) = &mut self.run {
            if run.is_wanted && run.first.is_none() && run.header.announces_same(&header) {
                // Some versions send the header twice.
                self.counters.n_ignored += 1;
                return;
            }
            if run.frames.frames().has_last() {
                self.end(Status::Complete, String::new(), None);
            } else {
                let reason = format!(
                    "the detector began another acquisition after {}: it was aborted there",
                    run.progress()
                );
                self.end(Status::Aborted, reason, None);
            }
        }
        let number = self.counters.n_acquisitions + 1;
        let header = Arc::new(header);
        self.counters.n_acquisitions = number;
        self.counters.first_item_time_s = None;
        self.counters.last_item_time_s = None;
        self.was_aborted = false;
        self.run = Some(Run {
            number,
            frames: NumberLedger::new(header.n_frames),
            header: Arc::clone(&header),
            first: None,
            is_wanted: true,
        });
        self.events.push_back(Event::Armed { number, header });
    }

    fn frame(&mut self, body: &[u8], message_bytes: usize) -> Result<Step, Problem> {
        let Some(run) = &mut self.run else {
            let counter = if self.was_aborted {
                &mut self.counters.n_discarded
            } else {
                &mut self.counters.n_stale
            };
            *counter += 1;
            return Ok(Step::Skip(message_bytes));
        };
        let header = FrameHeader::parse(body, body.len())?;
        match run.first {
            Some(first) => check_alike(&header, &first)?,
            None => {
                let format = header.format(body.len() - header.data_offset)?;
                let stall = self
                    .stall_timeout
                    .unwrap_or_else(|| default_stall(header.shutter_s));
                run.first = Some(FirstFrame {
                    message_bytes,
                    counter: header.counter,
                    format,
                    stall,
                });
                self.events.push_back(Event::FirstFrame {
                    number: run.number,
                    header,
                    format,
                });
            }
        }
        let (index, placement) = run.frames.enter(header.number);
        let counters = &mut self.counters;
        match placement {
            Placement::Beyond => {
                let announced = run.header.n_frames.map_or("unlimited".into(), |n| n.to_string());
                return Err(Problem::Number {
                    number: header.number,
                    announced,
                });
            }
            Placement::Duplicate => {
                counters.n_duplicate += 1;
                return Ok(Step::Skip(message_bytes));
            }
            Placement::Late => counters.n_out_of_order += 1,
            Placement::InOrder => {}
        }
        counters.n_lost = self.n_lost_before + run.frames.frames().n_missing();
        let (acquisition, is_wanted) = (run.number, run.is_wanted);
        *(if is_wanted {
            &mut counters.n_items
        } else {
            &mut counters.n_discarded
        }) += 1;
        let time = monotonic_s();
        counters.first_item_time_s.get_or_insert(time);
        counters.last_item_time_s = Some(time);
        if run.frames.frames().has_last() && run.frames.frames().gaps().is_empty() {
            self.end(Status::Complete, String::new(), None);
        }
        if !is_wanted {
            return Ok(Step::Skip(message_bytes));
        }
        let payload_offset = PREFIX_BYTES + header.data_offset;
        Ok(Step::Frame {
            message_bytes,
            acquisition,
            index,
            payload_offset,
        })
    }

    /// End the acquisition, if there is one.
    fn end(&mut self, status: Status, reason: String, cause: Option<Cause>) {
        let Some(run) = self.run.take() else { return };
        let frames = run.frames.frames();
        self.n_lost_before += frames.n_missing();
        let gaps = frames.gaps().iter();
        self.events.push_back(Event::Ended(Ended {
            number: run.number,
            status,
            n_items: frames.next(),
            gaps: gaps
                .map(|&(start, stop)| Gap::new(start, stop, "lost by the detector"))
                .collect(),
            reason,
            cause,
        }));
    }

    /// Note that bytes arrived.
    pub fn received(&mut self, n_bytes: usize, now: Instant) {
        self.counters.n_bytes += n_bytes as u64;
        self.last_bytes = now;
    }

    /// Note that nobody listened for a while: silence before `now` does not count.
    pub fn forgive_silence(&mut self, now: Instant) {
        self.last_bytes = now;
    }

    /// When [`Assembler::tick`] will have something to do, if nothing arrives.
    pub fn deadline(&self) -> Option<Instant> {
        let run = self.run.as_ref()?;
        let silence = if run.frames.frames().has_last() {
            LATE_FRAMES
        } else {
            run.first?.stall
        };
        Some(self.last_bytes + silence)
    }

    /// End the acquisition if it has been silent for too long.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let Some(run) = &self.run else { return };
        if run.frames.frames().has_last() {
            self.end(Status::Complete, String::new(), None);
            return;
        }
        if !run.is_wanted {
            self.end(
                Status::Aborted,
                "left early, then the detector fell silent".into(),
                None,
            );
            return;
        }
        let silence = now.duration_since(self.last_bytes).as_secs_f64();
        let reason = format!(
            "no data for {silence:.1} s after {}; are triggers missing? \
             If pauses are longer than that, open with a larger stall_timeout",
            run.progress()
        );
        self.was_aborted = true;
        self.end(Status::Failed, reason, Some(Cause::Stalled));
    }

    /// A connection stands, the first one or another: its stream begins here.
    pub fn connected(&mut self, is_another: bool, now: Instant) {
        self.offset = 0;
        self.last_bytes = now;
        self.counters.n_reconnects += u64::from(is_another);
        self.events.push_back(Event::Connected);
    }

    /// The connection broke.
    pub fn disconnected(&mut self, reason: String) {
        if let Some(run) = &self.run {
            let text = format!("the data connection broke after {}: {reason}", run.progress());
            self.end(Status::Truncated, text, Some(Cause::Disconnected));
        }
        self.events.push_back(Event::Disconnected {
            reason,
            is_protocol_error: false,
        });
    }

    /// The stream can't be understood any more; the connection is dropped.
    pub fn failed(&mut self, error: &ProtocolError) {
        self.end(Status::Failed, error.to_string(), Some(Cause::Protocol));
        self.events.push_back(Event::Disconnected {
            reason: error.to_string(),
            is_protocol_error: true,
        });
    }

    /// End the acquisition here, whatever the detector goes on sending.
    pub fn abort(&mut self) {
        if self.run.is_some() {
            self.was_aborted = true;
            self.end(Status::Aborted, "aborted by us".into(), None);
        }
    }

    /// Go on receiving acquisition `number`, but keep none of its frames.
    pub fn abandon(&mut self, number: u64) {
        if let Some(run) = self.run.as_mut().filter(|run| run.number == number) {
            run.is_wanted = false;
        }
    }

    /// Bytes of each message in the running acquisition, once known.
    pub fn message_bytes(&self) -> Option<usize> {
        Some(self.run.as_ref()?.first?.message_bytes)
    }

    /// Frames up to the end of the present acquisition, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        self.run.as_ref()?.frames.frames().remaining()
    }

    /// Whether there are events to take.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The oldest event that has not been taken.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counters up to now.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn check_alike(header: &FrameHeader, first: &FirstFrame) -> Result<(), Problem> {
    let number = header.number;
    if header.counter != first.counter {
        return Err(Problem::Counter {
            number,
            found: header.counter,
            first: first.counter,
        });
    }
    let format = header.format(first.format.payload_bytes());
    if format.as_ref() == Ok(&first.format) {
        return Ok(());
    }
    let describe =
        |kind, layout, width, height, chips| format!("{kind} {width}x{height} of {chips} chips {layout}");
    let now = describe(
        header.kind,
        header.layout,
        header.width,
        header.height,
        header.n_chips,
    );
    let f = &first.format;
    let then = describe(
        f.kind(),
        f.layout(),
        f.header_width(),
        f.header_height(),
        f.n_chips(),
    );
    let detail = match format {
        Err(error) if now == then => format!("{error}"),
        _ => format!("{now} instead of {then}"),
    };
    Err(Problem::Changed { number, what: detail })
}

/// The frame number in a header of which only the beginning may be there, for an error message.
fn leading_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
