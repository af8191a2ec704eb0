//! The one way from our errors to Python's: the classes of `arraystream`, by name.

use std::fmt::Display;

use pyo3::prelude::*;

/// Make an error of a class of `arraystream`.
pub fn stream_error(py: Python<'_>, class: &str, message: &dyn Display) -> PyErr {
    let made = py
        .import("arraystream")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1((message.to_string(),)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
