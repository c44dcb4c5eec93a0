//! Which bytes of a TCP stream a capture shows, by the plainest means: a set of ranges of sequence
//! numbers, and no limit on it.

use std::collections::BTreeMap;

/// What the TCP headers of one segment say.
#[derive(Debug, Clone, Copy)]
pub struct StreamSegment {
    pub sequence: u32,
    pub length: u64,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// tshark's opinion.
    pub keep_alive: bool,
}

/// What became of a segment's payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    pub new: u64,
    pub repeated: u64,
    pub outside: u64,
}

/// One way of a connection.
#[derive(Debug, Default)]
pub struct Stream {
    /// The latest position, to tell which one a sequence number means.
    latest: Option<i64>,
    /// Where the stream begins, as far as the capture tells.
    start: Option<i64>,
    began_with_syn: bool,
    /// `start` is what the peer acknowledged before anything of this way was seen.
    start_is_acknowledged: bool,
    /// Bytes seen: disjoint ranges, start to end.
    seen: BTreeMap<i64, i64>,
    fin: Option<i64>,
    reset: bool,
    acknowledgments: Vec<u32>,
}

impl Stream {
    fn position(&self, sequence: u32) -> i64 {
        match self.latest {
            None => i64::from(sequence),
            Some(latest) => latest + i64::from(sequence.wrapping_sub(latest as u32) as i32),
        }
    }

    /// Takes a segment of this way.
    pub fn take(&mut self, segment: &StreamSegment) -> Arrival {
        let outside = Arrival {
            outside: segment.length,
            ..Arrival::default()
        };
        if segment.rst {
            self.reset = true;
            return outside;
        }
        if self.reset || segment.keep_alive && segment.length <= 1 {
            return outside;
        }
        let first = self.position(segment.sequence) + i64::from(segment.syn);
        let mut end = first + segment.length as i64;
        self.latest = Some(self.latest.map_or(end, |latest| latest.max(end)));
        if segment.syn {
            self.start = Some(first);
            self.began_with_syn = true;
        } else if !self.began_with_syn {
            // Behind what was acknowledged may follow what was in flight when the capture began.
            let known = self.start.filter(|_| !self.start_is_acknowledged);
            self.start = Some(known.map_or(first, |start| start.min(first)));
        }
        self.start_is_acknowledged = false;
        let mut arrival = Arrival::default();
        if let Some(fin) = self.fin.filter(|fin| end > *fin) {
            arrival.outside = (end - fin.max(first)) as u64;
            end = fin;
        }
        if segment.fin && self.fin.is_none() {
            self.fin = Some(end);
        }
        if end > first {
            arrival.new = self.insert(first, end);
            arrival.repeated = (end - first) as u64 - arrival.new;
        }
        arrival
    }

    /// Enters a range and returns how many of its bytes had not been seen.
    fn insert(&mut self, start: i64, end: i64) -> u64 {
        let mut fresh = end - start;
        let (mut from, mut to) = (start, end);
        let touching: Vec<_> = self
            .seen
            .range(..=end)
            .map(|(start, end)| (*start, *end))
            .filter(|range| range.1 >= start)
            .collect();
        for (known_start, known_end) in touching {
            fresh -= (known_end.min(end) - known_start.max(start)).max(0);
            self.seen.remove(&known_start);
            (from, to) = (from.min(known_start), to.max(known_end));
        }
        self.seen.insert(from, to);
        fresh as u64
    }

    /// The peer expects this sequence number next.
    pub fn acknowledged(&mut self, acknowledgment: u32) {
        if self.start.is_none() {
            let position = self.position(acknowledgment);
            (self.start, self.latest) = (Some(position), Some(position));
            self.start_is_acknowledged = true;
        }
        self.acknowledgments.push(acknowledgment);
    }

    /// Bytes that sequence numbers prove and no segment showed. Without FIN, the last number that is
    /// acknowledged beyond all data may be that of a FIN: it proves no byte.
    pub fn gap_bytes(&self) -> u64 {
        let Some(start) = self.start else { return 0 };
        let data_end = self.seen.last_key_value().map_or(start, |(_, end)| *end);
        let acknowledged = self
            .acknowledgments
            .iter()
            .map(|number| self.position(*number));
        let acknowledged = acknowledged.max().unwrap_or(start);
        let end = match self.fin {
            Some(fin) => fin,
            None if acknowledged > data_end => acknowledged - 1,
            None => data_end,
        };
        let end = end.max(data_end);
        let seen: i64 = self.seen.iter().map(|(start, end)| end - start).sum();
        (end - start - seen).max(0) as u64
    }
}
