//! `Decoder`: the codec for NumPy arrays.

use dectris_core::codec::{self, Compression, DecodeError, Decoder, Pixel, Records};
use numpy::{
    Element, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_python::stream_error;

/// More pixels has no image; it keeps every product of sizes within 64 bits.
const MOST_PIXELS: usize = 1 << 31;
/// The same for the images of an exposure.
const MOST_BLOBS: usize = 1 << 10;

/// Decodes the images of one format; see the stub for the documentation.
#[pyclass(name = "Decoder", module = "detector_dectris._dectris", frozen)]
pub struct PyDecoder {
    decoder: Decoder,
    /// Rows and columns of an image.
    image: (usize, usize),
    n_blobs: usize,
    /// `None`: all.
    blob: Option<usize>,
}

#[pymethods]
impl PyDecoder {
    #[new]
    #[pyo3(signature = (compression, element_bytes, image_shape, *, big_endian=false, n_blobs=1, blob=Some(0), vectorise=true))]
    #[expect(clippy::too_many_arguments, reason = "the fields of codec_params")]
    fn new(
        py: Python<'_>,
        compression: &str,
        element_bytes: usize,
        image_shape: (usize, usize),
        big_endian: bool,
        n_blobs: usize,
        blob: Option<usize>,
        vectorise: bool,
    ) -> PyResult<Self> {
        let compression: Compression = compression.parse().map_err(|error| codec_error(py, &error))?;
        let element = element(element_bytes).ok_or_else(|| {
            codec_error(
                py,
                &format!("elements of {element_bytes} bytes are not known; there are 1, 2 and 4"),
            )
        })?;
        let (rows, columns) = image_shape;
        let n_pixels = rows
            .checked_mul(columns)
            .filter(|n| *n <= MOST_PIXELS)
            .ok_or_else(|| codec_error(py, &format!("images of {rows} x {columns} pixels are too large")))?;
        if n_blobs == 0 || n_blobs > MOST_BLOBS || blob.is_some_and(|blob| blob >= n_blobs) {
            return Err(codec_error(
                py,
                &format!(
                    "blob {} of {n_blobs} can't be; there are 1 to {MOST_BLOBS}, counted from 0",
                    blob.map_or("all".to_owned(), |blob| blob.to_string())
                ),
            ));
        }
        Ok(Self {
            decoder: Decoder::new(compression, element, n_pixels)
                .with_big_endian(big_endian)
                .with_vectorise(vectorise),
            image: image_shape,
            n_blobs,
            blob,
        })
    }

    #[getter]
    fn item_shape(&self) -> Vec<usize> {
        let (rows, columns) = self.image;
        match self.blob {
            Some(_) => vec![rows, columns],
            None => vec![self.n_blobs, rows, columns],
        }
    }

    #[getter]
    fn dtype(&self) -> String {
        format!("u{}", self.decoder.element().size())
    }

    fn decode(
        &self,
        payload: PyReadonlyArray1<'_, u8>,
        offsets: PyReadonlyArray1<'_, u64>,
        rows: (usize, usize),
        out: &Bound<'_, PyUntypedArray>,
    ) -> PyResult<()> {
        let py = out.py();
        let records = self.records(py, offsets.len(), rows, out.shape())?;
        let gathered;
        let offsets = match offsets.as_slice() {
            Ok(offsets) => offsets,
            Err(_) => {
                gathered = offsets.as_array().to_vec();
                &gathered
            }
        };
        self.fill(
            &Call::new(py, self, records, &payload, Places::Records(offsets))?,
            out,
        )
    }

    fn decode_blobs(
        &self,
        payload: PyReadonlyArray1<'_, u8>,
        starts: PyReadonlyArrayDyn<'_, u64>,
        lengths: PyReadonlyArrayDyn<'_, u64>,
        rows: (usize, usize),
        out: &Bound<'_, PyUntypedArray>,
    ) -> PyResult<()> {
        let py = out.py();
        let n_items = starts.shape().first().copied().unwrap_or_default();
        let mut records = self.records(py, n_items, rows, out.shape())?;
        let expected = match self.blob {
            Some(_) => vec![n_items],
            None => vec![n_items, self.n_blobs],
        };
        if starts.shape() != expected || lengths.shape() != expected {
            let (starts, lengths) = (starts.shape(), lengths.shape());
            return Err(codec_error(
                py,
                &format!("starts have shape {starts:?} and lengths {lengths:?}; both take {expected:?}"),
            ));
        }
        if self.blob.is_some() {
            (records.n_blobs, records.blobs) = (1, (0, 1));
        }
        let (starts, lengths) = (
            starts.as_array().iter().copied().collect::<Vec<u64>>(),
            lengths.as_array().iter().copied().collect::<Vec<u64>>(),
        );
        self.fill(
            &Call::new(py, self, records, &payload, Places::Blobs(&starts, &lengths))?,
            out,
        )
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = self.image;
        format!(
            "Decoder({} of {}u{}, {rows} x {columns}, blob {} of {})",
            self.decoder.compression().name(),
            if self.decoder.is_big_endian() { ">" } else { "<" },
            self.decoder.element().size(),
            self.blob.map_or("all".to_owned(), |blob| blob.to_string()),
            self.n_blobs,
        )
    }
}

impl PyDecoder {
    /// What of each record is wanted, if the request and its output fit.
    fn records(
        &self,
        py: Python<'_>,
        n_items: usize,
        rows: (usize, usize),
        found: &[usize],
    ) -> PyResult<Records> {
        let (n_rows, columns) = self.image;
        let band = rows.1.saturating_sub(rows.0);
        let (axis, expected, records) = match self.blob {
            Some(blob) => (
                n_rows,
                vec![n_items, band, columns],
                Records {
                    n_blobs: self.n_blobs,
                    blobs: (blob, blob + 1),
                    pixels: (rows.0.saturating_mul(columns), rows.1.saturating_mul(columns)),
                },
            ),
            None => (
                self.n_blobs,
                vec![n_items, band, n_rows, columns],
                Records {
                    n_blobs: self.n_blobs,
                    blobs: rows,
                    pixels: (0, self.decoder.n_pixels()),
                },
            ),
        };
        if rows.0 > rows.1 || rows.1 > axis {
            return Err(codec_error(
                py,
                &format!("rows {} to {} are not within 0 to {axis}", rows.0, rows.1),
            ));
        }
        if found != expected {
            return Err(codec_error(
                py,
                &format!("out has shape {found:?}, the request is for {expected:?}"),
            ));
        }
        Ok(records)
    }

    fn fill(&self, call: &Call<'_>, out: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        macro_rules! try_types {
            ($($number:ty),*) => {$(
                if let Ok(array) = out.cast::<PyArrayDyn<$number>>() && array.is_c_contiguous() {
                    return call.fill_array(array);
                }
            )*};
        }
        try_types!(u8, u16, f32, u32, f64, u64, i8, i16, i32, i64);
        self.fill_by_way_of_native(call, out)
    }

    /// Output types without a kernel of their own (complex, half, other byte order, strided).
    fn fill_by_way_of_native(&self, call: &Call<'_>, out: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let py = out.py();
        let numpy = py.import(intern!(py, "numpy"))?;
        let native = numpy.call_method1(intern!(py, "empty"), (out.shape(), self.dtype()))?;
        macro_rules! try_types {
            ($($number:ty),*) => {$(
                if let Ok(array) = native.cast::<PyArrayDyn<$number>>() {
                    call.fill_array(array)?;
                }
            )*};
        }
        try_types!(u8, u16, u32);
        let unsafe_cast = PyDict::new(py);
        unsafe_cast.set_item("casting", "unsafe")?;
        numpy.call_method(intern!(py, "copyto"), (out, native), Some(&unsafe_cast))?;
        Ok(())
    }
}

/// Where the pixels are.
enum Places<'a> {
    Records(&'a [u64]),
    Blobs(&'a [u64], &'a [u64]),
}

/// The arguments of one call, without Python.
struct Call<'a> {
    decoder: &'a Decoder,
    records: Records,
    payload: &'a [u8],
    places: Places<'a>,
}

impl<'a> Call<'a> {
    fn new(
        py: Python<'_>,
        decoder: &'a PyDecoder,
        records: Records,
        payload: &'a PyReadonlyArray1<'_, u8>,
        places: Places<'a>,
    ) -> PyResult<Self> {
        let payload = payload
            .as_slice()
            .map_err(|_| codec_error(py, &"payload must be contiguous; use numpy.ascontiguousarray"))?;
        Ok(Self {
            decoder: &decoder.decoder,
            records,
            payload,
            places,
        })
    }

    fn fill_array<T: Pixel + Element>(&self, out: &Bound<'_, PyArrayDyn<T>>) -> PyResult<()> {
        let py = out.py();
        let mut out = out
            .try_readwrite()
            .map_err(|error| codec_error(py, &format!("out can't be written to: {error}")))?;
        let pixels = out.as_slice_mut().map_err(|error| codec_error(py, &error))?;
        py.detach(|| self.run(pixels))
            .map_err(|error| codec_error(py, &error))
    }

    fn run<T: Pixel>(&self, out: &mut [T]) -> Result<(), DecodeError> {
        match self.places {
            Places::Records(offsets) => self.records.decode(self.decoder, self.payload, offsets, out),
            Places::Blobs(starts, lengths) => {
                self.records
                    .decode_blobs(self.decoder, self.payload, (starts, lengths), out)
            }
        }
    }
}

/// The type of elements of so many bytes.
pub fn element(bytes: usize) -> Option<codec::Element> {
    match bytes {
        1 => Some(codec::Element::U8),
        2 => Some(codec::Element::U16),
        4 => Some(codec::Element::U32),
        _ => None,
    }
}

pub fn codec_error(py: Python<'_>, message: &dyn std::fmt::Display) -> PyErr {
    stream_error(py, "CodecError", &format!("Codec dectris: {message}."))
}
