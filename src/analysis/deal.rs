//! A chunk of a capture, dealt out to shards by connection: as [trains](Train) where packets follow one
//! another, and one by one where they do not.

use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};

use super::processor::for_newer_processors;
use super::shard::{Parts, hash_of_v4};
use super::train::{Train, TrainTally};
use super::{Analyzer, ProtocolPlan, Sharder};
use crate::capture::{Block, Blocks, CapturedPacket, FileBytes, Walk};
use crate::flow::{Direction, Ends, ProtocolIndex, RecentFlows, TransportKind};
use crate::message::{Headerless, Way};
use crate::packet::{self, Lengths, Segment};
use crate::units::{LinkType, Mtu, Timestamp};

/// Reads the next packets: those of one call lie in the given bytes, each where the function is told.
/// `false` when there are no more.
pub trait ChunkSource: Send {
    /// See there.
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool;

    /// What comes next, for any thread to read, where that can be.
    fn blocks(&mut self) -> Option<Blocks> {
        None
    }

    /// Takes note that the blocks were read up to there. `false` when that is enough.
    fn has_come_to(&mut self, _offset: FileBytes) -> bool {
        true
    }

    /// Reads on by itself from that record on, which the blocks have led to.
    fn go_on_at(&mut self, _offset: FileBytes) {}
}

/// A chunk, and which of its packets are for which shard.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// How many were read before it.
    pub number: u64,
    /// The thread that has read it.
    pub reader: usize,
    bytes: Vec<u8>,
    block: Option<BlockRead>,
    /// The block that it was dealt out from as it was gone through: only what is in no train is among the
    /// records.
    walked: Option<Walked>,
    /// Of packets whose shard was not known when they were read.
    kept: Vec<u8>,
    records: Records,
    trains: Vec<Coupled>,
    tallies: Tallies,
    /// By shard: records and trains, each train where its first packet was.
    items: Vec<Vec<Item>>,
    is_dealt: bool,
    /// Where a train was refused.
    connections: OnceLock<Connections>,
}

/// The block that a chunk is, and what was seen of it before its first record was known.
#[derive(Debug)]
struct BlockRead {
    number: u64,
    block: Block,
    /// Where the first record seemed to be, and where that led to.
    seen: Option<(FileBytes, Walk)>,
}

/// What of a block was gone through.
#[derive(Debug)]
struct Walked {
    blocks: Arc<Blocks>,
    block: Block,
    first: FileBytes,
    end: FileBytes,
}

/// Where packets are, in capture order.
#[derive(Debug, Default)]
struct Records {
    places: Vec<Record>,
    specials: Vec<Special>,
}

/// Where a frame is [that begins as most do](packet::usual_ends) and was captured whole.
#[derive(Debug, Clone, Copy)]
struct Record {
    timestamp: Timestamp,
    /// Where it begins in the chunk's bytes. Of a [`SPECIAL`] packet, its index among those.
    at: u32,
    /// Its captured bytes, or [`SPECIAL`].
    captured: u32,
}

/// More than any packet has bytes.
const SPECIAL: u32 = u32::MAX;

/// Any other packet.
#[derive(Debug, Clone, Copy)]
struct Special {
    shard: u16,
    link_type: LinkType,
    original_length: u32,
    captured: u32,
    /// Where it begins in the chunk's bytes, or in those that were kept from earlier chunks.
    at: usize,
    is_kept: bool,
}

/// A train, and where its first packet is: it is those of its connection from there on, as many as it has
/// packets.
#[derive(Debug)]
struct Coupled {
    train: Train,
    tally: u32,
    first: u32,
}

/// The records of each connection, in order, with its ends as packets one way have them.
type Connections = Vec<(Ends, Record)>;

/// A record's index, or a train's.
#[derive(Debug, Clone, Copy)]
struct Item(u32);

/// More records and trains than these are in no chunk.
const TRAIN: u32 = 1 << 31;

/// What the trains of one protocol in one shard add to its row.
#[derive(Debug, Default)]
struct Tallies {
    /// By shard and protocol, the index among those in use.
    indices: Vec<u32>,
    all: Vec<TrainTally>,
    used: usize,
}

const NO_TALLY: u32 = u32::MAX;

/// So many items before it is shown, a packet is called into the cache.
const AHEAD: usize = 8;

impl Chunk {
    /// Reads the next packets for `dealer` to deal out. Where that does not look for trains, they are dealt
    /// out here; and so is always what has to be seen in order to know its shard, as fragments have.
    pub fn read(
        &mut self,
        source: &mut impl ChunkSource,
        sharder: &mut Sharder,
        dealer: &mut Dealer,
    ) -> bool {
        self.clear(dealer);
        let (bytes, mut placing) = self.placing(sharder, dealer);
        let goes_on = source.take_chunk(bytes, |packet, at| placing.place(packet, at));
        if !goes_on {
            placing.end();
        }
        goes_on
    }

    /// Reads that block and deals it out from where its first record seems to be, if all packets are such
    /// as can be dealt out in any order. For [`Chunk::join`] to find out whether it was right.
    pub fn read_block(&mut self, blocks: &Arc<Blocks>, number: u64, dealer: &mut Dealer) {
        self.clear(dealer);
        let block = blocks.read(number, &mut self.bytes);
        let first = match dealer.in_order.is_over() {
            true => blocks.likely_first(&block, &self.bytes),
            false => None,
        };
        let seen =
            first.and_then(|first| Some((first, dealer.deal_block(self, blocks, &block, first)?)));
        self.block = Some(BlockRead {
            number,
            block,
            seen,
        });
    }

    /// The number of the block that it is.
    pub fn block_number(&self) -> Option<u64> {
        self.block.as_ref().map(|read| read.number)
    }

    /// Reads the block from its first record on, in the capture's order, unless that has been done already.
    pub fn join(
        &mut self,
        blocks: &Blocks,
        first: FileBytes,
        sharder: &mut Sharder,
        dealer: &mut Dealer,
    ) -> Walk {
        let Some(BlockRead { block, seen, .. }) = self.block.take() else {
            return Walk {
                end: first,
                is_whole: false,
            };
        };
        if let Some((_, walk)) = seen.filter(|(seen, _)| *seen == first) {
            return walk;
        }
        self.clear(dealer);
        let (bytes, mut placing) = self.placing(sharder, dealer);
        blocks.walk(&block, bytes, first, |packet, at| {
            placing.place(packet, at);
            true
        })
    }

    fn clear(&mut self, dealer: &Dealer) {
        self.block = None;
        self.walked = None;
        self.connections.take();
        self.records.places.clear();
        self.records.specials.clear();
        self.kept.clear();
        self.trains.clear();
        let shards = usize::from(dealer.shards.0.get());
        self.tallies.clear(shards * dealer.framings.len());
        self.items.resize(shards, Vec::new());
        self.items.iter_mut().for_each(Vec::clear);
        self.is_dealt = false;
    }

    fn placing<'a>(
        &'a mut self,
        sharder: &'a mut Sharder,
        dealer: &mut Dealer,
    ) -> (&'a mut Vec<u8>, Placing<'a>) {
        self.is_dealt = !dealer.without_trains.is_over();
        let placing = Placing {
            parts: sharder.parts(),
            sharder,
            kept: &mut self.kept,
            records: &mut self.records,
            items: &mut self.items,
            deals: self.is_dealt,
        };
        (&mut self.bytes, placing)
    }

    /// How many packets each train has.
    #[cfg(test)]
    pub fn train_lengths(&self) -> Vec<u64> {
        let trains = self.trains.iter();
        trains.map(|coupled| coupled.train.packets()).collect()
    }

    /// Whether there is something in it for this shard.
    pub fn is_for(&self, shard: usize) -> bool {
        !self.items[shard].is_empty()
    }

    /// Has a shard's packets counted. `dealer` is one that deals as the one that has dealt out the chunk.
    pub fn show(&self, shard: usize, analyzer: &mut Analyzer, dealer: &Dealer) {
        let mut refused = Vec::new();
        let items = &self.items[shard];
        for (at, item) in items.iter().enumerate() {
            if let Some(ahead) = items.get(at + AHEAD) {
                self.call(*ahead);
            }
            match item.train() {
                None => analyzer.packet(&self.packet(item.0)),
                Some(index) => {
                    let coupled = &self.trains[index];
                    if !analyzer.train(&coupled.train) {
                        let packets = self.packets_of(coupled);
                        packets.for_each(|packet| analyzer.packet(&packet));
                        refused.push(coupled);
                    }
                }
            }
        }
        let protocols = dealer.framings.len().max(1);
        let tallies = self.tallies.indices.chunks(protocols).nth(shard);
        for (protocol, index) in tallies.unwrap_or_default().iter().enumerate() {
            let Some(tally) = self.tallies.all.get(*index as usize) else {
                continue;
            };
            let protocol = ProtocolIndex(protocol as u16);
            let its = |coupled: &&&Coupled| coupled.tally == *index;
            match refused.iter().any(|coupled| its(&coupled)) {
                true => {
                    let mut tally = tally.clone();
                    for coupled in refused.iter().filter(its) {
                        let packets = self.packets_of(coupled);
                        tally.take_out(&dealer.tally_of(&coupled.train, packets));
                    }
                    analyzer.tally(protocol, &tally);
                }
                false => analyzer.tally(protocol, tally),
            }
        }
    }

    /// Has a packet brought into the cache that will be shown: the thread that has read it may be another,
    /// and no pattern foretells which is next.
    #[inline(always)]
    fn call(&self, item: Item) {
        const CACHE_LINE: usize = 64;
        if let Some(record) = self.records.places.get(item.0 as usize) {
            let at = self.bytes.as_ptr().wrapping_add(record.at as usize);
            prefetch(at);
            prefetch(at.wrapping_add(CACHE_LINE));
        }
    }

    #[inline(always)]
    fn packet(&self, index: u32) -> CapturedPacket<'_> {
        let record = &self.records.places[index as usize];
        match record.captured {
            SPECIAL => self.special(record),
            _ => record.usual(&self.bytes),
        }
    }

    #[cold]
    fn special(&self, record: &Record) -> CapturedPacket<'_> {
        let special = self.records.specials[record.at as usize];
        let bytes: &[u8] = match special.is_kept {
            false => &self.bytes,
            true => &self.kept,
        };
        CapturedPacket {
            timestamp: record.timestamp,
            link_type: special.link_type,
            original_length: special.original_length,
            data: &bytes[special.at..][..special.captured as usize],
        }
    }

    #[cold]
    fn connections(&self) -> Connections {
        let mut connections = Connections::new();
        let mut enter = |packet: &CapturedPacket<'_>, at| {
            if let Some((record, ends)) = Record::of(packet, at) {
                connections.push((ends.either_way(), record));
            }
        };
        match &self.walked {
            Some(walked) => {
                let range = (walked.first, walked.end);
                let Walked { blocks, block, .. } = walked;
                blocks.walk_again(block, &self.bytes, range, enter);
            }
            None => {
                let records = self.records.places.iter();
                for record in records.filter(|record| record.captured != SPECIAL) {
                    enter(&record.usual(&self.bytes), record.at as usize);
                }
            }
        }
        connections.sort_unstable_by_key(|(ends, record)| (*ends, record.at));
        connections
    }

    #[cold]
    fn packets_of(&self, coupled: &Coupled) -> impl Iterator<Item = CapturedPacket<'_>> {
        let connections = self.connections.get_or_init(|| self.connections());
        let first = (coupled.train.ends.either_way(), coupled.first);
        let from = connections.partition_point(|(ends, record)| (*ends, record.at) < first);
        let records = connections[from..].iter();
        let records = records.take(coupled.train.packets() as usize);
        records.map(|(_, record)| record.usual(&self.bytes))
    }
}

/// Places packets in the capture's order, and deals them out if nobody else will.
struct Placing<'a> {
    parts: Parts,
    sharder: &'a mut Sharder,
    kept: &'a mut Vec<u8>,
    records: &'a mut Records,
    items: &'a mut [Vec<Item>],
    deals: bool,
}

impl Placing<'_> {
    #[inline(always)]
    fn place(&mut self, packet: &CapturedPacket<'_>, at: usize) {
        let before = self.records.places.len();
        match Record::of(packet, at) {
            Some((record, ends)) => {
                if self.deals {
                    let shard = shard_of(self.parts, ends);
                    self.items[usize::from(shard)].push(Item(before as u32));
                }
                self.records.places.push(record);
            }
            None => {
                self.records.unusual(packet, at, self.sharder, self.kept);
                self.deal_specials(before);
            }
        }
    }

    /// After the last packet.
    fn end(&mut self) {
        self.sharder.end();
        let before = self.records.places.len();
        self.records.due(self.sharder, self.kept);
        self.deal_specials(before);
    }

    #[cold]
    fn deal_specials(&mut self, from: usize) {
        if self.deals {
            self.records.deal_specials(from, self.items);
        }
    }
}

impl Record {
    /// With its ends. `None` of a packet that is special.
    #[inline(always)]
    fn of(packet: &CapturedPacket<'_>, at: usize) -> Option<(Self, Ends)> {
        let (addresses, ports) = packet::usual_ends(packet.link_type, packet.data)?;
        let record = Self::at(packet, at)?;
        let is_whole = packet.original_length == record.captured;
        is_whole.then_some((record, Ends::of_v4(addresses, ports)))
    }

    /// Of a packet that was captured whole and begins as most do. `None` beyond 4 GiB.
    #[inline(always)]
    fn at(packet: &CapturedPacket<'_>, at: usize) -> Option<Self> {
        Some(Self {
            timestamp: packet.timestamp,
            at: u32::try_from(at).ok()?,
            captured: packet.data.len() as u32,
        })
    }

    #[inline(always)]
    fn usual<'a>(&self, bytes: &'a [u8]) -> CapturedPacket<'a> {
        CapturedPacket {
            timestamp: self.timestamp,
            link_type: LinkType::ETHERNET,
            original_length: self.captured,
            data: &bytes[self.at as usize..][..self.captured as usize],
        }
    }
}

impl Records {
    /// Places a packet of any other form, or those that it tells the shard of.
    #[cold]
    fn unusual(
        &mut self,
        packet: &CapturedPacket<'_>,
        at: usize,
        sharder: &mut Sharder,
        kept: &mut Vec<u8>,
    ) {
        match sharder.part_of(packet) {
            Some(shard) => self.special(shard, packet, at, false),
            None => self.due(sharder, kept),
        }
    }

    /// Deals out special packets, from that record on.
    #[cold]
    fn deal_specials(&self, from: usize, items: &mut [Vec<Item>]) {
        for (index, record) in self.places.iter().enumerate().skip(from) {
            let special = &self.specials[record.at as usize];
            items[usize::from(special.shard)].push(Item(index as u32));
        }
    }

    fn special(&mut self, shard: u16, packet: &CapturedPacket<'_>, at: usize, is_kept: bool) {
        self.places.push(Record {
            timestamp: packet.timestamp,
            at: self.specials.len() as u32,
            captured: SPECIAL,
        });
        self.specials.push(Special {
            shard,
            link_type: packet.link_type,
            original_length: packet.original_length,
            captured: packet.data.len() as u32,
            at,
            is_kept,
        });
    }

    /// Places packets that were kept and whose shards are known by now.
    fn due(&mut self, sharder: &mut Sharder, kept: &mut Vec<u8>) {
        for (shard, due) in sharder.due() {
            let packet = due.packet();
            self.special(shard, &packet, kept.len(), true);
            kept.extend_from_slice(packet.data);
        }
    }
}

impl Item {
    #[inline(always)]
    fn train(self) -> Option<usize> {
        (self.0 & TRAIN != 0).then_some((self.0 & !TRAIN) as usize)
    }
}

impl Tallies {
    fn clear(&mut self, number: usize) {
        self.all[..self.used].iter_mut().for_each(TrainTally::clear);
        self.used = 0;
        self.indices.clear();
        self.indices.resize(number, NO_TALLY);
    }

    fn index(&mut self, which: usize) -> u32 {
        let index = &mut self.indices[which];
        if *index == NO_TALLY {
            *index = self.used as u32;
            self.used += 1;
            if self.all.len() < self.used {
                self.all.push(TrainTally::default());
            }
        }
        *index
    }
}

/// Deals out the packets of chunks. Every thread has its own: what one chunk brings is dealt out without
/// knowledge of others.
#[derive(Debug)]
pub(super) struct Dealer {
    plan: Arc<ProtocolPlan>,
    mtu: Mtu,
    shards: Parts,
    /// Of each protocol whose messages can be told from one segment.
    framings: Vec<Option<Headerless>>,
    /// Which trains packets with these ends couple to, by number.
    recent: RecentFlows,
    /// The number of the chunk's first train.
    first: u32,
    /// The number of the first train that packets may still couple to.
    open: u32,
    /// Of looking for trains.
    without_trains: Pause,
    /// Of dealing out blocks before they are joined.
    in_order: Pause,
}

/// A packet of the [usual form](packet::decode_usual).
struct Usual<'a> {
    lengths: Lengths,
    ends: Ends,
    segment: Segment<'a>,
}

#[inline(always)]
fn usual_of<'a>(packet: &CapturedPacket<'a>) -> Option<Usual<'a>> {
    let (lengths, addresses, segment) =
        packet::decode_usual(packet.link_type, packet.data, packet.original_length)?;
    let ends = Ends::new(&addresses, segment.source_port, segment.destination_port)?;
    Some(Usual {
        lengths,
        ends,
        segment,
    })
}

/// Deals out packets as they are read.
struct Directly<'a> {
    dealer: &'a mut Dealer,
    records: &'a mut Vec<Record>,
    trains: &'a mut Vec<Coupled>,
    tallies: &'a mut Tallies,
    items: &'a mut [Vec<Item>],
    couples: bool,
    all_usual: bool,
}

for_newer_processors! {
    /// With trains.
    fn couple_block(
        directly: &mut Directly<'_>,
        blocks: &Blocks,
        block: &Block,
        bytes: &mut Vec<u8>,
        first: FileBytes,
    ) -> Walk {
        blocks.walk(block, bytes, first, |packet, at| directly.couple(packet, at))
    }
}

for_newer_processors! {
    fn deal_records(dealer: &mut Dealer, chunk: &mut Chunk) -> () {
        dealer.deal_records(chunk);
    }
}

impl Directly<'_> {
    /// Deals out a packet. `false` where it is special: it cannot be.
    #[inline(always)]
    fn couple(&mut self, packet: &CapturedPacket<'_>, at: usize) -> bool {
        let dealer = &mut *self.dealer;
        usual_of(packet).is_some_and(|usual| {
            dealer.couple(at, packet, &usual, self.trains, self.tallies, self.items)
        }) || self.one_by_one(packet, at)
    }

    fn one_by_one(&mut self, packet: &CapturedPacket<'_>, at: usize) -> bool {
        let found = Record::of(packet, at);
        match found {
            Some((record, ends)) => {
                let index = self.records.len() as u32;
                self.records.push(record);
                match self.couples {
                    true => self.dealer.one_by_one(index, ends, self.items),
                    false => self.items[usize::from(self.dealer.shard(ends))].push(Item(index)),
                }
            }
            None => self.all_usual = false,
        }
        found.is_some()
    }
}

#[inline(always)]
fn shard_of(shards: Parts, ends: Ends) -> u16 {
    shards.part(hash_of_v4(ends.addresses(), ends.ports()))
}

/// How many packets these are.
fn coupled(trains: &[Coupled]) -> usize {
    let packets = trains.iter().map(|coupled| coupled.train.packets());
    packets.sum::<u64>() as usize
}

/// Packets that a train has on average, at least, where it pays to look for trains.
const WORTHWHILE: usize = 4;

/// Packets of a chunk, at least, that tell whether it pays.
const TELLING: usize = 256;

/// For how many chunks what did not pay is not tried again.
#[derive(Debug, Default)]
struct Pause(u32);

impl Pause {
    const CHUNKS: u32 = 31;

    fn begin(&mut self) {
        self.0 = Self::CHUNKS;
    }

    /// Whether it is over, to be asked once a chunk.
    fn is_over(&mut self) -> bool {
        let is_over = self.0 == 0;
        self.0 = self.0.saturating_sub(1);
        is_over
    }
}

impl Dealer {
    /// Deals out to so many shards, each with an analyzer like this one.
    pub fn new(shards: NonZeroU16, analyzer: &Analyzer) -> Self {
        let plan = Arc::clone(analyzer.plan());
        let protocols = plan.protocols().iter();
        let framings = protocols.map(|protocol| protocol.framing.framer(true).headerless());
        Self {
            framings: framings.collect(),
            plan,
            mtu: analyzer.mtu(),
            shards: Parts(shards),
            recent: RecentFlows::default(),
            first: 0,
            open: 0,
            without_trains: Pause::default(),
            in_order: Pause::default(),
        }
    }

    /// Deals out a block from its first record on, if every packet of it is of the usual form.
    fn deal_block(
        &mut self,
        chunk: &mut Chunk,
        blocks: &Arc<Blocks>,
        block: &Block,
        first: FileBytes,
    ) -> Option<Walk> {
        let couples = self.without_trains.is_over();
        self.begin_chunk();
        let bytes = &mut chunk.bytes;
        let mut directly = Directly {
            dealer: self,
            records: &mut chunk.records.places,
            trains: &mut chunk.trains,
            tallies: &mut chunk.tallies,
            items: &mut chunk.items,
            couples,
            all_usual: true,
        };
        let walk = match couples {
            true => couple_block(&mut directly, blocks, block, bytes, first),
            false => blocks.walk(block, bytes, first, |packet, at| {
                directly.one_by_one(packet, at)
            }),
        };
        let all_usual = directly.all_usual;
        if couples {
            let coupled = coupled(&chunk.trains);
            self.end_chunk(
                chunk.trains.len(),
                coupled,
                coupled + chunk.records.places.len(),
            );
        }
        if !all_usual {
            self.in_order.begin();
            return None;
        }
        chunk.is_dealt = true;
        chunk.walked = Some(Walked {
            blocks: Arc::clone(blocks),
            block: *block,
            first,
            end: walk.end,
        });
        Some(walk)
    }

    /// Packets of what comes next couple to none of the trains before.
    fn begin_chunk(&mut self) {
        if self.open > TRAIN / 2 {
            (self.recent, self.open) = (RecentFlows::default(), 0);
        }
        self.first = self.open;
    }

    /// Judges whether trains pay.
    fn end_chunk(&mut self, trains: usize, coupled: usize, packets: usize) {
        self.open = self.first + trains as u32;
        let pays = coupled >= trains * WORTHWHILE && coupled * 2 >= packets;
        if !pays && packets >= TELLING {
            self.without_trains.begin();
        }
    }

    /// Deals out a packet that is in no train.
    #[inline(always)]
    fn one_by_one(&mut self, index: u32, ends: Ends, items: &mut [Vec<Item>]) {
        self.recent.forget(ends);
        self.recent.forget(ends.opposite());
        items[usize::from(self.shard(ends))].push(Item(index));
    }

    #[inline(always)]
    fn shard(&self, ends: Ends) -> u16 {
        shard_of(self.shards, ends)
    }

    /// Deals out what was read.
    pub fn deal(&mut self, chunk: &mut Chunk) {
        if !chunk.is_dealt {
            deal_records(self, chunk);
        }
    }

    #[inline(always)]
    fn deal_records(&mut self, chunk: &mut Chunk) {
        let Chunk {
            bytes,
            records,
            trains,
            tallies,
            items,
            ..
        } = chunk;
        self.begin_chunk();
        for (index, record) in records.places.iter().enumerate() {
            let index = index as u32;
            if record.captured == SPECIAL {
                let special = &records.specials[record.at as usize];
                items[usize::from(special.shard)].push(Item(index));
                // It may be about any connection.
                self.open = self.first + trains.len() as u32;
                continue;
            }
            let packet = record.usual(bytes);
            if let Some(usual) = usual_of(&packet)
                && self.couple(record.at as usize, &packet, &usual, trains, tallies, items)
            {
                continue;
            }
            match packet::usual_ends(packet.link_type, packet.data) {
                Some((addresses, ports)) => {
                    self.one_by_one(index, Ends::of_v4(addresses, ports), items);
                }
                // No record is without ends that is not special; if one were, it would still be counted.
                None => items[0].push(Item(index)),
            }
        }
        self.end_chunk(trains.len(), coupled(trains), records.places.len());
        chunk.is_dealt = true;
    }

    /// Couples a packet to its connection's train, or to a new one; `false` where it is not such as trains
    /// are made of.
    #[inline(always)]
    fn couple(
        &mut self,
        at: usize,
        packet: &CapturedPacket<'_>,
        usual: &Usual<'_>,
        trains: &mut Vec<Coupled>,
        tallies: &mut Tallies,
        items: &mut [Vec<Item>],
    ) -> bool {
        let Usual {
            lengths,
            ends,
            segment,
        } = usual;
        let ends = *ends;
        if !segment.flags.is_plain_acknowledgment() {
            return false;
        }
        let found = self.recent.find(ends);
        if let Some((number, direction)) = found.filter(|(number, _)| *number >= self.open)
            && let Some(coupled) = trains.get_mut((number - self.first) as usize)
        {
            let way = match direction {
                Direction::Up => coupled.train.way,
                Direction::Down => coupled.train.way.opposite(),
            };
            let tally = &mut tallies.all[coupled.tally as usize];
            let inside = (lengths, segment);
            return coupled.train.couple(way, packet, inside, self.mtu, tally);
        }
        self.begin(at, ends, packet, trains, tallies, items)
    }

    /// Begins a train.
    #[inline(never)]
    fn begin(
        &mut self,
        at: usize,
        ends: Ends,
        packet: &CapturedPacket<'_>,
        trains: &mut Vec<Coupled>,
        tallies: &mut Tallies,
        items: &mut [Vec<Item>],
    ) -> bool {
        let (Some((protocol, way)), Ok(first)) = (self.listener(ends), u32::try_from(at)) else {
            return false;
        };
        let Some(framing) = self.framings[usize::from(protocol.0)] else {
            return false;
        };
        let mut train = Train::new(ends, way, (protocol, framing), packet.timestamp);
        let shard = self.shard(ends);
        let which = usize::from(shard) * self.framings.len() + usize::from(protocol.0);
        let tally = tallies.index(which);
        if !self.extend(&mut train, way, packet, &mut tallies.all[tally as usize]) {
            return false;
        }
        let item = trains.len() as u32;
        trains.push(Coupled {
            train,
            tally,
            first,
        });
        items[usize::from(shard)].push(Item(TRAIN | item));
        let number = self.first + item;
        self.recent.remember(ends, number, Direction::Up);
        self.recent
            .remember(ends.opposite(), number, Direction::Down);
        true
    }

    /// Whose ports the listening end of a connection has, and the way of packets with these ends, as far
    /// as the ports alone tell: a connection whose SYN was seen may know better.
    fn listener(&self, ends: Ends) -> Option<(ProtocolIndex, Way)> {
        let ports = self.plan.ports();
        let (from, to) = ends.ports();
        let to_listens = ports.second_listens(TransportKind::Tcp, from, to);
        let from_listens = ports.second_listens(TransportKind::Tcp, to, from);
        let (listening, way) = match (from_listens, to_listens) {
            (true, false) => (from, Way::FromListener),
            (false, true) => (to, Way::ToListener),
            _ => return None,
        };
        Some((ports.protocol(TransportKind::Tcp, listening)?, way))
    }

    /// The slower way to couple.
    fn extend(
        &self,
        train: &mut Train,
        way: Way,
        packet: &CapturedPacket<'_>,
        tally: &mut TrainTally,
    ) -> bool {
        let usual = packet::decode_usual(packet.link_type, packet.data, packet.original_length);
        usual.is_some_and(|(lengths, _, segment)| {
            train.couple(way, packet, (&lengths, &segment), self.mtu, tally)
        })
    }

    /// What a train of these packets brings to the tally of its protocol.
    #[cold]
    fn tally_of<'a>(
        &self,
        train: &Train,
        packets: impl Iterator<Item = CapturedPacket<'a>>,
    ) -> TrainTally {
        let mut tally = TrainTally::default();
        let mut again = train.anew();
        for packet in packets {
            let ends = packet::usual_ends(packet.link_type, packet.data);
            let ends = ends.map(|(addresses, ports)| Ends::of_v4(addresses, ports));
            let way = match ends == Some(train.ends) {
                true => train.way,
                false => train.way.opposite(),
            };
            let fits = self.extend(&mut again, way, &packet, &mut tally);
            debug_assert!(fits, "what coupled once couples again");
        }
        tally
    }
}

/// Has what lies there brought into the cache without waiting for it, as a load would: a hint, wherever it
/// points. Nothing where the processor is of another kind.
#[allow(unsafe_code)]
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads and writes nothing that a program could notice and no address makes
        // it fault (Intel's manual, PREFETCHh), and SSE, which it comes from, is on every processor of 64 bits.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
