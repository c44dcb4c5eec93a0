//! How often which span of time, in buckets that grow with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets a power of two: a span is at most an eighth above its bucket's start.
const BUCKETS_A_DOUBLING: u64 = 8;

/// Spans of time in nanoseconds, counted. A bucket takes what is at least its start and less than the
/// next bucket's: below 16 ns each number is one, above that each power of two is divided into
/// eight. All distributions have the same buckets, so they add exactly (like the log-linear histograms
/// of HdrHistogram).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many spans.
    pub count: u64,
    /// Buckets that are not empty, by their start in nanoseconds.
    pub buckets: BTreeMap<u64, u64>,
}

impl Distribution {
    /// Buckets that there can be.
    pub const BUCKETS: usize = (BUCKETS_A_DOUBLING as usize) * 62;

    /// The number of the bucket for a span, less than [`Distribution::BUCKETS`].
    #[inline(always)]
    pub const fn bucket_of(ns: u64) -> usize {
        // Below twice the buckets of a doubling the shift is 0, and the bucket is the number.
        let power = (ns | (BUCKETS_A_DOUBLING - 1)).ilog2();
        let shift = power.saturating_sub(BUCKETS_A_DOUBLING.ilog2());
        let doubling = shift as usize * BUCKETS_A_DOUBLING as usize;
        doubling + (ns >> shift) as usize
    }

    /// The least span of a bucket, in nanoseconds.
    pub const fn start_of(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        let shift = (bucket / BUCKETS_A_DOUBLING).saturating_sub(1);
        (bucket - shift * BUCKETS_A_DOUBLING) << shift
    }

    /// What a bucket that starts there ends before, in nanoseconds.
    pub fn end_of(start: u64) -> u64 {
        match Self::bucket_of(start) + 1 {
            Self::BUCKETS.. => u64::MAX,
            next => Self::start_of(next),
        }
    }

    /// Counts `times` spans of this bucket.
    pub fn add_to_bucket(&mut self, bucket: usize, times: u64) {
        if times > 0 {
            self.count += times;
            *self.buckets.entry(Self::start_of(bucket)).or_default() += times;
        }
    }

    /// Counts a span.
    pub fn add(&mut self, ns: u64) {
        self.add_to_bucket(Self::bucket_of(ns), 1);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (start, times) in &other.buckets {
            *self.buckets.entry(*start).or_default() += times;
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bucket, as what it starts with and ends before, that holds the span which so many thousandths
    /// of all are not above: 500 for the median.
    pub fn quantile(&self, thousandths: u64) -> Option<(u64, u64)> {
        let rank = (u128::from(self.count) * u128::from(thousandths))
            .div_ceil(1000)
            .max(1);
        let mut seen = 0;
        let mut buckets = self.buckets.iter();
        let found = buckets.find(|(_, times)| {
            seen += u128::from(**times);
            seen >= rank
        });
        found.map(|(start, _)| (*start, Self::end_of(*start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_one_another_without_a_hole() {
        assert_eq!(Distribution::start_of(0), 0);
        for bucket in 0..Distribution::BUCKETS {
            let start = Distribution::start_of(bucket);
            let end = Distribution::end_of(start);
            assert_eq!(Distribution::bucket_of(start), bucket, "{start}");
            assert_eq!(Distribution::bucket_of(end - 1), bucket, "{end}");
            assert!(end - start <= start / 8 + 1, "{start} to {end}");
        }
        assert_eq!(Distribution::bucket_of(u64::MAX), Distribution::BUCKETS - 1);
        assert_eq!(Distribution::end_of(1000), 1024);
    }

    #[test]
    fn quantiles_are_the_buckets_of_the_ranks() {
        let mut spans = Distribution::default();
        assert_eq!(spans.quantile(500), None);
        (1..=10).for_each(|ns| spans.add(ns));
        assert_eq!(spans.quantile(0), Some((1, 2)));
        assert_eq!(spans.quantile(500), Some((5, 6)));
        assert_eq!(spans.quantile(501), Some((6, 7)));
        assert_eq!(spans.quantile(990), Some((10, 11)));
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(spans in prop::collection::vec(any::<u64>(), 0..40), cut in 0_usize..40) {
            let of = |spans: &[u64]| {
                let mut sum = Distribution::default();
                spans.iter().for_each(|ns| sum.add(*ns));
                sum
            };
            let (one, other) = spans.split_at(cut.min(spans.len()));
            let mut sum = of(one);
            sum.merge(&of(other));
            prop_assert_eq!(sum, of(&spans));
        }
    }
}
