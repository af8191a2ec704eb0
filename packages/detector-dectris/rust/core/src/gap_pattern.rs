//! Gaps at regular intervals: the mark of another client on the same stream.
//!
//! ZeroMQ deals messages out among all clients in turn, so each of `n` clients gets every `n`-th one.

/// So many gaps alike in a row are no coincidence.
const MIN_GAPS: usize = 8;

/// What is said of each such gap; what to do about it stands in the verdict.
pub(crate) const REASON: &str = "missing at regular intervals, as if another client had taken them";

/// Frames that are missing at regular intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Frames from one gap's start to that of the next.
    pub(crate) period: u64,
    /// Frames missing in each.
    pub(crate) length: u64,
    /// Indices that it reaches over.
    pub(crate) range: (u64, u64),
}

impl Pattern {
    /// Find the longest pattern, if there is one that explains half of the gaps.
    pub(crate) fn of(gaps: &[(u64, u64)]) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        let mut run: Option<(usize, Self)> = None;
        for (before, gap) in gaps.iter().zip(gaps.iter().skip(1)) {
            let (period, length) = (gap.0 - before.0, gap.1 - gap.0);
            run = match run {
                Some((n, pattern)) if pattern.period == period && pattern.length == length => Some((
                    n + 1,
                    Self {
                        range: (pattern.range.0, gap.1),
                        ..pattern
                    },
                )),
                _ if before.1 - before.0 == length => Some((
                    2,
                    Self {
                        period,
                        length,
                        range: (before.0, gap.1),
                    },
                )),
                _ => None,
            };
            if run.map_or(0, |(n, _)| n) > best.map_or(0, |(n, _)| n) {
                best = run;
            }
        }
        best.filter(|(n, _)| *n >= MIN_GAPS && 2 * n >= gaps.len())
            .map(|(_, pattern)| pattern)
    }

    /// Whether a gap is one of them.
    pub(crate) fn covers(&self, (start, stop): (u64, u64)) -> bool {
        self.range.0 <= start && stop <= self.range.1
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { period, length, .. } = self;
        match (length, period) {
            (1, 2) => write!(f, "every second frame is missing")?,
            (1, 3) => write!(f, "every third frame is missing")?,
            (1, _) => write!(f, "every {period}th frame is missing")?,
            (2, 3) => write!(f, "only every third frame arrives")?,
            _ if length + 1 == *period => write!(f, "only every {period}th frame arrives")?,
            _ => write!(f, "{length} of every {period} frames are missing")?,
        }
        write!(
            f,
            ": is another client connected to the stream? ZeroMQ deals frames out among all clients"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps of a client that gets one of `n` frames, among `total`.
    fn shared_by(n: u64, total: u64) -> Vec<(u64, u64)> {
        (0..total / n).map(|i| (n * i + 1, n * i + n)).collect()
    }

    #[test]
    fn another_client_is_recognised_by_the_regular_gaps_it_leaves() {
        let words = |gaps: &[(u64, u64)]| Pattern::of(gaps).unwrap().to_string();
        assert!(words(&shared_by(2, 100)).starts_with("every second frame is missing: is another client"));
        assert!(words(&shared_by(3, 100)).starts_with("only every third frame arrives"));
        assert!(words(&shared_by(5, 100)).starts_with("only every 5th frame arrives"));
    }

    #[test]
    fn a_client_that_comes_later_is_recognised_as_well() {
        let mut gaps = vec![(3, 7), (10, 11)];
        gaps.extend(
            shared_by(2, 40)
                .iter()
                .map(|(start, stop)| (start + 100, stop + 100)),
        );
        let pattern = Pattern::of(&gaps).unwrap();
        assert_eq!((pattern.period, pattern.range), (2, (101, 140)));
        assert!(pattern.covers((103, 104)) && !pattern.covers((3, 7)));
    }

    #[test]
    fn irregular_gaps_are_no_pattern() {
        let gaps: Vec<(u64, u64)> = (0..50).map(|i: u64| (i * i * 3 + i, i * i * 3 + i + 1)).collect();
        assert_eq!(Pattern::of(&gaps), None);
        assert_eq!(Pattern::of(&shared_by(2, 12)), None);
        assert_eq!(Pattern::of(&[]), None);
    }
}
