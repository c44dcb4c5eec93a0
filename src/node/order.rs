//! Channel order: releases messages by their sequence numbers, whatever the connections did.

use std::collections::BTreeMap;
use std::fmt;

/// One direction of a channel from one incarnation of its sender. Sequence numbers begin at 1.
#[derive(Debug)]
pub struct ChannelOrder<T> {
    next: u64,
    early: BTreeMap<u64, T>,
}

impl<T> Default for ChannelOrder<T> {
    fn default() -> Self {
        Self {
            next: 1,
            early: BTreeMap::new(),
        }
    }
}

impl<T> ChannelOrder<T> {
    /// Takes a message and gives those whose turn has come. A sequence number that was released
    /// already gives nothing. One that never comes holds back all that follow it, unless
    /// `come_in_order`: then the messages before this one that have not come never will.
    pub fn release(&mut self, sequence: u64, message: T, come_in_order: bool) -> Vec<T> {
        if come_in_order {
            self.next = self.next.max(sequence);
        }
        if sequence >= self.next {
            self.early.insert(sequence, message);
        }
        let mut due = Vec::new();
        while let Some(message) = self.early.remove(&self.next) {
            due.push(message);
            self.next += 1;
        }
        due
    }

    /// What is held back, and behind which message.
    pub fn gap(&self) -> Option<Gap> {
        let waiting = self.early.len();
        (waiting > 0).then_some(Gap {
            missing: self.next,
            waiting,
        })
    }
}

/// A message that has not come, and those that came after it. Once nothing can come any more the
/// channel is broken: its message was refused or suppressed at its sender, or lost by a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    missing: u64,
    waiting: usize,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, waiting } = self;
        write!(
            f,
            "message {missing} of the channel never came: {waiting} after it not handled, since \
             channels are FIFO"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_in_the_order_of_sending(
            order in Just((1..=20u64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut channel = ChannelOrder::default();
            let released: Vec<u64> =
                order.into_iter().flat_map(|sequence| channel.release(sequence, sequence, false)).collect();
            prop_assert_eq!(released, (1..=20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_message_is_released_once() {
        let mut channel = ChannelOrder::default();
        assert_eq!(channel.release(1, 'a', false), ['a']);
        assert!(channel.release(1, 'a', false).is_empty());
        assert!(channel.release(3, 'c', false).is_empty());
        let gap = Gap {
            missing: 2,
            waiting: 1,
        };
        assert_eq!(channel.gap(), Some(gap));
        assert_eq!(channel.release(2, 'b', false), ['b', 'c']);
        assert_eq!(channel.gap(), None);
    }

    /// Over one connection TCP keeps the order, so a number that is skipped was never sent: an
    /// injected drop held back all that followed it.
    #[test]
    fn a_gap_where_messages_come_in_order_holds_nothing_back() {
        let mut channel = ChannelOrder::default();
        assert_eq!(channel.release(2, 'b', true), ['b']);
        assert_eq!(channel.release(5, 'e', true), ['e']);
        assert!(channel.release(5, 'e', true).is_empty());
        assert_eq!(channel.release(6, 'f', true), ['f']);
    }
}
