//! `.mib` files: frames one after the other, each with its header, without the message prefixes.

use thiserror::Error;

use crate::format::FrameFormat;
use crate::header::{FrameHeader, HeaderError};

/// Largest header that is looked for at a frame's start; real ones have 384 or 768 bytes.
const MAX_HEADER: usize = 64 << 10;
const LAST_SIX_DIGITS: u64 = 999_999;

/// Where the frames of a file are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MibIndex {
    /// Format of all frames.
    pub format: FrameFormat,
    /// Header of the first frame.
    pub header: FrameHeader,
    /// Bytes from one frame to the next.
    pub stride: usize,
    /// Whole frames.
    pub n_frames: usize,
    /// Bytes behind the last whole frame.
    pub n_left_over: usize,
    /// First place where numbers do not follow one another: index, expected and found number.
    pub jump: Option<(usize, u64, u64)>,
}

/// A file that is not what its first frame says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MibError {
    /// A header can't be read.
    #[error("frame {index} at byte {offset}: {problem}")]
    Header {
        /// Position of the frame in the file, from 0.
        index: usize,
        /// Where it starts.
        offset: usize,
        /// What is wrong.
        problem: HeaderError,
    },
    /// All frames of a file must be alike.
    #[error("frame {index} at byte {offset} differs from the first one in {what}")]
    Changed {
        /// Position of the frame in the file, from 0.
        index: usize,
        /// Where it starts.
        offset: usize,
        /// In what.
        what: &'static str,
    },
}

/// Read the headers of all frames.
pub fn scan(file: &[u8]) -> Result<MibIndex, MibError> {
    let at = |index: usize, offset: usize| {
        move |problem| MibError::Header {
            index,
            offset,
            problem,
        }
    };
    let first = FrameHeader::parse(head(file), file.len()).map_err(at(0, 0))?;
    let format = first_format(&first, file).map_err(at(0, 0))?;
    let stride = first.data_offset + format.payload_bytes();
    let n_frames = file.len() / stride;
    let mut jump = None;
    let mut number = first.number;
    for index in 1..n_frames {
        let offset = index * stride;
        let frame = file.get(offset..offset + stride).unwrap_or_default();
        let header = FrameHeader::parse(head(frame), stride).map_err(at(index, offset))?;
        let what = if header.data_offset != first.data_offset {
            "the size of its header"
        } else if header.counter != first.counter {
            "its counter; files of both counters or of colour modes are not supported"
        } else if header.format(format.payload_bytes()).as_ref() != Ok(&format) {
            "its format"
        } else {
            ""
        };
        if !what.is_empty() {
            return Err(MibError::Changed { index, offset, what });
        }
        let follows = header.number == number + 1 || (number == LAST_SIX_DIGITS && header.number <= 1);
        if !follows && jump.is_none() {
            jump = Some((index, number + 1, header.number));
        }
        number = header.number;
    }
    let n_left_over = file.len() - n_frames * stride;
    Ok(MibIndex {
        format,
        header: first,
        stride,
        n_frames,
        n_left_over,
        jump,
    })
}

fn head(frame: &[u8]) -> &[u8] {
    frame.get(..MAX_HEADER).unwrap_or(frame)
}

/// The first frame's format; where the header lacks the depth, the next frame's place tells it.
fn first_format(header: &FrameHeader, file: &[u8]) -> Result<FrameFormat, HeaderError> {
    let depths = match header.depth {
        Some(depth) => [depth; 4],
        None => [12, 6, 1, 24],
    };
    let mut last = None;
    for depth in depths {
        let (kind, layout, chips) = (header.kind, header.layout, header.n_chips);
        match FrameFormat::new(kind, depth, layout, chips, header.width, header.height) {
            Ok(format) => {
                let next = file.get(header.data_offset + format.payload_bytes()..);
                if header.depth.is_some()
                    || next.is_some_and(|next| next.is_empty() || next.starts_with(b"MQ1,"))
                {
                    return Ok(format);
                }
                last = Some(Ok(format));
            }
            Err(error) => last = last.or(Some(Err(HeaderError::Format(error)))),
        }
    }
    last.unwrap_or_else(|| header.format(file.len().saturating_sub(header.data_offset)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64, extension: &str) -> Vec<u8> {
        let text = format!("MQ1,{number:06},00384,01,0256,0002,R64,   1x1,01,t,0.5,0,0,0,{extension}");
        let mut bytes = text.into_bytes();
        bytes.resize(384 + 2 * 256, 0);
        bytes
    }

    #[test]
    fn frames_are_found_and_their_numbers_checked() {
        let file = [
            frame(5, "MQ1A,t,1ns,6,"),
            frame(6, "MQ1A,t,1ns,6,"),
            frame(9, "MQ1A,t,1ns,6,"),
        ]
        .concat();
        let index = scan(&file).unwrap();
        assert_eq!((index.n_frames, index.stride, index.n_left_over), (3, 896, 0));
        assert_eq!((index.header.number, index.jump), (5, Some((2, 7, 9))));
        assert_eq!(scan(&file[..2000]).unwrap().n_left_over, 208);
    }

    #[test]
    fn a_missing_depth_follows_from_where_the_next_frame_is() {
        let file = [frame(1, ""), frame(2, "")].concat();
        assert_eq!(scan(&file).unwrap().format.depth(), 6);
        assert_eq!(scan(&frame(1, "")).unwrap().format.depth(), 6);
    }

    #[test]
    fn frames_that_differ_are_an_error() {
        let mut other = frame(2, "MQ1A,t,1ns,6,");
        let position = other.windows(3).position(|w| w == b"R64").unwrap();
        other[position..position + 3].copy_from_slice(b"U08");
        let error = scan(&[frame(1, "MQ1A,t,1ns,6,"), other].concat()).unwrap_err();
        assert!(matches!(error, MibError::Changed { index: 1, .. }), "{error}");
        let error = scan(&[frame(1, "MQ1A,t,1ns,6,"), vec![0; 896]].concat()).unwrap_err();
        assert!(
            matches!(
                error,
                MibError::Header {
                    index: 1,
                    offset: 896,
                    ..
                }
            ),
            "{error}"
        );
        assert!(scan(b"").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_changes_never_panic(at in 0_usize..400, byte: u8, cut in 0_usize..1000) {
            let mut file = [frame(1, "MQ1A,t,1ns,6,"), frame(2, "")].concat();
            file[at] = byte;
            file.truncate(file.len() - cut);
            let _ = scan(&file);
        }
    }
}
