//! The memory itself: memfds, mappings, and the few places where a pointer becomes a slice.
//!
//! Together with nothing else, this file holds all `unsafe` of the crate.  Its types are safe to use:
//! a mapping lives as long as anything made from it, ranges are checked, CONTROL is seen as atomics
//! only, and at most one [`ClaimedSlot`] per slot exists.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::atomics::AtomicU64;
use crate::error::RingError;
use crate::spsc::Words;

/// A range of address space, shared with other processes.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory without thread affinity; each use below says how it is shared.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: impl AsFd, len: usize, protection: ProtFlags, populate: bool) -> Result<Self, RingError> {
        let flags = if populate {
            MapFlags::SHARED | MapFlags::POPULATE
        } else {
            MapFlags::SHARED
        };
        // SAFETY: a new mapping at an address of the kernel's choice; nothing existing is replaced.
        let start = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) }
            .map_err(RingError::os("map the ring's memory"))?;
        let start =
            NonNull::new(start.cast::<u8>()).ok_or_else(|| RingError::Incompatible("null map".into()))?;
        Ok(Self { start, len })
    }

    /// Pointer to `len` bytes at `offset`, or `None` if they are not all inside.
    fn range(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: `offset` is at most the length of the mapping, checked above.
        Some(unsafe { self.start.add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nothing that refers to it outlives `self`.
        // An error would mean that the range is not mapped; there is nothing left to do.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Make a memory file of `len` bytes whose pages exist, so that no access can fail later.
fn create_file(name: &str, len: usize) -> Result<OwnedFd, RingError> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(RingError::os("create a memory file"))?;
    rustix::fs::ftruncate(&fd, len as u64).map_err(RingError::os("size the memory file"))?;
    loop {
        match rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len as u64) {
            Ok(()) => return Ok(fd),
            Err(Errno::INTR) => {}
            Err(Errno::NOMEM | Errno::NOSPC) => {
                return Err(RingError::OutOfMemory {
                    wanted: len as u64,
                    available: crate::config::available_memory().unwrap_or(0),
                    hint: crate::config::MEMORY_HINT,
                });
            }
            Err(errno) => return Err(RingError::os("allocate the memory file")(errno)),
        }
    }
}

/// Check that a file has the size it is said to have and can't lose it.
fn check_file(fd: impl AsFd, len: usize) -> Result<(), RingError> {
    let stat = rustix::fs::fstat(&fd).map_err(RingError::os("look at the memory file"))?;
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(RingError::os("look at the memory file's seals"))?;
    if u64::try_from(stat.st_size) != Ok(len as u64) || !seals.contains(SealFlags::SHRINK) {
        let (size, seals) = (stat.st_size, seals.bits());
        let text = format!("memory file of {size} bytes with seals {seals:#x}, wanted {len} bytes, sealed");
        return Err(RingError::Incompatible(text));
    }
    Ok(())
}

/// The slots, as the owner sees them.
pub(crate) struct OwnerData {
    mapping: Mapping,
    fd: OwnedFd,
    slot_bytes: usize,
    claimed: Vec<AtomicBool>,
}

impl OwnerData {
    /// Make the memory of all slots and map it; afterwards nobody else can map it for writing.
    pub(crate) fn create(slot_bytes: usize, n_slots: u32, prefault: bool) -> Result<Self, RingError> {
        let len = slot_bytes * n_slots as usize;
        let fd = create_file("shmring-data", len)?;
        let mapping = Mapping::new(&fd, len, ProtFlags::READ | ProtFlags::WRITE, prefault)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(RingError::os("seal the ring's memory"))?;
        let claimed = (0..n_slots).map(|_| AtomicBool::new(false)).collect();
        Ok(Self {
            mapping,
            fd,
            slot_bytes,
            claimed,
        })
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Claim a slot for writing; `None` if it is claimed already or does not exist.
    pub(crate) fn claim(self: &Arc<Self>, slot: u32) -> Option<ClaimedSlot> {
        let start = self
            .mapping
            .range((slot as usize).checked_mul(self.slot_bytes)?, self.slot_bytes)?;
        let taken = self.claimed.get(slot as usize)?.swap(true, Ordering::Acquire);
        (!taken).then(|| ClaimedSlot {
            data: Arc::clone(self),
            slot,
            start,
        })
    }
}

/// The only right to write one slot.
pub(crate) struct ClaimedSlot {
    data: Arc<OwnerData>,
    slot: u32,
    start: NonNull<u8>,
}

// SAFETY: the right may move between threads; `&mut self` alone gives access to the memory.
unsafe impl Send for ClaimedSlot {}
// SAFETY: `&self` gives no access to the memory.
unsafe impl Sync for ClaimedSlot {}

impl ClaimedSlot {
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `claim` checked the range, `data` keeps it mapped, the flag in `claimed` makes this
        // the only claim, and `&mut self` the only slice.  Consumers map the memory read-only, and
        // the ledger lends a slot only after its claim is gone and reserves it only when unread.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.data.slot_bytes) }
    }

    pub(crate) fn len(&self) -> usize {
        self.data.slot_bytes
    }
}

impl Drop for ClaimedSlot {
    fn drop(&mut self) {
        if let Some(flag) = self.data.claimed.get(self.slot as usize) {
            flag.store(false, Ordering::Release);
        }
    }
}

/// The slots, as consumers see them: read-only, one mapping per ring and process.
pub(crate) struct ConsumerData {
    mapping: Mapping,
}

impl ConsumerData {
    /// Map a ring's slots, or share the mapping that this process has of them.
    pub(crate) fn open(uuid: [u8; 16], fd: &OwnedFd, len: usize) -> Result<Arc<Self>, RingError> {
        static MAPPINGS: Mutex<Vec<([u8; 16], Weak<ConsumerData>)>> = Mutex::new(Vec::new());
        check_file(fd, len)?;
        let open = || Mapping::new(fd, len, ProtFlags::READ, true).map(|mapping| Arc::new(Self { mapping }));
        // Locked for ever in a child that was forked at the wrong moment: then do without.
        let Ok(mut mappings) = MAPPINGS.try_lock() else {
            return open();
        };
        mappings.retain(|(_, data)| data.strong_count() > 0);
        let known = mappings
            .iter()
            .find(|(id, _)| *id == uuid)
            .and_then(|(_, data)| data.upgrade());
        if let Some(data) = known.filter(|data| data.mapping.len == len) {
            return Ok(data);
        }
        let data = open()?;
        mappings.push((uuid, Arc::downgrade(&data)));
        Ok(data)
    }

    /// Bytes of a slot that is lent to the caller.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let start = self.mapping.range(offset, len)?;
        // SAFETY: the range is inside the mapping, which lives as long as `self`; its pages exist and
        // the file can't shrink (`check_file`).  Only the owner can write it, and it does not write a
        // slot that is lent.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) })
    }

    /// Numbers in a slot that is lent to the caller; `offset` is a multiple of 8.
    pub(crate) fn numbers(&self, offset: usize, n: usize) -> Option<&[u64]> {
        let start = self.mapping.range(offset, n.checked_mul(8)?)?.cast::<u64>();
        if !start.is_aligned() {
            return None;
        }
        // SAFETY: as in `bytes`, and the pointer is aligned; any bits are a valid u64.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), n) })
    }
}

/// The queues between the owner and one consumer.
pub(crate) struct Control {
    mapping: Mapping,
    n_words: usize,
}

impl Control {
    /// Make the memory of the queues, zeroed; the file is for the consumer.
    pub(crate) fn create(n_words: usize) -> Result<(Arc<Self>, OwnedFd), RingError> {
        let len = Self::len(n_words);
        let fd = create_file("shmring-control", len)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(RingError::os("seal the ring's queues"))?;
        Ok((Self::map(&fd, n_words)?, fd))
    }

    /// Map queues that the owner made.
    pub(crate) fn open(fd: &OwnedFd, n_words: usize) -> Result<Arc<Self>, RingError> {
        check_file(fd, Self::len(n_words))?;
        Self::map(fd, n_words)
    }

    fn len(n_words: usize) -> usize {
        (n_words * 8).next_multiple_of(rustix::param::page_size())
    }

    fn map(fd: &OwnedFd, n_words: usize) -> Result<Arc<Self>, RingError> {
        let mapping = Mapping::new(fd, Self::len(n_words), ProtFlags::READ | ProtFlags::WRITE, true)?;
        Ok(Arc::new(Self {
            mapping,
            n_words: n_words.max(1),
        }))
    }
}

impl Words for Arc<Control> {
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.n_words, "word {index} of {}", self.n_words);
        let index = if index < self.n_words { index } else { 0 };
        // SAFETY: `index` is inside the mapping, which is page-aligned and lives as long as the
        // borrowed `Arc`.  All access to this memory, by either process, is atomic.
        unsafe { AtomicU64::from_ptr(self.mapping.start.as_ptr().cast::<u64>().add(index)) }
    }
}

/// The process id, without a system call after the first, and right after a fork too.
pub(crate) fn current_pid() -> u32 {
    static CACHE: OnceLock<Option<Mapping>> = OnceLock::new();
    let wiped_on_fork = || {
        let flags = MapFlags::PRIVATE;
        let len = rustix::param::page_size();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        };
        let mapping = Mapping {
            start: NonNull::new(start.ok()?.cast())?,
            len,
        };
        // SAFETY: the range is the mapping made above; the advice zeroes it in a forked child.
        let advised =
            unsafe { rustix::mm::madvise(mapping.start.as_ptr().cast(), len, Advice::LinuxWipeOnFork) };
        advised.ok().map(|()| mapping)
    };
    let Some(mapping) = CACHE.get_or_init(wiped_on_fork) else {
        return std::process::id();
    };
    // SAFETY: the mapping is page-aligned, lives for ever, and is only ever seen as this atomic.
    let cached = unsafe { AtomicU32::from_ptr(mapping.start.as_ptr().cast()) };
    match cached.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            cached.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}

/// A random id.
pub(crate) fn random_uuid() -> Result<[u8; 16], RingError> {
    let mut uuid = [MaybeUninit::uninit(); 16];
    let (filled, _) = rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
        .map_err(RingError::os("get random bytes"))?;
    let mut id = [0; 16];
    id.iter_mut()
        .zip(filled.iter())
        .for_each(|(to, from)| *to = *from);
    Ok(id)
}
