//! Counts by time, sparse: a capture may span years and be empty for most of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::{IpBytes, Messages, Packets, Timestamp};

/// Counts in one bucket of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Complete messages.
    pub messages: Messages,
    /// Packets.
    pub packets: Packets,
    /// IP bytes.
    pub ip: IpBytes,
}

impl Bucket {
    /// Adds another bucket's counts.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.packets += other.packets;
        self.ip += other.ip;
    }
}

/// Buckets of equal width, aligned to the epoch. The width is a power of two nanoseconds and
/// doubles whenever there are too many buckets, so memory stays flat and any two series merge
/// exactly at the wider of their widths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Width of a bucket in nanoseconds, a power of two.
    pub bucket_ns: u64,
    /// Buckets that are not empty, by their start in nanoseconds since the Unix epoch.
    pub buckets: BTreeMap<i64, Bucket>,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            bucket_ns: Self::NARROWEST_NS,
            buckets: BTreeMap::new(),
        }
    }
}

impl Series {
    /// The width that a series starts with: 2^20 ns, about a millisecond.
    pub const NARROWEST_NS: u64 = 1 << 20;

    /// The most buckets that a series keeps.
    pub const MOST_BUCKETS: usize = 1024;

    /// The start of the bucket that a time falls into.
    #[inline]
    pub fn start_of(&self, time: Timestamp) -> i64 {
        time.as_nanos() & !(self.bucket_ns.wrapping_sub(1) as i64)
    }

    /// Adds counts to the bucket that begins at `start`, widening all buckets when they have
    /// become too many.
    pub fn add(&mut self, start: i64, counts: &Bucket) {
        let start = self.start_of(Timestamp::from_nanos(start));
        self.buckets.entry(start).or_default().merge(counts);
        while self.buckets.len() > Self::MOST_BUCKETS {
            self.widen(self.bucket_ns * 2);
        }
    }

    /// Adds another series, bucket by bucket.
    pub fn merge(&mut self, other: &Self) {
        if other.bucket_ns > self.bucket_ns {
            self.widen(other.bucket_ns);
        }
        for (start, counts) in &other.buckets {
            self.add(*start, counts);
        }
    }

    fn widen(&mut self, bucket_ns: u64) {
        self.bucket_ns = bucket_ns;
        for (start, counts) in std::mem::take(&mut self.buckets) {
            let start = self.start_of(Timestamp::from_nanos(start));
            self.buckets.entry(start).or_default().merge(&counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_packet() -> Bucket {
        Bucket {
            messages: Messages::new(2),
            packets: Packets::new(1),
            ip: IpBytes::new(60),
        }
    }

    #[test]
    fn a_capture_over_decades_stays_small() {
        let mut series = Series::default();
        let decade = 315_576_000_000_000_000;
        for step in 0..5000_i64 {
            series.add(step * (decade / 1000), &one_packet());
        }
        assert!(series.buckets.len() <= Series::MOST_BUCKETS);
        assert_eq!(
            series
                .buckets
                .values()
                .map(|b| b.packets)
                .sum::<Packets>()
                .get(),
            5000
        );
        assert!(series.bucket_ns.is_power_of_two());
    }

    #[test]
    fn times_before_the_epoch_fall_into_their_own_bucket() {
        let series = Series::default();
        assert_eq!(series.start_of(Timestamp::from_nanos(-1)), -(1 << 20));
        assert_eq!(series.start_of(Timestamp::from_nanos(0)), 0);
    }

    proptest! {
        #[test]
        fn merging_parts_gives_the_series_of_the_whole(
            times in prop::collection::vec(0..1_i64 << 45, 0..3000),
            cut in 0_usize..3000,
        ) {
            let add = |series: &mut Series, times: &[i64]| {
                for time in times {
                    series.add(series.start_of(Timestamp::from_nanos(*time)), &one_packet());
                }
            };
            let cut = cut.min(times.len());
            let (mut whole, mut left, mut right) = Default::default();
            add(&mut whole, &times);
            add(&mut left, &times[..cut]);
            add(&mut right, &times[cut..]);
            left.merge(&right);
            prop_assert_eq!(left, whole);
        }
    }
}
