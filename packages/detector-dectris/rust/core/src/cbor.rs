//! CBOR within bounds: skipping, plain values and typed arrays.
//!
//! Nothing here recurses deeper than [`MAX_DEPTH`] or keeps more than the message's own bytes allow.

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};
use serde_json::{Map, Value};

use crate::codec::{Compression, Element};
use crate::image::MessageError;

/// Values nested deeper are refused.
const MAX_DEPTH: u32 = 16;
/// More plain values than any header has are refused.
const MAX_VALUES: u32 = 100_000;

const TAG_ARRAY: u64 = 40;
const TAG_ARRAY_BY_COLUMNS: u64 = 1040;
const TAG_COMPRESSED: u64 = 56500;

impl From<Error> for MessageError {
    fn from(error: Error) -> Self {
        Self::new(format!("no valid CBOR: {error}"))
    }
}

/// Do something with every key of a map, definite or not; `visit` must read or skip the value.
///
/// Keys that are no text are skipped with their values.
pub(crate) fn each_entry<'b>(
    d: &mut Decoder<'b>,
    mut visit: impl FnMut(&mut Decoder<'b>, &'b str) -> Result<(), MessageError>,
) -> Result<(), MessageError> {
    let length = d.map()?;
    let mut n = 0;
    while more(d, length, n)? {
        n += 1;
        if d.datatype()? == Type::String {
            let key = d.str()?;
            visit(d, key)?;
        } else {
            skip(d)?;
            skip(d)?;
        }
    }
    Ok(())
}

/// Whether a map or array of this length has another element; takes the end of an indefinite one.
fn more(d: &mut Decoder<'_>, length: Option<u64>, n: u64) -> Result<bool, MessageError> {
    match length {
        Some(length) => Ok(n < length),
        None if d.datatype()? == Type::Break => {
            d.set_position(d.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

/// Skip one value.
pub(crate) fn skip(d: &mut Decoder<'_>) -> Result<(), MessageError> {
    skip_within(d, MAX_DEPTH)
}

fn deeper(depth: u32) -> Result<u32, MessageError> {
    depth
        .checked_sub(1)
        .ok_or_else(|| MessageError::new(format!("CBOR nested deeper than {MAX_DEPTH} levels")))
}

fn skip_within(d: &mut Decoder<'_>, depth: u32) -> Result<(), MessageError> {
    let depth = deeper(depth)?;
    match d.datatype()? {
        Type::Array | Type::ArrayIndef => {
            let length = d.array()?;
            let mut n = 0;
            while more(d, length, n)? {
                n += 1;
                skip_within(d, depth)?;
            }
        }
        Type::Map | Type::MapIndef => {
            let length = d.map()?;
            let mut n = 0;
            while more(d, length, n)? {
                n += 1;
                skip_within(d, depth)?;
                skip_within(d, depth)?;
            }
        }
        Type::Tag => {
            d.tag()?;
            skip_within(d, depth)?;
        }
        Type::BytesIndef => d.bytes_iter()?.try_for_each(|piece| piece.map(drop))?,
        Type::StringIndef => d.str_iter()?.try_for_each(|piece| piece.map(drop))?,
        Type::Bytes => drop(d.bytes()?),
        Type::String => drop(d.str()?),
        Type::Break => return Err(MessageError::new("no valid CBOR: an end without a beginning")),
        _ => d.skip()?,
    }
    Ok(())
}

/// Read one value as a plain one; byte strings and arrays of numbers in them become `null`.
pub(crate) fn value(d: &mut Decoder<'_>) -> Result<Value, MessageError> {
    let mut budget = MAX_VALUES;
    value_within(d, MAX_DEPTH, &mut budget)
}

fn value_within(d: &mut Decoder<'_>, depth: u32, budget: &mut u32) -> Result<Value, MessageError> {
    let depth = deeper(depth)?;
    *budget = budget
        .checked_sub(1)
        .ok_or_else(|| MessageError::new(format!("a header of more than {MAX_VALUES} values")))?;
    Ok(match d.datatype()? {
        Type::Bool => Value::Bool(d.bool()?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => d.u64()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => d.i64()?.into(),
        Type::F32 => f64::from(d.f32()?).into(),
        Type::F64 => d.f64()?.into(),
        Type::String => d.str()?.into(),
        Type::StringIndef => {
            let pieces: Result<String, Error> = d.str_iter()?.collect();
            pieces?.into()
        }
        Type::Array | Type::ArrayIndef => {
            let length = d.array()?;
            let mut items = Vec::new();
            while more(d, length, items.len() as u64)? {
                items.push(value_within(d, depth, budget)?);
            }
            Value::Array(items)
        }
        Type::Map | Type::MapIndef => {
            let mut entries = Map::new();
            each_entry(d, |d, key| {
                let item = value_within(d, depth, budget)?;
                entries.insert(key.into(), item);
                Ok(())
            })?;
            Value::Object(entries)
        }
        Type::Tag => {
            let tag = d.tag()?.as_u64();
            if matches!(tag, 64..=87 | TAG_ARRAY | TAG_ARRAY_BY_COLUMNS | TAG_COMPRESSED) {
                skip_within(d, depth)?;
                Value::Null
            } else {
                value_within(d, depth, budget)?
            }
        }
        _ => {
            skip_within(d, depth + 1)?;
            Value::Null
        }
    })
}

/// Type of the elements of a typed array (RFC 8746).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Unsigned(Element),
    Float32,
    /// Known, but neither pixels nor masks are of it.
    Other(u64),
}

/// A two-dimensional array as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Array<'b> {
    pub(crate) shape: (u64, u64),
    pub(crate) scalar: Scalar,
    pub(crate) big_endian: bool,
    pub(crate) compression: Compression,
    pub(crate) bytes: &'b [u8],
}

/// Read a two-dimensional array.
pub(crate) fn array<'b>(d: &mut Decoder<'b>) -> Result<Array<'b>, MessageError> {
    match expect_tag(d, "an array")? {
        TAG_ARRAY => {}
        TAG_ARRAY_BY_COLUMNS => {
            return Err(MessageError::new(
                "arrays stored by columns (tag 1040) are not supported",
            ));
        }
        tag => {
            return Err(MessageError::new(format!(
                "tag {tag} instead of an array (tag 40)"
            )));
        }
    }
    let length = d.array()?;
    if length.is_some_and(|n| n != 2) {
        return Err(MessageError::new("an array is not [dimensions, elements]"));
    }
    let shape = dimensions(d)?;
    let found = typed(d, shape)?;
    if more(d, length, 2)? {
        return Err(MessageError::new("an array is not [dimensions, elements]"));
    }
    Ok(found)
}

fn expect_tag(d: &mut Decoder<'_>, what: &str) -> Result<u64, MessageError> {
    match d.datatype()? {
        Type::Tag => Ok(d.tag()?.as_u64()),
        found => Err(MessageError::new(format!("{found} instead of {what}"))),
    }
}

fn dimensions(d: &mut Decoder<'_>) -> Result<(u64, u64), MessageError> {
    let length = d.array()?;
    let mut sizes = [0_u64; 2];
    let mut n = 0;
    while more(d, length, n as u64)? {
        let size = d.u64()?;
        match sizes.get_mut(n) {
            Some(place) => *place = size,
            None => return Err(MessageError::new("an array of more than two dimensions")),
        }
        n += 1;
    }
    match (sizes, n) {
        ([rows, columns], 2) => Ok((rows, columns)),
        _ => Err(MessageError::new(format!(
            "an array of {n} dimensions instead of two"
        ))),
    }
}

fn typed<'b>(d: &mut Decoder<'b>, shape: (u64, u64)) -> Result<Array<'b>, MessageError> {
    let tag = expect_tag(d, "elements with their type")?;
    let (scalar, big_endian) = match tag {
        64 | 68 => (Scalar::Unsigned(Element::U8), false),
        65 => (Scalar::Unsigned(Element::U16), true),
        66 => (Scalar::Unsigned(Element::U32), true),
        69 => (Scalar::Unsigned(Element::U16), false),
        70 => (Scalar::Unsigned(Element::U32), false),
        81 => (Scalar::Float32, true),
        85 => (Scalar::Float32, false),
        64..=87 => (Scalar::Other(tag), false),
        _ => {
            return Err(MessageError::new(format!(
                "tag {tag} instead of a type of elements (64 to 87)"
            )));
        }
    };
    let size = match scalar {
        Scalar::Unsigned(element) => element.size(),
        _ => 4,
    };
    let (compression, bytes) = match d.datatype()? {
        Type::Tag => compressed(d, size)?,
        _ => (Compression::None, byte_string(d)?),
    };
    Ok(Array {
        shape,
        scalar,
        big_endian,
        compression,
        bytes,
    })
}

fn compressed<'b>(
    d: &mut Decoder<'b>,
    element_bytes: usize,
) -> Result<(Compression, &'b [u8]), MessageError> {
    let tag = expect_tag(d, "compressed elements")?;
    if tag != TAG_COMPRESSED {
        return Err(MessageError::new(format!(
            "tag {tag} instead of compressed elements (56500)"
        )));
    }
    let length = d.array()?;
    if length.is_some_and(|n| n != 3) {
        return Err(MessageError::new(
            "compressed elements are not [algorithm, size, bytes]",
        ));
    }
    let algorithm = d.str()?;
    let size = d.u64()?;
    let compression = match algorithm {
        "bslz4" if size != element_bytes as u64 => {
            return Err(MessageError::new(format!(
                "bslz4 of elements of {size} bytes for elements of {element_bytes}"
            )));
        }
        "bslz4" => Compression::Bslz4,
        "lz4" => Compression::Lz4,
        _ => {
            return Err(MessageError::new(format!(
                "the compression {algorithm:?} is unknown"
            )));
        }
    };
    let bytes = byte_string(d)?;
    if more(d, length, 3)? {
        return Err(MessageError::new(
            "compressed elements are not [algorithm, size, bytes]",
        ));
    }
    Ok((compression, bytes))
}

fn byte_string<'b>(d: &mut Decoder<'b>) -> Result<&'b [u8], MessageError> {
    match d.datatype()? {
        Type::Bytes => Ok(d.bytes()?),
        Type::BytesIndef => Err(MessageError::new(
            "byte strings in several pieces (indefinite length) are not supported",
        )),
        found => Err(MessageError::new(format!("{found} instead of a byte string"))),
    }
}
