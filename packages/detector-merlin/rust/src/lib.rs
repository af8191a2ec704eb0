//! The Python face of `merlin-core`: thin, every call that works or waits releases the GIL.

mod decoder;
mod details;
mod mib;
mod receiver;

use pyo3::prelude::*;

/// The private extension module.
#[pymodule(gil_used = false)]
fn _merlin(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<decoder::PyDecoder>()?;
    module.add_class::<receiver::PyReceiver>()?;
    module.add_function(wrap_pyfunction!(mib::scan_mib, module)?)?;
    module.add_function(wrap_pyfunction!(mib::parse_hdr, module)?)?;
    Ok(())
}
