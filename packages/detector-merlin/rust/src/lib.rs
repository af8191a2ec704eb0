//! The Python face of `merlin-core`.

use pyo3::prelude::*;

/// The private extension module.
#[pymodule]
fn _merlin(_m: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
