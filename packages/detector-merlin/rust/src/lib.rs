//! The Python face of `merlin-core`: thin, every call that works or waits releases the GIL.

mod decoder;
mod errors;

use pyo3::prelude::*;

/// The private extension module.
#[pymodule(gil_used = false)]
fn _merlin(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<decoder::PyDecoder>()?;
    Ok(())
}
