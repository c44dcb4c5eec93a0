//! Marker datagrams as they are sent (docs/wire-format.md). The analyzer's reader of them is
//! written apart from this.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::analysis::MarkerSeen;
use crate::message::Purpose;

/// Sends markers over the loopback interface, from each processor: with receive packet steering,
/// a marker from one may overtake what others have sent.
#[derive(Debug, Clone)]
pub struct Beacon {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    nonce: u64,
    cpus: BTreeSet<u16>,
}

impl Beacon {
    /// Binds the first free one of these marker ports: a datagram to an unbound one would be
    /// answered by ICMP.
    pub fn bind(ports: impl IntoIterator<Item = u16>) -> io::Result<Self> {
        let mut failure = io::Error::other("all of them are claimed for other protocols");
        for port in ports {
            match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(socket) => {
                    socket.set_nonblocking(true)?;
                    let allowed = sched_getaffinity(None)?;
                    let is_set = |cpu: &u16| allowed.is_set(usize::from(*cpu));
                    return Ok(Self {
                        address: socket.local_addr()?,
                        socket: Arc::new(socket),
                        nonce: random()?,
                        cpus: (0..CpuSet::MAX_CPU as u16).filter(is_set).collect(),
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// What tells these markers from those of other runs.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The processors that markers are sent from.
    pub fn cpus(&self) -> &BTreeSet<u16> {
        &self.cpus
    }

    /// Sends one marker from each processor.
    pub fn send(&self, purpose: Purpose) -> io::Result<()> {
        // A thread of its own, so that the caller keeps its processors.
        std::thread::scope(|scope| scope.spawn(|| self.send_from_each(purpose)).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread that sends markers panicked")))
    }

    fn send_from_each(&self, purpose: Purpose) -> io::Result<()> {
        let mut unread = [0; 64];
        for &cpu in &self.cpus {
            let mut only = CpuSet::new();
            only.set(usize::from(cpu));
            sched_setaffinity(None, &only)?;
            self.socket
                .send_to(&self.encode(purpose, cpu), self.address)?;
            // Nobody else empties the socket.
            while self.socket.recv(&mut unread).is_ok() {}
        }
        Ok(())
    }

    fn encode(&self, purpose: Purpose, cpu: u16) -> Vec<u8> {
        let purpose = match purpose {
            Purpose::Opening => 1,
            Purpose::Closing => 2,
            Purpose::Named => 3,
        };
        let mut bytes = b"WWMK".to_vec();
        bytes.extend([1, purpose]);
        bytes.extend(cpu.to_be_bytes());
        bytes.extend(self.nonce.to_be_bytes());
        bytes
    }
}

/// Whether a capture shows markers of this nonce and purpose from every one of these processors.
pub fn all_seen(
    markers: &[MarkerSeen],
    nonce: u64,
    purpose: Purpose,
    cpus: &BTreeSet<u16>,
) -> bool {
    let seen: BTreeSet<u16> = markers
        .iter()
        .map(|seen| &seen.marker)
        .filter(|marker| marker.nonce == nonce && marker.purpose == purpose)
        .map(|marker| marker.cpu)
        .collect();
    cpus.is_subset(&seen)
}

/// A random number below 2^53, so that every JSON reader keeps it.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes) >> 11)
}
