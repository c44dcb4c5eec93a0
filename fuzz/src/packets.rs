//! Packets written by hand, as in RFC 791, 8200, 9293 and 768.

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client = 0,
    Listener = 1,
}

impl End {
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Listener,
            Self::Listener => Self::Client,
        }
    }
}

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// Headers of a segment or datagram between two hosts.
#[derive(Debug, Clone, Copy)]
pub struct Headers {
    pub from: End,
    /// The client's and the listener's port.
    pub ports: [u16; 2],
    pub ipv6: bool,
}

impl Headers {
    /// An Ethernet frame with a TCP segment.
    pub fn tcp(self, sequence: u32, acknowledgment: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut segment = self.ports_of();
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledgment.to_be_bytes());
        segment.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
        segment.extend(payload);
        self.frame(6, &segment)
    }

    /// An Ethernet frame with a UDP datagram.
    pub fn udp(self, payload: &[u8]) -> Vec<u8> {
        let mut datagram = self.ports_of();
        datagram.extend((8 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.frame(17, &datagram)
    }

    fn ports_of(self) -> Vec<u8> {
        let [client, listener] = self.ports.map(u16::to_be_bytes);
        match self.from {
            End::Client => [client, listener].concat(),
            End::Listener => [listener, client].concat(),
        }
    }

    fn frame(self, protocol: u8, inside: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        let length = inside.len() as u16;
        let hosts = match self.from {
            End::Client => [1, 2],
            End::Listener => [2, 1],
        };
        if self.ipv6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            for host in hosts {
                frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
        } else {
            frame.extend([0x08, 0, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            for host in hosts {
                frame.extend([10, 0, 0, host]);
            }
        }
        frame.extend(inside);
        frame
    }
}

/// Bytes of an Ethernet frame before a TCP segment's payload.
pub fn headers(ipv6: bool) -> usize {
    14 + if ipv6 { 40 } else { 20 } + 20
}
