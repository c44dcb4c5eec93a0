//! How many messages of each kind there are, from what servers told of their terms and rounds.

use std::collections::BTreeMap;

use crate::algorithm::{Case, Event, Expectation, Expected, ProcessId};

const ELECTION: &str = "Ongaro & Ousterhout 2014, section 5.2 and Figure 2 (RequestVote RPC): a \
                        candidate asks all others, and each answers";
const HEARTBEATS: &str = "Ongaro & Ousterhout 2014, section 5.2 and Figure 2 (rules for leaders): \
                          one to each server upon election and again during idle periods";
const REPLICATION: &str = "Ongaro & Ousterhout 2014, section 5.3 and Figure 2 (AppendEntries RPC): \
                           one to each other server a command, and each answers; retries are those \
                           that the leader told of";

/// One row a kind. Where a server has died, the last thing that it told may not have come to its
/// messages, and what was on its way to or from it may not have been answered.
pub fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let servers = Servers::of(case);
    let candidacies = servers.rounds(case, "became-candidate");
    let heartbeats = servers.rounds(case, "heartbeat-round");
    let appends = servers
        .rounds(case, "append-round")
        .plus(servers.retries(case));
    let granted = servers.told(case, "voted");
    let refused = servers.told(case, "append-refused");
    let row = Expectation::new;
    vec![
        row(
            "request-vote",
            candidacies.sent,
            "N-1 a candidacy",
            ELECTION,
        ),
        row(
            "vote-granted",
            granted,
            "1 a vote given to another",
            ELECTION,
        ),
        row(
            "vote-denied",
            rest(candidacies.answered, granted),
            "N-1 a candidacy, less the votes given",
            ELECTION,
        ),
        row("heartbeat", heartbeats.sent, "N-1 a round", HEARTBEATS),
        row(
            "heartbeat-reply",
            heartbeats.answered,
            "N-1 a round",
            HEARTBEATS,
        ),
        row(
            "append-entries",
            appends.sent,
            "N-1 a command, 1 a retry",
            REPLICATION,
        ),
        row(
            "append-accepted",
            rest(appends.answered, refused),
            "N-1 a command, 1 a retry, less the refused",
            REPLICATION,
        ),
        row(
            "append-rejected",
            refused,
            "1 a refusal told by a follower",
            REPLICATION,
        ),
    ]
}

/// What is left of `all` without `some` of it.
fn rest(all: Expected, some: Expected) -> Expected {
    let low = all.low().get().saturating_sub(some.high().get());
    let high = all.high().get().saturating_sub(some.low().get());
    Expected::between(low.min(high), high)
}

/// Requests, and the answers to them.
#[derive(Clone, Copy)]
struct Exchanges {
    sent: Expected,
    answered: Expected,
}

impl Exchanges {
    fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            answered: self.answered + other.answered,
        }
    }
}

struct Servers {
    n: u64,
    /// How often each has died, where it has.
    deaths: BTreeMap<ProcessId, u64>,
}

impl Servers {
    fn of(case: &Case<'_>) -> Self {
        let count = |ids: &mut dyn Iterator<Item = ProcessId>| {
            let mut deaths: BTreeMap<ProcessId, u64> = BTreeMap::new();
            for id in ids {
                *deaths.entry(id).or_default() += 1;
            }
            deaths
        };
        let mut deaths = count(&mut case.died.iter().copied());
        // One that tells of its recovery had died, whether or not anybody else says so.
        for (id, recoveries) in count(&mut case.notes("recovered").map(|event| event.node)) {
            let known = deaths.entry(id).or_default();
            *known = recoveries.max(*known);
        }
        Self {
            n: u64::from(case.n),
            deaths,
        }
    }

    fn has_died(&self, id: ProcessId) -> bool {
        self.deaths.contains_key(&id)
    }

    /// How often each server told this.
    fn by_server(case: &Case<'_>, name: &str) -> BTreeMap<ProcessId, u64> {
        let mut told: BTreeMap<ProcessId, u64> = BTreeMap::new();
        for event in case.notes(name) {
            *told.entry(event.node).or_default() += 1;
        }
        told
    }

    /// One message for each time that a server told this: a death may have come in between.
    fn told(&self, case: &Case<'_>, name: &str) -> Expected {
        Self::by_server(case, name)
            .into_iter()
            .map(|(id, times)| {
                let cut = self.deaths.get(&id).copied().unwrap_or(0);
                Expected::between(times.saturating_sub(cut), times)
            })
            .sum()
    }

    /// Requests to all others for each time that a server told this, and the answers.
    fn rounds(&self, case: &Case<'_>, name: &str) -> Exchanges {
        let live = self.n - self.deaths.len() as u64;
        let answered = Self::by_server(case, name)
            .into_iter()
            .map(|(id, rounds)| {
                let sure = match self.has_died(id) {
                    true => 0,
                    false => rounds * live.saturating_sub(1),
                };
                Expected::between(sure, rounds * (self.n - 1))
            })
            .sum();
        Exchanges {
            sent: self.told(case, name) * (self.n - 1),
            answered,
        }
    }

    /// One request for each retry, and the answers.
    fn retries(&self, case: &Case<'_>) -> Exchanges {
        let all = case.notes("append-retry").count() as u64;
        let sure = |event: &&Event| {
            let to = event.field::<ProcessId>("to");
            !self.has_died(event.node) && to.is_some_and(|to| !self.has_died(to))
        };
        let sure = case.notes("append-retry").filter(sure).count() as u64;
        Exchanges {
            sent: self.told(case, "append-retry"),
            answered: Expected::between(sure, all),
        }
    }
}
