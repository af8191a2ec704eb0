//! What headers say, as dictionaries of plain values.

use merlin_core::format::FrameFormat;
use merlin_core::header::{AcquisitionHeader, FrameHeader};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What an acquisition announces.
pub fn announcement<'py>(py: Python<'py>, header: &AcquisitionHeader) -> PyResult<Bound<'py, PyDict>> {
    let details = PyDict::new(py);
    details.set_item("n_frames", header.n_frames)?;
    details.set_item("frames_per_trigger", header.frames_per_trigger)?;
    details.set_item("index_shape", header.index_shape())?;
    let lines = PyDict::new(py);
    for (key, value) in &header.lines {
        lines.set_item(key, value)?;
    }
    details.set_item("header", lines)?;
    Ok(details)
}

/// The event `armed`, as `arraystream.NativeReceiver` has it.
pub fn armed_details<'py>(py: Python<'py>, header: &AcquisitionHeader) -> PyResult<Bound<'py, PyDict>> {
    let meta = announcement(py, header)?;
    meta.del_item("n_frames")?;
    meta.del_item("index_shape")?;
    let details = PyDict::new(py);
    details.set_item("n_items", header.n_frames)?;
    details.set_item("index_shape", header.index_shape())?;
    details.set_item("meta", meta)?;
    Ok(details)
}

/// The event `first_frame`, as `arraystream.NativeReceiver` has it.
pub fn first_frame_details<'py>(
    py: Python<'py>,
    header: &FrameHeader,
    format: &FrameFormat,
) -> PyResult<Bound<'py, PyDict>> {
    let details = frame_details(py, header, format)?;
    let meta = PyDict::new(py);
    for key in ["shutter_s", "counter"] {
        meta.set_item(key, details.get_item(key)?)?;
        details.del_item(key)?;
    }
    details.set_item("meta", meta)?;
    Ok(details)
}

/// What a frame's header says, and what follows from it.
pub fn frame_details<'py>(
    py: Python<'py>,
    header: &FrameHeader,
    format: &FrameFormat,
) -> PyResult<Bound<'py, PyDict>> {
    let params = PyDict::new(py);
    params.set_item("kind", format.kind().to_string())?;
    params.set_item("depth", format.depth())?;
    params.set_item("layout", format.layout().to_string())?;
    params.set_item("n_chips", format.n_chips())?;
    params.set_item("header_width", format.header_width())?;
    params.set_item("header_height", format.header_height())?;
    let details = PyDict::new(py);
    details.set_item("codec_params", params)?;
    details.set_item("item_shape", format.item_shape())?;
    details.set_item("dtype", format.native().name())?;
    details.set_item("shutter_s", header.shutter_s)?;
    details.set_item("counter", header.counter)?;
    Ok(details)
}
