//! Stream V1 ("legacy"): one multipart message of JSON and binary parts per header, image or end.
//!
//! Lenient in what it accepts: keys may be missing, booleans may be numbers, texts may end with a
//! line end, the global header may come as two messages, and parts it does not know may stand before
//! or behind those it does.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::announcement::{Announcement, Table, lenient_u64};
use crate::codec::{Compression, Element};
use crate::image::{Image, ImageFormat, MAX_PIXELS, Message, MessageError, Payload, Pixels};

/// No part of JSON is longer.
const MAX_JSON_BYTES: usize = 4 << 20;
/// No appendix is kept beyond.
const MAX_APPENDIX_BYTES: usize = 64 << 10;

/// What one message holds.
#[derive(Debug, PartialEq)]
pub struct Parsed<'a> {
    /// A header whose second half did not come: it begins before the message.
    pub before: Option<Box<Announcement>>,
    /// The message.
    pub message: Result<Message<'a>, MessageError>,
}

/// A part that says what kind of message it is.
#[derive(Debug, Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    htype: Cow<'a, str>,
    series: Option<u64>,
    frame: Option<u64>,
    #[serde(borrow)]
    header_detail: Option<Cow<'a, str>>,
}

/// The second part of an image.
#[derive(Debug, Deserialize)]
struct Layout<'a> {
    #[serde(borrow)]
    encoding: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    dtype: Cow<'a, str>,
    shape: [u64; 2],
    size: Option<u64>,
}

/// Understands messages one after the other.
#[derive(Debug, Default)]
pub struct Parser {
    /// Series whose header has begun and lacks its second half.
    half: Option<u64>,
    /// The second part of the newest image, and what it means.
    layout: Vec<u8>,
    meaning: Option<(ImageFormat, Option<u64>)>,
}

impl Parser {
    /// Understand the parts of one message.
    pub fn parse<'a>(&mut self, parts: &[&'a [u8]]) -> Parsed<'a> {
        let found = parts
            .iter()
            .enumerate()
            .find_map(|(i, part)| Some((i, kind(part).filter(|kind| is_known(&kind.htype))?)));
        let half = self.half.take();
        let Some((i, kind)) = found else {
            return match (half, parts.first().and_then(|part| object(part))) {
                (Some(series), Some(config)) => {
                    let rest = parts.get(1..).unwrap_or_default();
                    Parsed::only(Ok(start(series, config, rest)))
                }
                _ => Parsed {
                    before: half.map(|series| Box::new(Announcement::v1(series, Map::new()))),
                    message: Err(MessageError::new(
                        "no part of the message says that it is a header, an image or an end of stream V1",
                    )),
                },
            };
        };
        let rest = parts.get(i + 1..).unwrap_or_default();
        let message = self.message(&kind, rest);
        Parsed {
            before: half
                .filter(|series| self.half != Some(*series))
                .map(|series| Box::new(Announcement::v1(series, Map::new()))),
            message,
        }
    }

    fn message<'a>(&mut self, kind: &Kind<'_>, rest: &[&'a [u8]]) -> Result<Message<'a>, MessageError> {
        let series = kind
            .series
            .ok_or_else(|| MessageError::new(format!("a part {:?} lacks its series", kind.htype)))?;
        if kind.htype.starts_with("dseries_end-") {
            return Ok(Message::End { series });
        }
        if kind.htype.starts_with("dimage-") {
            let index = kind.frame.ok_or_else(|| {
                MessageError::new(format!("an image of series {series} lacks its frame number"))
            })?;
            let payload = Payload::Single(self.pixels(rest));
            return Ok(Message::Image(Image {
                series,
                index,
                payload,
            }));
        }
        let has_detail = kind
            .header_detail
            .as_deref()
            .is_some_and(|detail| detail != "none");
        match rest.split_first() {
            Some((first, others)) => match object(first).filter(|config| !config.contains_key("htype")) {
                Some(config) => Ok(start(series, config, others)),
                None => Ok(start(series, Map::new(), rest)),
            },
            None if has_detail => {
                self.half = Some(series);
                Ok(Message::Ignored)
            }
            None => Ok(start(series, Map::new(), rest)),
        }
    }

    fn pixels<'a>(&mut self, rest: &[&'a [u8]]) -> Result<Pixels<'a>, MessageError> {
        let [layout, blob, ..] = rest else {
            return Err(MessageError::new("the image's message lacks its pixels"));
        };
        let (format, size) = match self.meaning {
            Some(meaning) if self.layout == *layout => meaning,
            _ => {
                let meaning = layout_of(layout)?;
                self.layout.clear();
                self.layout.extend_from_slice(layout);
                self.meaning = Some(meaning);
                meaning
            }
        };
        if size.is_some_and(|size| size != blob.len() as u64) {
            return Err(MessageError::new(format!(
                "the pixels take {} bytes, {} are announced",
                blob.len(),
                size.unwrap_or(0)
            )));
        }
        Ok(Pixels { format, blob })
    }
}

impl<'a> Parsed<'a> {
    fn only(message: Result<Message<'a>, MessageError>) -> Self {
        Self {
            before: None,
            message,
        }
    }
}

fn is_known(htype: &str) -> bool {
    ["dimage-", "dseries_end-", "dheader-"]
        .iter()
        .any(|known| htype.starts_with(known))
}

/// Read what kind of message a part announces; `None` if it announces none.
fn kind(part: &[u8]) -> Option<Kind<'_>> {
    if part.len() > MAX_JSON_BYTES || !trimmed(part).starts_with(b"{") {
        return None;
    }
    if let Ok(kind) = serde_json::from_slice::<Kind<'_>>(trimmed(part)) {
        return Some(kind);
    }
    let object = object(part)?;
    let text = |key| {
        object
            .get(key)
            .and_then(Value::as_str)
            .map(|text| text.to_owned().into())
    };
    Some(Kind {
        htype: text("htype")?,
        series: object.get("series").and_then(lenient_u64),
        frame: object.get("frame").and_then(lenient_u64),
        header_detail: text("header_detail"),
    })
}

/// Without white space and zeros around.
fn trimmed(part: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = part.iter().position(|byte| !is_space(byte)).unwrap_or(part.len());
    let stop = part
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    part.get(start..stop).unwrap_or_default()
}

fn object(part: &[u8]) -> Option<Map<String, Value>> {
    if part.len() > MAX_JSON_BYTES || !trimmed(part).starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(trimmed(part)).ok()
}

/// Read the part that says how the pixels are packed.
fn layout_of(part: &[u8]) -> Result<(ImageFormat, Option<u64>), MessageError> {
    let text = trimmed(part);
    let unreadable =
        |what: &dyn std::fmt::Display| MessageError::new(format!("the layout of the image: {what}"));
    if text.len() > MAX_JSON_BYTES {
        return Err(unreadable(&"too long"));
    }
    if let Ok(layout) = serde_json::from_slice::<Layout<'_>>(text) {
        let [x, y] = layout.shape;
        let format = format_of(&layout.encoding, &layout.dtype, (y, x))?;
        return Ok((format, layout.size));
    }
    let object: Map<String, Value> = serde_json::from_slice(text).map_err(|error| unreadable(&error))?;
    let field = |key| {
        object
            .get(key)
            .ok_or_else(|| unreadable(&format!("{key} is missing")))
    };
    let word = |key| {
        field(key)?
            .as_str()
            .ok_or_else(|| unreadable(&format!("{key} is no text")))
    };
    let shape = shape_of(field("shape")?).ok_or_else(|| unreadable(&"shape is not [x, y]"))?;
    let format = format_of(word("encoding")?, word("type")?, shape)?;
    Ok((format, object.get("size").and_then(lenient_u64)))
}

/// Rows and columns from `[x, y]` or `[x, y, 1]`.
fn shape_of(value: &Value) -> Option<(u64, u64)> {
    match value.as_array()?.as_slice() {
        [x, y] => Some((lenient_u64(y)?, lenient_u64(x)?)),
        [x, y, z] if lenient_u64(z) == Some(1) => Some((lenient_u64(y)?, lenient_u64(x)?)),
        _ => None,
    }
}

/// Read an encoding: `[bs<bits>-][lz4]<endian>`.
fn format_of(encoding: &str, dtype: &str, shape: (u64, u64)) -> Result<ImageFormat, MessageError> {
    let element = match dtype {
        "uint8" => Element::U8,
        "uint16" => Element::U16,
        "uint32" => Element::U32,
        _ => return Err(MessageError::new(format!("pixels of type {dtype:?} are unknown"))),
    };
    let unknown = || MessageError::new(format!("the encoding {encoding:?} is unknown"));
    let (packing, big_endian) = match encoding.strip_suffix('>') {
        Some(packing) => (packing, true),
        None => (encoding.strip_suffix('<').unwrap_or(encoding), false),
    };
    let compression = match packing {
        "" if !encoding.is_empty() => Compression::None,
        "lz4" => Compression::Lz4Block,
        _ => {
            let bits = packing
                .strip_prefix("bs")
                .and_then(|rest| rest.strip_suffix("-lz4"))
                .and_then(|bits| bits.parse::<usize>().ok())
                .ok_or_else(unknown)?;
            if bits != 8 * element.size() {
                return Err(MessageError::new(format!(
                    "the encoding {encoding:?} does not fit pixels of type {dtype:?}"
                )));
            }
            Compression::Bslz4
        }
    };
    ImageFormat::new(compression, element, big_endian, shape)
}

/// Make a start message of a configuration and the parts behind it.
fn start<'a>(series: u64, config: Map<String, Value>, parts: &[&[u8]]) -> Message<'a> {
    let mut announcement = Announcement::v1(series, config);
    let mut parts = parts.iter();
    while let Some(part) = parts.next() {
        let header = object(part).unwrap_or_default();
        let htype = header.get("htype").and_then(Value::as_str).unwrap_or("");
        if !["dflatfield-", "dpixelmask-", "dcountrate_table-"]
            .iter()
            .any(|known| htype.starts_with(known))
        {
            let text = String::from_utf8_lossy(part.get(..MAX_APPENDIX_BYTES).unwrap_or(part));
            if !text.is_empty() {
                announcement
                    .header
                    .insert("header_appendix".into(), text.into_owned().into());
            }
            continue;
        }
        let Some(data) = parts.next() else { break };
        let shape = header.get("shape").and_then(shape_of);
        if htype.starts_with("dflatfield-") {
            announcement
                .flatfields
                .extend(table(shape, data, f32::from_le_bytes));
        } else if htype.starts_with("dpixelmask-") {
            announcement
                .pixel_masks
                .extend(table(shape, data, u32::from_le_bytes));
        }
    }
    Message::Start(Box::new(announcement))
}

/// Values of all pixels; `None` if they do not fit the shape.
fn table<T>(shape: Option<(u64, u64)>, data: &[u8], value: impl Fn([u8; 4]) -> T) -> Option<Table<T>> {
    let (words, rest) = data.as_chunks::<4>();
    let (rows, columns) = shape?;
    let fits = rows.checked_mul(columns) == Some(words.len() as u64);
    if !fits || !rest.is_empty() || words.len() > MAX_PIXELS {
        return None;
    }
    Some(Table {
        channel: String::new(),
        shape: (rows as usize, columns as usize),
        values: words.iter().map(|word| value(*word)).collect(),
    })
}

#[cfg(test)]
mod tests;
