//! Image messages: V1 as several JSON parts and a blob, V2 as one CBOR item.
//!
//! What is the same for all images of a series is rendered once; per image there are numbers and one
//! copy of the blob.  Format: stream interfaces V1 (`dimage-1.0`) and V2 of the SIMPLON API.

use std::io::Write;

use thiserror::Error;
use zmq::Message;

/// Nanoseconds per tick of V2's time base, 50 MHz.
const TICK_NS: u64 = 20;
const TICKS_PER_S: u64 = 50_000_000;

/// What was asked for makes no images.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// Not 1 or 2.
    #[error("stream version {0} is neither 1 nor 2")]
    Version(u8),
    /// No such pixels.
    #[error("pixels of type {0:?} are neither uint8 nor uint16 nor uint32")]
    Element(String),
    /// No such compression.
    #[error("compression {0:?} is neither bslz4 nor lz4 nor none")]
    Packing(String),
    /// Numbers of blobs don't go together.
    #[error(
        "{n_offsets} offsets, {n_lengths} lengths and {n_hashes} hashes make no images of {n_channels} channels"
    )]
    Table {
        /// How many offsets.
        n_offsets: usize,
        /// How many lengths.
        n_lengths: usize,
        /// How many hashes.
        n_hashes: usize,
        /// Blobs per image.
        n_channels: usize,
    },
    /// A blob is not where it should be.
    #[error("blob {index} at {offset} of {length} bytes is beyond the {available} bytes there are")]
    Range {
        /// Which.
        index: usize,
        /// Where it begins.
        offset: u64,
        /// Its length.
        length: u64,
        /// Bytes of all blobs.
        available: usize,
    },
}

/// Which stream interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// JSON multipart, "legacy".
    V1,
    /// CBOR.
    V2,
}

impl TryFrom<u8> for Version {
    type Error = ImageError;

    fn try_from(number: u8) -> Result<Self, ImageError> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            other => Err(ImageError::Version(other)),
        }
    }
}

/// How blobs are compressed, which only their label depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Plain pixels.
    None,
    /// V1: one bare LZ4 block; V2: the framing of the HDF5 filter.
    Lz4,
    /// Bitshuffle and LZ4.
    Bslz4,
}

impl std::str::FromStr for Packing {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Self, ImageError> {
        match name {
            "none" => Ok(Self::None),
            "lz4" | "lz4-block" => Ok(Self::Lz4),
            "bslz4" => Ok(Self::Bslz4),
            other => Err(ImageError::Packing(other.to_owned())),
        }
    }
}

/// When images were taken, in nanoseconds since the series began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Start of image 0.
    pub start_ns: u64,
    /// From image to image.
    pub period_ns: u64,
    /// Exposure.
    pub real_ns: u64,
}

impl Times {
    fn start(&self, number: u64) -> u64 {
        self.start_ns
            .saturating_add(number.saturating_mul(self.period_ns))
    }
}

/// What all images of a series have in common.
#[derive(Clone, Debug)]
pub struct ImageFormat {
    /// Which stream interface.
    pub version: Version,
    /// Number of the series.
    pub series: u64,
    /// V2's name of the series.
    pub unique_id: String,
    /// V2's begin of the series, RFC 3339.
    pub series_date: String,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// Bytes per pixel: 1, 2, 4.
    pub element_bytes: usize,
    /// Most significant byte first.
    pub big_endian: bool,
    /// Label of the compression.
    pub packing: Packing,
    /// Names, one per blob of an image.
    pub channels: Vec<String>,
    /// V1: one more part; V2: a CBOR item.
    pub appendix: Option<Vec<u8>>,
    /// When images were taken.
    pub times: Times,
}

impl ImageFormat {
    /// Bytes per pixel of a type.
    ///
    /// # Errors
    /// If images have no such pixels.
    pub fn element_bytes(dtype: &str) -> Result<usize, ImageError> {
        match dtype {
            "uint8" => Ok(1),
            "uint16" => Ok(2),
            "uint32" => Ok(4),
            other => Err(ImageError::Element(other.to_owned())),
        }
    }
}

/// Where the blobs of images are; image `i` has those of row `i` modulo the number of rows.
pub struct BlobTable<'a> {
    bytes: &'a [u8],
    offsets: &'a [u64],
    lengths: &'a [u64],
    hashes: &'a [[u8; 32]],
    n_channels: usize,
}

impl<'a> BlobTable<'a> {
    /// Blobs in `bytes`, `n_channels` per image, with V1's hashes or none of them.
    ///
    /// # Errors
    /// If counts don't go together, or a blob is beyond the bytes.
    pub fn new(
        bytes: &'a [u8],
        offsets: &'a [u64],
        lengths: &'a [u64],
        hashes: &'a [[u8; 32]],
        n_channels: usize,
    ) -> Result<Self, ImageError> {
        let n = offsets.len();
        let fits = n_channels > 0 && n > 0 && n.is_multiple_of(n_channels) && lengths.len() == n;
        if !fits || !(hashes.is_empty() || hashes.len() == n) {
            return Err(ImageError::Table {
                n_offsets: n,
                n_lengths: lengths.len(),
                n_hashes: hashes.len(),
                n_channels,
            });
        }
        for (index, (&offset, &length)) in offsets.iter().zip(lengths).enumerate() {
            if slice(bytes, offset, length).is_none() {
                return Err(ImageError::Range {
                    index,
                    offset,
                    length,
                    available: bytes.len(),
                });
            }
        }
        Ok(Self {
            bytes,
            offsets,
            lengths,
            hashes,
            n_channels,
        })
    }

    fn row(&self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        let first = self.index(number);
        let places = self
            .offsets
            .iter()
            .zip(self.lengths)
            .skip(first)
            .take(self.n_channels);
        places.map(|(&offset, &length)| slice(self.bytes, offset, length).unwrap_or_default())
    }

    fn hash(&self, number: u64) -> &[u8] {
        self.hashes
            .get(self.index(number))
            .unwrap_or(b"00000000000000000000000000000000")
    }

    fn index(&self, number: u64) -> usize {
        let n_rows = (self.offsets.len() / self.n_channels).max(1) as u64;
        usize::try_from(number % n_rows).unwrap_or(0) * self.n_channels
    }
}

fn slice(bytes: &[u8], offset: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let stop = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..stop)
}

/// Makes the messages of images.
pub struct Composer {
    format: ImageFormat,
    /// V1: encoding of the blob, up to its size.  V2: map up to the number of the image.
    head: Vec<u8>,
    /// V1: shape and type.  V2: everything from the date up to the start time.
    middle: Vec<u8>,
    /// V2: per channel, everything up to the blob.
    channels: Vec<Vec<u8>>,
    text: Vec<u8>,
}

impl Composer {
    /// Render what is common to all images.
    pub fn new(format: ImageFormat) -> Self {
        let mut composer = Self {
            head: Vec::new(),
            middle: Vec::new(),
            channels: Vec::new(),
            text: Vec::new(),
            format,
        };
        match composer.format.version {
            Version::V1 => composer.render_v1(),
            Version::V2 => composer.render_v2(),
        }
        composer
    }

    /// Make the parts of one image's message.
    pub fn compose(&mut self, number: u64, blobs: &BlobTable<'_>) -> Vec<Message> {
        match self.format.version {
            Version::V1 => self.compose_v1(number, blobs),
            Version::V2 => vec![self.compose_v2(number, blobs)],
        }
    }

    fn render_v1(&mut self) {
        let format = &self.format;
        let end = if format.big_endian { '>' } else { '<' };
        let bits = 8 * format.element_bytes;
        let encoding = match format.packing {
            Packing::None => format!("{end}"),
            Packing::Lz4 => format!("lz4{end}"),
            Packing::Bslz4 => format!("bs{bits}-lz4{end}"),
        };
        let (rows, columns) = format.shape;
        self.head =
            format!(r#"{{"encoding":"{encoding}","htype":"dimage_d-1.0","shape":[{columns},{rows}],"size":"#)
                .into_bytes();
        self.middle = format!(r#","type":"uint{bits}"}}"#).into_bytes();
    }

    fn compose_v1(&mut self, number: u64, blobs: &BlobTable<'_>) -> Vec<Message> {
        let Self {
            format,
            head,
            middle,
            text,
            ..
        } = self;
        let mut parts = Vec::with_capacity(5);
        let mut part = |pieces: std::fmt::Arguments<'_>, text: &mut Vec<u8>| {
            // Writing to memory can't fail.
            let _ = text.write_fmt(pieces);
            parts.push(Message::from(text.as_slice()));
            text.clear();
        };
        let blob = blobs.row(number).next().unwrap_or_default();
        text.extend_from_slice(br#"{"frame":"#);
        let _ = write!(text, "{number}");
        text.extend_from_slice(br#","hash":""#);
        text.extend_from_slice(blobs.hash(number));
        part(
            format_args!(r#"","htype":"dimage-1.0","series":{}}}"#, format.series),
            text,
        );
        text.extend_from_slice(head);
        let _ = write!(text, "{}", blob.len());
        text.extend_from_slice(middle);
        part(format_args!(""), text);
        text.extend_from_slice(br#"{"htype":"dconfig-1.0","real_time":"#);
        let start = format.times.start(number);
        let real = format.times.real_ns;
        let stop = start.saturating_add(real);
        part(
            format_args!(r#"{real},"start_time":{start},"stop_time":{stop}}}"#),
            text,
        );
        parts.insert(2, Message::from(blob));
        if let Some(appendix) = &format.appendix {
            parts.push(Message::from(appendix.as_slice()));
        }
        parts
    }

    fn render_v2(&mut self) {
        let format = &self.format;
        let out = &mut self.head;
        let n_keys = 9 + u64::from(format.appendix.is_some());
        tag(out, 55799);
        cbor(out, MAP, n_keys);
        string(out, "type");
        string(out, "image");
        string(out, "series_id");
        cbor(out, UINT, format.series);
        string(out, "series_unique_id");
        string(out, &format.unique_id);
        string(out, "image_id");

        let out = &mut self.middle;
        string(out, "series_date");
        tag(out, 0);
        string(out, &format.series_date);
        if let Some(appendix) = &format.appendix {
            string(out, "user_data");
            out.extend_from_slice(appendix);
        }
        string(out, "real_time");
        rational(out, format.times.real_ns);
        string(out, "start_time");

        let (rows, columns) = format.shape;
        for name in &format.channels {
            let mut out = Vec::new();
            string(&mut out, name);
            tag(&mut out, 40);
            cbor(&mut out, ARRAY, 2);
            cbor(&mut out, ARRAY, 2);
            cbor(&mut out, UINT, rows as u64);
            cbor(&mut out, UINT, columns as u64);
            tag(&mut out, typed_array(format.element_bytes, format.big_endian));
            let algorithm = match format.packing {
                Packing::None => None,
                Packing::Lz4 => Some(("lz4", 0)),
                Packing::Bslz4 => Some(("bslz4", format.element_bytes as u64)),
            };
            if let Some((name, element_bytes)) = algorithm {
                tag(&mut out, 56500);
                cbor(&mut out, ARRAY, 3);
                string(&mut out, name);
                cbor(&mut out, UINT, element_bytes);
            }
            self.channels.push(out);
        }
    }

    fn compose_v2(&mut self, number: u64, blobs: &BlobTable<'_>) -> Message {
        let fixed: usize = self.channels.iter().map(|channel| channel.len() + 9).sum();
        let pixels: usize = blobs.row(number).map(<[u8]>::len).sum();
        let size = self.head.len() + self.middle.len() + fixed + pixels + 96;
        let out = &mut self.text;
        out.clear();
        out.reserve(size);
        out.extend_from_slice(&self.head);
        cbor(out, UINT, number);
        out.extend_from_slice(&self.middle);
        let start = self.format.times.start(number);
        rational(out, start);
        string(out, "stop_time");
        rational(out, start.saturating_add(self.format.times.real_ns));
        string(out, "data");
        cbor(out, MAP, self.channels.len() as u64);
        for (channel, blob) in self.channels.iter().zip(blobs.row(number)) {
            out.extend_from_slice(channel);
            cbor(out, BYTES, blob.len() as u64);
            out.extend_from_slice(blob);
        }
        // One copy of the pixels: what was composed becomes the message.
        Message::from(std::mem::take(out))
    }
}

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// Write the head of a CBOR item: its kind, and a number in the fewest bytes.
fn cbor(out: &mut Vec<u8>, kind: u8, number: u64) {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    let kind = kind << 5;
    match number {
        0..24 => out.push(kind | d),
        24..0x100 => out.extend_from_slice(&[kind | 24, d]),
        0x100..0x1_0000 => out.extend_from_slice(&[kind | 25, c, d]),
        0x1_0000..0x1_0000_0000 => out.extend_from_slice(&[kind | 26, a, b, c, d]),
        _ => {
            out.push(kind | 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn tag(out: &mut Vec<u8>, number: u64) {
    cbor(out, TAG, number);
}

fn string(out: &mut Vec<u8>, text: &str) {
    cbor(out, TEXT, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Write a time as ticks of the time base, not reduced.
fn rational(out: &mut Vec<u8>, ns: u64) {
    cbor(out, ARRAY, 2);
    cbor(out, UINT, ns / TICK_NS);
    cbor(out, UINT, TICKS_PER_S);
}

/// The tag of RFC 8746 for unsigned numbers.
fn typed_array(element_bytes: usize, big_endian: bool) -> u64 {
    match (element_bytes, big_endian) {
        (1, _) => 64,
        (2, true) => 65,
        (2, false) => 69,
        (_, true) => 66,
        (_, false) => 70,
    }
}
