//! The same exchange as Ethernet frames of the usual size.
//!
//! Loopback carries segments of up to 64 KiB in frames that no Ethernet would take. The
//! projection cuts each captured packet to what fits the MTU, repeats its headers, pads to the
//! minimum frame and leaves ACKs as captured. It approximates: a real link would acknowledge and
//! coalesce differently.

use serde::{Deserialize, Serialize};

use crate::units::{IpBytes, L2Bytes, LineBytes, Packets};

/// The projected link's maximum transmission unit: IP packet bytes in one frame (RFC 894).
pub const MTU: u32 = 1500;

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
    pub mtu: u32,
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
            mtu: MTU,
            mss: MTU - 40,
            frames: Packets::ZERO,
            l2_bytes: L2Bytes::ZERO,
            line_bytes: LineBytes::ZERO,
        }
    }
}

impl Projection {
    /// The projection of `packets` captured IP packets of `ip` bytes in all.
    pub fn of(packets: Packets, ip: IpBytes, excess: Excess) -> Self {
        let frames = packets.get() + excess.frames;
        let l2_bytes = packets.get() * ETHERNET_HEADER + ip.get() + excess.l2_bytes;
        Self {
            frames: Packets::new(frames),
            l2_bytes: L2Bytes::new(l2_bytes),
            line_bytes: LineBytes::new(l2_bytes + frames * LINE_OVERHEAD),
            ..Self::default()
        }
    }

    /// Adds another part's frames.
    pub fn merge(&mut self, other: &Self) {
        self.frames += other.frames;
        self.l2_bytes += other.l2_bytes;
        self.line_bytes += other.line_bytes;
    }
}

/// What a projection has beyond one frame for each captured IP packet that is just long enough for
/// its Ethernet header and the packet: most packets add nothing here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Excess {
    frames: u64,
    l2_bytes: u64,
}

impl Excess {
    /// Enters one captured IP packet: `headers` bytes of IP and transport headers, which every frame
    /// repeats, and `payload` bytes behind them, which are spread over as many frames as needed.
    #[inline]
    pub fn add_packet(&mut self, headers: u32, payload: u32) {
        const SHORTEST: u32 = (SHORTEST_FRAME - ETHERNET_HEADER) as u32;
        let ip = headers + payload;
        if !(SHORTEST..=MTU).contains(&ip) {
            let (frames, l2_bytes) = frames_of(headers, payload);
            self.frames += frames - 1;
            self.l2_bytes += l2_bytes - ETHERNET_HEADER - u64::from(ip);
        }
    }

    /// Enters so many packets of that size.
    pub fn add_packets(&mut self, headers: u32, payload: u32, count: Packets) {
        let mut one = Self::default();
        one.add_packet(headers, payload);
        self.frames += one.frames * count.get();
        self.l2_bytes += one.l2_bytes * count.get();
    }

    /// Adds another part's excess.
    pub fn merge(&mut self, other: &Self) {
        self.frames += other.frames;
        self.l2_bytes += other.l2_bytes;
    }
}

/// Frames, and their bytes without frame check sequence, for one captured packet.
#[cold]
fn frames_of(headers: u32, payload: u32) -> (u64, u64) {
    let (headers, payload) = (u64::from(headers), u64::from(payload));
    let fits = u64::from(MTU).saturating_sub(headers).max(1);
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

    #[test]
    fn a_pure_ack_is_one_shortest_frame_or_its_own_size() {
        assert_eq!(frames_of(40, 0), (1, 60));
        assert_eq!(frames_of(52, 0), (1, 66));
    }

    #[test]
    fn a_loopback_segment_is_cut_to_full_frames_and_a_rest() {
        // 52 header bytes leave 1448 for payload: 65,483 bytes are 45 full frames and 323 bytes.
        assert_eq!(frames_of(52, 65_483), (46, 45 * 1514 + 14 + 52 + 323));
        assert_eq!(frames_of(52, 1448), (1, 1514));
        assert_eq!(frames_of(52, 2 * 1448), (2, 2 * 1514));
        assert_eq!(frames_of(52, 1449), (2, 1514 + 67));
    }

    #[test]
    fn line_bytes_add_24_a_frame() {
        let mut excess = Excess::default();
        excess.add_packet(52, 1449);
        excess.add_packet(40, 0);
        let projection = Projection::of(Packets::new(2), IpBytes::new(1501 + 40), excess);
        assert_eq!(projection.frames.get(), 3);
        assert_eq!(projection.l2_bytes.get(), 1514 + 67 + 60);
        assert_eq!(projection.line_bytes.get(), 1514 + 67 + 60 + 3 * 24);
    }

    proptest! {
        #[test]
        fn packets_and_excess_give_the_sum_of_all_frames(
            captured in prop::collection::vec((20_u32..2000, 0_u32..70_000), 0..20),
        ) {
            let mut excess = Excess::default();
            let (mut ip, mut frames, mut l2_bytes) = (0, 0, 0);
            for &(headers, payload) in &captured {
                excess.add_packet(headers, payload);
                ip += u64::from(headers + payload);
                let (more_frames, more_bytes) = frames_of(headers, payload);
                frames += more_frames;
                l2_bytes += more_bytes;
            }
            let packets = Packets::new(captured.len() as u64);
            let projection = Projection::of(packets, IpBytes::new(ip), excess);
            prop_assert_eq!(projection.frames.get(), frames);
            prop_assert_eq!(projection.l2_bytes.get(), l2_bytes);
        }
    }
}
