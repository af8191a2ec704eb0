//! The one way from our errors to Python's: the classes of `arraystream`, by name.

use std::fmt::Display;
use std::time::Duration;

use pyo3::prelude::*;
use shmring_core::RingError;

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

/// Tell Python of an error of the ring of some receiver, e.g. `"Merlin"`.
pub fn ring_error(py: Python<'_>, receiver: &str, error: &RingError) -> PyErr {
    let class = if matches!(error, RingError::Closed) {
        "ConnectionClosed"
    } else {
        "StreamError"
    };
    stream_error(py, class, &format!("buffer of the {receiver} receiver: {error}"))
}

/// Read a time that Python gives in seconds.
pub fn seconds(py: Python<'_>, time: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(time).map_err(|error| {
        stream_error(
            py,
            "StateError",
            &format!("{time} is no time in seconds: {error}"),
        )
    })
}
