//! Message framing: `MPX,<10 digits>,<body>`.

use super::HeaderError;
use super::text::{decimal, printable};

/// Bytes before the body: `MPX,`, ten digits, a comma.
pub const PREFIX_BYTES: usize = 15;

const MAGIC: &[u8; 4] = b"MPX,";
const DIGITS: usize = 10;

/// The length of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Bytes that follow the prefix.  The number on the wire is one more: it counts the comma.
    pub body_bytes: u64,
}

impl Prefix {
    /// Read a prefix at the start of `bytes`; `None` if more bytes are needed.
    ///
    /// Bytes that can't become a prefix are refused as soon as they are there.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        let available = bytes.get(..PREFIX_BYTES).unwrap_or(bytes);
        let fits = |(at, byte): (usize, &u8)| match at {
            0..4 => MAGIC.get(at) == Some(byte),
            4..14 => byte.is_ascii_digit(),
            _ => *byte == b',',
        };
        let wrong = || HeaderError::Prefix {
            found: printable(available),
        };
        if !available.iter().enumerate().all(fits) {
            return Err(wrong());
        }
        let Some(digits) = available.get(MAGIC.len()..MAGIC.len() + DIGITS) else {
            return Ok(None);
        };
        if available.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let length = decimal(digits).ok_or_else(wrong)?;
        let body_bytes = length.checked_sub(1).ok_or_else(wrong)?;
        Ok(Some(Self { body_bytes }))
    }

    /// Bytes of the whole message, prefix included.
    pub fn message_bytes(self) -> u64 {
        self.body_bytes + PREFIX_BYTES as u64
    }

    /// The prefix as it is sent.
    pub fn encode(self) -> [u8; PREFIX_BYTES] {
        let mut bytes = *b"MPX,0000000000,";
        let mut rest = self.body_bytes + 1;
        for byte in bytes.iter_mut().skip(MAGIC.len()).take(DIGITS).rev() {
            *byte = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        bytes
    }
}

/// How many bytes at the start are terminators that some senders put between messages.
pub fn stray_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, 0 | b'\r' | b'\n'))
        .count()
}

/// What a message is about, told by the first three bytes of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// `HDR`: an acquisition begins.
    Acquisition,
    /// `MQ1`: a frame.
    Frame,
    /// `PR1`: a beam profile of the monitor variant; ignored.
    Profile,
}

impl MessageKind {
    /// Read the type of a message.
    pub fn of(body: &[u8]) -> Result<Self, HeaderError> {
        match body.get(..3) {
            Some(b"HDR") => Ok(Self::Acquisition),
            Some(b"MQ1") => Ok(Self::Frame),
            Some(b"PR1") => Ok(Self::Profile),
            _ => Err(HeaderError::Kind(printable(body.get(..8).unwrap_or(body)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn length_counts_the_comma() {
        let message = b"MPX,0000000025,SET,NUMFRAMESTOACQUIRE,1";
        let prefix = Prefix::parse(message).unwrap().unwrap();
        assert_eq!(prefix.message_bytes(), message.len() as u64);
        assert_eq!(prefix.encode(), message[..PREFIX_BYTES]);
    }

    #[test]
    fn too_few_bytes_ask_for_more_and_wrong_ones_are_refused_at_once() {
        let message = b"MPX,0000000025,";
        for n in 0..PREFIX_BYTES {
            assert_eq!(Prefix::parse(&message[..n]), Ok(None));
        }
        for wrong in [
            &b"X"[..],
            b"MPY",
            b"MPX,00x",
            b"MPX,0000000001;",
            b"MPX,0000000000,",
        ] {
            assert!(Prefix::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn terminators_between_messages_are_counted() {
        assert_eq!(stray_bytes(b"\r\n\0MPX"), 3);
        assert_eq!(stray_bytes(b"MPX\n"), 0);
    }

    proptest! {
        #[test]
        fn any_length_reads_back(body_bytes in 0_u64..9_999_999_999) {
            let prefix = Prefix { body_bytes };
            prop_assert_eq!(Prefix::parse(&prefix.encode()), Ok(Some(prefix)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Prefix::parse(&bytes);
            let _ = MessageKind::of(&bytes);
            prop_assert!(stray_bytes(&bytes) <= bytes.len());
        }
    }
}
