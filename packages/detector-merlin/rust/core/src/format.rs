//! What one frame looks like: pixel kind, counter depth, arrangement of chips.
//!
//! A [`FrameFormat`] is checked once, when it is made; after that its sizes can be trusted and none
//! of its arithmetic overflows.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Pixels along one edge of a Medipix3 chip.
pub(crate) const CHIP_PIXELS: usize = 256;
/// Width of the empty cross between chips in the gap-filled layouts of raw frames.
pub(crate) const GAP_PIXELS: usize = 2;
/// No frame may be larger than this: far above a quad at 24 bit, far below harm.
pub const MAX_FRAME_BYTES: usize = 256 << 20;

const MAX_EDGE: u32 = 1 << 16;
const MAX_CHIPS: u32 = 64;

/// A frame format that does not exist, or that this crate can't decode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The pixel type is none of U08, U16, U32, U64 and R64.
    #[error("pixel type {0:?} is not supported; expected U08, U16, U32, U64 or R64")]
    Kind(String),
    /// The layout is none of 1x1, 2x2, 2x2G, Nx1 and Nx1G.
    #[error("chip layout {0:?} is not supported; expected 1x1, 2x2, 2x2G, Nx1 or Nx1G")]
    Layout(String),
    /// Raw data of a counter depth that has no known encoding.
    #[error("counter depth {0} of raw (R64) data is not one of 1, 6, 12, 24")]
    Depth(u32),
    /// The frame is empty or absurdly large.
    #[error("frame of {width}x{height} pixels, {n_chips} chips is empty or beyond the limits")]
    Size {
        /// Width as the header says.
        width: u32,
        /// Height as the header says.
        height: u32,
        /// Number of chips.
        n_chips: u32,
    },
    /// The header's width is not that of whole rows of chips.
    #[error(
        "raw frame (depth {depth}) of {n_chips} chips in layout {layout} can't have a header width of {width}"
    )]
    RawWidth {
        /// Width as the header says.
        width: u32,
        /// Counter depth.
        depth: u32,
        /// Number of chips.
        n_chips: u32,
        /// Arrangement of the chips.
        layout: ChipLayout,
    },
}

/// Type of the pixels in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelKind {
    /// One byte per pixel.
    U08,
    /// Two bytes, big endian.
    U16,
    /// Four bytes, big endian.
    U32,
    /// Eight bytes, big endian.
    U64,
    /// As read out of the chips: 64-bit words, last pixel first.
    R64,
}

impl FromStr for PixelKind {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "U08" => Ok(Self::U08),
            "U16" => Ok(Self::U16),
            "U32" => Ok(Self::U32),
            "U64" => Ok(Self::U64),
            "R64" => Ok(Self::R64),
            other => Err(FormatError::Kind(shortened(other))),
        }
    }
}

impl fmt::Display for PixelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U08 => "U08",
            Self::U16 => "U16",
            Self::U32 => "U32",
            Self::U64 => "U64",
            Self::R64 => "R64",
        })
    }
}

/// Arrangement of the chips; `Gap` means that the space between chips is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChipLayout {
    /// `1x1`
    Single,
    /// `2x2`
    Quad,
    /// `2x2G`
    QuadGap,
    /// `Nx1`
    Row,
    /// `Nx1G`
    RowGap,
}

impl FromStr for ChipLayout {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let unknown = || FormatError::Layout(shortened(text));
        match text {
            "1x1" | "1x1G" => Ok(Self::Single),
            "2x2" => Ok(Self::Quad),
            "2x2G" => Ok(Self::QuadGap),
            _ => {
                let (body, gap) = match text.strip_suffix('G') {
                    Some(body) => (body, true),
                    None => (text, false),
                };
                let columns = body.strip_suffix("x1").ok_or_else(unknown)?;
                let is_number = !columns.is_empty() && columns.bytes().all(|b| b.is_ascii_digit());
                match (columns == "N" || is_number, gap) {
                    (true, false) => Ok(Self::Row),
                    (true, true) => Ok(Self::RowGap),
                    (false, _) => Err(unknown()),
                }
            }
        }
    }
}

impl fmt::Display for ChipLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "1x1",
            Self::Quad => "2x2",
            Self::QuadGap => "2x2G",
            Self::Row => "Nx1",
            Self::RowGap => "Nx1G",
        })
    }
}

/// How pixels are stored in a payload; says which kernel decodes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Big-endian values of that many bytes.
    Plain8,
    /// See [`Encoding::Plain8`].
    Plain16,
    /// See [`Encoding::Plain8`].
    Plain32,
    /// See [`Encoding::Plain8`].
    Plain64,
    /// 64 pixels per big-endian word, bit 0 first.
    Raw1,
    /// 8 pixels per word, last first.
    Raw6,
    /// 4 pixels per word, last first.
    Raw12,
    /// Two complete 12-bit images: upper, then lower half of the counter.
    Raw24,
}

/// Type of one decoded element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NativeType {
    /// 8 bit
    U1,
    /// 16 bit
    U2,
    /// 32 bit
    U4,
    /// 64 bit
    U8,
}

impl NativeType {
    /// Name as NumPy spells it: `u1`, `u2`, `u4`, `u8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U1 => "u1",
            Self::U2 => "u2",
            Self::U4 => "u4",
            Self::U8 => "u8",
        }
    }
}

/// The checked format of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameFormat {
    kind: PixelKind,
    depth: u32,
    layout: ChipLayout,
    n_chips: u32,
    header_width: u32,
    header_height: u32,
    encoding: Encoding,
}

impl FrameFormat {
    /// Check that such a frame can exist.
    ///
    /// `depth` is the counter depth in bits; it decides how R64 is decoded and is only recorded for
    /// the other kinds (0 if unknown).
    pub fn new(
        kind: PixelKind,
        depth: u32,
        layout: ChipLayout,
        n_chips: u32,
        header_width: u32,
        header_height: u32,
    ) -> Result<Self, FormatError> {
        let edges = 1..=MAX_EDGE;
        if !edges.contains(&header_width)
            || !edges.contains(&header_height)
            || !(1..=MAX_CHIPS).contains(&n_chips)
        {
            return Err(FormatError::Size {
                width: header_width,
                height: header_height,
                n_chips,
            });
        }
        let encoding = match (kind, depth) {
            (PixelKind::U08, _) => Encoding::Plain8,
            (PixelKind::U16, _) => Encoding::Plain16,
            (PixelKind::U32, _) => Encoding::Plain32,
            (PixelKind::U64, _) => Encoding::Plain64,
            (PixelKind::R64, 1) => Encoding::Raw1,
            (PixelKind::R64, 6) => Encoding::Raw6,
            (PixelKind::R64, 12) => Encoding::Raw12,
            (PixelKind::R64, 24) => Encoding::Raw24,
            (PixelKind::R64, other) => return Err(FormatError::Depth(other)),
        };
        let format = Self {
            kind,
            depth,
            layout,
            n_chips,
            header_width,
            header_height,
            encoding,
        };
        if kind == PixelKind::R64 {
            format.check_raw_width()?;
        }
        if format.payload_bytes() > MAX_FRAME_BYTES {
            return Err(FormatError::Size {
                width: header_width,
                height: header_height,
                n_chips,
            });
        }
        Ok(format)
    }

    /// A raw row holds whole rows of all chips, each of whole 64-bit words.
    fn check_raw_width(&self) -> Result<(), FormatError> {
        let fits_layout = match self.layout {
            ChipLayout::Single => self.n_chips == 1,
            ChipLayout::Quad | ChipLayout::QuadGap => self.n_chips == 4,
            ChipLayout::Row | ChipLayout::RowGap => true,
        };
        let per_word = match self.encoding {
            Encoding::Raw1 => 64,
            Encoding::Raw6 => 8,
            _ => 4,
        };
        let chips = self.n_chips as usize * self.images();
        if fits_layout && (self.header_width as usize).is_multiple_of(chips * per_word) {
            Ok(())
        } else {
            Err(FormatError::RawWidth {
                width: self.header_width,
                depth: self.depth,
                n_chips: self.n_chips,
                layout: self.layout,
            })
        }
    }

    /// Complete images in one payload; the header counts both of 24-bit data in the width.
    fn images(&self) -> usize {
        if self.encoding == Encoding::Raw24 { 2 } else { 1 }
    }

    /// Pixels in one row of one chip of a raw frame: 256 on every real detector.
    pub(crate) fn chip_pixels(&self) -> usize {
        self.header_width as usize / (self.n_chips as usize * self.images())
    }

    /// Type of the pixels as the header names it.
    pub fn kind(&self) -> PixelKind {
        self.kind
    }

    /// Counter depth in bits, 0 if unknown.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Arrangement of the chips.
    pub fn layout(&self) -> ChipLayout {
        self.layout
    }

    /// Number of chips.
    pub fn n_chips(&self) -> u32 {
        self.n_chips
    }

    /// Width as the header says; of raw frames this is not the width of the image.
    pub fn header_width(&self) -> u32 {
        self.header_width
    }

    /// Height as the header says; of raw frames these are the rows per chip.
    pub fn header_height(&self) -> u32 {
        self.header_height
    }

    /// How the pixels are stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Type of one decoded pixel.
    pub fn native(&self) -> NativeType {
        match self.encoding {
            Encoding::Plain8 | Encoding::Raw1 | Encoding::Raw6 => NativeType::U1,
            Encoding::Plain16 | Encoding::Raw12 => NativeType::U2,
            Encoding::Plain32 | Encoding::Raw24 => NativeType::U4,
            Encoding::Plain64 => NativeType::U8,
        }
    }

    /// Rows and columns of the assembled image.
    pub fn item_shape(&self) -> (usize, usize) {
        let (width, height) = (self.header_width as usize, self.header_height as usize);
        if self.kind != PixelKind::R64 {
            return (height, width);
        }
        let across = self.chips_across();
        let gap = self.gap_pixels();
        let columns = across * self.chip_pixels() + (across - 1) * gap;
        match self.layout {
            ChipLayout::Quad | ChipLayout::QuadGap => (2 * height + gap, columns),
            ChipLayout::Single | ChipLayout::Row | ChipLayout::RowGap => (height, columns),
        }
    }

    /// Chips side by side in a raw frame.
    pub(crate) fn chips_across(&self) -> usize {
        match self.layout {
            ChipLayout::Single => 1,
            ChipLayout::Quad | ChipLayout::QuadGap => 2,
            ChipLayout::Row | ChipLayout::RowGap => self.n_chips as usize,
        }
    }

    /// Empty pixels between two chips of a raw frame.
    pub(crate) fn gap_pixels(&self) -> usize {
        match self.layout {
            ChipLayout::QuadGap | ChipLayout::RowGap => GAP_PIXELS,
            ChipLayout::Single | ChipLayout::Quad | ChipLayout::Row => 0,
        }
    }

    /// Encoded bytes of one chip row of a raw frame (of one of the two images at 24 bit).
    pub(crate) fn chip_row_bytes(&self) -> usize {
        match self.encoding {
            Encoding::Raw1 => self.chip_pixels() / 8,
            Encoding::Raw12 | Encoding::Raw24 => 2 * self.chip_pixels(),
            _ => self.chip_pixels(),
        }
    }

    /// Encoded bytes of one frame, without its header.
    pub fn payload_bytes(&self) -> usize {
        let plain = self.header_width as usize * self.header_height as usize;
        let raw = self.header_height as usize * self.n_chips as usize * self.chip_row_bytes();
        match self.encoding {
            Encoding::Plain8 => plain,
            Encoding::Plain16 => 2 * plain,
            Encoding::Plain32 => 4 * plain,
            Encoding::Plain64 => 8 * plain,
            Encoding::Raw1 | Encoding::Raw6 | Encoding::Raw12 => raw,
            Encoding::Raw24 => 2 * raw,
        }
    }
}

/// Text from the wire, cut to a length that is fit for an error message.
fn shortened(text: &str) -> String {
    text.chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(depth: u32, layout: ChipLayout, n_chips: u32, width: u32, height: u32) -> FrameFormat {
        FrameFormat::new(PixelKind::R64, depth, layout, n_chips, width, height).unwrap()
    }

    #[test]
    fn sizes_are_those_of_real_frames() {
        let quad = [(1, 32_768), (6, 262_144), (12, 524_288)];
        for (depth, payload) in quad {
            let format = raw(depth, ChipLayout::Quad, 4, 1024, 256);
            assert_eq!(format.payload_bytes(), payload);
            assert_eq!(format.item_shape(), (512, 512));
        }
        assert_eq!(raw(24, ChipLayout::Quad, 4, 2048, 256).payload_bytes(), 1_048_576);
        assert_eq!(raw(24, ChipLayout::Single, 1, 512, 256).item_shape(), (256, 256));
        assert_eq!(
            raw(12, ChipLayout::QuadGap, 4, 1024, 256).item_shape(),
            (514, 514)
        );
        assert_eq!(raw(12, ChipLayout::Quad, 4, 1024, 128).item_shape(), (256, 512));
        assert_eq!(raw(1, ChipLayout::RowGap, 3, 768, 256).item_shape(), (256, 772));
        let plain = FrameFormat::new(PixelKind::U16, 12, ChipLayout::QuadGap, 4, 514, 514).unwrap();
        assert_eq!((plain.payload_bytes(), plain.item_shape()), (528_392, (514, 514)));
    }

    #[test]
    fn names_read_back() {
        for layout in ["1x1", "2x2", "2x2G", "Nx1", "Nx1G"] {
            assert_eq!(layout.parse::<ChipLayout>().unwrap().to_string(), layout);
        }
        assert_eq!("4x1G".parse::<ChipLayout>().unwrap(), ChipLayout::RowGap);
        for wrong in ["", "x1", "1x2", "2x2H", "-1x1"] {
            assert!(wrong.parse::<ChipLayout>().is_err(), "{wrong}");
        }
        for kind in ["U08", "U16", "U32", "U64", "R64"] {
            assert_eq!(kind.parse::<PixelKind>().unwrap().to_string(), kind);
        }
        assert!("U01".parse::<PixelKind>().is_err());
    }

    #[test]
    fn impossible_formats_are_refused() {
        let bad = |kind, depth, layout, chips, width, height| {
            FrameFormat::new(kind, depth, layout, chips, width, height).unwrap_err()
        };
        assert!(matches!(
            bad(PixelKind::U08, 0, ChipLayout::Single, 1, 0, 256),
            FormatError::Size { .. }
        ));
        assert!(matches!(
            bad(PixelKind::U64, 0, ChipLayout::Single, 1, 65536, 65536),
            FormatError::Size { .. }
        ));
        assert_eq!(
            bad(PixelKind::R64, 7, ChipLayout::Single, 1, 256, 256),
            FormatError::Depth(7)
        );
        assert!(matches!(
            bad(PixelKind::R64, 12, ChipLayout::Quad, 4, 1000, 256),
            FormatError::RawWidth { width: 1000, .. }
        ));
        assert!(matches!(
            bad(PixelKind::R64, 12, ChipLayout::Quad, 2, 512, 256),
            FormatError::RawWidth { .. }
        ));
    }
}
