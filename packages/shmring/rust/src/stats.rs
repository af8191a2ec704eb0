//! The ring's numbers and events as the dataclasses of `shmring._stats`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shmring_core::{ConsumerStats, RingEvent, RingStats};

fn make<'py>(py: Python<'py>, class: &str, fields: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    py.import("shmring._stats")?
        .getattr(class)?
        .call((), Some(fields))
}

/// Set fields of the same name.
macro_rules! set {
    ($dict:expr, $from:expr, $($name:ident),* $(,)?) => {
        $($dict.set_item(stringify!($name), $from.$name)?;)*
    };
}

pub(crate) fn ring_stats<'py>(py: Python<'py>, stats: &RingStats) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    set!(
        fields,
        stats,
        n_slots,
        slot_bytes,
        n_free,
        n_writing,
        n_lent,
        n_settled,
        n_quarantined
    );
    set!(
        fields,
        stats,
        n_undelivered,
        high_water,
        n_committed,
        n_bytes,
        n_discarded,
        n_dropped,
        n_unwanted
    );
    set!(
        fields,
        stats,
        n_redelivered,
        n_skipped,
        n_lost_consumers,
        n_misbehaving,
        n_waits
    );
    fields.set_item("wait_time_s", stats.wait_time.as_secs_f64())?;
    fields.set_item("longest_hold_s", stats.longest_hold.as_secs_f64())?;
    let consumers: PyResult<Vec<_>> = stats
        .consumers
        .iter()
        .map(|one| consumer_stats(py, one))
        .collect();
    fields.set_item("consumers", PyTuple::new(py, consumers?)?)?;
    make(py, "RingStats", &fields)
}

fn consumer_stats<'py>(py: Python<'py>, stats: &ConsumerStats) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    set!(
        fields,
        stats,
        id,
        tag,
        pid,
        n_held,
        n_undelivered,
        n_lent,
        n_skipped,
        is_outcast
    );
    fields.set_item("longest_hold_s", stats.longest_hold.as_secs_f64())?;
    make(py, "ConsumerStats", &fields)
}

pub(crate) fn ring_event<'py>(py: Python<'py>, event: &RingEvent) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    let class = match event {
        RingEvent::Left { id, n_relent } => {
            fields.set_item("id", id)?;
            fields.set_item("n_relent", n_relent)?;
            "ConsumerLeft"
        }
        RingEvent::Lost { id, pid, n_relent } => {
            fields.set_item("id", id)?;
            fields.set_item("pid", pid)?;
            fields.set_item("n_relent", n_relent)?;
            "ConsumerLost"
        }
        RingEvent::Misbehaving { id, pid, reason } => {
            fields.set_item("id", id)?;
            fields.set_item("pid", pid)?;
            fields.set_item("reason", reason)?;
            "ConsumerMisbehaving"
        }
    };
    make(py, class, &fields)
}
