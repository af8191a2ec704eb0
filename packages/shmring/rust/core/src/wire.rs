//! What travels over the socket pair between the owner and one consumer: few messages of 64 bytes,
//! the first with the file descriptors of everything else.  Also the bells.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::error::RingError;
use crate::layout::{LAYOUT_HASH, LAYOUT_VERSION, MAGIC};

/// Most file descriptors in a message: data, control, the owner's bell, the consumer's, the owner's pid.
const MAX_FDS: usize = 5;
/// Bytes of a message.
pub(crate) const MESSAGE_BYTES: usize = 64;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// Owner: here is the ring.
    Hello = 1,
    /// Consumer: the ring is mapped, stacks may come.
    Joined = 2,
    /// Consumer: no more stacks; slots will still be returned.
    Leaving = 3,
    /// Owner: the ring is closed.
    Closed = 4,
    /// Owner: this consumer is out.
    Detached = 5,
}

/// One message, the same for all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub kind: Kind,
    pub uuid: [u8; 16],
    pub slot_bytes: u64,
    pub n_slots: u32,
    pub tx_capacity: u32,
    pub pid: u32,
    pub consumer: u32,
}

impl Message {
    /// The same message with another kind.
    pub(crate) fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn pack(&self) -> [u8; MESSAGE_BYTES] {
        let fields: [&[u8]; 10] = [
            &MAGIC.to_le_bytes(),
            &LAYOUT_VERSION.to_le_bytes(),
            &(self.kind as u32).to_le_bytes(),
            &LAYOUT_HASH.to_le_bytes(),
            &self.uuid,
            &self.slot_bytes.to_le_bytes(),
            &self.n_slots.to_le_bytes(),
            &self.tx_capacity.to_le_bytes(),
            &self.pid.to_le_bytes(),
            &self.consumer.to_le_bytes(),
        ];
        let mut bytes = [0; MESSAGE_BYTES];
        bytes
            .iter_mut()
            .zip(fields.iter().flat_map(|field| field.iter()))
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, RingError> {
        let mut fields = Fields(bytes);
        let magic = u64::from_le_bytes(fields.take()?);
        if magic != MAGIC {
            return Err(RingError::Incompatible(format!(
                "magic {magic:#018x}, wanted {MAGIC:#018x}"
            )));
        }
        let version = u32::from_le_bytes(fields.take()?);
        let kind = u32::from_le_bytes(fields.take()?);
        let hash = u64::from_le_bytes(fields.take()?);
        if (version, hash) != (LAYOUT_VERSION, LAYOUT_HASH) {
            return Err(RingError::Incompatible(format!(
                "the peer has layout {version} ({hash:#018x}), this side {LAYOUT_VERSION} ({LAYOUT_HASH:#018x}); \
                 install the same version of shmring on both"
            )));
        }
        let kind = [
            Kind::Hello,
            Kind::Joined,
            Kind::Leaving,
            Kind::Closed,
            Kind::Detached,
        ]
        .into_iter()
        .find(|known| *known as u32 == kind)
        .ok_or_else(|| RingError::Incompatible(format!("message of unknown kind {kind}")))?;
        Ok(Self {
            kind,
            uuid: fields.take()?,
            slot_bytes: u64::from_le_bytes(fields.take()?),
            n_slots: u32::from_le_bytes(fields.take()?),
            tx_capacity: u32::from_le_bytes(fields.take()?),
            pid: u32::from_le_bytes(fields.take()?),
            consumer: u32::from_le_bytes(fields.take()?),
        })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RingError> {
        let short = || RingError::Incompatible(format!("message ends early, {N} bytes wanted"));
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(*field)
    }
}

/// What `receive` found.
pub(crate) enum Incoming {
    Message(Message, Vec<OwnedFd>),
    /// Nothing there yet.
    Nothing,
    /// The other end is closed.
    Hangup,
}

/// Two connected sockets that keep messages apart.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd), RingError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(RingError::os("make a socket pair"))
}

/// Send a message with file descriptors; never blocks.
pub(crate) fn send(socket: impl AsFd, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), RingError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(RingError::Incompatible(format!(
            "{} file descriptors do not fit a message",
            fds.len()
        )));
    }
    let bytes = message.pack();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut ancillary, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(RingError::os("send to the other end of the ring")(errno)),
        }
    }
}

/// Receive a message with its file descriptors; never blocks.
pub(crate) fn receive(socket: impl AsFd) -> Result<Incoming, RingError> {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Incoming::Nothing),
            Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Incoming::Hangup),
            Err(errno) => return Err(RingError::os("receive from the other end of the ring")(errno)),
        }
    };
    let rights = |message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    };
    let fds: Vec<OwnedFd> = ancillary.drain().filter_map(rights).flatten().collect();
    if received.bytes == 0 {
        return Ok(Incoming::Hangup);
    }
    let message = Message::unpack(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok(Incoming::Message(message, fds))
}

/// An eventfd that wakes one side.
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> Result<Self, RingError> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(Self)
            .map_err(RingError::os("make an eventfd"))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Wake the other side.  A full counter means that it is awake already.
    pub(crate) fn ring(&self) {
        while rustix::io::write(&self.0, &1_u64.to_ne_bytes()) == Err(Errno::INTR) {}
    }

    /// Forget past rings.
    pub(crate) fn hush(&self) {
        let mut count = [0; 8];
        while rustix::io::read(&self.0, &mut count) == Err(Errno::INTR) {}
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: Message = Message {
        kind: Kind::Hello,
        uuid: *b"0123456789abcdef",
        slot_bytes: 1 << 40,
        n_slots: 3,
        tx_capacity: 4,
        pid: 5,
        consumer: 6,
    };

    #[test]
    fn message_fields_lie_where_the_text_says() {
        let bytes = MESSAGE.pack();
        assert_eq!(&bytes[0..8], b"SHMRING\n");
        assert_eq!(bytes[8..12], LAYOUT_VERSION.to_le_bytes());
        assert_eq!(bytes[12..16], 1_u32.to_le_bytes());
        assert_eq!(bytes[16..24], LAYOUT_HASH.to_le_bytes());
        assert_eq!(&bytes[24..40], b"0123456789abcdef");
        assert_eq!(bytes[40..48], (1_u64 << 40).to_le_bytes());
        assert_eq!(bytes[48..64], [3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
        assert_eq!(Message::unpack(&bytes).unwrap(), MESSAGE);
    }

    #[test]
    fn other_layout_is_refused_with_both_versions() {
        let mut bytes = MESSAGE.pack();
        bytes[8] = 99;
        let text = Message::unpack(&bytes).unwrap_err().to_string();
        assert!(
            text.contains("layout 99") && text.contains("this side 1"),
            "{text}"
        );
    }

    #[test]
    fn hangup_and_silence_are_told_apart() {
        let (one, other) = socket_pair().unwrap();
        assert!(matches!(receive(&one), Ok(Incoming::Nothing)));
        send(&other, &MESSAGE, &[other.as_fd()]).unwrap();
        let Ok(Incoming::Message(MESSAGE, fds)) = receive(&one) else {
            panic!("no message")
        };
        assert_eq!(fds.len(), 1);
        drop((other, fds));
        assert!(matches!(receive(&one), Ok(Incoming::Hangup)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::unpack(&bytes);
        }

        #[test]
        fn damaged_message_is_refused_or_read(at in 0..MESSAGE_BYTES, value: u8, len in 0..=MESSAGE_BYTES) {
            let mut bytes = MESSAGE.pack();
            bytes[at] = value;
            let damaged_head = at < 24 && value != MESSAGE.pack()[at];
            let read = Message::unpack(&bytes[..len]);
            prop_assert!(len == MESSAGE_BYTES || read.is_err());
            // Only the kind may turn into another one.
            prop_assert!(!damaged_head || read.is_err() || at == 12);
        }
    }
}
