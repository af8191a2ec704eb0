//! The methods that receivers share, and what they tell, as plain values.

use std::os::fd::{IntoRawFd, RawFd};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_core::{Cause, Counters, Ended};
use shmring_core::{Lease, Ring, RingError};

/// Name, number of the acquisition (0 if none), details.
pub type EventTuple<'py> = (&'static str, u64, Bound<'py, PyDict>);

/// Admit a consumer to an acquisition; gives its number and its file descriptor.
pub fn attach(py: Python<'_>, ring: &Ring, acquisition: u64) -> Result<(u32, RawFd), RingError> {
    let (consumer, fd) = py.detach(|| ring.attach(acquisition))?;
    Ok((consumer, fd.into_raw_fd()))
}

/// Mark stacks as done, all or nothing; `false` if the consumer was taken for dead.
pub fn settle(py: Python<'_>, ring: &Ring, consumer: u32, tokens: Vec<u64>) -> bool {
    let leases: Vec<Lease> = tokens.into_iter().map(Lease::from_token).collect();
    py.detach(|| ring.settle(consumer, &leases))
}

/// The fields of `arraystream.ConnectionStatistics`.
pub fn counters<'py>(py: Python<'py>, ring: &Ring, counters: &Counters) -> PyResult<Bound<'py, PyDict>> {
    let stats = py.detach(|| ring.stats());
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

/// Details of the event `ended`.
pub fn ended_details<'py>(py: Python<'py>, ended: &Ended) -> PyResult<Bound<'py, PyDict>> {
    let details = PyDict::new(py);
    let gaps = ended.gaps.iter().map(|gap| (gap.start, gap.stop, &*gap.reason));
    details.set_item("status", ended.status.name())?;
    details.set_item("n_items", ended.n_items)?;
    details.set_item("gaps", gaps.collect::<Vec<_>>())?;
    details.set_item("reason", &*ended.reason)?;
    details.set_item("cause", ended.cause.map(Cause::name))?;
    Ok(details)
}
