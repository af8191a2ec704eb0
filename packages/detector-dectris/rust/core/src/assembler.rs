//! From messages to acquisitions and their frames: the receiver's state machine, sans I/O.
//!
//! Frames are placed by series and number: nothing that is lost, doubled or left over from an earlier
//! series can shift another frame.  What can't be understood costs its frame, never the connection.
//!
//! ```text
//! WAITING --START(S)--> ARMED(S) --image--> RUNNING(S) --all images / END(S) / silence / abort--> WAITING
//!    images: stale       START: ends the acquisition, arms the next; what is of another series: stale
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use receiver_core::{
    Cause, Counters, Ended, FrameLedger, Gap, Placement, Status, default_stall, monotonic_s,
};

use crate::announcement::Announcement;
use crate::codec::inspect;
use crate::event::{Channels, Event, FirstFrame};
use crate::gap_pattern::{self, Pattern};
use crate::image::{Image, MAX_CHANNELS, Message, MessageError};
use crate::stack::record_bytes;

/// After the last frame, missing ones may still come for so long.
const LATE_FRAMES: Duration = Duration::from_millis(200);
/// Corrupt frames beyond are told without their reason.
const MAX_REASONS: usize = 100;
/// After so many gaps a pattern is looked for while the acquisition runs.
const GAPS_TO_LOOK_AT: usize = 16;

/// A frame to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Number of its acquisition.
    pub acquisition: u64,
    /// Index of the frame in its acquisition, from 0.
    pub index: u64,
    blobs: [&'a [u8]; MAX_CHANNELS],
    n_blobs: usize,
}

impl<'a> Frame<'a> {
    /// Its pixels, one blob per channel that is kept.
    pub fn blobs(&self) -> &[&'a [u8]] {
        self.blobs.get(..self.n_blobs).unwrap_or_default()
    }
}

/// Why a frame can't be kept.
enum Unusable {
    Corrupt(MessageError),
    /// It makes no sense to go on.
    Acquisition(String),
}

impl From<MessageError> for Unusable {
    fn from(error: MessageError) -> Self {
        Self::Corrupt(error)
    }
}

/// An acquisition from its header on.
#[derive(Debug)]
struct Run {
    number: u64,
    announcement: Arc<Announcement>,
    frames: FrameLedger,
    /// Frames that came and can't be used.
    corrupt: Vec<Gap>,
    n_corrupt: u64,
    like: Option<FirstFrame>,
    is_wanted: bool,
    has_images: bool,
    stall: Duration,
    last_activity: Instant,
}

impl Run {
    fn progress(&self) -> String {
        let n = self.frames.next() - self.frames.n_missing() - self.n_corrupt;
        self.frames
            .announced()
            .map_or(format!("{n} frames"), |of| format!("{n} of {of} frames"))
    }

    fn note_corrupt(&mut self, index: u64, error: &MessageError) {
        self.n_corrupt += 1;
        let gap = if self.corrupt.len() < MAX_REASONS {
            Gap::new(index, index + 1, format!("corrupt: {error}"))
        } else {
            Gap::new(index, index + 1, "corrupt")
        };
        match self.corrupt.last_mut() {
            Some(last) if last.stop == index && last.reason == gap.reason => last.stop = index + 1,
            _ => self.corrupt.push(gap),
        }
    }

    /// All that is missing, ascending, with reasons.
    fn gaps(&mut self, pattern: Option<&Pattern>) -> Vec<Gap> {
        let lost = self.frames.gaps().iter().map(|&(start, stop)| {
            if pattern.is_some_and(|pattern| pattern.covers((start, stop))) {
                Gap::new(start, stop, gap_pattern::REASON)
            } else {
                Gap::new(start, stop, "never arrived")
            }
        });
        let mut gaps: Vec<Gap> = lost.collect();
        gaps.append(&mut self.corrupt);
        gaps.sort_by_key(|gap| gap.start);
        gaps
    }
}

/// The state of one stream.
#[derive(Debug)]
pub struct Assembler {
    channels: Channels,
    largest_record: usize,
    stall_timeout: Option<Duration>,
    run: Option<Run>,
    /// Series that was ended by us: images of it may still come.
    ended_by_us: Option<u64>,
    /// Series of which images came without a start.
    unannounced: Option<u64>,
    is_connected: bool,
    n_lost_before: u64,
    now: Instant,
    monotonic_s: f64,
    counters: Counters,
    events: VecDeque<Event>,
    note: Option<String>,
}

impl Assembler {
    /// Begin without a connection.
    ///
    /// No frame's record may be larger than `largest_record`.  `stall_timeout` is the silence within
    /// an acquisition that ends it; by default it follows from the frame time, at least 10 s.
    pub fn new(
        channels: Channels,
        largest_record: usize,
        stall_timeout: Option<Duration>,
        now: Instant,
    ) -> Self {
        Self {
            channels,
            largest_record,
            stall_timeout,
            run: None,
            ended_by_us: None,
            unannounced: None,
            is_connected: false,
            n_lost_before: 0,
            now,
            monotonic_s: 0.0,
            counters: Counters::default(),
            events: VecDeque::new(),
            note: None,
        }
    }

    /// Say what time it is: once per batch of messages is enough.
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
        self.monotonic_s = monotonic_s();
    }

    /// Note that a message of so many bytes arrived.
    pub fn received(&mut self, n_bytes: usize) {
        self.counters.n_bytes += n_bytes as u64;
    }

    /// Take a message; gives the frame to keep, if it is one.
    pub fn take<'a>(&mut self, message: Result<Message<'a>, MessageError>) -> Option<Frame<'a>> {
        match message {
            Ok(Message::Start(announcement)) => self.begin(*announcement),
            Ok(Message::Image(image)) => return self.image(&image),
            Ok(Message::End { series }) => self.end_of_series(series),
            Ok(Message::Ignored) => self.counters.n_ignored += 1,
            Err(error) => {
                self.counters.n_corrupt += 1;
                self.note = Some(error.to_string());
            }
        }
        None
    }

    fn begin(&mut self, announcement: Announcement) {
        if let Some(run) = &self.run {
            if run.is_wanted && !run.has_images && *run.announcement == announcement {
                self.counters.n_ignored += 1;
                return;
            }
            if run.frames.has_last() {
                self.end(Status::Complete, String::new(), None);
            } else {
                let reason = format!(
                    "the detector began another series after {}: this one was aborted there",
                    run.progress()
                );
                self.end(Status::Aborted, reason, None);
            }
        }
        let number = self.counters.n_acquisitions + 1;
        self.counters.n_acquisitions = number;
        self.counters.first_item_time_s = None;
        self.counters.last_item_time_s = None;
        self.ended_by_us = None;
        self.unannounced = None;
        let announcement = Arc::new(announcement);
        self.run = Some(Run {
            number,
            frames: FrameLedger::new(announcement.n_items),
            stall: self
                .stall_timeout
                .unwrap_or_else(|| default_stall(announcement.frame_s)),
            announcement: Arc::clone(&announcement),
            corrupt: Vec::new(),
            n_corrupt: 0,
            like: None,
            is_wanted: true,
            has_images: false,
            last_activity: self.now,
        });
        let channel = match &self.channels {
            Channels::Named(name) => Some(name.clone()),
            Channels::First | Channels::All => None,
        };
        self.events.push_back(Event::Armed {
            number,
            announcement,
            channel,
        });
    }

    fn image<'a>(&mut self, image: &Image<'a>) -> Option<Frame<'a>> {
        let Some(run) = self
            .run
            .as_mut()
            .filter(|run| run.announcement.series == image.series)
        else {
            self.stale(image.series);
            return None;
        };
        run.has_images = true;
        run.last_activity = self.now;
        let counters = &mut self.counters;
        match run.frames.enter(image.index) {
            Placement::Beyond => {
                counters.n_corrupt += 1;
                let of = run.frames.announced().map_or("any".into(), |n| n.to_string());
                let (index, series) = (image.index, image.series);
                self.note = Some(format!("image {index} is outside series {series} of {of} images"));
                return None;
            }
            Placement::Duplicate => {
                counters.n_duplicate += 1;
                return None;
            }
            Placement::Late => counters.n_out_of_order += 1,
            Placement::InOrder => {
                if run.frames.gaps().len() == GAPS_TO_LOOK_AT
                    && let Some(pattern) = Pattern::of(run.frames.gaps())
                {
                    self.note = Some(pattern.to_string());
                }
            }
        }
        counters.n_lost = self.n_lost_before + run.frames.n_missing();
        counters.first_item_time_s.get_or_insert(self.monotonic_s);
        counters.last_item_time_s = Some(self.monotonic_s);
        let was_known = run.like.is_some();
        let frame = match usable(run, image, &self.channels, self.largest_record) {
            Ok(frame) => {
                let wanted = run.is_wanted;
                *(if wanted {
                    &mut counters.n_items
                } else {
                    &mut counters.n_discarded
                }) += 1;
                Some(frame).filter(|_| wanted)
            }
            Err(Unusable::Corrupt(error)) => {
                counters.n_corrupt += 1;
                self.note = Some(format!("image {}: {error}", image.index));
                run.note_corrupt(image.index, &error);
                None
            }
            Err(Unusable::Acquisition(reason)) => {
                self.ended_by_us = Some(image.series);
                self.note = Some(reason.clone());
                self.end(Status::Failed, reason, Some(Cause::Protocol));
                return None;
            }
        };
        if !was_known && let Some(frame) = &run.like {
            self.events.push_back(Event::FirstFrame {
                number: run.number,
                frame: frame.clone(),
            });
        }
        if run.frames.has_last() && run.frames.gaps().is_empty() {
            self.end(Status::Complete, String::new(), None);
        }
        frame
    }

    /// An image whose series is not running.
    fn stale(&mut self, series: u64) {
        if self.ended_by_us == Some(series) {
            self.counters.n_discarded += 1;
            return;
        }
        self.counters.n_stale += 1;
        if self.run.is_none() && self.unannounced != Some(series) {
            self.unannounced = Some(series);
            if self.counters.n_acquisitions == 0 {
                self.note = Some(format!(
                    "images of series {series} arrive, but its start message never came: \
                     the detector was armed before this connection stood; arm it again"
                ));
            }
        }
    }

    fn end_of_series(&mut self, series: u64) {
        let Some(run) = self.run.as_ref().filter(|run| run.announcement.series == series) else {
            self.counters.n_ignored += 1;
            return;
        };
        if run.frames.announced().is_none() || run.frames.has_last() {
            self.end(Status::Complete, String::new(), None);
            return;
        }
        let frames = &run.frames;
        let missing = frames.remaining().unwrap_or(0);
        let pattern = Pattern::of(frames.gaps());
        if pattern.is_some_and(|pattern| missing < pattern.period && run.is_wanted) {
            // The last frames went where the others are missing from.
            self.end(Status::Complete, String::new(), None);
            return;
        }
        let reason = if frames.gaps().is_empty() {
            format!("the detector ended the series after {}", run.progress())
        } else {
            format!(
                "the detector ended the series after {}; was it aborted, or were frames dropped? \
                 stream/status/dropped of the detector tells",
                run.progress()
            )
        };
        self.end(Status::Aborted, reason, None);
    }

    /// End the acquisition, if there is one.
    fn end(&mut self, status: Status, reason: String, cause: Option<Cause>) {
        let Some(mut run) = self.run.take() else { return };
        let pattern = Pattern::of(run.frames.gaps());
        let mut gaps = run.gaps(pattern.as_ref());
        let mut n_items = run.frames.next();
        if let (Status::Complete, Some(announced)) = (status, run.frames.announced())
            && n_items < announced
        {
            gaps.push(Gap::new(n_items, announced, gap_pattern::REASON));
            n_items = announced;
        }
        self.n_lost_before += run.frames.n_missing();
        let (mut status, mut reason, mut cause) = (status, reason, cause);
        if let Some(pattern) = pattern {
            reason = if reason.is_empty() {
                pattern.to_string()
            } else {
                format!("{reason}; {pattern}")
            };
        }
        if run.like.is_none() && run.n_corrupt > 0 && cause.is_none() && run.is_wanted {
            // Nothing can be told of this acquisition but what is wrong with it.
            let first = gaps.iter().find(|gap| gap.reason.starts_with("corrupt"));
            let first = first.map_or("", |gap| gap.reason.as_ref());
            reason = format!("none of its frames can be used, the first one is {first}");
            status = Status::Failed;
            cause = Some(Cause::Protocol);
        }
        self.events.push_back(Event::Ended(Ended {
            number: run.number,
            status,
            n_items,
            gaps,
            reason,
            cause,
        }));
    }

    /// Note that nobody listened for a while: silence before `now` does not count.
    pub fn forgive_silence(&mut self, now: Instant) {
        self.now = now;
        if let Some(run) = &mut self.run {
            run.last_activity = now;
        }
    }

    /// When [`Assembler::tick`] will have something to do, if nothing arrives.
    pub fn deadline(&self) -> Option<Instant> {
        let run = self.run.as_ref()?;
        let silence = if run.frames.has_last() {
            LATE_FRAMES
        } else if run.has_images || !self.is_connected {
            run.stall
        } else {
            return None;
        };
        run.last_activity.checked_add(silence)
    }

    /// End the acquisition if it has been silent for too long.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let Some(run) = &self.run else { return };
        if run.frames.has_last() {
            self.end(Status::Complete, String::new(), None);
            return;
        }
        if !run.is_wanted {
            let reason = "left early, then the detector fell silent";
            self.end(Status::Aborted, reason.into(), None);
            return;
        }
        self.ended_by_us = Some(run.announcement.series);
        let silence = now.duration_since(run.last_activity).as_secs_f64();
        if !self.is_connected {
            let reason = format!(
                "the connection to the stream broke after {} and did not come back within {silence:.1} s",
                run.progress()
            );
            self.end(Status::Truncated, reason, Some(Cause::Disconnected));
            return;
        }
        let reason = format!(
            "no image for {silence:.1} s after {}; are triggers missing, or did the detector drop frames \
             and the end message? If pauses are longer than that, open with a larger stall_timeout",
            run.progress()
        );
        self.end(Status::Failed, reason, Some(Cause::Stalled));
    }

    /// A connection stands, the first one or another.
    pub fn connected(&mut self, is_another: bool) {
        self.is_connected = true;
        self.forgive_silence(self.now);
        self.counters.n_reconnects += u64::from(is_another);
        self.events.push_back(Event::Connected);
    }

    /// The last connection broke; an acquisition goes on if another one stands in time.
    pub fn disconnected(&mut self, reason: String) {
        self.is_connected = false;
        // From now on it has time to come back, however long nothing was to come.
        self.forgive_silence(self.now);
        self.events.push_back(Event::Disconnected { reason });
    }

    /// End the acquisition here, whatever the detector goes on sending.
    pub fn abort(&mut self) {
        if let Some(run) = &self.run {
            self.ended_by_us = Some(run.announcement.series);
            self.end(Status::Aborted, "aborted by us".into(), None);
        }
    }

    /// Go on receiving acquisition `number`, but keep none of its frames.
    pub fn abandon(&mut self, number: u64) {
        if let Some(run) = self.run.as_mut().filter(|run| run.number == number) {
            run.is_wanted = false;
        }
    }

    /// Whether there are events to take.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The oldest event that has not been taken.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What went wrong since the last call, in words.
    pub fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Counters up to now.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Look at a frame's pixels without unpacking them; the first usable one decides for all.
fn usable<'a>(
    run: &mut Run,
    image: &Image<'a>,
    channels: &Channels,
    largest_record: usize,
) -> Result<Frame<'a>, Unusable> {
    let mut blobs: [&'a [u8]; MAX_CHANNELS] = [&[]; MAX_CHANNELS];
    let mut n_blobs = 0;
    let first;
    let like = match &run.like {
        Some(like) => like,
        None => {
            let names = kept_channels(&run.announcement, image, channels)?;
            let name = names.first().map_or("", String::as_str);
            first = FirstFrame {
                format: image.channel(name)?.format,
                channels: names,
                has_channel_axis: *channels == Channels::All,
            };
            &first
        }
    };
    let unnamed = [String::new()];
    let names = if like.channels.is_empty() {
        &unnamed[..]
    } else {
        &like.channels[..]
    };
    for (name, place) in names.iter().zip(&mut blobs) {
        let pixels = image.channel(name)?;
        let (format, expected) = (pixels.format, like.format);
        if format != expected {
            let what = format!("{format} instead of {expected}");
            return Err(MessageError::new(what).into());
        }
        let checked = inspect(
            pixels.blob,
            format.compression,
            format.element.size(),
            format.n_pixels(),
        );
        checked.map_err(|error| MessageError::new(error.to_string()))?;
        *place = pixels.blob;
        n_blobs += 1;
    }
    let record = record_bytes(blobs.get(..n_blobs).unwrap_or_default());
    if record > largest_record {
        return Err(Unusable::Acquisition(format!(
            "a frame of {record} bytes does not fit into a slot of {largest_record} bytes; \
             open with a larger slot_mb"
        )));
    }
    if run.like.is_none() {
        run.like = Some(like.clone());
    }
    Ok(Frame {
        acquisition: run.number,
        index: image.index,
        blobs,
        n_blobs,
    })
}

/// Names of the channels to keep, in the order of the start message; V1 has none.
fn kept_channels(
    announcement: &Announcement,
    image: &Image<'_>,
    channels: &Channels,
) -> Result<Vec<String>, Unusable> {
    let mut names = announcement.channels.clone();
    if names.is_empty() {
        names = image.channel_names()?;
    }
    if let Channels::Named(wanted) = channels {
        if announcement.stream_version == 1 && ["threshold_1", "1", ""].contains(&wanted.as_str()) {
            return Ok(names);
        }
        if !names.contains(wanted) {
            let there = match announcement.stream_version {
                1 => "threshold_1, the only one that stream V1 carries".to_owned(),
                _ => names.join(", "),
            };
            return Err(Unusable::Acquisition(format!(
                "there is no channel {wanted:?}, there is {there}"
            )));
        }
        return Ok(vec![wanted.clone()]);
    }
    if *channels == Channels::First {
        names.truncate(1);
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
