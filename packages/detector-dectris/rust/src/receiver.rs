//! `Receiver`: the receiving thread and its ring.

use std::os::fd::{IntoRawFd, RawFd};
use std::time::Duration;

use dectris_core::event::{Channels, Event};
use dectris_core::receiver::{self, Receiver, ReceiverConfig};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_core::Cause;
use shmring_core::{Lease, Ring, RingConfig, RingError};

use crate::details::{armed_details, first_frame_details};
use crate::errors::stream_error;

/// Name, number of the acquisition (0 if none), details.
type EventTuple<'py> = (&'static str, u64, Bound<'py, PyDict>);

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
        let ring = ring.map_err(|error| ring_error(py, &error))?;
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
        let attached = py.detach(|| self.0.ring().attach(acquisition));
        let (consumer, fd) = attached.map_err(|error| ring_error(py, &error))?;
        Ok((consumer, fd.into_raw_fd()))
    }

    fn settle(&self, py: Python<'_>, consumer: u32, tokens: Vec<u64>) -> bool {
        let leases: Vec<Lease> = tokens.into_iter().map(Lease::from_token).collect();
        py.detach(|| self.0.ring().settle(consumer, &leases))
    }

    fn abort(&self) {
        self.0.abort();
    }

    fn abandon(&self, py: Python<'_>, acquisition: u64) {
        py.detach(|| self.0.abandon(acquisition));
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.0.counters();
        let stats = py.detach(|| self.0.ring().stats());
        let share = |n: u32| f64::from(n) / f64::from(stats.n_slots.max(1));
        let used = stats.n_slots.saturating_sub(stats.n_free + stats.n_writing);
        let found = PyDict::new(py);
        found.set_item("n_items", counters.n_items)?;
        found.set_item("n_bytes", counters.n_bytes)?;
        found.set_item("n_lost", counters.n_lost)?;
        found.set_item("n_stale", counters.n_stale)?;
        found.set_item("n_duplicate", counters.n_duplicate)?;
        found.set_item("n_out_of_order", counters.n_out_of_order)?;
        found.set_item("n_corrupt", counters.n_corrupt)?;
        found.set_item("n_discarded", counters.n_discarded)?;
        found.set_item("n_acquisitions", counters.n_acquisitions)?;
        found.set_item("n_reconnects", counters.n_reconnects)?;
        found.set_item("buffer_fill", share(used))?;
        found.set_item("buffer_high_water", share(stats.high_water))?;
        found.set_item("first_item_time_s", counters.first_item_time_s)?;
        found.set_item("last_item_time_s", counters.last_item_time_s)?;
        Ok(found)
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
        Event::Ended(ended) => {
            let gaps = ended.gaps.iter().map(|gap| (gap.start, gap.stop, &*gap.reason));
            details.set_item("status", ended.status.name())?;
            details.set_item("n_items", ended.n_items)?;
            details.set_item("gaps", gaps.collect::<Vec<_>>())?;
            details.set_item("reason", ended.reason)?;
            details.set_item("cause", ended.cause.map(Cause::name))?;
            ("ended", ended.number, details)
        }
    })
}

fn seconds(py: Python<'_>, time: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(time).map_err(|error| {
        stream_error(
            py,
            "StateError",
            &format!("{time} is no time in seconds: {error}"),
        )
    })
}

fn ring_error(py: Python<'_>, error: &RingError) -> PyErr {
    let class = if matches!(error, RingError::Closed) {
        "ConnectionClosed"
    } else {
        "StreamError"
    };
    stream_error(py, class, &format!("buffer of the DECTRIS receiver: {error}"))
}
