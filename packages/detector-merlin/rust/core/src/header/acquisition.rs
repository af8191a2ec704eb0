//! The acquisition header (HDR): lines `Key:<tab>value`, sent when the detector is armed.

use super::HeaderError;
use super::text::{decimal, latin1, printable, trimmed};

/// No acquisition header is longer; real ones are 2048 bytes, old ones 2020.
pub const MAX_HEADER_BYTES: usize = 64 << 10;

const N_FRAMES: &str = "Frames in Acquisition (Number)";
const FRAMES_PER_TRIGGER: &str = "Frames per Trigger (Number)";
const SCAN_X: &str = "ScanX";
const SCAN_Y: &str = "ScanY";
const TIME_STAMP: &str = "Time and Date Stamp";

/// What an acquisition announces about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcquisitionHeader {
    /// Frames that will come; `None` for continuous.
    pub n_frames: Option<u64>,
    /// Frames per trigger; `None` if not said or 0.
    pub frames_per_trigger: Option<u64>,
    /// `(ScanY, ScanX)` if the detector has a scan interface and both are set.
    pub scan: Option<(u64, u64)>,
    /// All lines in their order, keys without the trailing colon.
    pub lines: Vec<(String, String)>,
}

impl AcquisitionHeader {
    /// Read the body of a message, from `HDR` on, or the contents of a `.hdr` file.
    pub fn parse(body: &[u8]) -> Result<Self, HeaderError> {
        if body.len() > MAX_HEADER_BYTES {
            return Err(HeaderError::TooLong {
                bytes: body.len() as u64,
                limit: MAX_HEADER_BYTES as u64,
            });
        }
        let mut lines = Vec::new();
        for line in body.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(2, |byte| *byte == b'\t');
            let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            let key = trimmed(key);
            let key = key.strip_suffix(b":").unwrap_or(key);
            match key {
                b"" | b"HDR," => {}
                b"End" => break,
                _ => lines.push((latin1(key), latin1(trimmed(value)))),
            }
        }
        let n_frames = number(&lines, N_FRAMES)?.ok_or(HeaderError::MissingKey(N_FRAMES))?;
        let frames_per_trigger = number(&lines, FRAMES_PER_TRIGGER)?.filter(|n| *n > 0);
        let scan = match (number(&lines, SCAN_Y)?, number(&lines, SCAN_X)?) {
            (Some(y), Some(x)) if x > 0 && y > 0 => Some((y, x)),
            _ => None,
        };
        Ok(Self {
            n_frames: (n_frames > 0).then_some(n_frames),
            frames_per_trigger,
            scan,
            lines,
        })
    }

    /// The value of a line, by its key.
    pub fn value(&self, key: &str) -> Option<&str> {
        find(&self.lines, key)
    }

    /// The index space that the header speaks of, slow axis first: that of the scan interface, or
    /// lines of one trigger each; `None` if it says neither.
    pub fn index_shape(&self) -> Option<(u64, u64)> {
        let lines = || {
            let (n_frames, per_trigger) = (self.n_frames?, self.frames_per_trigger?);
            let is_line = (2..n_frames).contains(&per_trigger) && n_frames.is_multiple_of(per_trigger);
            is_line.then(|| (n_frames / per_trigger, per_trigger))
        };
        self.scan.or_else(lines)
    }

    /// Whether both announce the same, whenever they were sent.
    pub fn announces_same(&self, other: &Self) -> bool {
        let settings = |header: &'_ Self| -> Vec<(String, String)> {
            header
                .lines
                .iter()
                .filter(|(key, _)| !key.starts_with(TIME_STAMP))
                .cloned()
                .collect()
        };
        settings(self) == settings(other)
    }
}

fn find<'a>(lines: &'a [(String, String)], key: &str) -> Option<&'a str> {
    lines
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}

fn number(lines: &[(String, String)], key: &'static str) -> Result<Option<u64>, HeaderError> {
    match find(lines, key) {
        None | Some("") => Ok(None),
        Some(text) => decimal(text.as_bytes())
            .map(Some)
            .ok_or_else(|| HeaderError::Value {
                key,
                value: printable(text.as_bytes()),
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(end_of_line: &str) -> Vec<u8> {
        let lines = [
            "HDR,\t",
            "Time and Date Stamp (day, mnth, yr, hr, min, s):\t18/05/2020 16:51:48",
            "Chip ID:\tW529_F5,-,-,-",
            "Active Counters:\tAlternating",
            "Frames in Acquisition (Number):\t16384",
            "Frames per Trigger (Number):\t128",
            "ScanX:\t128",
            "ScanY:\t64",
            "Some new key:\twith\ttabs",
            "no tab here",
            "End\t",
        ];
        let mut body = lines.join(end_of_line).into_bytes();
        body.extend_from_slice(b"Sensor Bias (V, \xb5A)\t20 V ignored after End");
        body.resize(2048, b' ');
        body
    }

    #[test]
    fn known_keys_are_read_with_both_line_ends() {
        for end_of_line in ["\r\n", "\n"] {
            let header = AcquisitionHeader::parse(&sample(end_of_line)).unwrap();
            assert_eq!(header.n_frames, Some(16384));
            assert_eq!(header.frames_per_trigger, Some(128));
            assert_eq!(header.scan, Some((64, 128)));
            assert_eq!(header.value("Active Counters"), Some("Alternating"));
            assert_eq!(header.value("Some new key"), Some("with\ttabs"));
            assert_eq!(header.lines.len(), 8);
        }
    }

    #[test]
    fn the_index_space_is_that_of_the_scan_or_of_line_triggers() {
        let shape = |n, per_trigger, scan: &str| {
            let text = format!(
                "HDR,\t\nFrames in Acquisition (Number):\t{n}\n\
                 Frames per Trigger (Number):\t{per_trigger}\n{scan}End\t"
            );
            AcquisitionHeader::parse(text.as_bytes()).unwrap().index_shape()
        };
        assert_eq!(shape(32, 8, "ScanX:\t16\nScanY:\t2\n"), Some((2, 16)));
        assert_eq!(shape(32, 8, "ScanX:\t0\nScanY:\t0\n"), Some((4, 8)));
        for (n, per_trigger) in [(32, 1), (32, 32), (32, 5), (0, 8), (32, 0)] {
            assert_eq!(shape(n, per_trigger, ""), None);
        }
    }

    #[test]
    fn zero_frames_mean_continuous() {
        let body =
            b"HDR,\t\r\nFrames in Acquisition (Number):\t0\r\nFrames per Trigger (Number):\t0\r\nEnd\t";
        let header = AcquisitionHeader::parse(body).unwrap();
        assert_eq!(
            (header.n_frames, header.frames_per_trigger, header.scan),
            (None, None, None)
        );
    }

    #[test]
    fn what_is_needed_and_absent_or_unreadable_is_an_error() {
        let missing = AcquisitionHeader::parse(b"HDR,\t\r\nEnd\t").unwrap_err();
        assert_eq!(missing, HeaderError::MissingKey(N_FRAMES));
        let wrong = AcquisitionHeader::parse(b"HDR,\t\nFrames in Acquisition (Number):\tmany\n").unwrap_err();
        assert!(wrong.to_string().contains("many"), "{wrong}");
        let long = AcquisitionHeader::parse(&vec![b' '; MAX_HEADER_BYTES + 1]).unwrap_err();
        assert!(matches!(long, HeaderError::TooLong { .. }));
    }

    #[test]
    fn a_repeated_header_is_recognised_whatever_its_time_stamp() {
        let first = AcquisitionHeader::parse(&sample("\r\n")).unwrap();
        let mut later = first.clone();
        later.lines[0].1 = "18/05/2020 16:51:49".into();
        assert!(first.announces_same(&later));
        later.lines[2].1 = "Counter 0".into();
        assert!(!first.announces_same(&later));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = AcquisitionHeader::parse(&bytes);
        }

        #[test]
        fn arbitrary_lines_never_panic(text in "(HDR|End|ScanX|Frames in Acquisition \\(Number\\)|[\t:\r\n0-9])*") {
            let _ = AcquisitionHeader::parse(text.as_bytes());
        }

        #[test]
        fn numbers_read_back(n in 0_u64..=42_949_672_950, y in 1_u64..10_000, x in 1_u64..10_000) {
            let text = format!(
                "HDR,\t\r\nFrames in Acquisition (Number):\t{n}\r\nScanX:\t{x}\r\nScanY:\t{y}\r\nEnd\t");
            let header = AcquisitionHeader::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(header.n_frames.unwrap_or(0), n);
            prop_assert_eq!(header.scan, Some((y, x)));
        }
    }
}
