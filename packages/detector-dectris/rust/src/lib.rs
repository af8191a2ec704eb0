//! The Python face of `dectris-core`: thin, every call that works or waits releases the GIL.

mod decoder;
mod details;
mod encode;
mod receiver;
mod sender;

use pyo3::prelude::*;

/// The private extension module.
#[pymodule(gil_used = false)]
fn _dectris(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<decoder::PyDecoder>()?;
    module.add_class::<receiver::PyReceiver>()?;
    module.add_class::<sender::PySender>()?;
    module.add_function(wrap_pyfunction!(encode::encode, module)?)?;
    Ok(())
}
