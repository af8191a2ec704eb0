//! `Receiver`: the receiving thread and its ring.

use std::os::fd::RawFd;

use merlin_core::event::Event;
use merlin_core::receiver::{self, Receiver, ReceiverConfig};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_python::{EventTuple, attach, counters, ended_details, ring_error, seconds, settle};
use shmring_core::{Ring, RingConfig};

use crate::details::{armed_details, first_frame_details};

/// In messages.
const DETECTOR: &str = "Merlin";

/// Receives acquisitions into a ring of shared memory; see the stub for the documentation.
#[pyclass(name = "Receiver", module = "detector_merlin._merlin", frozen)]
pub struct PyReceiver(Receiver);

#[pymethods]
impl PyReceiver {
    #[new]
    #[pyo3(signature = (host, port, *, slot_bytes, n_slots, flush_interval=0.01, stall_timeout=None))]
    fn new(
        py: Python<'_>,
        host: String,
        port: u16,
        slot_bytes: usize,
        n_slots: u32,
        flush_interval: f64,
        stall_timeout: Option<f64>,
    ) -> PyResult<Self> {
        let config = ReceiverConfig {
            host,
            port,
            flush_interval: seconds(py, flush_interval)?,
            stall_timeout: stall_timeout.map(|time| seconds(py, time)).transpose()?,
        };
        let ring = py.detach(|| Ring::create(RingConfig::new(slot_bytes, n_slots)));
        let ring = ring.map_err(|error| ring_error(py, DETECTOR, &error))?;
        Ok(Self(receiver::start(config, ring)?))
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
        Event::Disconnected {
            reason,
            is_protocol_error,
        } => {
            details.set_item("reason", reason)?;
            details.set_item("is_protocol_error", is_protocol_error)?;
            ("disconnected", 0, details)
        }
        Event::Armed { number, header } => ("armed", number, armed_details(py, &header)?),
        Event::FirstFrame {
            number,
            header,
            format,
        } => ("first_frame", number, first_frame_details(py, &header, &format)?),
        Event::Ended(ended) => ("ended", ended.number, ended_details(py, &ended)?),
    })
}
