//! Who is connected, from ZeroMQ's monitor events.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use zmq::{Context, DONTWAIT, PAIR, Socket, SocketEvent};

/// Names of monitor sockets must differ within a process only for good order.
static N_MONITORS: AtomicU64 = AtomicU64::new(0);

/// Counts the clients of a bound socket.
pub(super) struct Clients {
    monitor: Socket,
    accepted: HashSet<u32>,
    n_handshakes: u64,
}

impl Clients {
    /// Begin to watch a socket; before it is bound.
    pub(super) fn watch(context: &Context, socket: &Socket) -> zmq::Result<Self> {
        let number = N_MONITORS.fetch_add(1, Ordering::Relaxed);
        let endpoint = format!("inproc://clients-{number}");
        let events = [
            SocketEvent::ACCEPTED,
            SocketEvent::DISCONNECTED,
            SocketEvent::HANDSHAKE_SUCCEEDED,
        ];
        let mask = events
            .iter()
            .fold(0, |mask, event| mask | i32::from(event.to_raw()));
        socket.monitor(&endpoint, mask)?;
        let monitor = context.socket(PAIR)?;
        monitor.set_linger(0)?;
        // Without a limit: a full monitor would stop the socket's own thread.
        monitor.set_rcvhwm(0)?;
        monitor.connect(&endpoint)?;
        Ok(Self {
            monitor,
            accepted: HashSet::new(),
            n_handshakes: 0,
        })
    }

    /// How many are connected now and have shaken hands.
    pub(super) fn count(&mut self) -> usize {
        while let Ok(parts) = self.monitor.recv_multipart(DONTWAIT) {
            let Some(&[a, b, c, d, e, f]) = parts.first().and_then(|part| part.first_chunk::<6>()) else {
                continue;
            };
            let connection = u32::from_ne_bytes([c, d, e, f]);
            match SocketEvent::from_raw(u16::from_ne_bytes([a, b])) {
                SocketEvent::ACCEPTED => drop(self.accepted.insert(connection)),
                SocketEvent::DISCONNECTED => drop(self.accepted.remove(&connection)),
                _ => self.n_handshakes += 1,
            }
        }
        if self.n_handshakes == 0 {
            0
        } else {
            self.accepted.len()
        }
    }
}
