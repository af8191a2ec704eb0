//! What the receiver tells its owner: events of the stream.

use std::sync::Arc;

use receiver_core::Ended;

use crate::announcement::Announcement;
use crate::image::ImageFormat;

/// Which channels of an image are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Channels {
    /// The first one.
    #[default]
    First,
    /// The one of this name.
    Named(String),
    /// All of them, in the order of the start message.
    All,
}

/// What all images of an acquisition are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstFrame {
    /// How the pixels of each channel are packed.
    pub format: ImageFormat,
    /// The channels that are kept, by name; stream V1 has no names.
    pub channels: Vec<String>,
    /// Whether an item has an axis for the channels.
    pub has_channel_axis: bool,
}

/// Something that happened on the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A connection stands, for the first time or again.
    Connected,
    /// The last connection broke; it is being made anew.
    Disconnected {
        /// Why, in words.
        reason: String,
    },
    /// A series was armed.
    Armed {
        /// Number of the acquisition, counted from 1.
        number: u64,
        /// What the series says of itself.
        announcement: Arc<Announcement>,
        /// Channel that its masks are wanted of; `None`: the first.
        channel: Option<String>,
    },
    /// The first usable image of an acquisition arrived.
    FirstFrame {
        /// Number of the acquisition.
        number: u64,
        /// What it is like.
        frame: FirstFrame,
    },
    /// An acquisition is over; all its frames have been committed to the ring.
    Ended(Ended),
}
