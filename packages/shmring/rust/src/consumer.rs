//! `Consumer`, `Stack`, `End`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use numpy::PyArray1;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use shmring_core::{Consumer, Received, RingError, StackLease};

use crate::error::{OrPy, exception};
use crate::memory::{SlotGuard, data_array, has_other_references, meta_array, take_socket};
use crate::{SIGNAL_CHECK, duration};

/// One consumer of a ring.
#[pyclass(name = "Consumer", module = "shmring", frozen)]
pub(crate) struct PyConsumer {
    id: u32,
    open: Mutex<Option<Arc<Consumer>>>,
}

impl PyConsumer {
    fn open(&self) -> MutexGuard<'_, Option<Arc<Consumer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The consumers of this process, to be closed before the interpreter takes its objects apart.
static OPEN: Mutex<Vec<Weak<Consumer>>> = Mutex::new(Vec::new());

fn remember(consumer: &Arc<Consumer>) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|known| known.strong_count() > 0);
    open.push(Arc::downgrade(consumer));
}

/// Close all consumers: run at exit, so that stacks which an interrupted worker still holds are not
/// taken for done when the interpreter drops them.
#[pyfunction]
pub(crate) fn _close_consumers() {
    let open = std::mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner));
    open.iter()
        .filter_map(Weak::upgrade)
        .for_each(|consumer| consumer.close());
}

#[pymethods]
impl PyConsumer {
    #[new]
    fn new(py: Python<'_>, fd: i32) -> PyResult<Self> {
        let fd = take_socket(fd)?;
        let consumer = py.detach(|| Consumer::from_fd(fd)).or_py(py)?;
        let consumer = Arc::new(consumer);
        remember(&consumer);
        Ok(Self {
            id: consumer.id(),
            open: Mutex::new(Some(consumer)),
        })
    }

    #[getter]
    fn id(&self) -> u32 {
        self.id
    }

    #[getter]
    fn closed(&self) -> bool {
        self.open().is_none()
    }

    #[pyo3(signature = (timeout=None))]
    fn recv<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let timeout = duration(timeout)?;
        let consumer = self.open().clone().ok_or(RingError::Closed).or_py(py)?;
        let start = Instant::now();
        loop {
            let slice = timeout.saturating_sub(start.elapsed()).min(SIGNAL_CHECK);
            match py.detach(|| consumer.recv(slice)).or_py(py)? {
                Some(Received::Stack(lease)) => return Ok(Some(PyStack::new(py, lease)?.into_any())),
                Some(Received::End { tag }) => return Ok(Some(Bound::new(py, PyEnd { tag })?.into_any())),
                None if start.elapsed() >= timeout => return Ok(None),
                None => py.check_signals()?,
            }
        }
    }

    fn close(&self) {
        let consumer = self.open().take();
        if let Some(consumer) = consumer {
            consumer.close();
        }
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, _type: Py<PyAny>, _value: Py<PyAny>, _traceback: Py<PyAny>) {
        self.close();
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Consumer can't be pickled; call Ring.attach for the other process, pass it the file descriptor \
             (subprocess pass_fds, socket.send_fds) and open Consumer(fd) there",
        ))
    }

    fn __repr__(&self) -> String {
        format!(
            "<shmring.Consumer {}{}>",
            self.id,
            if self.closed() { ", closed" } else { "" }
        )
    }
}

/// Nothing more is queued for a tag.
#[pyclass(name = "End", module = "shmring", frozen, get_all, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PyEnd {
    tag: u64,
}

#[pymethods]
impl PyEnd {
    fn __repr__(&self) -> String {
        format!("End(tag={})", self.tag)
    }
}

/// A lent stack.  What holds the slot is the guard, shared with the arrays.
#[pyclass(name = "Stack", module = "shmring", frozen)]
pub(crate) struct PyStack {
    guard: Mutex<Option<Py<SlotGuard>>>,
    #[pyo3(get)]
    tag: u64,
    #[pyo3(get)]
    item_first: u64,
    #[pyo3(get)]
    n_items: u32,
    #[pyo3(get)]
    seq: u64,
    #[pyo3(get)]
    token: u64,
    #[pyo3(get)]
    attempt: u32,
    #[pyo3(get)]
    skipped: u32,
    #[pyo3(get)]
    flags: u16,
}

impl PyStack {
    fn new(py: Python<'_>, lease: StackLease) -> PyResult<Bound<'_, Self>> {
        let (tag, item_first, n_items) = (lease.tag(), lease.item_first(), lease.n_items());
        let (seq, attempt, skipped, flags) = (lease.seq(), lease.attempt(), lease.skipped(), lease.flags());
        let token = lease.lease().token();
        let guard = Mutex::new(Some(Py::new(py, SlotGuard { lease })?));
        Bound::new(
            py,
            Self {
                guard,
                tag,
                item_first,
                n_items,
                seq,
                token,
                attempt,
                skipped,
                flags,
            },
        )
    }

    fn slot(&self) -> MutexGuard<'_, Option<Py<SlotGuard>>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, SlotGuard>> {
        let guard = self.slot().as_ref().map(|guard| guard.bind(py).clone());
        guard.ok_or_else(|| {
            let text = format!("stack {} was released; take its array before", self.seq);
            exception(py, "StackReleased", text)
        })
    }
}

#[pymethods]
impl PyStack {
    #[getter]
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u8>>> {
        Ok(data_array(&self.guard(py)?))
    }

    #[getter]
    fn meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u64>>> {
        Ok(meta_array(&self.guard(py)?))
    }

    #[getter]
    fn released(&self) -> bool {
        self.slot().is_none()
    }

    #[pyo3(signature = (*, wait=true))]
    fn release(&self, py: Python<'_>, wait: bool) -> PyResult<()> {
        let mut slot = self.slot();
        let in_use = slot
            .as_ref()
            .is_some_and(|guard| has_other_references(guard.bind(py)));
        if wait && in_use {
            drop(slot);
            let text = format!(
                "arrays still look at stack {}; delete them, or release(wait=False) to give the slot back when \
                 the last of them is gone",
                self.seq
            );
            return Err(exception(py, "StackInUse", text));
        }
        let guard = slot.take();
        drop(slot);
        drop(guard);
        Ok(())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        error: &Bound<'_, PyAny>,
        _value: Py<PyAny>,
        _traceback: Py<PyAny>,
    ) -> PyResult<()> {
        // An error's traceback holds on to arrays; do not put another error in its place.
        self.release(py, error.is_none())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a Stack can't be pickled, it is a lease on shared memory; send a copy of its array, or let the other \
             process attach to the ring as a consumer of its own",
        ))
    }

    fn __repr__(&self) -> String {
        let (first, n, tag, seq) = (self.item_first, self.n_items, self.tag, self.seq);
        let released = if self.released() { ", released" } else { "" };
        format!(
            "<shmring.Stack {seq}, tag {tag}, items {first} to {}{released}>",
            first + u64::from(n)
        )
    }
}
