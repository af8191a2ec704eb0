//! The Python face of `shmring-core`: the private module `shmring._shmring`.
//!
//! Docstrings live in the hand-written `_shmring.pyi`.  All `unsafe` is in `memory.rs`.

mod consumer;
mod error;
mod memory;
mod ring;
mod stats;

use pyo3::prelude::*;

/// The private extension module.
#[pymodule]
mod _shmring {
    #[pymodule_export]
    use super::consumer::{PyConsumer, PyEnd, PyStack};
    #[pymodule_export]
    use super::ring::{PyRing, PyWriter};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("LAYOUT_VERSION", shmring_core::LAYOUT_VERSION)?;
        let close = wrap_pyfunction!(super::consumer::_close_consumers, module)?;
        module.py().import("atexit")?.call_method1("register", (close,))?;
        Ok(())
    }
}

/// Seconds from Python as a duration; `None` waits as good as for ever.
fn duration(timeout: Option<f64>) -> PyResult<std::time::Duration> {
    const FOR_EVER: std::time::Duration = std::time::Duration::from_secs(1 << 32);
    let Some(seconds) = timeout else {
        return Ok(FOR_EVER);
    };
    if seconds.is_nan() {
        return Err(pyo3::exceptions::PyValueError::new_err("timeout is not a number"));
    }
    Ok(std::time::Duration::try_from_secs_f64(seconds.max(0.0))
        .unwrap_or(FOR_EVER)
        .min(FOR_EVER))
}

/// How long to wait without looking for signals such as Ctrl-C.
const SIGNAL_CHECK: std::time::Duration = std::time::Duration::from_millis(100);
