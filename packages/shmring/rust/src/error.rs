//! From the core's one error enum to the exceptions of `shmring._errors`.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use shmring_core::RingError;

/// An exception of `shmring._errors`.
pub(crate) fn exception(py: Python<'_>, name: &str, args: impl IntoArgs) -> PyErr {
    let made = py
        .import("shmring._errors")
        .and_then(|module| module.getattr(name))
        .and_then(|class| Ok(class.cast_into::<PyType>()?))
        .and_then(|class| args.make(&class));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// Constructor arguments of an exception.
pub(crate) trait IntoArgs {
    fn make<'py>(self, class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>>;
}

impl IntoArgs for String {
    fn make<'py>(self, class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
        class.call1((self,))
    }
}

impl IntoArgs for (String, &str) {
    fn make<'py>(self, class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
        class.call1(self)
    }
}

/// The exception for an error of the core.
pub(crate) fn to_py(py: Python<'_>, error: RingError) -> PyErr {
    let text = error.to_string();
    match error {
        RingError::Full => exception(py, "RingFull", text),
        RingError::Closed => exception(py, "RingClosed", (text, "closed")),
        RingError::OwnerLost => exception(py, "RingClosed", (text, "owner_lost")),
        RingError::Detached => exception(py, "RingClosed", (text, "detached")),
        RingError::Forked => exception(py, "RingForked", text),
        RingError::TooLarge { .. } => exception(py, "StackTooLarge", text),
        RingError::Config(_) => exception(py, "RingConfigError", text),
        RingError::OutOfMemory { .. } => exception(py, "RingMemoryError", text),
        RingError::TooManyConsumers(_) => exception(py, "TooManyConsumers", text),
        RingError::Incompatible(_) => exception(py, "IncompatibleRing", text),
        RingError::Os { what, source } => match source.raw_os_error() {
            Some(number) => PyOSError::new_err((number, format!("{what}: {source}"))),
            None => PyOSError::new_err(text),
        },
        _ => exception(py, "RingError", text),
    }
}

/// Convert the error of a result.
pub(crate) trait OrPy<T> {
    fn or_py(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrPy<T> for Result<T, RingError> {
    fn or_py(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_py(py, error))
    }
}
