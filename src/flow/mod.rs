//! Packets into flows: which connection, which listening port, and streams put back in order.
//!
//! In: decoded packets. Out: IP packets whole again ([`Fragments`]), a [`ConnectionKey`] and
//! [`Direction`] for each, its place in a [`ConnectionTable`], the protocol whose ports the listening
//! end has ([`PortPlan`]), and streams in order ([`HalfStream`]). Nothing here knows messages or keeps
//! counts for a report.

mod fragments;
mod key;
mod ports;
mod recent;
mod stream;
mod table;

pub use fragments::{Assembly, Broken, Carrier, Fragments, Whole};
pub(crate) use key::mix;
pub use key::{ConnectionKey, Direction, TransportKind};
pub use ports::{Overlap, PortPlan, PortSet, PortSetError, ProtocolIndex};
pub use recent::{Ends, RecentFlows};
pub use stream::{Arrival, HalfStream, HoldingSpace, StreamSink, Stretch};
pub use table::ConnectionTable;
