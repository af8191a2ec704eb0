//! The frame header (MQ1): comma-separated ASCII in front of each frame's pixels.
//!
//! Fields are found by commas, not by columns, because the frame number may outgrow its six
//! digits.  Old software leaves thresholds and DACs out, or the whole `MQ1A` extension.

use super::HeaderError;
use super::text::{decimal, printable, trimmed};
use crate::format::{CHIP_PIXELS, ChipLayout, FrameFormat, PixelKind};

/// What a frame's header says.  Plain numbers: parsing allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameHeader {
    /// Number of the frame in its acquisition, from 1.
    pub number: u64,
    /// Where the pixels start, counted from the `M` of `MQ1`.
    pub data_offset: usize,
    /// Number of chips.
    pub n_chips: u32,
    /// Width as the header says.
    pub width: u32,
    /// Height as the header says.
    pub height: u32,
    /// Type of the pixels.
    pub kind: PixelKind,
    /// Arrangement of the chips.
    pub layout: ChipLayout,
    /// Shutter time in seconds, where it can be read.
    pub shutter_s: Option<f64>,
    /// Counter (0, 1) or colour layer (0-7); 0 if absent.
    pub counter: u32,
    /// Counter depth in bits, from the `MQ1A` extension.
    pub depth: Option<u32>,
}

impl FrameHeader {
    /// Read the header at the start of a message's body (of which at least the header must be there).
    ///
    /// `body_bytes` is the length of the whole body, header and pixels.
    pub fn parse(body: &[u8], body_bytes: usize) -> Result<Self, HeaderError> {
        let mut fields = body.split(|byte| *byte == b',').map(trimmed);
        let mut next = || fields.next().unwrap_or_default();
        let kind = next();
        if kind != b"MQ1" {
            return Err(HeaderError::Kind(printable(kind)));
        }
        let number = required("frame number", next())?;
        let data_offset = required("data offset", next())?;
        let data_offset = usize::try_from(data_offset).unwrap_or(usize::MAX);
        if data_offset > body_bytes || data_offset > body.len() {
            return Err(HeaderError::DataOffset {
                offset: data_offset,
                bytes: body_bytes,
            });
        }
        let n_chips = required_u32("number of chips", next())?;
        let width = required_u32("width", next())?;
        let height = required_u32("height", next())?;
        let kind = ascii("pixel type", next())?.parse()?;
        let layout = ascii("layout", next())?.parse()?;
        let (_chip_select, _time_stamp) = (next(), next());
        let shutter_s = std::str::from_utf8(next())
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        let shutter_s = shutter_s.filter(|time| time.is_finite() && *time >= 0.0);
        let counter = match next() {
            b"" => 0,
            field => required_u32("counter", field)?,
        };
        Ok(Self {
            number,
            data_offset,
            n_chips,
            width,
            height,
            kind,
            layout,
            shutter_s,
            counter,
            depth: extension_depth(body.get(..data_offset).unwrap_or(body)),
        })
    }

    /// The frame's format, checked against the number of bytes that hold its pixels.
    ///
    /// Where the header does not say the counter depth of raw pixels, it follows from the size.
    pub fn format(&self, payload_bytes: usize) -> Result<FrameFormat, HeaderError> {
        let depth = match (self.depth, self.kind) {
            (Some(depth), _) => depth,
            (None, PixelKind::R64) => self.depth_from_size(payload_bytes),
            (None, _) => 0,
        };
        let format = FrameFormat::new(
            self.kind,
            depth,
            self.layout,
            self.n_chips,
            self.width,
            self.height,
        )?;
        if format.payload_bytes() != payload_bytes {
            return Err(HeaderError::PayloadSize {
                expected: format.payload_bytes(),
                found: payload_bytes,
                width: self.width,
                height: self.height,
                n_chips: self.n_chips,
                depth,
            });
        }
        Ok(format)
    }

    /// Bits per pixel of the payload tell 1, 6 and 12; a doubled width means two images: 24.
    fn depth_from_size(&self, payload_bytes: usize) -> u32 {
        let pixels = (self.width as usize).saturating_mul(self.height as usize).max(1);
        let chips_wide = (self.n_chips as usize).saturating_mul(CHIP_PIXELS);
        match payload_bytes.saturating_mul(8) / pixels {
            1 => 1,
            8 => 6,
            16 if self.width as usize == chips_wide.saturating_mul(2) => 24,
            16 => 12,
            _ => 0,
        }
    }
}

/// Third field after the marker `MQ1A`, if it is there.
fn extension_depth(header: &[u8]) -> Option<u32> {
    let mut fields = header
        .split(|byte| *byte == b',')
        .map(trimmed)
        .skip_while(|field| field != b"MQ1A");
    let depth = decimal(fields.nth(3)?)?;
    u32::try_from(depth).ok()
}

fn required(name: &'static str, field: &[u8]) -> Result<u64, HeaderError> {
    decimal(field).ok_or_else(|| HeaderError::Field {
        name,
        found: printable(field),
    })
}

fn required_u32(name: &'static str, field: &[u8]) -> Result<u32, HeaderError> {
    u32::try_from(required(name, field)?).map_err(|_| HeaderError::Field {
        name,
        found: printable(field),
    })
}

fn ascii<'a>(name: &'static str, field: &'a [u8]) -> Result<&'a str, HeaderError> {
    std::str::from_utf8(field).map_err(|_| HeaderError::Field {
        name,
        found: printable(field),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Encoding, FormatError};
    use proptest::prelude::*;

    const SINGLE_2021: &str = "MQ1,000001,00384,01,0256,0256,U16,   1x1,01,2021-04-15 14:43:47.008505,\
        0.001000,0,0,0,2.000000E+0,5.110000E+2,0.000000E+0,0.000000E+0,0.000000E+0,0.000000E+0,\
        0.000000E+0,0.000000E+0,3RX,011,511,000,000,000,000,000,000,100,255,100,010,125,125,100,100,\
        080,090,255,128,128,128,128,128,128,511,511,MQ1A,2021-04-15T13:43:47.008505401Z,1000000ns,12,";
    const QUAD_2019: &str = "MQ1,000001,00768,04,1024,0256,R64,   2x2,0F,2019-09-18 11:15:08.157060,\
        0.010000,0,0,0,,MQ1A,2019-09-18T10:15:08.157060199Z,10000000ns,12,";

    fn padded(text: &str, data_offset: usize) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(data_offset, 0);
        bytes
    }

    #[test]
    fn header_of_a_single_chip_is_read() {
        let header = FrameHeader::parse(&padded(SINGLE_2021, 384), 384 + 131_072).unwrap();
        assert_eq!((header.number, header.data_offset, header.n_chips), (1, 384, 1));
        assert_eq!(
            (header.shutter_s, header.counter, header.depth),
            (Some(0.001), 0, Some(12))
        );
        let format = header.format(131_072).unwrap();
        assert_eq!(format.item_shape(), (256, 256));
        assert!(matches!(
            header.format(131_071),
            Err(HeaderError::PayloadSize { .. })
        ));
    }

    #[test]
    fn header_without_thresholds_is_read() {
        let header = FrameHeader::parse(&padded(QUAD_2019, 768), 768 + 524_288).unwrap();
        assert_eq!(header.depth, Some(12));
        assert_eq!(header.format(524_288).unwrap().item_shape(), (512, 512));
    }

    #[test]
    fn depth_follows_from_the_size_without_the_extension() {
        let (text, _) = QUAD_2019.split_once("MQ1A").unwrap();
        let sizes = [
            (32_768, Encoding::Raw1),
            (262_144, Encoding::Raw6),
            (524_288, Encoding::Raw12),
        ];
        for (payload, encoding) in sizes {
            let header = FrameHeader::parse(&padded(text, 768), 768 + payload).unwrap();
            assert_eq!(header.depth, None);
            assert_eq!(header.format(payload).unwrap().encoding(), encoding);
        }
        let doubled = text.replace("1024", "2048");
        let header = FrameHeader::parse(&padded(&doubled, 768), 768 + 1_048_576).unwrap();
        assert_eq!(header.format(1_048_576).unwrap().encoding(), Encoding::Raw24);
        assert_eq!(header.format(77), Err(HeaderError::Format(FormatError::Depth(0))));
    }

    #[test]
    fn unknown_blocks_before_the_extension_do_not_matter() {
        let text = QUAD_2019.replace("MQ1A", "OPT1,0,0,64,64,1,2,END1,MQ1A");
        let header = FrameHeader::parse(&padded(&text, 768), 768 + 524_288).unwrap();
        assert_eq!(header.depth, Some(12));
    }

    #[test]
    fn frame_numbers_may_outgrow_their_field() {
        let text = SINGLE_2021.replace("000001", "1234567");
        let header = FrameHeader::parse(&padded(&text, 384), 384 + 131_072).unwrap();
        assert_eq!((header.number, header.data_offset), (1_234_567, 384));
    }

    #[test]
    fn an_offset_outside_the_message_is_an_error() {
        let text = SINGLE_2021.replace("00384", "99999");
        let error = FrameHeader::parse(&padded(&text, 512), 1000).unwrap_err();
        assert_eq!(
            error,
            HeaderError::DataOffset {
                offset: 99_999,
                bytes: 1000
            }
        );
    }

    #[test]
    fn every_cut_of_a_header_is_an_error_or_read() {
        let whole = padded(SINGLE_2021, 384);
        for n in 0..whole.len() {
            assert!(FrameHeader::parse(&whole[..n], 384 + 131_072).is_err(), "{n}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), n: usize) {
            if let Ok(header) = FrameHeader::parse(&bytes, n) {
                let _ = header.format(n);
            }
        }

        #[test]
        fn arbitrary_fields_never_panic(
            fields in prop::collection::vec("[0-9]{0,12}|U16|R64|2x2|Nx1|MQ1A|-|[ -~]{0,3}", 0..40), n in 0_usize..10_000_000,
        ) {
            let text = format!("MQ1,{}", fields.join(","));
            if let Ok(header) = FrameHeader::parse(text.as_bytes(), n) {
                let _ = header.format(n);
            }
        }

        #[test]
        fn fields_read_back(
            number in 0_u64..99_999_999, chips in 1_u32..=4, w in 1_u32..2048, h in 1_u32..2048, counter in 0_u32..8,
            depth in prop::sample::select(vec![1_u32, 6, 12, 24]),
        ) {
            let text = format!(
                "MQ1,{number:06},00384,{chips:02},{w:04},{h:04},U32,  Nx1,01,2021-04-15 14:43:47.0,0.5,{counter},0,0,\
                 ,MQ1A,t,1ns,{depth},");
            let payload = (w * h * 4) as usize;
            let header = FrameHeader::parse(&padded(&text, 384), 384 + payload).unwrap();
            prop_assert_eq!((header.number, header.counter, header.depth), (number, counter, Some(depth)));
            prop_assert_eq!(header.format(payload).unwrap().item_shape(), (h as usize, w as usize));
        }
    }
}
