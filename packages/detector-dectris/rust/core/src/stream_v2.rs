//! Stream V2 ("cbor"): one message is one CBOR map, of type `start`, `image` or `end`.
//!
//! Keys may come in any order and unknown ones are ignored; blobs are not copied.

use minicbor::data::Type;
use minicbor::decode::Decoder;
use serde_json::{Map, Value};

use crate::announcement::{Announcement, Table};
use crate::cbor::{Array, Scalar, array, each_entry, skip, value};
use crate::codec::{Compression, Decoder as BlobDecoder, Element};
use crate::image::{Image, ImageFormat, MAX_CHANNELS, MAX_PIXELS, Message, MessageError, Payload, Pixels};

/// Marks CBOR as such, may stand before anything.
const TAG_SELF_DESCRIBED: u64 = 55799;
/// LZ4 makes no more bytes of one.
const MAX_RATIO: usize = 256;

/// Whether a message of one part, beginning so, can be CBOR of this stream.
pub fn is_likely(bytes: &[u8]) -> bool {
    matches!(bytes, [0xd9, 0xd9, 0xf7, ..] | [0xa0..=0xbf, ..])
}

/// Understand one message.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, MessageError> {
    let map = without_prefix(bytes)?;
    let mut kind = None;
    let (mut series, mut index, mut data) = (None, None, None);
    let mut d = Decoder::new(map);
    each_entry(&mut d, |d, key| match key {
        "type" => {
            kind = Some(d.str()?);
            Ok(())
        }
        "series_id" => {
            series = Some(d.u64()?);
            Ok(())
        }
        "image_id" => {
            index = Some(d.u64()?);
            Ok(())
        }
        "data" => {
            let start = d.position();
            skip(d)?;
            data = map.get(start..d.position());
            Ok(())
        }
        _ => skip(d),
    })?;
    let kind = kind.ok_or_else(|| MessageError::new("a CBOR message lacks its type"))?;
    let series =
        || series.ok_or_else(|| MessageError::new(format!("a message {kind:?} lacks its series_id")));
    match kind {
        "start" => Ok(Message::Start(Box::new(start(map, series()?)?))),
        "end" => Ok(Message::End { series: series()? }),
        "image" => {
            let series = series()?;
            let missing = |what| MessageError::new(format!("an image of series {series} lacks its {what}"));
            Ok(Message::Image(Image {
                series,
                index: index.ok_or_else(|| missing("image_id"))?,
                payload: Payload::Channels(data.ok_or_else(|| missing("data"))?),
            }))
        }
        _ => Ok(Message::Ignored),
    }
}

/// The map of the message.
fn without_prefix(bytes: &[u8]) -> Result<&[u8], MessageError> {
    let mut d = Decoder::new(bytes);
    if d.datatype()? == Type::Tag && d.tag()?.as_u64() != TAG_SELF_DESCRIBED {
        return Err(MessageError::new("a CBOR message begins with an unknown tag"));
    }
    Ok(bytes.get(d.position()..).unwrap_or_default())
}

/// Names of the channels in the `data` of an image.
pub(crate) fn channel_names(data: &[u8]) -> Result<Vec<String>, MessageError> {
    let mut names = Vec::new();
    each_entry(&mut Decoder::new(data), |d, name| {
        if names.len() == MAX_CHANNELS {
            return Err(MessageError::new(format!(
                "an image of more than {MAX_CHANNELS} channels"
            )));
        }
        names.push(name.to_owned());
        skip(d)
    })?;
    Ok(names)
}

/// The pixels of a channel in the `data` of an image.
pub(crate) fn channel<'a>(data: &'a [u8], name: &str) -> Result<Pixels<'a>, MessageError> {
    let mut found = None;
    each_entry(&mut Decoder::new(data), |d, key| {
        if key == name {
            found = Some(array(d)?);
            Ok(())
        } else {
            skip(d)
        }
    })?;
    let array = found.ok_or_else(|| MessageError::new(format!("the image lacks its channel {name:?}")))?;
    pixels(&array)
}

fn pixels<'a>(array: &Array<'a>) -> Result<Pixels<'a>, MessageError> {
    let Scalar::Unsigned(element) = array.scalar else {
        return Err(MessageError::new(format!(
            "pixels are unsigned integers of 8, 16 or 32 bit, not {:?} (RFC 8746)",
            array.scalar
        )));
    };
    let format = ImageFormat::new(array.compression, element, array.big_endian, array.shape)?;
    Ok(Pixels {
        format,
        blob: array.bytes,
    })
}

/// Read a start message, whose series is known already.
fn start(map: &[u8], series: u64) -> Result<Announcement, MessageError> {
    let mut header = Map::new();
    let (mut pixel_masks, mut flatfields) = (Vec::new(), Vec::new());
    each_entry(&mut Decoder::new(map), |d, key| {
        match key {
            "pixel_mask" if d.datatype()? != Type::Null => tables(d, &mut pixel_masks, |bits| bits)?,
            "flatfield" if d.datatype()? != Type::Null => tables(d, &mut flatfields, f32::from_bits)?,
            _ => {
                header.insert(key.to_owned(), value(d)?);
            }
        }
        Ok(())
    })?;
    let number = |key| header.get(key).and_then(Value::as_f64);
    let channels = header.get("channels").and_then(Value::as_array);
    let channels = channels
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .take(MAX_CHANNELS)
        .collect();
    let n_images = header.get("number_of_images").and_then(Value::as_u64);
    Ok(Announcement {
        series,
        stream_version: 2,
        n_items: n_images.and_then(Announcement::credible),
        index_shape: Vec::new(),
        frame_s: ["frame_time", "count_time"]
            .into_iter()
            .filter_map(number)
            .reduce(f64::max),
        channels,
        header,
        pixel_masks,
        flatfields,
    })
}

/// Read a map from channel to array; arrays that do not hold what they say are left out.
fn tables<T>(
    d: &mut Decoder<'_>,
    into: &mut Vec<Table<T>>,
    from_bits: impl Fn(u32) -> T,
) -> Result<(), MessageError> {
    each_entry(d, |d, channel| {
        let start = d.position();
        skip(d)?;
        let stop = d.position();
        if into.len() == MAX_CHANNELS {
            return Ok(());
        }
        let item = d.input().get(start..stop).unwrap_or_default();
        if let Ok(array) = array(&mut Decoder::new(item))
            && let Some(bits) = words(&array)
        {
            into.push(Table {
                channel: channel.to_owned(),
                shape: (array.shape.0 as usize, array.shape.1 as usize),
                values: bits.into_iter().map(&from_bits).collect(),
            });
        }
        Ok(())
    })
}

/// The elements of an array of 32-bit values, as they are in memory.
fn words(array: &Array<'_>) -> Option<Vec<u32>> {
    if !matches!(array.scalar, Scalar::Unsigned(Element::U32) | Scalar::Float32) {
        return None;
    }
    let n = usize::try_from(array.shape.0.checked_mul(array.shape.1)?).ok()?;
    let most = match array.compression {
        Compression::None => 1,
        _ => MAX_RATIO,
    };
    if n > MAX_PIXELS || 4 * n > array.bytes.len().saturating_mul(most) {
        return None;
    }
    let mut values = vec![0; n];
    let decoder = BlobDecoder::new(array.compression, Element::U32, n).with_big_endian(array.big_endian);
    decoder.decode(array.bytes, 0, &mut values).ok()?;
    Some(values)
}

#[cfg(test)]
mod tests;
