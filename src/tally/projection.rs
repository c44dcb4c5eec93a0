//! The same exchange as Ethernet frames of the usual size.
//!
//! Loopback carries segments of up to 64 KiB in frames that no Ethernet would take. The
//! projection cuts each captured packet to what fits the MTU, repeats its headers, pads to the
//! minimum frame and leaves ACKs as captured. It approximates: a real link would acknowledge and
//! coalesce differently.

use serde::{Deserialize, Serialize};

use crate::units::{L2Bytes, LineBytes, Packets};

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
    /// Adds one captured IP packet: `headers` bytes of IP and transport headers, which every frame
    /// repeats, and `payload` bytes behind them, which are spread over as many frames as needed.
    #[inline]
    pub fn add_packet(&mut self, headers: u32, payload: u32) {
        let (frames, l2_bytes) = frames_of(headers, payload);
        self.frames += frames;
        self.l2_bytes += l2_bytes;
        self.line_bytes += l2_bytes + frames * LINE_OVERHEAD;
    }

    /// Adds another part's frames.
    pub fn merge(&mut self, other: &Self) {
        self.frames += other.frames;
        self.l2_bytes += other.l2_bytes;
        self.line_bytes += other.line_bytes;
    }
}

/// Frames, and their bytes without frame check sequence, for one captured packet.
#[inline]
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
        let mut projection = Projection::default();
        projection.add_packet(52, 1449);
        assert_eq!(projection.frames.get(), 2);
        assert_eq!(projection.line_bytes.get(), 1514 + 67 + 2 * 24);
    }
}
