//! Times that receivers agree on.

use std::time::Duration;

/// Silence that ends an acquisition, unless set: so long, or so many frame times if that is more.
const STALL: Duration = Duration::from_secs(10);
const STALL_FRAMES: f64 = 20.0;

/// Seconds of the monotonic clock, the same that Python's `time.monotonic` gives.
pub fn monotonic_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Silence after which an acquisition is taken for stalled, if its frames take `frame_s` seconds.
pub fn default_stall(frame_s: Option<f64>) -> Duration {
    let frames = Duration::try_from_secs_f64(frame_s.unwrap_or(0.0) * STALL_FRAMES);
    frames.unwrap_or(STALL).max(STALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_frames_have_more_time_and_nonsense_has_the_least() {
        assert_eq!(default_stall(None), STALL);
        assert_eq!(default_stall(Some(0.001)), STALL);
        assert_eq!(default_stall(Some(2.0)), Duration::from_secs(40));
        assert_eq!(default_stall(Some(f64::NAN)), STALL);
        assert_eq!(default_stall(Some(-1.0)), STALL);
        assert_eq!(default_stall(Some(f64::INFINITY)), STALL);
        assert_eq!(default_stall(Some(1e300)), STALL);
    }
}
