//! `Ring` and `Writer`.

use std::os::fd::{IntoRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use numpy::{AllowTypeChange, PyArray1, PyArrayLike1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shmring_core::{
    Broadcast, FLAG_BROADCAST_ONLY, FullPolicy, Lease, Ring, RingConfig, RingError, SlotWriter, StackInfo,
};

use crate::error::{OrPy, exception};
use crate::memory::{forbid_writing, writer_array};
use crate::{SIGNAL_CHECK, duration, stats};

/// The owner of a ring.
#[pyclass(name = "Ring", module = "shmring", frozen)]
pub(crate) struct PyRing {
    ring: Ring,
    full: FullPolicy,
}

#[pymethods]
impl PyRing {
    #[new]
    #[pyo3(signature = (slot_bytes, n_slots, *, queue_depth=2, full="block", prefault=true))]
    fn new(
        py: Python<'_>,
        slot_bytes: usize,
        n_slots: u32,
        queue_depth: u32,
        full: &str,
        prefault: bool,
    ) -> PyResult<Self> {
        let full = match full {
            "block" => FullPolicy::Block,
            "drop_newest" => FullPolicy::DropNewest,
            other => {
                let text = format!("full is {other:?}; it must be \"block\" or \"drop_newest\"");
                return Err(exception(py, "RingConfigError", text));
            }
        };
        let config = RingConfig {
            slot_bytes,
            n_slots,
            queue_depth,
            full,
            prefault,
        };
        let ring = py.detach(|| Ring::create(config)).or_py(py)?;
        Ok(Self { ring, full })
    }

    #[getter]
    fn slot_bytes(&self) -> usize {
        self.ring.slot_bytes()
    }

    #[getter]
    fn n_slots(&self) -> u32 {
        self.ring.n_slots()
    }

    #[getter]
    fn uuid<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.ring.uuid())
    }

    #[pyo3(signature = (timeout=None))]
    fn reserve(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<PyWriter> {
        let timeout = duration(timeout)?;
        let start = Instant::now();
        loop {
            let slice = timeout.saturating_sub(start.elapsed()).min(SIGNAL_CHECK);
            match py.detach(|| self.ring.reserve(slice)) {
                Ok(mut writer) => {
                    let array = writer_array(py, &mut writer)?.unbind();
                    return Ok(PyWriter {
                        filling: Mutex::new(Some(Filling { writer, array })),
                    });
                }
                Err(RingError::Full) if self.full == FullPolicy::Block && start.elapsed() < timeout => {
                    py.check_signals()?
                }
                Err(error) => return Err(error).or_py(py),
            }
        }
    }

    #[pyo3(signature = (tag=0))]
    fn attach(&self, py: Python<'_>, tag: u64) -> PyResult<(u32, RawFd)> {
        let (id, fd) = py.detach(|| self.ring.attach(tag)).or_py(py)?;
        Ok((id, fd.into_raw_fd()))
    }

    #[pyo3(signature = (tag=None, *, latest=None))]
    fn attach_broadcast(
        &self,
        py: Python<'_>,
        tag: Option<u64>,
        latest: Option<u32>,
    ) -> PyResult<(u32, RawFd)> {
        let broadcast = latest.map_or(Broadcast::Lossless, |depth| Broadcast::Latest { depth });
        let (id, fd) = py
            .detach(|| self.ring.attach_broadcast(tag, broadcast))
            .or_py(py)?;
        Ok((id, fd.into_raw_fd()))
    }

    fn settle(&self, consumer: u32, tokens: Vec<u64>) -> bool {
        let leases: Vec<Lease> = tokens.into_iter().map(Lease::from_token).collect();
        self.ring.settle(consumer, &leases)
    }

    #[pyo3(signature = (tag=0))]
    fn end(&self, tag: u64) {
        self.ring.end(tag);
    }

    fn drop_tag(&self, tag: u64) {
        self.ring.drop_tag(tag);
    }

    fn detach(&self, consumer: u32) {
        self.ring.detach(consumer);
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        stats::ring_stats(py, &self.ring.stats())
    }

    fn take_events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.ring
            .take_events()
            .iter()
            .map(|event| stats::ring_event(py, event))
            .collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.ring.close());
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, py: Python<'_>, _type: Py<PyAny>, _value: Py<PyAny>, _traceback: Py<PyAny>) {
        self.close(py);
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Ring can't be pickled, it has one owner; call Ring.attach for the other process and pass it the \
             file descriptor",
        ))
    }

    fn __repr__(&self) -> String {
        format!(
            "<shmring.Ring of {} slots of {} bytes>",
            self.n_slots(),
            self.slot_bytes()
        )
    }
}

struct Filling {
    writer: SlotWriter,
    array: Py<PyArray1<u8>>,
}

/// The right to write one slot.
#[pyclass(name = "Writer", module = "shmring", frozen)]
pub(crate) struct PyWriter {
    filling: Mutex<Option<Filling>>,
}

impl PyWriter {
    fn filling(&self) -> MutexGuard<'_, Option<Filling>> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// End the writing: the array is read-only from now on.
    fn finish(&self, py: Python<'_>) -> Option<SlotWriter> {
        let Filling { writer, array } = self.filling().take()?;
        forbid_writing(array.bind(py));
        Some(writer)
    }
}

fn done(py: Python<'_>) -> PyErr {
    exception(
        py,
        "StackReleased",
        "this slot was committed or discarded; reserve another".to_owned(),
    )
}

#[pymethods]
impl PyWriter {
    #[getter]
    fn array(&self, py: Python<'_>) -> PyResult<Py<PyArray1<u8>>> {
        let filling = self.filling();
        filling
            .as_ref()
            .map(|filling| filling.array.clone_ref(py))
            .ok_or_else(|| done(py))
    }

    #[pyo3(signature = (n_bytes, *, item_first=0, n_items=1, tag=0, meta=None, broadcast_only=false))]
    #[allow(clippy::too_many_arguments, reason = "keywords of one Python call")]
    fn commit(
        &self,
        py: Python<'_>,
        n_bytes: usize,
        item_first: u64,
        n_items: u32,
        tag: u64,
        meta: Option<PyArrayLike1<'_, u64, AllowTypeChange>>,
        broadcast_only: bool,
    ) -> PyResult<()> {
        let meta = meta.map(|meta| meta.as_array().to_vec()).unwrap_or_default();
        let writer = self.finish(py).ok_or_else(|| done(py))?;
        let flags = if broadcast_only { FLAG_BROADCAST_ONLY } else { 0 };
        let info = StackInfo {
            tag,
            item_first,
            n_items,
            data_len: n_bytes,
            meta: &meta,
            flags,
        };
        writer.commit(info).or_py(py)
    }

    fn discard(&self, py: Python<'_>) {
        drop(self.finish(py));
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, py: Python<'_>, _type: Py<PyAny>, _value: Py<PyAny>, _traceback: Py<PyAny>) {
        self.discard(py);
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Writer can't be pickled, it writes in place; commit it in its own process",
        ))
    }
}
