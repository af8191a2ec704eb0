//! Whether any endpoint is connected, from the monitor of the ZeroMQ socket.

use zmq::{Context, DONTWAIT, Message, PAIR, Socket, SocketEvent};

/// Where the monitor's events can be read, within the context.
const ENDPOINT: &str = "inproc://monitor";

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first endpoint is connected.
    Connected,
    /// None is connected any more.
    Disconnected(String),
    /// An attempt to connect failed.
    Unreachable(String),
}

/// The events that matter here; libzmq may know more than its binding.
fn known(raw: u16) -> Option<SocketEvent> {
    [
        SocketEvent::HANDSHAKE_SUCCEEDED,
        SocketEvent::DISCONNECTED,
        SocketEvent::CONNECT_RETRIED,
        SocketEvent::CLOSED,
        SocketEvent::HANDSHAKE_FAILED_NO_DETAIL,
        SocketEvent::HANDSHAKE_FAILED_PROTOCOL,
        SocketEvent::HANDSHAKE_FAILED_AUTH,
    ]
    .into_iter()
    .find(|event| event.to_raw() == raw)
}

/// Follows the connections of one socket.
pub(crate) struct Monitor {
    events: Socket,
    connected: Vec<String>,
}

impl Monitor {
    pub(crate) fn new(context: &Context, socket: &Socket) -> zmq::Result<Self> {
        socket.monitor(ENDPOINT, SocketEvent::ALL.to_raw().into())?;
        let events = context.socket(PAIR)?;
        events.set_linger(0)?;
        events.connect(ENDPOINT)?;
        Ok(Self {
            events,
            connected: Vec::new(),
        })
    }

    /// To be polled.
    pub(crate) fn socket(&self) -> &Socket {
        &self.events
    }

    /// The next change, if there is one.
    pub(crate) fn next(&mut self) -> Option<Change> {
        loop {
            let (mut event, mut address) = (Message::new(), Message::new());
            self.events.recv(&mut event, DONTWAIT).ok()?;
            self.events.recv(&mut address, DONTWAIT).ok()?;
            let [low, high, ..] = event[..] else { continue };
            let address = String::from_utf8_lossy(&address).into_owned();
            let Some(event) = known(u16::from_le_bytes([low, high])) else {
                continue;
            };
            if let Some(change) = self.note(event, address) {
                return Some(change);
            }
        }
    }

    fn note(&mut self, event: SocketEvent, address: String) -> Option<Change> {
        match event {
            SocketEvent::HANDSHAKE_SUCCEEDED => {
                let is_first = self.connected.is_empty();
                if !self.connected.contains(&address) {
                    self.connected.push(address);
                }
                is_first.then_some(Change::Connected)
            }
            SocketEvent::DISCONNECTED => {
                let n = self.connected.len();
                self.connected.retain(|other| *other != address);
                let was_last = n > 0 && self.connected.is_empty();
                was_last.then(|| Change::Disconnected(format!("the connection to {address} broke")))
            }
            SocketEvent::CONNECT_RETRIED | SocketEvent::CLOSED if self.connected.is_empty() => {
                Some(Change::Unreachable(format!(
                    "{address} does not accept; is the detector's computer on, and its stream enabled?"
                )))
            }
            SocketEvent::HANDSHAKE_FAILED_NO_DETAIL
            | SocketEvent::HANDSHAKE_FAILED_PROTOCOL
            | SocketEvent::HANDSHAKE_FAILED_AUTH
                if self.connected.is_empty() =>
            {
                Some(Change::Unreachable(format!(
                    "what answers at {address} does not speak ZeroMQ"
                )))
            }
            _ => None,
        }
    }
}
