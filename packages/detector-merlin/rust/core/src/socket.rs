//! The data socket: connect, wait and receive, all of it interruptible by a wake-up.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use receiver_core::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, socket_with, sockopt};

/// Wait until a socket is ready in one of the ways of `flags`, a wake-up comes, or time is over.
pub(crate) fn wait_for(
    socket: Option<(&OwnedFd, PollFlags)>,
    waker: &Waker,
    timeout: Duration,
) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let waker_fd = PollFd::new(waker, PollFlags::IN);
    let mut fds = vec![waker_fd];
    if let Some((socket, flags)) = socket {
        fds.push(PollFd::new(socket, flags));
    }
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
        waker.clear();
    }
    Ok(())
}

/// A connected data socket.
#[derive(Debug)]
pub(crate) struct DataSocket(OwnedFd);

impl DataSocket {
    /// Connect to the first address of a host that accepts; `is_stopped` is asked while waiting.
    pub(crate) fn connect(
        host: &str,
        port: u16,
        timeout: Duration,
        waker: &Waker,
        is_stopped: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("host {host:?} has no address"));
        for address in (host, port).to_socket_addrs()? {
            match Self::connect_to(address, timeout, waker, is_stopped) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(
        address: SocketAddr,
        timeout: Duration,
        waker: &Waker,
        is_stopped: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let deadline = Instant::now() + timeout;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || is_stopped() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                wait_for(Some((&socket, PollFlags::OUT)), waker, left)?;
                sockopt::socket_error(&socket)??;
                if rustix::net::getpeername(&socket).is_ok() {
                    break;
                }
            },
            Err(error) => return Err(error.into()),
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        Ok(Self(socket))
    }

    /// Receive what is there; `None` if nothing is, `Some(0)` at the end of the stream.
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(&self.0, into, RecvFlags::DONTWAIT) {
            Ok((_, n)) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Wait until something can be received, a wake-up comes, or time is over.
    pub(crate) fn wait(&self, waker: &Waker, timeout: Duration) -> io::Result<()> {
        wait_for(Some((&self.0, PollFlags::IN)), waker, timeout)
    }
}
