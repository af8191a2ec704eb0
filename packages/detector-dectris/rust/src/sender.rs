//! `Sender`: the simulated detector's ZeroMQ socket.

use std::time::{Duration, Instant};

use dectris_core::sender::{
    BlobTable, Burst, Composer, ImageError, ImageFormat, Pace, Patience, Progress, Sender, SenderError, Times,
};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// How long Python's signals may wait.
const SLICE: Duration = Duration::from_millis(100);

/// A bound PUSH socket; see the stub for the documentation.
#[pyclass(name = "Sender", module = "detector_dectris._dectris", frozen)]
pub struct PySender(Sender);

#[pymethods]
impl PySender {
    #[new]
    #[pyo3(signature = (endpoint, *, hwm=1000, linger=1.0))]
    fn new(py: Python<'_>, endpoint: &str, hwm: i32, linger: f64) -> PyResult<Self> {
        let linger = seconds(linger)?;
        let sender = py.detach(|| Sender::bind(endpoint, hwm, linger));
        Ok(Self(sender.map_err(|error| os_error(&error))?))
    }

    #[getter]
    fn endpoint(&self) -> &str {
        self.0.endpoint()
    }

    #[getter]
    fn n_clients(&self, py: Python<'_>) -> usize {
        py.detach(|| self.0.n_clients())
    }

    #[getter]
    fn n_sent(&self) -> u64 {
        self.0.n_sent()
    }

    #[getter]
    fn n_dropped(&self) -> u64 {
        self.0.n_dropped()
    }

    #[getter]
    fn n_bytes(&self) -> u64 {
        self.0.n_bytes()
    }

    fn send(&self, py: Python<'_>, parts: Vec<Vec<u8>>, timeout: f64) -> PyResult<bool> {
        let deadline = Instant::now() + seconds(timeout)?;
        loop {
            let until = deadline.min(Instant::now() + SLICE);
            let sent = py.detach(|| self.0.send(&parts, until));
            if sent.map_err(|error| os_error(&error))? {
                return Ok(true);
            }
            py.check_signals()?;
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    #[pyo3(signature = (
        version, series, first, n, blobs, offsets, lengths, shape, dtype, compression, *,
        channels=vec!["threshold_1".to_owned()], byteorder="<", rate=None, delay=0.0, skip=Vec::new(),
        hashes=None, unique_id="", series_date="1970-01-01T00:00:00Z", start_ns=0, period_ns=1_000_000,
        real_ns=1_000_000, appendix=None, drop_when_full=false, drop_without_client=false,
    ))]
    #[expect(clippy::too_many_arguments, reason = "what an image message says")]
    fn send_images(
        &self,
        py: Python<'_>,
        version: u8,
        series: u64,
        first: u64,
        n: u64,
        blobs: PyReadonlyArray1<'_, u8>,
        offsets: PyReadonlyArray1<'_, u64>,
        lengths: PyReadonlyArray1<'_, u64>,
        shape: (usize, usize),
        dtype: &str,
        compression: &str,
        channels: Vec<String>,
        byteorder: &str,
        rate: Option<f64>,
        delay: f64,
        mut skip: Vec<u64>,
        hashes: Option<PyReadonlyArray2<'_, u8>>,
        unique_id: &str,
        series_date: &str,
        start_ns: u64,
        period_ns: u64,
        real_ns: u64,
        appendix: Option<Vec<u8>>,
        drop_when_full: bool,
        drop_without_client: bool,
    ) -> PyResult<(u64, u64, u64)> {
        let format = ImageFormat {
            version: version.try_into().map_err(refused)?,
            series,
            unique_id: unique_id.to_owned(),
            series_date: series_date.to_owned(),
            shape,
            element_bytes: ImageFormat::element_bytes(dtype).map_err(refused)?,
            big_endian: byteorder == ">",
            packing: compression.parse().map_err(refused)?,
            channels,
            appendix,
            times: Times {
                start_ns,
                period_ns,
                real_ns,
            },
        };
        let hashes = match &hashes {
            Some(hashes) => digests(hashes)?,
            None => &[],
        };
        skip.sort_unstable();
        let table = BlobTable::new(
            blobs.as_slice()?,
            offsets.as_slice()?,
            lengths.as_slice()?,
            hashes,
            format.channels.len(),
        );
        let mut burst = Burst {
            blobs: table.map_err(refused)?,
            composer: Composer::new(format),
            first,
            n,
            skip: &skip,
            pace: pace(rate, delay)?,
            patience: Patience {
                drop_when_full,
                drop_without_client,
            },
        };
        let mut progress = Progress::default();
        loop {
            let until = Instant::now() + SLICE;
            let is_over = py.detach(|| self.0.send_images(&mut burst, &mut progress, until));
            if is_over.map_err(|error| os_error(&error))? {
                return Ok((progress.n_sent, progress.n_dropped, progress.n_done));
            }
            py.check_signals()?;
        }
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn resume(&self) {
        self.0.resume();
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    fn __repr__(&self) -> String {
        format!("Sender({:?})", self.0.endpoint())
    }
}

/// MD5 sums in hexadecimal, a row each.
fn digests<'a>(hashes: &'a PyReadonlyArray2<'_, u8>) -> PyResult<&'a [[u8; 32]]> {
    let (rows, rest) = hashes.as_slice()?.as_chunks::<32>();
    if hashes.shape().last() != Some(&32) || !rest.is_empty() {
        return Err(PyValueError::new_err("hashes must be 32 characters each"));
    }
    Ok(rows)
}

fn pace(rate: Option<f64>, delay: f64) -> PyResult<Pace> {
    let interval = match rate {
        None => Duration::ZERO,
        Some(rate) if rate > 0.0 => seconds(1.0 / rate)?.max(Duration::from_nanos(1)),
        Some(rate) => return Err(PyValueError::new_err(format!("rate {rate} is not positive"))),
    };
    let now = Instant::now();
    let begin = match delay < 0.0 {
        true => now.checked_sub(seconds(-delay)?).unwrap_or(now),
        false => now + seconds(delay)?,
    };
    Ok(Pace { begin, interval })
}

fn seconds(time: f64) -> PyResult<Duration> {
    // Bounded so that a point of time can always be made of it.
    Duration::try_from_secs_f64(time.min(1e8))
        .map_err(|error| PyValueError::new_err(format!("{time} s is no time to wait: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: ImageError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn os_error(error: &SenderError) -> PyErr {
    PyOSError::new_err(error.to_string())
}
