//! What start messages and first images say, as dictionaries of plain values.

use dectris_core::announcement::{Announcement, Table};
use dectris_core::codec::Element;
use dectris_core::event::FirstFrame;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;

/// The event `armed`, as `arraystream.NativeReceiver` has it, and masks.
pub fn armed_details<'py>(
    py: Python<'py>,
    announcement: &Announcement,
    channel: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    let meta = PyDict::new(py);
    meta.set_item("series", announcement.series)?;
    meta.set_item("stream_version", announcement.stream_version)?;
    meta.set_item("channels", &announcement.channels)?;
    let header = PyDict::new(py);
    for (key, value) in &announcement.header {
        header.set_item(key, plain(py, value)?)?;
    }
    meta.set_item("header", header)?;
    let channel = channel.or(announcement.channels.first().map(String::as_str));
    let details = PyDict::new(py);
    details.set_item("n_items", announcement.n_items)?;
    details.set_item("index_shape", &announcement.index_shape)?;
    details.set_item("meta", meta)?;
    details.set_item("pixel_mask", table(py, &announcement.pixel_masks, channel)?)?;
    details.set_item("flatfield", table(py, &announcement.flatfields, channel)?)?;
    Ok(details)
}

/// The event `first_frame`, as `arraystream.NativeReceiver` has it.
pub fn first_frame_details<'py>(py: Python<'py>, frame: &FirstFrame) -> PyResult<Bound<'py, PyDict>> {
    let format = &frame.format;
    let (rows, columns) = (format.rows as usize, format.columns as usize);
    let n_blobs = frame.channels.len().max(1);
    let params = PyDict::new(py);
    params.set_item("compression", format.compression.name())?;
    params.set_item("element_bytes", format.element.size())?;
    params.set_item("byteorder", if format.big_endian { ">" } else { "<" })?;
    params.set_item("n_blobs", n_blobs)?;
    let details = PyDict::new(py);
    if frame.has_channel_axis {
        params.set_item("blob", py.None())?;
        details.set_item("item_shape", (n_blobs, rows, columns))?;
    } else {
        params.set_item("blob", 0)?;
        details.set_item("item_shape", (rows, columns))?;
    }
    details.set_item("codec_params", params)?;
    let dtype = match format.element {
        Element::U8 => "u1",
        Element::U16 => "u2",
        Element::U32 => "u4",
    };
    details.set_item("dtype", dtype)?;
    let meta = PyDict::new(py);
    meta.set_item("kept_channels", &frame.channels)?;
    details.set_item("meta", meta)?;
    Ok(details)
}

/// The table of a channel as an array of two dimensions; `None` if there is none.
fn table<'py, T: numpy::Element + Clone>(
    py: Python<'py>,
    tables: &[Table<T>],
    channel: Option<&str>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let found = tables
        .iter()
        .find(|table| table.channel.is_empty() || channel.is_none_or(|channel| table.channel == channel));
    let Some(table) = found else { return Ok(None) };
    let flat = PyArray1::from_slice(py, &table.values);
    Ok(Some(flat.reshape([table.shape.0, table.shape.1])?.into_any()))
}

fn plain<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => flag.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            _ => number.as_f64().into_pyobject(py)?.into_any(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(plain(py, item)?)?;
            }
            list.into_any()
        }
        Value::Object(entries) => {
            let dict = PyDict::new(py);
            for (key, item) in entries {
                dict.set_item(key, plain(py, item)?)?;
            }
            dict.into_any()
        }
    })
}
