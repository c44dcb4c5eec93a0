//! The same exchange as Ethernet frames of another size.
//!
//! Loopback carries segments of up to 64 KiB in frames that no Ethernet would take. The
//! projection cuts each captured packet to what fits the MTU, repeats its headers, pads to the
//! minimum frame and leaves ACKs as captured. So TCP would have cut it: IP fragments, of which only the
//! first has a transport header, are not what is projected, whatever was captured. It approximates: a
//! real link would acknowledge and coalesce differently.

use serde::{Deserialize, Serialize};

use crate::units::{IpBytes, L2Bytes, LineBytes, Mtu, Packets};

/// Ethernet II header: destination, source, type.
const ETHERNET_HEADER: u64 = 14;
/// The shortest frame without its frame check sequence (IEEE 802.3).
const SHORTEST_FRAME: u64 = 60;
/// Frame check sequence 4, preamble and start delimiter 8, inter-frame gap 12.
const LINE_OVERHEAD: u64 = 24;

/// Estimated Ethernet frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    /// Most IP packet bytes in a frame.
    pub mtu: Mtu,
    /// Most TCP payload bytes in a frame over IPv4 without options.
    pub mss: u32,
    /// Frames.
    pub frames: Packets,
    /// Their bytes without frame check sequence.
    pub l2_bytes: L2Bytes,
    /// Their bytes with frame check sequence, preamble and inter-frame gap.
    pub line_bytes: LineBytes,
}

impl Default for Projection {
    fn default() -> Self {
        Self {
            mtu: Mtu::default(),
            mss: mss(Mtu::default()),
            frames: Packets::ZERO,
            l2_bytes: L2Bytes::ZERO,
            line_bytes: LineBytes::ZERO,
        }
    }
}

/// What an MTU leaves for TCP payload beside IPv4 and TCP headers without options.
fn mss(mtu: Mtu) -> u32 {
    mtu.get() - 40
}

impl Projection {
    /// The projection of `packets` captured IP packets of `ip` bytes in all, which have this excess on
    /// the MTU.
    pub fn of(mtu: Mtu, packets: Packets, ip: IpBytes, excess: Excess) -> Self {
        let frames = packets.get() + excess.frames;
        let l2_bytes = packets.get() * ETHERNET_HEADER + ip.get() + excess.l2_bytes;
        Self {
            mtu,
            mss: mss(mtu),
            frames: Packets::new(frames),
            l2_bytes: L2Bytes::new(l2_bytes),
            line_bytes: LineBytes::new(l2_bytes + frames * LINE_OVERHEAD),
        }
    }

    /// Adds another part's frames, which are of the same MTU: whoever merges has seen to it.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.mtu, other.mtu, "frames of different MTUs do not add");
        self.frames += other.frames;
        self.l2_bytes += other.l2_bytes;
        self.line_bytes += other.line_bytes;
    }
}

/// What a projection has beyond one frame for each captured IP packet that is just long enough for
/// its Ethernet header and the packet: most packets add nothing here. All of it is on one MTU, which is
/// not kept beside it: whoever counts packets holds it where the next packet finds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Excess {
    frames: u64,
    l2_bytes: u64,
}

impl Excess {
    /// Enters one captured IP packet: `headers` bytes of IP and transport headers, which every frame
    /// repeats, and `payload` bytes behind them, which are spread over as many frames as needed.
    #[inline]
    pub fn add_packet(&mut self, mtu: Mtu, headers: u32, payload: u32) {
        const SHORTEST: u32 = (SHORTEST_FRAME - ETHERNET_HEADER) as u32;
        let ip = headers + payload;
        // Whether it is shorter than the one or longer than the other, in one comparison.
        if ip.wrapping_sub(SHORTEST) > mtu.get() - SHORTEST {
            let (frames, l2_bytes) = frames_of(mtu, headers, payload);
            self.frames += frames - 1;
            self.l2_bytes += l2_bytes - ETHERNET_HEADER - u64::from(ip);
        }
    }

    /// Enters so many packets of that size.
    pub fn add_packets(&mut self, mtu: Mtu, headers: u32, payload: u32, count: Packets) {
        let mut one = Self::default();
        one.add_packet(mtu, headers, payload);
        self.frames += one.frames * count.get();
        self.l2_bytes += one.l2_bytes * count.get();
    }

    /// Adds another part's excess on the same MTU.
    pub fn merge(&mut self, other: &Self) {
        self.frames += other.frames;
        self.l2_bytes += other.l2_bytes;
    }
}

/// Frames, and their bytes without frame check sequence, for one captured packet. Where the headers
/// alone fill the MTU, as no TCP would have them, a frame has one byte of payload and is longer.
#[cold]
fn frames_of(mtu: Mtu, headers: u32, payload: u32) -> (u64, u64) {
    let (headers, payload) = (u64::from(headers), u64::from(payload));
    let fits = u64::from(mtu.get()).saturating_sub(headers).max(1);
    if payload <= fits {
        return (1, (ETHERNET_HEADER + headers + payload).max(SHORTEST_FRAME));
    }
    let full = payload / fits;
    let rest = payload % fits;
    let bytes = full * (ETHERNET_HEADER + headers + fits).max(SHORTEST_FRAME);
    match rest {
        0 => (full, bytes),
        _ => (
            full + 1,
            bytes + (ETHERNET_HEADER + headers + rest).max(SHORTEST_FRAME),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETHERNET: Mtu = Mtu::ETHERNET;

    fn mtu(bytes: u32) -> Mtu {
        Mtu::new(bytes).unwrap()
    }

    #[test]
    fn a_pure_ack_is_one_shortest_frame_or_its_own_size() {
        assert_eq!(frames_of(ETHERNET, 40, 0), (1, 60));
        assert_eq!(frames_of(ETHERNET, 52, 0), (1, 66));
    }

    #[test]
    fn a_loopback_segment_is_cut_to_full_frames_and_a_rest() {
        // 52 header bytes leave 1448 for payload: 65,483 bytes are 45 full frames and 323 bytes.
        let bulk = frames_of(ETHERNET, 52, 65_483);
        assert_eq!(bulk, (46, 45 * 1514 + 14 + 52 + 323));
        assert_eq!(frames_of(ETHERNET, 52, 1448), (1, 1514));
        assert_eq!(frames_of(ETHERNET, 52, 2 * 1448), (2, 2 * 1514));
        assert_eq!(frames_of(ETHERNET, 52, 1449), (2, 1514 + 67));
        // Of 9000 they leave 8948: 7 full frames and 2847 bytes.
        let jumbo = frames_of(mtu(9000), 52, 65_483);
        assert_eq!(jumbo, (8, 7 * 9014 + 14 + 52 + 2847));
        // A packet of 65,535 bytes is as long as IPv4 has them.
        assert_eq!(frames_of(mtu(65_535), 52, 65_483), (1, 65_549));
        assert_eq!(frames_of(mtu(65_534), 52, 65_483), (2, 65_548 + 67));
    }

    #[test]
    fn the_least_mtu_leaves_what_headers_leave_of_it_and_one_byte_at_least() {
        let least = Mtu::LEAST;
        // 8 bytes a frame: 12 full ones and 4.
        assert_eq!(frames_of(least, 60, 100), (13, 12 * 82 + 78));
        assert_eq!(frames_of(least, 60, 8), (1, 82));
        assert_eq!(frames_of(least, 67, 3), (3, 3 * 82));
        // Headers of the MTU and longer: a byte a frame beside them, and none where there is none.
        assert_eq!(frames_of(least, 68, 3), (3, 3 * 83));
        assert_eq!(frames_of(least, 120, 3), (3, 3 * 135));
        assert_eq!(frames_of(least, 120, 0), (1, 134));
        // Each of the shortest frames is padded, the rest too: 28 + 40 bytes and 5 + 40.
        assert_eq!(frames_of(least, 40, 33), (2, 82 + 60));
    }

    #[test]
    fn line_bytes_add_24_a_frame() {
        let mut excess = Excess::default();
        excess.add_packet(ETHERNET, 52, 1449);
        excess.add_packet(ETHERNET, 40, 0);
        let ip = IpBytes::new(1501 + 40);
        let projection = Projection::of(ETHERNET, Packets::new(2), ip, excess);
        assert_eq!(projection.frames.get(), 3);
        assert_eq!(projection.l2_bytes.get(), 1514 + 67 + 60);
        assert_eq!(projection.line_bytes.get(), 1514 + 67 + 60 + 3 * 24);
        assert_eq!((projection.mtu.get(), projection.mss), (1500, 1460));
    }

    #[test]
    #[should_panic(expected = "different MTUs")]
    fn frames_of_different_mtus_do_not_add() {
        let of = |mtu| Projection::of(mtu, Packets::ZERO, IpBytes::ZERO, Excess::default());
        of(ETHERNET).merge(&of(mtu(9000)));
    }

    /// Headers and payload of captured packets, TCP's largest of loopback among them.
    fn packet() -> impl Strategy<Value = (u32, u32)> {
        (20_u32..2000, 0_u32..70_000)
    }

    fn mtus() -> impl Strategy<Value = Mtu> {
        let all = Mtu::LEAST.get()..=Mtu::GREATEST.get();
        prop_oneof![Just(68), Just(1280), Just(1500), Just(9000), all].prop_map(mtu)
    }

    proptest! {
        #[test]
        fn packets_and_excess_give_the_sum_of_all_frames(
            captured in prop::collection::vec(packet(), 0..20),
            mtu in mtus(),
        ) {
            let mut excess = Excess::default();
            let (mut ip, mut frames, mut l2_bytes) = (0, 0, 0);
            for &(headers, payload) in &captured {
                excess.add_packet(mtu, headers, payload);
                ip += u64::from(headers + payload);
                let (more_frames, more_bytes) = frames_of(mtu, headers, payload);
                frames += more_frames;
                l2_bytes += more_bytes;
            }
            let packets = Packets::new(captured.len() as u64);
            let projection = Projection::of(mtu, packets, IpBytes::new(ip), excess);
            prop_assert_eq!(projection.frames.get(), frames);
            prop_assert_eq!(projection.l2_bytes.get(), l2_bytes);
            prop_assert_eq!(projection.line_bytes.get(), l2_bytes + 24 * frames);
        }

        /// Frames built one by one as a sender would fill them.
        #[test]
        fn every_byte_of_payload_is_in_one_frame_and_no_frame_is_too_long(
            (headers, payload) in packet(), mtu in mtus(),
        ) {
            let room = mtu.get().saturating_sub(headers).max(1);
            let mut left = payload;
            let (mut frames, mut l2_bytes) = (0, 0);
            loop {
                let in_frame = left.min(room);
                let ip = headers + in_frame;
                prop_assert!(ip <= mtu.get() || in_frame <= 1);
                frames += 1;
                l2_bytes += u64::from((14 + ip).max(60));
                left -= in_frame;
                if left == 0 {
                    break;
                }
            }
            prop_assert_eq!(frames_of(mtu, headers, payload), (frames, l2_bytes));
        }

        #[test]
        fn frames_never_become_fewer_as_the_mtu_falls(
            (headers, payload) in packet(), one in mtus(), other in mtus(),
        ) {
            let (low, high) = (one.min(other), one.max(other));
            let (more, fewer) = (
                frames_of(low, headers, payload).0,
                frames_of(high, headers, payload).0,
            );
            prop_assert!(more >= fewer, "{more} {fewer}");
        }
    }
}
