//! `scan_mib` and `parse_hdr`: files as they lie on disk.

use merlin_core::header::AcquisitionHeader;
use merlin_core::mib::scan;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_python::stream_error;

use crate::details::{announcement, frame_details};

/// Read the headers of all frames of a file; see the stub.
#[pyfunction]
pub fn scan_mib<'py>(py: Python<'py>, file: PyReadonlyArray1<'py, u8>) -> PyResult<Bound<'py, PyDict>> {
    let bytes = file.as_slice()?;
    let index = py
        .detach(|| scan(bytes))
        .map_err(|error| stream_error(py, "ProtocolError", &error))?;
    let details = frame_details(py, &index.header, &index.format)?;
    details.set_item("first_number", index.header.number)?;
    details.set_item("data_offset", index.header.data_offset)?;
    details.set_item("stride", index.stride)?;
    details.set_item("n_frames", index.n_frames)?;
    details.set_item("n_left_over", index.n_left_over)?;
    details.set_item("jump", index.jump)?;
    Ok(details)
}

/// Read an acquisition header; see the stub.
#[pyfunction]
pub fn parse_hdr<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let header = AcquisitionHeader::parse(text).map_err(|error| stream_error(py, "ProtocolError", &error))?;
    announcement(py, &header)
}
