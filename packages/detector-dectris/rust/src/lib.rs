//! The Python face of `dectris-core`: thin, every call that works or waits releases the GIL.

use pyo3::prelude::*;

/// The private extension module.
#[pymodule(gil_used = false)]
fn _dectris(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
