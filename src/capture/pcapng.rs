//! The blocks of pcapng (draft-ietf-opsawg-pcapng) as far as a reader of packets needs them.

use super::file::{Damage, Decoded, FileFacts, MAX_RECORD, Order, record_limit};
use super::part::CUT_SHORT;
use super::{CapturedPacket, FileBytes, RecordedDrops};
use crate::units::{LinkType, Packets, Timestamp};

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
pub(super) const OBSOLETE_PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const INTERFACE_STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Option codes, which mean different things in different blocks.
pub(super) const OPT_END: u16 = 0;
pub(super) const OPT_COMMENT: u16 = 1;
pub(super) const SHB_OS: u16 = 3;
pub(super) const SHB_USERAPPL: u16 = 4;
pub(super) const IF_NAME: u16 = 2;
pub(super) const IF_TSRESOL: u16 = 9;
pub(super) const IF_FILTER: u16 = 11;
pub(super) const IF_TSOFFSET: u16 = 14;
pub(super) const EPB_DROPCOUNT: u16 = 4;
pub(super) const ISB_STARTTIME: u16 = 2;
pub(super) const ISB_ENDTIME: u16 = 3;
pub(super) const ISB_IFRECV: u16 = 4;
pub(super) const ISB_IFDROP: u16 = 5;
pub(super) const ISB_OSDROP: u16 = 7;
pub(super) const ISB_USRDELIV: u16 = 8;

/// Length of a section header without options.
pub(super) const SECTION_HEADER_MIN: usize = 28;

/// Length of a block without content, and so the minimum of blocks that are not decoded.
const UNKNOWN_MIN: u32 = 12;

/// Interfaces believed of one section; memory is bounded by it.
const MAX_INTERFACES: usize = 65_536;
/// Bytes believed of a packet block beside its packet.
const ROOM_FOR_OPTIONS: u32 = 1 << 20;
/// Bytes believed of a block where no interface asks for more.
const MAX_BLOCK: u32 = MAX_RECORD + ROOM_FOR_OPTIONS;
/// Interface names kept, and the bytes kept of each.
const MAX_NAMES: usize = 1_024;
const MAX_NAME: usize = 256;

/// The state that the blocks of a file build up: the current section and its interfaces.
#[derive(Default)]
pub(super) struct Sections {
    order: Order,
    interfaces: Vec<Interface>,
    /// The largest packet block believed: the largest interface's, with room for options.
    limit: u32,
    /// Drops of the sections before this one.
    earlier: RecordedDrops,
    /// Whether some of those were not counted: of the interfaces' own, of the system's.
    earlier_uncounted: [bool; 2],
    /// Time of the packet before: simple packet blocks carry none and take it over.
    last: Timestamp,
}

struct Interface {
    link_type: LinkType,
    snaplen: u32,
    clock: Clock,
    /// Statistics blocks are cumulative: the latest of an interface counts.
    interface_drops: Option<Packets>,
    system_drops: Option<Packets>,
}

/// How an interface's time stamps become nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
struct Clock {
    unit: Unit,
    offset_nanos: i64,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    /// A unit is so many nanoseconds.
    Nanos(u64),
    /// So many units are a nanosecond.
    PerNano(u64),
    /// A unit is two to the minus so many seconds.
    BinarySecond(u32),
}

impl Clock {
    /// `if_tsresol`: negative power of ten, or of two where the top bit is set. Without it,
    /// microseconds.
    fn new(resolution: u8, offset_seconds: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let unit = if resolution & 0x80 != 0 {
            Unit::BinarySecond(exponent)
        } else if exponent <= 9 {
            Unit::Nanos(10_u64.pow(9 - exponent))
        } else {
            Unit::PerNano(10_u64.saturating_pow(exponent - 9))
        };
        Self {
            unit,
            offset_nanos: offset_seconds.saturating_mul(1_000_000_000),
        }
    }

    #[inline]
    fn at(self, units: u64) -> Timestamp {
        let nanos = match self.unit {
            Unit::Nanos(nanos) => units.saturating_mul(nanos),
            Unit::PerNano(units_per_nano) => units / units_per_nano,
            Unit::BinarySecond(exponent) => {
                let nanos = (u128::from(units) * 1_000_000_000) >> exponent;
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
        Timestamp::from_nanos(nanos.saturating_add(self.offset_nanos))
    }
}

/// The version of the section header at `bytes` where it is one that cannot be read.
pub(super) fn unknown_version(bytes: &[u8]) -> Option<(u16, u16)> {
    let order = section_order(bytes).ok()?;
    let version = (order.u16(bytes, 12), order.u16(bytes, 14));
    // 1.2 was written by some and is the same format.
    (!matches!(version, (1, 0 | 2))).then_some(version)
}

fn section_order(header: &[u8]) -> Result<Order, Damage> {
    let magic = Order { big_endian: false }.u32(header, 8);
    if magic == BYTE_ORDER_MAGIC {
        Ok(Order { big_endian: false })
    } else if magic == BYTE_ORDER_MAGIC.swap_bytes() {
        Ok(Order { big_endian: true })
    } else {
        Err(Damage::ByteOrder { magic })
    }
}

impl Sections {
    /// Decodes the block at the beginning of `bytes`. Nearly every block is an enhanced packet
    /// without options: it is tried first, and whatever is unusual about it is left to `other`.
    #[inline]
    pub(super) fn decode<'a>(&mut self, bytes: &'a [u8], facts: &mut FileFacts) -> Decoded<'a> {
        match self.plain_packet(bytes) {
            Some((packet, length)) => {
                self.last = packet.timestamp;
                Decoded::Packet(packet, length)
            }
            None => self.other(bytes, facts),
        }
    }

    /// The byte order of the section at hand.
    pub(super) fn order(&self) -> Order {
        self.order
    }

    #[inline(always)]
    fn plain_packet<'a>(&self, bytes: &'a [u8]) -> Option<(CapturedPacket<'a>, usize)> {
        let order = self.order;
        let fields = bytes.first_chunk::<28>()?;
        let length = order.u32(fields, 4) as usize;
        let captured = order.u32(fields, 20);
        let plain = order.u32(fields, 0) == ENHANCED_PACKET
            && captured <= self.limit
            && length == (captured as usize).next_multiple_of(4) + 32;
        if !plain {
            return None;
        }
        let block = bytes.get(..length)?;
        let interface = self.interfaces.get(order.u32(fields, 8) as usize)?;
        if order.u32(block, length - 4) as usize != length {
            return None;
        }
        let units = u64::from(order.u32(fields, 12)) << 32 | u64::from(order.u32(fields, 16));
        let packet = CapturedPacket {
            timestamp: interface.clock.at(units),
            link_type: interface.link_type,
            original_length: order.u32(fields, 24).max(captured),
            data: &block[28..28 + captured as usize],
        };
        Some((packet, length))
    }

    #[inline(never)]
    fn other<'a>(&mut self, bytes: &'a [u8], facts: &mut FileFacts) -> Decoded<'a> {
        let Some(start) = bytes.first_chunk::<12>() else {
            return Decoded::Need(12);
        };
        let block_type = self.order.u32(start, 0);
        // A palindrome: it is recognised before the byte order is known.
        if block_type == SECTION_HEADER {
            self.order = match section_order(start) {
                Ok(order) => order,
                Err(damage) => return Decoded::Damaged(damage),
            };
        }
        let length = self.order.u32(start, 4);
        let minimum = match block_type {
            SECTION_HEADER => SECTION_HEADER_MIN as u32,
            INTERFACE_DESCRIPTION => 20,
            OBSOLETE_PACKET | ENHANCED_PACKET => 32,
            SIMPLE_PACKET => 16,
            INTERFACE_STATISTICS => 24,
            _ => UNKNOWN_MIN,
        };
        if length < minimum || !length.is_multiple_of(4) {
            return Decoded::Damaged(Damage::BlockLength {
                block_type,
                claimed: FileBytes(u64::from(length)),
                minimum: FileBytes(u64::from(minimum)),
            });
        }
        if minimum == UNKNOWN_MIN {
            return Decoded::Skip(u64::from(length));
        }
        let limit = self.limit.max(MAX_BLOCK);
        if length > limit {
            return Decoded::Damaged(Damage::TooLong {
                claimed: FileBytes(u64::from(length)),
                limit: FileBytes(u64::from(limit)),
            });
        }
        let length = length as usize;
        let Some(block) = bytes.get(..length) else {
            return Decoded::Need(length);
        };
        let trailing = self.order.u32(block, length - 4);
        if trailing as usize != length {
            return Decoded::Damaged(Damage::LengthsDiffer {
                block_type,
                leading: FileBytes(length as u64),
                trailing: FileBytes(u64::from(trailing)),
            });
        }
        let body = &block[8..length - 4];
        let decoded = match block_type {
            ENHANCED_PACKET => self.enhanced_packet(body, facts).map(Some),
            SIMPLE_PACKET => self.simple_packet(body).map(Some),
            OBSOLETE_PACKET => self.obsolete_packet(body, facts).map(Some),
            SECTION_HEADER => self.section_header(block, facts).map(|()| None),
            INTERFACE_DESCRIPTION => self.interface_description(body, facts).map(|()| None),
            _ => self.interface_statistics(body, facts).map(|()| None),
        };
        match decoded {
            Ok(Some(packet)) => {
                self.last = packet.timestamp;
                Decoded::Packet(packet, length)
            }
            Ok(None) => Decoded::Other(length),
            Err(damage) => Decoded::Damaged(damage),
        }
    }

    #[cold]
    fn section_header(&mut self, block: &[u8], facts: &mut FileFacts) -> Result<(), Damage> {
        if let Some((major, minor)) = unknown_version(block) {
            return Err(Damage::SectionVersion { major, minor });
        }
        self.earlier = self.drops();
        self.earlier_uncounted = self.counted().map(|counted| !counted);
        self.interfaces.clear();
        self.limit = 0;
        for (code, value) in options(self.order, &block[24..block.len() - 4]) {
            if code != OPT_COMMENT {
                continue;
            }
            match std::str::from_utf8(value).map(str::parse) {
                Ok(Ok(part)) => facts.part = Some(part),
                _ => facts.comments += 1,
            }
        }
        Ok(())
    }

    #[cold]
    fn interface_description(&mut self, body: &[u8], facts: &mut FileFacts) -> Result<(), Damage> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(Damage::TooManyInterfaces {
                limit: MAX_INTERFACES,
            });
        }
        let (mut resolution, mut offset_seconds) = (6, 0);
        for (code, value) in options(self.order, &body[8..]) {
            match (code, value) {
                (OPT_COMMENT, _) => facts.comments += 1,
                (IF_NAME, name) => remember_name(name, facts),
                (IF_TSRESOL, &[value]) => resolution = value,
                (IF_TSOFFSET, value) => {
                    if let Ok(seconds) = value.try_into() {
                        offset_seconds = self.order.u64(seconds) as i64;
                    }
                }
                _ => {}
            }
        }
        let link_type = LinkType(self.order.u16(body, 0));
        let snaplen = self.order.u32(body, 4);
        facts.link_types.insert(link_type);
        facts.snaplen = facts.snaplen.max((snaplen > 0).then_some(snaplen));
        self.limit = self.limit.max(record_limit(snaplen) + ROOM_FOR_OPTIONS);
        self.interfaces.push(Interface {
            link_type,
            snaplen,
            clock: Clock::new(resolution, offset_seconds),
            interface_drops: None,
            system_drops: None,
        });
        self.tell_what_is_counted(facts);
        Ok(())
    }

    #[cold]
    fn interface_statistics(&mut self, body: &[u8], facts: &mut FileFacts) -> Result<(), Damage> {
        let order = self.order;
        let index = order.u32(body, 0);
        let described = self.interfaces.len();
        let Some(interface) = self.interfaces.get_mut(index as usize) else {
            return Err(Damage::UnknownInterface { index, described });
        };
        for (code, value) in options(order, &body[12..]) {
            if code == OPT_COMMENT {
                match value == CUT_SHORT.as_bytes() {
                    true => facts.part_of_cut = true,
                    false => facts.comments += 1,
                }
            }
            let Ok(value) = value.try_into() else {
                continue;
            };
            let count = Packets::new(order.u64(value));
            match code {
                ISB_IFDROP => interface.interface_drops = Some(count),
                ISB_OSDROP => interface.system_drops = Some(count),
                _ => {}
            }
        }
        let between_packets = facts.drops.between_packets;
        facts.drops = RecordedDrops {
            between_packets,
            ..self.drops()
        };
        self.tell_what_is_counted(facts);
        Ok(())
    }

    fn tell_what_is_counted(&self, facts: &mut FileFacts) {
        let [interface, system] = self.counted();
        facts.counts_interface_drops = interface;
        facts.counts_system_drops = system;
    }

    /// Whether every interface so far has statistics of its own drops, and of the system's.
    fn counted(&self) -> [bool; 2] {
        let [interface, system] = self.earlier_uncounted;
        let all = |of: fn(&Interface) -> Option<Packets>| {
            self.interfaces
                .iter()
                .all(|interface| of(interface).is_some())
        };
        [
            !interface && all(|interface| interface.interface_drops),
            !system && all(|interface| interface.system_drops),
        ]
    }

    fn drops(&self) -> RecordedDrops {
        let mut sum = self.earlier;
        for interface in &self.interfaces {
            // Saturating by hand: the numbers are the file's own and may be anything.
            sum.interface =
                saturating(sum.interface, interface.interface_drops.unwrap_or_default());
            sum.system = saturating(sum.system, interface.system_drops.unwrap_or_default());
        }
        sum
    }

    #[inline]
    fn interface(&self, index: u32) -> Result<&Interface, Damage> {
        self.interfaces
            .get(index as usize)
            .ok_or(Damage::UnknownInterface {
                index,
                described: self.interfaces.len(),
            })
    }

    #[inline]
    fn enhanced_packet<'a>(
        &self,
        body: &'a [u8],
        facts: &mut FileFacts,
    ) -> Result<CapturedPacket<'a>, Damage> {
        let index = self.order.u32(body, 0);
        let packet = self.packet(index, body)?;
        let options_at = 20 + packet.data.len().next_multiple_of(4);
        if options_at < body.len() {
            self.packet_options(&body[options_at..], facts);
        }
        Ok(packet)
    }

    #[cold]
    fn packet_options(&self, bytes: &[u8], facts: &mut FileFacts) {
        for (code, value) in options(self.order, bytes) {
            facts.comments += u64::from(code == OPT_COMMENT);
            if let (EPB_DROPCOUNT, Ok(count)) = (code, value.try_into()) {
                let count = Packets::new(self.order.u64(count));
                facts.drops.between_packets = saturating(facts.drops.between_packets, count);
            }
        }
    }

    #[cold]
    fn obsolete_packet<'a>(
        &self,
        body: &'a [u8],
        facts: &mut FileFacts,
    ) -> Result<CapturedPacket<'a>, Damage> {
        let dropped = self.order.u16(body, 2);
        let packet = self.packet(u32::from(self.order.u16(body, 0)), body)?;
        // 0xFFFF says that the number is not known.
        if dropped != u16::MAX {
            let dropped = Packets::new(u64::from(dropped));
            facts.drops.between_packets = saturating(facts.drops.between_packets, dropped);
        }
        let options_at = 20 + packet.data.len().next_multiple_of(4);
        let options = options(self.order, body.get(options_at..).unwrap_or_default());
        facts.comments += options.filter(|(code, _)| *code == OPT_COMMENT).count() as u64;
        Ok(packet)
    }

    /// The fields that enhanced and obsolete packet blocks have in common.
    #[inline]
    fn packet<'a>(&self, index: u32, body: &'a [u8]) -> Result<CapturedPacket<'a>, Damage> {
        let interface = self.interface(index)?;
        let order = self.order;
        let units = u64::from(order.u32(body, 4)) << 32 | u64::from(order.u32(body, 8));
        let captured = order.u32(body, 12);
        // The captured length, not the padded one of the block.
        let Some(data) = body[20..].get(..captured as usize) else {
            return Err(Damage::BeyondBlock {
                claimed: FileBytes(u64::from(captured)),
                room: FileBytes(body.len() as u64 - 20),
            });
        };
        Ok(CapturedPacket {
            timestamp: interface.clock.at(units),
            link_type: interface.link_type,
            original_length: order.u32(body, 16).max(captured),
            data,
        })
    }

    /// A simple packet block belongs to the first interface and is as long as that one's snap
    /// length lets it be.
    #[cold]
    fn simple_packet<'a>(&self, body: &'a [u8]) -> Result<CapturedPacket<'a>, Damage> {
        let interface = self.interface(0)?;
        let original = self.order.u32(body, 0);
        let captured = match interface.snaplen {
            0 => original,
            snaplen => original.min(snaplen),
        };
        let Some(data) = body[4..].get(..captured as usize) else {
            return Err(Damage::BeyondBlock {
                claimed: FileBytes(u64::from(captured)),
                room: FileBytes(body.len() as u64 - 4),
            });
        };
        Ok(CapturedPacket {
            timestamp: self.last,
            link_type: interface.link_type,
            original_length: original,
            data,
        })
    }
}

fn saturating(sum: Packets, more: Packets) -> Packets {
    Packets::new(sum.get().saturating_add(more.get()))
}

fn remember_name(name: &[u8], facts: &mut FileFacts) {
    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]).into_owned();
    if facts.interfaces.len() < MAX_NAMES && !facts.interfaces.contains(&name) {
        facts.interfaces.push(name);
    }
}

/// The options of a block: code and value. A torn one ends the list, as it harms nothing else.
fn options(order: Order, mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let (code, length) = (order.u16(header, 0), usize::from(order.u16(header, 2)));
        if code == OPT_END {
            return None;
        }
        let value = bytes.get(4..4 + length)?;
        bytes = bytes
            .get((4 + length).next_multiple_of(4)..)
            .unwrap_or_default();
        Some((code, value))
    })
}
