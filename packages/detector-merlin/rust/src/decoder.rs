//! `Decoder`: the codec for NumPy arrays.

use merlin_core::codec::{DecodeError, Decoder, Pixel};
use merlin_core::format::{FormatError, FrameFormat};
use numpy::{Element, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use receiver_python::stream_error;

/// Decodes the frames of one format; see the stub for the documentation.
#[pyclass(name = "Decoder", module = "detector_merlin._merlin", frozen)]
pub struct PyDecoder(Decoder);

#[pymethods]
impl PyDecoder {
    #[new]
    #[pyo3(signature = (kind, depth, layout, n_chips, header_width, header_height, *, flip_y=false, vectorise=true))]
    #[expect(clippy::too_many_arguments, reason = "the fields of a frame header")]
    fn new(
        py: Python<'_>,
        kind: &str,
        depth: u32,
        layout: &str,
        n_chips: u32,
        header_width: u32,
        header_height: u32,
        flip_y: bool,
        vectorise: bool,
    ) -> PyResult<Self> {
        let format = || -> Result<FrameFormat, FormatError> {
            FrameFormat::new(
                kind.parse()?,
                depth,
                layout.parse()?,
                n_chips,
                header_width,
                header_height,
            )
        };
        let format = format().map_err(|error| codec_error(py, &error))?;
        Ok(Self(
            Decoder::new(format).with_flip_y(flip_y).with_vectorise(vectorise),
        ))
    }

    #[getter]
    fn item_shape(&self) -> (usize, usize) {
        self.0.format().item_shape()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.format().native().name()
    }

    #[getter]
    fn payload_bytes(&self) -> usize {
        self.0.format().payload_bytes()
    }

    fn decode(
        &self,
        py: Python<'_>,
        payload: PyReadonlyArray1<'_, u8>,
        offsets: PyReadonlyArray1<'_, u64>,
        rows: (usize, usize),
        out: &Bound<'_, PyUntypedArray>,
    ) -> PyResult<()> {
        let gathered;
        let offsets = match offsets.as_slice() {
            Ok(offsets) => offsets,
            Err(_) => {
                gathered = offsets.as_array().to_vec();
                &gathered
            }
        };
        let payload = payload
            .as_slice()
            .map_err(|_| codec_error(py, &"payload must be contiguous; use numpy.ascontiguousarray"))?;
        self.check_shape(py, offsets.len(), rows, out.shape())?;
        let call = Call {
            decoder: &self.0,
            payload,
            offsets,
            rows,
        };
        macro_rules! try_types {
            ($($number:ty),*) => {$(
                if let Ok(array) = out.cast::<PyArrayDyn<$number>>() && array.is_c_contiguous() {
                    return call.fill_array(py, array);
                }
            )*};
        }
        try_types!(u8, u16, f32, u32, f64, u64, i8, i16, i32, i64);
        self.decode_by_way_of_native(&call, out)
    }

    fn __repr__(&self) -> String {
        let format = self.0.format();
        let (rows, columns) = format.item_shape();
        format!(
            "Decoder({} {} bit, {} x {} chips, {rows} x {columns})",
            format.kind(),
            format.depth(),
            format.layout(),
            format.n_chips()
        )
    }
}

impl PyDecoder {
    fn check_shape(&self, py: Python<'_>, n: usize, rows: (usize, usize), found: &[usize]) -> PyResult<()> {
        let (_, columns) = self.item_shape();
        let expected = [n, rows.1.saturating_sub(rows.0), columns];
        if found == expected {
            return Ok(());
        }
        Err(codec_error(
            py,
            &format!("out has shape {found:?}, the request is for {expected:?}"),
        ))
    }

    /// Output types without a kernel of their own (complex, half, other byte order, strided).
    fn decode_by_way_of_native(&self, call: &Call<'_>, out: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let py = out.py();
        let numpy = py.import(intern!(py, "numpy"))?;
        let native = numpy.call_method1(intern!(py, "empty"), (out.shape(), self.dtype()))?;
        macro_rules! try_types {
            ($($number:ty),*) => {$(
                if let Ok(array) = native.cast::<PyArrayDyn<$number>>() {
                    call.fill_array(py, array)?;
                }
            )*};
        }
        try_types!(u8, u16, u32, u64);
        let unsafe_cast = PyDict::new(py);
        unsafe_cast.set_item("casting", "unsafe")?;
        numpy.call_method(intern!(py, "copyto"), (out, native), Some(&unsafe_cast))?;
        Ok(())
    }
}

/// The arguments of one call, without Python.
struct Call<'a> {
    decoder: &'a Decoder,
    payload: &'a [u8],
    offsets: &'a [u64],
    rows: (usize, usize),
}

impl Call<'_> {
    fn fill_array<T: Pixel + Element>(&self, py: Python<'_>, out: &Bound<'_, PyArrayDyn<T>>) -> PyResult<()> {
        let mut out = out
            .try_readwrite()
            .map_err(|error| codec_error(py, &format!("out can't be written to: {error}")))?;
        let pixels = out.as_slice_mut().map_err(|error| codec_error(py, &error))?;
        py.detach(|| self.run(pixels))
            .map_err(|error| codec_error(py, &error))
    }

    fn run<T: Pixel>(&self, out: &mut [T]) -> Result<(), DecodeError> {
        self.decoder.decode(self.payload, self.offsets, self.rows, out)
    }
}

fn codec_error(py: Python<'_>, message: &dyn std::fmt::Display) -> PyErr {
    stream_error(py, "CodecError", &format!("Codec merlin: {message}."))
}
