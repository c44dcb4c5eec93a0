//! Marker datagrams (docs/wire-format.md): where in a capture something begins or ends.

/// One marker datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// What it marks.
    pub purpose: Purpose,
    /// The processor that it was sent from.
    pub cpu: u16,
    /// The run's nonce.
    pub nonce: u64,
    /// Its name, where the purpose is [`Purpose::Named`].
    pub name: String,
}

/// What a marker marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The capture is live.
    Opening,
    /// All that was to be captured has passed.
    Closing,
    /// A point that a user named.
    Named,
}

impl Marker {
    const MAGIC: &[u8; 4] = b"WWMK";
    const VERSION: u8 = 1;
    /// What is longer is cut: a marker is kept for as long as its capture is analysed.
    const LONGEST_NAME: usize = 256;

    /// Reads a datagram's payload; nothing if it is no marker of this version.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk::<4>()?;
        let (&[version, purpose], rest) = rest.split_first_chunk::<2>()?;
        let (cpu, rest) = rest.split_first_chunk::<2>()?;
        let (nonce, name) = rest.split_first_chunk::<8>()?;
        if magic != Self::MAGIC || version != Self::VERSION {
            return None;
        }
        let purpose = match purpose {
            1 => Purpose::Opening,
            2 => Purpose::Closing,
            3 => Purpose::Named,
            _ => return None,
        };
        Some(Self {
            purpose,
            cpu: u16::from_be_bytes(*cpu),
            nonce: u64::from_be_bytes(*nonce),
            name: String::from_utf8_lossy(&name[..name.len().min(Self::LONGEST_NAME)]).into_owned(),
        })
    }
}
