//! The Python face of `shmring-core`.

use pyo3::prelude::*;

/// The private extension module.
#[pymodule]
fn _shmring(_m: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
