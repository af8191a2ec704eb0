//! Where ring memory becomes arrays and numbers become file descriptors: all `unsafe` of the binding.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use numpy::ndarray::ArrayView1;
use numpy::npyffi::flags::NPY_ARRAY_WRITEABLE;
use numpy::{Element, PyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shmring_core::{KeepMapped, SlotWriter, StackLease};

/// Holds a stack's slot for the arrays that look at it; the slot returns when this object dies.
///
/// It has no buffer protocol of its own, so NumPy refuses to make its arrays writeable.
#[pyclass(name = "_SlotGuard", module = "shmring._shmring", frozen)]
pub(crate) struct SlotGuard {
    pub(crate) lease: StackLease,
}

/// A read-only array of the stack's data.
pub(crate) fn data_array<'py>(guard: &Bound<'py, SlotGuard>) -> Bound<'py, PyArray1<u8>> {
    read_only(guard, guard.get().lease.bytes())
}

/// A read-only array of the stack's meta values.
pub(crate) fn meta_array<'py>(guard: &Bound<'py, SlotGuard>) -> Bound<'py, PyArray1<u64>> {
    read_only(guard, guard.get().lease.meta())
}

/// `memory` belongs to the guard's lease.
fn read_only<'py, T: Element>(guard: &Bound<'py, SlotGuard>, memory: &[T]) -> Bound<'py, PyArray1<T>> {
    // SAFETY: the memory is mapped and not written as long as the lease lives, which is as long as
    // the guard, which the array holds as its base; the lease sits still inside the frozen guard.
    let array = unsafe { PyArray1::borrow_from_array(&ArrayView1::from(memory), guard.clone().into_any()) };
    forbid_writing(&array);
    array
}

/// Make an array read-only, as `setflags(write=False)`.
pub(crate) fn forbid_writing<T: Element>(array: &Bound<'_, PyArray1<T>>) {
    // SAFETY: the pointer is that of a live array object, and being attached to the interpreter
    // makes this the only access to its flags.
    unsafe { (*array.as_array_ptr()).fields.flags &= !NPY_ARRAY_WRITEABLE };
}

/// Keeps the owner's memory mapped for arrays that outlive their writer.
#[pyclass(name = "_WriterGuard", module = "shmring._shmring", frozen)]
struct WriterGuard {
    _keep: KeepMapped,
}

/// A writeable array of the slot that `writer` fills.
///
/// It must be made read-only when the writer is done ([`forbid_writing`]).
pub(crate) fn writer_array<'py>(
    py: Python<'py>,
    writer: &mut SlotWriter,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let guard = Bound::new(
        py,
        WriterGuard {
            _keep: writer.keep_mapped(),
        },
    )?;
    let memory = ArrayView1::from(&*writer.bytes_mut());
    // SAFETY: the memory stays mapped as long as the guard, the array's base, lives.  Nobody else
    // reads or writes it while the writer lives.  An array that is written after the commit changes
    // what consumers see, as any misuse of a view would, but no memory that is not the slot's.
    Ok(unsafe { PyArray1::borrow_from_array(&memory, guard.into_any()) })
}

/// Take over a file descriptor that [`Ring::attach`](shmring_core::Ring::attach) made.
///
/// Checked before it is taken, so that a wrong number closes nothing.
pub(crate) fn take_socket(fd: RawFd) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!(
            "fd is {fd}; it must not be negative"
        )));
    }
    // SAFETY: borrowed for the one call below, which reports a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let kind = rustix::net::sockopt::socket_type(borrowed).map_err(std::io::Error::from)?;
    if kind != rustix::net::SocketType::SEQPACKET {
        return Err(PyValueError::new_err(format!(
            "fd {fd} was not made by Ring.attach"
        )));
    }
    // SAFETY: open, as just seen, and handed over by the caller, as documented.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether arrays refer to a guard beside its stack.
pub(crate) fn has_other_references(guard: &Bound<'_, SlotGuard>) -> bool {
    // SAFETY: the pointer is that of a live object, and we are attached to the interpreter.
    unsafe { pyo3::ffi::Py_REFCNT(guard.as_ptr()) > 1 }
}
