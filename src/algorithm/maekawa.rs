//! Maekawa's mutual exclusion (*A √N Algorithm for Mutual Exclusion in Decentralized Systems*, ACM
//! TOCS 3(2), 1985). Whoever wants the critical section asks the processes of its quorum, and enters
//! when each has granted it its one vote. Any two quorums have a process in common, so no two
//! requests have all their votes at once. Each process is both: it asks for itself, and it votes as an
//! arbiter, for the request of the lowest timestamp (and id) that it knows of.
//!
//! Votes given in different orders would deadlock. So an arbiter that has voted for a request and gets
//! one that comes before it asks whom it has voted for (`inquire`), and who knows that it cannot enter
//! yet, since another arbiter has told it so (`failed`), gives the vote back (`yield`). As published
//! that is not enough: an arbiter must also tell `failed` to a waiting request that was the best when
//! it came and no longer is (Sanders, *The Information Structure of Distributed Mutual Exclusion
//! Algorithms*, ACM TOCS 5(3), 1987); the option `correction` takes that away again. Channels are
//! FIFO: an `inquire` never overtakes the `grant` that it asks about.
//!
//! The quorum of a process is its row and its column in a grid of ⌈√N⌉ columns, filled in the order of
//! ids; only the last row may be shorter. Two of them always meet: of the two crossings of one's row
//! with the other's column, one at most lies in the gap at the end of the last row. √N itself is
//! reached only for the N of finite projective planes; each process notes its quorum at the start.
//!
//! What is not contended costs 3(|S|−1): request, grant and release to each other member of the quorum
//! S. Contention adds what timing decides, within the bounds that the formula derives and the
//! identities that hold for each pair of processes, and so for their sums.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::mutex::{self, Contender, CriticalSection, Entry, Rules};
use super::{
    Algorithm, Body, Case, Channels, Expectation, Expected, FailureModel, Identity, KindNumber,
    Message, OperationId, OptionSpec, Options, OutsideFormula, Process, ProcessId, ProtocolError,
    Relation, Setup, SetupError, Step, Synchrony, Topology,
};

const REQUEST: KindNumber = KindNumber(1);
const GRANT: KindNumber = KindNumber(2);
const RELEASE: KindNumber = KindNumber(3);
const INQUIRE: KindNumber = KindNumber(4);
const FAILED: KindNumber = KindNumber(5);
const YIELD: KindNumber = KindNumber(6);

/// The note of a process's quorum, at its start.
const QUORUM: &str = "quorum";
/// The note of an arbiter that for the first time got a request while its vote was given.
const CONTENDED: &str = "contended";

const CITATION: &str = "Maekawa, TOCS 3(2), 1985: one each of request, grant and release for each \
                        other process of the quorum";
const CONTENTION_CITATION: &str =
    "Maekawa, TOCS 3(2), 1985, with the correction of Sanders, TOCS 5(3), 1987; bounds derived";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "maekawa",
    about: "a process enters with the votes of its quorum; any two quorums intersect",
    citation: "Maekawa, TOCS 3(2), 1985; deadlock freedom: Sanders, TOCS 5(3), 1987",
    topology: Topology::Graph(|id, n, _| quorum(id, n).into_iter().collect()),
    channels: Channels::Fifo,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: mutex::WORKLOAD,
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        mutex::OPTIONS[0],
        mutex::OPTIONS[1],
        mutex::OPTIONS[2],
        mutex::OPTIONS[3],
        OptionSpec {
            name: "correction",
            about: "Sanders' correction, without which processes can wait for each other for ever: \
                    on or off",
            default: "on",
        },
    ],
    formula: "3(|S|-1) for the quorum S, and more under contention",
    per_operation,
    operations: mutex::entries,
    expected,
    outside_formula: OutsideFormula {
        deaths: &["release"],
        returns: &["request", "grant", "release", "inquire", "failed", "yield"],
        losses: &[],
    },
    identities: &[
        Identity {
            text: "grant - yield = request",
            terms: &[(1, "grant"), (-1, "yield"), (-1, "request")],
            relation: Relation::Zero,
        },
        Identity {
            text: "request = release",
            terms: &[(1, "request"), (-1, "release")],
            relation: Relation::Zero,
        },
        Identity {
            text: "yield <= inquire",
            terms: &[(1, "yield"), (-1, "inquire")],
            relation: Relation::AtMostZero,
        },
        Identity {
            text: "inquire <= grant",
            terms: &[(1, "inquire"), (-1, "grant")],
            relation: Relation::AtMostZero,
        },
        Identity {
            text: "failed <= request",
            terms: &[(1, "failed"), (-1, "request")],
            relation: Relation::AtMostZero,
        },
    ],
    properties: &[mutex::MUTUAL_EXCLUSION, mutex::NO_STARVATION],
    points: mutex::POINTS,
    process,
};

/// The quorum of a process: its row and its column in the grid, itself included.
fn quorum(id: ProcessId, n: u32) -> BTreeSet<ProcessId> {
    let columns = (1..=n)
        .find(|c| u64::from(*c).pow(2) >= u64::from(n))
        .unwrap_or(1);
    let (row, column) = (id.0 / columns, id.0 % columns);
    let meets = |other: &u32| other / columns == row || other % columns == column;
    (0..n).filter(meets).map(ProcessId).collect()
}

/// |S|−1: the members of a process's quorum that it asks over the network.
fn others(id: ProcessId, n: u32) -> u64 {
    quorum(id, n).len() as u64 - 1
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let corrected = match setup.options.get("correction") {
        None | Some("on") => true,
        Some("off") => false,
        Some(value) => {
            return Err(SetupError::BadOption {
                option: "correction",
                value: value.to_owned(),
                expected: "on or off",
            });
        }
    };
    let rules = Member {
        quorum: quorum(setup.id, setup.n),
        highest: 0,
        grants: BTreeSet::new(),
        refusals: BTreeSet::new(),
        inquiries: BTreeSet::new(),
        arbiter: Arbiter {
            corrected,
            ..Arbiter::default()
        },
    };
    Contender::process(setup, rules)
}

fn per_operation(n: u32, options: &Options) -> Expected {
    let contenders = mutex::contenders(n, options).unwrap_or_default();
    let sizes = || contenders.iter().map(|id| others(*id, n));
    let (least, most) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
    if contenders.len() == 1 {
        return Expected::exactly(3 * least);
    }
    let rows = Bounds {
        network: most,
        all: most + 1,
    };
    let most = 2 * most + rows.grant() + 2 * rows.inquire() + rows.failed();
    Expected::between(3 * least, most)
}

/// The most messages of each kind where so many requests reach arbiters.
struct Bounds {
    /// Over the network.
    network: u64,
    /// Those to oneself included.
    all: u64,
}

impl Bounds {
    /// Only the arrival of a request makes an arbiter inquire, and once at most. The request may be
    /// its own and the inquiry on the network.
    fn inquire(&self) -> u64 {
        self.all
    }

    /// One for each request, and one more for each vote that was given back.
    fn grant(&self) -> u64 {
        self.network + self.inquire()
    }

    /// One at most for each request.
    fn failed(&self) -> u64 {
        self.network
    }
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let entries = Entry::all(case);
    let each: Expected = entries
        .iter()
        .map(|entry| entry.takes(others(entry.by, case.n)))
        .sum();
    let network = each.high().get();
    let most = Bounds {
        network,
        all: network + entries.len() as u64,
    };
    let contended = case.notes(CONTENDED).next().is_some();
    let up_to = |most: u64| Expected::between(0, if contended { most } else { 0 });
    let grants = if contended {
        Expected::between(each.low().get(), most.grant())
    } else {
        each
    };
    let row = |kind, count, formula| Expectation {
        kind,
        count,
        formula,
        citation: CITATION,
    };
    let contention = |kind, most, formula| Expectation {
        kind,
        count: up_to(most),
        formula,
        citation: CONTENTION_CITATION,
    };
    vec![
        row("request", each, "|S|-1"),
        row("grant", grants, "|S|-1, and one for each vote given back"),
        row("release", each, "|S|-1"),
        contention("inquire", most.inquire(), "0; contended |S| at most"),
        contention("failed", most.failed(), "0; contended |S|-1 at most"),
        contention("yield", most.inquire(), "0; contended |S| at most"),
    ]
}

type Timestamp = u64;

/// A request as an arbiter orders it: the earlier timestamp first, then the lower id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    timestamp: Timestamp,
    by: ProcessId,
    entry: OperationId,
}

/// The part of a process that votes.
#[derive(Debug, Clone, Default, Hash)]
struct Arbiter {
    /// The request that has the vote.
    granted: Option<Request>,
    /// It has been asked to give the vote back.
    inquired: bool,
    /// The other requests, and whether their processes know that they are not the best here.
    waiting: BTreeMap<Request, bool>,
    contended: bool,
    corrected: bool,
}

impl Arbiter {
    fn request(&mut self, request: Request, step: &mut Step<'_>) {
        let Some(granted) = self.granted else {
            return self.grant(request, step);
        };
        if !self.contended {
            self.contended = true;
            step.note(CONTENDED, request.entry, json!({}));
        }
        let best = self
            .waiting
            .first_key_value()
            .is_none_or(|(best, _)| request < *best);
        if request > granted || !best {
            self.waiting.insert(request, true);
            return step.send(request.by, FAILED, request.entry, Body::empty());
        }
        // Sanders' correction: whoever was the best until now has to know that it no longer is.
        if self.corrected
            && let Some(mut outdone) = self.waiting.first_entry()
            && !outdone.insert(true)
        {
            let outdone = outdone.key();
            step.send(outdone.by, FAILED, outdone.entry, Body::empty());
        }
        self.waiting.insert(request, false);
        if !self.inquired {
            self.inquired = true;
            step.send(granted.by, INQUIRE, granted.entry, Body::empty());
        }
    }

    fn grant(&mut self, request: Request, step: &mut Step<'_>) {
        self.granted = Some(request);
        self.inquired = false;
        step.send(request.by, GRANT, request.entry, Body::empty());
    }

    /// The vote has come back, from a request that still wants it or from one that is done.
    fn returned(&mut self, still_wants: bool, message: &Message, step: &mut Step<'_>) -> bool {
        let (by, entry) = (message.from, message.operation);
        let Some(granted) = self.granted.take_if(|it| (it.by, it.entry) == (by, entry)) else {
            return false;
        };
        if still_wants {
            self.waiting.insert(granted, true);
        }
        if let Some((best, _)) = self.waiting.pop_first() {
            self.grant(best, step);
        }
        true
    }
}

#[derive(Debug, Clone, Hash)]
struct Member {
    quorum: BTreeSet<ProcessId>,
    /// The highest timestamp of any request that is known here.
    highest: Timestamp,
    /// Arbiters whose vote the own request has.
    grants: BTreeSet<ProcessId>,
    /// Arbiters that have told `failed`, or have been given the vote back, and not voted since.
    refusals: BTreeSet<ProcessId>,
    /// Arbiters that ask for their vote back and have had no answer.
    inquiries: BTreeSet<ProcessId>,
    arbiter: Arbiter,
}

impl Member {
    fn granted(&mut self, message: &Message, section: &mut CriticalSection, step: &mut Step<'_>) {
        self.grants.insert(message.from);
        self.refusals.remove(&message.from);
        if self.grants == self.quorum {
            self.inquiries.clear();
            section.enter(json!({}), step);
        }
    }

    /// Gives votes back that arbiters ask for, once it is known that this request has to wait.
    fn yield_if_refused(&mut self, entry: OperationId, step: &mut Step<'_>) {
        if self.refusals.is_empty() {
            return;
        }
        for arbiter in std::mem::take(&mut self.inquiries) {
            self.grants.remove(&arbiter);
            self.refusals.insert(arbiter);
            step.send(arbiter, YIELD, entry, Body::empty());
        }
    }
}

impl Rules for Member {
    fn start(&mut self, step: &mut Step<'_>) {
        step.note(QUORUM, OperationId::NONE, json!({ "members": self.quorum }));
    }

    fn request(&mut self, entry: OperationId, _section: &mut CriticalSection, step: &mut Step<'_>) {
        self.highest += 1;
        let body = Body::encode(&self.highest);
        for &arbiter in &self.quorum {
            step.send(arbiter, REQUEST, entry, body.clone());
        }
    }

    fn leave(&mut self, entry: OperationId, step: &mut Step<'_>) {
        self.grants.clear();
        for &arbiter in &self.quorum {
            step.send(arbiter, RELEASE, entry, Body::empty());
        }
    }

    fn receive(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let entry = message.operation;
        let waiting = section.waiting() == Some(entry);
        match message.kind {
            REQUEST => {
                let timestamp = message.read()?;
                self.highest = self.highest.max(timestamp);
                let by = message.from;
                self.arbiter.request(
                    Request {
                        timestamp,
                        by,
                        entry,
                    },
                    step,
                );
            }
            RELEASE if self.arbiter.returned(false, message, step) => {}
            YIELD if self.arbiter.returned(true, message, step) => {}
            GRANT if waiting => self.granted(message, section, step),
            FAILED if waiting => {
                self.refusals.insert(message.from);
                self.yield_if_refused(entry, step);
            }
            // Whoever is in or has left answers by its release, which may be on its way.
            INQUIRE if !waiting => {}
            INQUIRE if self.grants.contains(&message.from) => {
                self.inquiries.insert(message.from);
                self.yield_if_refused(entry, step);
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::mutex::tests::{APART, simulate};
    use super::*;

    use crate::simulation::{self, Scenario};

    #[test]
    fn any_two_quorums_have_a_process_in_common_and_each_has_its_own() {
        for n in 1..=60 {
            let quorums: Vec<_> = (0..n).map(|id| quorum(ProcessId(id), n)).collect();
            for (id, one) in (0..n).zip(&quorums) {
                assert!(one.contains(&ProcessId(id)));
                for (other_id, other) in (0..n).zip(&quorums) {
                    assert!(!one.is_disjoint(other), "{id} and {other_id} of {n}");
                    let mutual = (
                        one.contains(&ProcessId(other_id)),
                        other.contains(&ProcessId(id)),
                    );
                    assert_eq!(mutual.0, mutual.1, "{id} and {other_id} of {n}");
                }
                // A row and a column of the grid.
                assert!(one.len() as f64 <= 2.0 * f64::from(n).sqrt().ceil() - 1.0);
            }
        }
        let ids = |id, n| {
            quorum(ProcessId(id), n)
                .iter()
                .map(|id| id.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(4, 9), [1, 3, 4, 5, 7]);
        assert_eq!(ids(3, 5), [0, 3, 4]);
        assert_eq!(ids(2, 5), [0, 1, 2]);
    }

    #[test]
    fn without_contention_an_entry_takes_three_messages_for_each_other_process_of_its_quorum() {
        for n in 2..=10 {
            for id in 0..n {
                let contender = id.to_string();
                let run = simulate(&ALGORITHM, (n, 2, 3), &[("contenders", &contender)]);
                let others = quorum(ProcessId(id), n).len() as u64 - 1;
                assert_eq!(run.total().attempted, 2 * 3 * others, "{id} of {n}");
            }
            // One after the other: the sum over all quorums.
            let run = simulate(&ALGORITHM, (n, 1, 3), &[APART]);
            let sum: u64 = (0..n).map(|id| 3 * others(ProcessId(id), n)).sum();
            assert_eq!(run.total().attempted, sum, "N={n}");
            let exact = expected(&run.case()).into_iter().map(|row| row.count).sum();
            assert_eq!(Expected::exactly(sum), exact);
        }
    }

    /// That every identity holds of every one is what `simulate` asserts.
    #[test]
    fn on_thousands_of_schedules_contention_keeps_the_identities_and_meets_every_kind() {
        let mut seen = [0; 3];
        for seed in 0..2000 {
            let n = 3 + (seed % 7) as u32;
            let run = simulate(&ALGORITHM, (n, 2, seed), &[]);
            for (kind, seen) in ["inquire", "failed", "yield"].into_iter().zip(&mut seen) {
                *seen += run.attempted(kind);
            }
            for pair in identities_by_pair(&run) {
                assert_eq!(
                    pair.grant - pair.given_back,
                    pair.request,
                    "{pair:?}, seed {seed}"
                );
                assert!(pair.given_back <= pair.inquire, "{pair:?}, seed {seed}");
            }
        }
        assert!(seen.iter().all(|seen| *seen > 1000), "{seen:?}");
    }

    #[test]
    fn sanders_correction_lets_those_go_on_that_wait_for_each_other_for_ever_without_it() {
        let contenders = ("contenders", "2,3,5,8,12,15");
        let starves = |seed: &u64| {
            let scenario = Scenario::new(16, 4, *seed).option("correction", "off");
            let scenario = scenario.option(contenders.0, contenders.1);
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.safety().unwrap_or_else(|why| panic!("{why}"));
            let starvation = "no starvation does not hold";
            run.properties().is_err_and(|why| why.contains(starvation))
        };
        let starving: Vec<u64> = (0..200).filter(starves).collect();
        assert!(starving.len() > 1, "{starving:?}");
        for seed in starving {
            simulate(&ALGORITHM, (16, 4, seed), &[contenders]);
        }
    }

    #[derive(Debug, Default, Clone)]
    struct Pair {
        request: i64,
        grant: i64,
        inquire: i64,
        given_back: i64,
    }

    /// What each requester and each arbiter sent each other.
    fn identities_by_pair(run: &simulation::Run) -> Vec<Pair> {
        let mut pairs: BTreeMap<(ProcessId, ProcessId), Pair> = BTreeMap::new();
        for sent in &run.messages_log {
            let (from, to) = (sent.message.from, sent.to);
            let to_arbiter = matches!(sent.message.kind, REQUEST | RELEASE | YIELD);
            let pair = if to_arbiter { (from, to) } else { (to, from) };
            let pair = pairs.entry(pair).or_default();
            match sent.message.kind {
                REQUEST => pair.request += 1,
                GRANT => pair.grant += 1,
                INQUIRE => pair.inquire += 1,
                YIELD => pair.given_back += 1,
                _ => {}
            }
        }
        pairs.into_values().collect()
    }
}
