//! `Receiver`: the receiving thread and its ring.

use std::os::fd::RawFd;

use dectris_core::event::{Channels, Event};
use dectris_core::receiver::{self, Receiver, ReceiverConfig};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_python::{
    EventTuple, attach, counters, ended_details, ring_error, seconds, settle, stream_error,
};
use shmring_core::{Ring, RingConfig};

use crate::details::{armed_details, first_frame_details};

/// In messages.
const DETECTOR: &str = "DECTRIS";

/// Receives acquisitions into a ring of shared memory; see the stub for the documentation.
#[pyclass(name = "Receiver", module = "detector_dectris._dectris", frozen)]
pub struct PyReceiver(Receiver);

#[pymethods]
impl PyReceiver {
    #[new]
    #[pyo3(signature = (
        endpoints, *, slot_bytes, n_slots, flush_interval=0.01, stall_timeout=None, channel=None
    ))]
    fn new(
        py: Python<'_>,
        endpoints: Vec<String>,
        slot_bytes: usize,
        n_slots: u32,
        flush_interval: f64,
        stall_timeout: Option<f64>,
        channel: Option<String>,
    ) -> PyResult<Self> {
        let config = ReceiverConfig {
            endpoints,
            channels: match channel {
                None => Channels::First,
                Some(name) if name == "all" => Channels::All,
                Some(name) => Channels::Named(name),
            },
            flush_interval: seconds(py, flush_interval)?,
            stall_timeout: stall_timeout.map(|time| seconds(py, time)).transpose()?,
        };
        let ring = py.detach(|| Ring::create(RingConfig::new(slot_bytes, n_slots)));
        let ring = ring.map_err(|error| ring_error(py, DETECTOR, &error))?;
        let started = py.detach(|| receiver::start(config, ring));
        Ok(Self(started.map_err(|error| {
            stream_error(py, "ConnectionFailed", &format!("DECTRIS receiver: {error}"))
        })?))
    }

    fn next_event<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Option<EventTuple<'py>>> {
        let timeout = seconds(py, timeout)?;
        let event = py.detach(|| self.0.next_event(timeout));
        event.map(|event| event_tuple(py, event)).transpose()
    }

    #[getter]
    fn is_over(&self) -> bool {
        self.0.is_over()
    }

    #[getter]
    fn last_error(&self) -> String {
        self.0.last_error()
    }

    fn attach(&self, py: Python<'_>, acquisition: u64) -> PyResult<(u32, RawFd)> {
        attach(py, self.0.ring(), acquisition).map_err(|error| ring_error(py, DETECTOR, &error))
    }

    fn settle(&self, py: Python<'_>, consumer: u32, tokens: Vec<u64>) -> bool {
        settle(py, self.0.ring(), consumer, tokens)
    }

    fn abort(&self) {
        self.0.abort();
    }

    fn abandon(&self, py: Python<'_>, acquisition: u64) {
        py.detach(|| self.0.abandon(acquisition));
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        counters(py, self.0.ring(), &self.0.counters())
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn event_tuple(py: Python<'_>, event: Event) -> PyResult<EventTuple<'_>> {
    let details = PyDict::new(py);
    Ok(match event {
        Event::Connected => ("connected", 0, details),
        Event::Disconnected { reason } => {
            details.set_item("reason", reason)?;
            details.set_item("is_protocol_error", false)?;
            ("disconnected", 0, details)
        }
        Event::Armed {
            number,
            announcement,
            channel,
        } => {
            let details = armed_details(py, &announcement, channel.as_deref())?;
            ("armed", number, details)
        }
        Event::FirstFrame { number, frame } => ("first_frame", number, first_frame_details(py, &frame)?),
        Event::Ended(ended) => ("ended", ended.number, ended_details(py, &ended)?),
    })
}
