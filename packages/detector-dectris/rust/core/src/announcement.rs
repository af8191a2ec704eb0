//! What a series says of itself when it is armed.

use serde_json::{Map, Value};

/// Above this no number of images is credible; firmware allows no more.
const MAX_IMAGES: u64 = 1 << 48;

/// Values of all pixels of a channel, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<T> {
    /// Channel it is for; empty in stream V1.
    pub channel: String,
    /// Pixels along y and x.
    pub shape: (usize, usize),
    /// Values, first row first.
    pub values: Vec<T>,
}

/// A start message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Announcement {
    /// Number of the series.
    pub series: u64,
    /// 1 or 2.
    pub stream_version: u8,
    /// Images to come, where that is known.
    pub n_items: Option<u64>,
    /// Triggers and images per trigger, where there are several of both.
    pub index_shape: Vec<u64>,
    /// Time between images, or of an exposure if that is all that is known, seconds.
    pub frame_s: Option<f64>,
    /// Channels in the order of the start message; empty in stream V1.
    pub channels: Vec<String>,
    /// What else the header says, as plain values.
    pub header: Map<String, Value>,
    /// Pixel masks, where the header has them.
    pub pixel_masks: Vec<Table<u32>>,
    /// Flat fields, where the header has them.
    pub flatfields: Vec<Table<f32>>,
}

impl Announcement {
    /// Of stream V1, with `config` as header.
    pub fn v1(series: u64, config: Map<String, Value>) -> Self {
        let (n_items, index_shape) = expected_v1(&config);
        let times = ["frame_time", "count_time"].map(|key| config.get(key).and_then(Value::as_f64));
        Self {
            series,
            stream_version: 1,
            n_items,
            index_shape,
            frame_s: times.into_iter().flatten().reduce(f64::max),
            header: config,
            ..Self::default()
        }
    }

    /// How many images stream V2 announces.
    pub fn credible(n_images: u64) -> Option<u64> {
        (1..=MAX_IMAGES).contains(&n_images).then_some(n_images)
    }
}

/// A number, also if it comes as a float, a text or a boolean.
pub(crate) fn lenient_u64(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            (float >= 0.0 && float.fract() == 0.0 && float < 9e15).then_some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(u64::from(*flag)),
        _ => None,
    }
}

/// Images in all, and their shape, by trigger mode (SIMPLON API reference, trigger modes).
fn expected_v1(config: &Map<String, Value>) -> (Option<u64>, Vec<u64>) {
    let number = |key| config.get(key).and_then(lenient_u64).filter(|n| *n > 0);
    let (n_images, n_triggers) = (number("nimages"), number("ntrigger"));
    let mode = config.get("trigger_mode").and_then(Value::as_str).unwrap_or("");
    let (total, shape) = match (mode, n_images, n_triggers) {
        ("inte" | "exte", _, Some(n_triggers)) => (Some(n_triggers), Vec::new()),
        // Which of both counts depends on the firmware; where only one is more than 1 it is that one.
        ("extg", Some(n_images), n_triggers) => match (n_images, n_triggers.unwrap_or(1)) {
            (n, 1) | (1, n) => (Some(n), Vec::new()),
            _ => (None, Vec::new()),
        },
        (_, Some(n_images), n_triggers) => {
            let n_triggers = n_triggers.unwrap_or(1);
            let shape = if n_images > 1 && n_triggers > 1 {
                vec![n_triggers, n_images]
            } else {
                Vec::new()
            };
            (n_images.checked_mul(n_triggers), shape)
        }
        _ => (None, Vec::new()),
    };
    let total = total.and_then(Announcement::credible);
    (total, if total.is_some() { shape } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expected(config: Value) -> (Option<u64>, Vec<u64>) {
        let Value::Object(config) = config else {
            panic!("no object")
        };
        let announcement = Announcement::v1(1, config);
        (announcement.n_items, announcement.index_shape)
    }

    #[test]
    fn how_many_images_come_depends_on_the_trigger_mode() {
        let of = |mode: &str, nimages: u64, ntrigger: u64| {
            expected(json!({"trigger_mode": mode, "nimages": nimages, "ntrigger": ntrigger}))
        };
        for mode in ["ints", "exts", "eies"] {
            assert_eq!(of(mode, 100, 1), (Some(100), vec![]));
            assert_eq!(of(mode, 100, 20), (Some(2000), vec![20, 100]));
        }
        for mode in ["inte", "exte"] {
            assert_eq!(of(mode, 1, 4096), (Some(4096), vec![]));
        }
        assert_eq!(of("extg", 50, 1), (Some(50), vec![]));
        assert_eq!(of("extg", 1, 50), (Some(50), vec![]));
        assert_eq!(of("extg", 5, 5), (None, vec![]));
        assert_eq!(of("ints", u64::MAX, u64::MAX), (None, vec![]));
        assert_eq!(of("ints", 0, 1), (None, vec![]));
        assert_eq!(expected(json!({"nimages": 7.0})), (Some(7), vec![]));
        assert_eq!(expected(json!({})), (None, vec![]));
    }
}
