//! `encode`: blobs from NumPy arrays, for the simulator and for tests.

use dectris_core::codec::{self, Compression, EncodeError};
use numpy::{Element, PyReadonlyArray3, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::decoder::codec_error;

/// Encode images; see the stub for the documentation.
#[pyfunction]
#[pyo3(signature = (images, compression, block_bytes=8192))]
pub fn encode<'py>(
    images: &Bound<'py, PyUntypedArray>,
    compression: &str,
    block_bytes: usize,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let py = images.py();
    let compression: Compression = compression.parse().map_err(|error| codec_error(py, &error))?;
    macro_rules! try_types {
        ($($number:ty),*) => {$(
            if let Ok(images) = images.extract::<PyReadonlyArray3<'_, $number>>() {
                return encode_all(py, &images, compression, block_bytes, |value, bytes| {
                    bytes.extend(value.to_ne_bytes());
                });
            }
        )*};
    }
    try_types!(u8, u16, u32);
    let (n, shape) = (images.dtype(), images.shape());
    Err(codec_error(
        py,
        &format!(
            "an array of {n} with shape {shape:?} can't be encoded; it takes (n, rows, columns) of u1, u2 or u4"
        ),
    ))
}

fn encode_all<'py, T: Element + Copy + Sync>(
    py: Python<'py>,
    images: &PyReadonlyArray3<'py, T>,
    compression: Compression,
    block_bytes: usize,
    push: impl Fn(T, &mut Vec<u8>) + Sync,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let view = images.as_array();
    let blobs: Result<Vec<Vec<u8>>, EncodeError> = py.detach(|| {
        let mut pixels = Vec::new();
        view.outer_iter()
            .map(|image| {
                pixels.clear();
                image.iter().for_each(|value| push(*value, &mut pixels));
                codec::encode(&pixels, size_of::<T>(), compression, block_bytes)
            })
            .collect()
    });
    let blobs = blobs.map_err(|error| codec_error(py, &error))?;
    Ok(blobs.iter().map(|blob| PyBytes::new(py, blob)).collect())
}
