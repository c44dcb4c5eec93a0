//! A model checker's counterexample as a scenario that a run plays.
//!
//! In: a [`Model`] and a [`Counterexample`] of it. Out: a [`Scenario`] with the same algorithm,
//! options and faults. A run decides on its own in which order messages come and when timers fire,
//! so a scenario says only what failed and when: crashes at named points of the algorithm and what
//! comes back after them, messages that are lost, a split. What cannot be said so is refused, and
//! where the counterexample hangs on an order of messages a run may end well.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::fault::{Fault, Restart, Share, Storage, Target, When, Who};
use super::scenario::Scenario;
use crate::algorithm::ProcessId;
use crate::simulation;
use crate::simulation::check::{Counterexample, Did, Happened, Model, Time, What};

/// How long after its death a process comes back: long after everything else has happened.
const BACK_AFTER: Duration = Duration::from_secs(1);

/// How long messages are held back where a split has to fall between them: two hops are shorter
/// than the algorithms' timeouts (1 s), and half of one is longer than a busy machine lets a process
/// wait.
const HOP: Duration = Duration::from_millis(300);

/// A step of a counterexample that a scenario has no words for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {number}, \"{step}\", cannot be played: {why}")]
pub struct Inexpressible {
    /// Its number, from 1.
    pub number: usize,
    /// The step.
    pub step: String,
    /// Why not.
    pub why: &'static str,
}

impl Scenario {
    /// The scenario in which the faults of a counterexample happen.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] names the first step that a scenario has no words for.
    pub fn from_counterexample(
        model: &Model,
        counterexample: &Counterexample,
    ) -> Result<Self, Inexpressible> {
        let faults = Faults {
            model,
            trace: &counterexample.trace,
        };
        Ok(Self {
            about: Some(format!(
                "a counterexample to {}: {}",
                counterexample.property, counterexample.why
            )),
            algorithm: Some(model.algorithm.name.to_owned()),
            n: Some(model.n),
            rounds: Some(model.rounds),
            options: model.options.clone(),
            faults: faults
                .all()?
                .into_iter()
                .map(|fault| (fault, "the counterexample".to_owned()))
                .collect(),
            ..Self::default()
        })
    }
}

struct Faults<'a> {
    model: &'a Model,
    trace: &'a [Happened],
}

impl Faults<'_> {
    fn refuse<T>(&self, place: usize, why: &'static str) -> Result<T, Inexpressible> {
        Err(Inexpressible {
            number: place + 1,
            step: self.trace[place].to_string(),
            why,
        })
    }

    fn all(&self) -> Result<Vec<Fault>, Inexpressible> {
        let mut faults = Vec::new();
        let mut losses: BTreeMap<(ProcessId, &str), u64> = BTreeMap::new();
        for (place, happened) in self.trace.iter().enumerate() {
            match happened.what {
                What::Crash(_) => return self.refuse(place, "it falls at no point"),
                What::Double { .. } => return self.refuse(place, "no fault doubles messages"),
                What::Timer(..) if self.model.time == Time::Asynchronous => {
                    return self.refuse(place, "a timer fires when its time has come");
                }
                What::Lose { from, to } => {
                    let kind = happened.kind.as_deref().unwrap_or_default();
                    let lost = losses.entry((from, kind)).or_default();
                    // A drop takes the first messages of a kind, whoever they are for.
                    if self.receivers(from, kind).nth(*lost as usize) != Some(to) {
                        return self.refuse(place, "another message of its kind goes before it");
                    }
                    *lost += 1;
                }
                What::Split(side) => faults.extend(self.split(place, side)?),
                _ => {}
            }
            if happened.crashed {
                faults.push(self.kill(place)?);
            }
        }
        faults.extend(losses.into_iter().map(|((from, kind), most)| Fault::Drop {
            share: Share {
                millionths: 1_000_000,
            },
            of: Some(from),
            kind: Some(kind.to_owned()),
            most: Some(most),
        }));
        Ok(faults)
    }

    /// To whom a process sent messages of a kind, in order.
    fn receivers(&self, from: ProcessId, kind: &str) -> impl Iterator<Item = ProcessId> {
        let by = self.trace.iter().filter(move |h| h.who() == Some(from));
        by.flat_map(|happened| &happened.did)
            .filter_map(move |did| match did {
                Did::Send(to, sent) if sent == kind => Some(*to),
                _ => None,
            })
    }

    fn kill(&self, place: usize) -> Result<Fault, Inexpressible> {
        let happened = &self.trace[place];
        let (Some(id), Some(Did::Point(name))) = (happened.who(), happened.did.last()) else {
            return self.refuse(place, "it falls at no point of the algorithm");
        };
        let mine = |happened: &&Happened| happened.who() == Some(id);
        let passed = self.trace[..=place].iter().filter(mine);
        let passed = passed.flat_map(|happened| &happened.did);
        let pass = passed.filter(|did| **did == Did::Point(name)).count() as u32;
        let later = &self.trace[place + 1..];
        let back = later.iter().any(|h| h.what == What::Restart(id));
        Ok(Fault::Kill {
            target: Target {
                who: Who::Process(id),
                when: When::Point {
                    name: (*name).to_owned(),
                    pass,
                },
            },
            restart: back.then_some(Restart {
                after: BACK_AFTER,
                storage: match self.model.storage {
                    simulation::Storage::Kept => Storage::Kept,
                    simulation::Storage::Lost => Storage::Lost,
                },
            }),
        })
    }

    /// A split, and a delay that makes room for it: every message takes the time of a hop, and the
    /// split falls half a hop after the last step before it.
    fn split(&self, place: usize, side: u32) -> Result<Vec<Fault>, Inexpressible> {
        let hops = self.hops();
        let timer = |happened: &Happened| matches!(happened.what, What::Timer(..));
        if self.trace[..place].iter().any(timer) {
            return self.refuse(place, "a timer has fired before the split");
        }
        let last = hops[..place].iter().flatten().max().copied().unwrap_or(0);
        let is_in = |id: ProcessId| side >> id.0 & 1;
        for (later, happened) in self.trace.iter().enumerate().skip(place) {
            let crosses = |did: &Did| match (happened.who(), did) {
                (Some(from), Did::Send(to, _)) => is_in(from) != is_in(*to),
                _ => false,
            };
            let early = hops[later].is_some_and(|hops| hops <= last);
            if early && happened.did.iter().any(crosses) {
                return self.refuse(later, "the split would come after it");
            }
        }
        let ids = (0..32).filter(|id| side >> id & 1 == 1).map(ProcessId);
        Ok(vec![
            Fault::Delay { by: HOP, of: None },
            Fault::Split {
                side: ids.collect(),
                at: HOP * last + HOP / 2,
                time: None,
            },
        ])
    }

    /// After how many messages, one after the other, each step happens; none after a timer.
    fn hops(&self) -> Vec<Option<u32>> {
        let mut sent: BTreeMap<(ProcessId, ProcessId, &str), VecDeque<Option<u32>>> =
            BTreeMap::new();
        let mut hops = Vec::new();
        for happened in self.trace {
            let kind = happened.kind.as_deref().unwrap_or_default();
            let now = match happened.what {
                What::Start(_) => Some(0),
                What::Deliver { from, to } => {
                    let first = sent.get_mut(&(from, to, kind));
                    let first = first.and_then(VecDeque::pop_front).flatten();
                    first.map(|hops| hops + 1)
                }
                _ => None,
            };
            hops.push(now);
            for did in &happened.did {
                if let (Some(from), Did::Send(to, kind)) = (happened.who(), did) {
                    let channel = sent.entry((from, *to, kind)).or_default();
                    channel.push_back(now);
                }
            }
        }
        hops
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::algorithm::{Property, catalog, commitment};
    use crate::node::control::Connections;
    use crate::simulation::check::Bounds;

    fn happened(what: What, kind: Option<&str>, did: Vec<Did>, crashed: bool) -> Happened {
        Happened {
            what,
            kind: kind.map(str::to_owned),
            did,
            crashed,
        }
    }

    fn scenario(model: &Model, trace: Vec<Happened>) -> Result<Scenario, Inexpressible> {
        let counterexample = Counterexample {
            property: "safety".to_owned(),
            why: "a test".to_owned(),
            trace,
        };
        Scenario::from_counterexample(model, &counterexample)
    }

    fn written(scenario: &Scenario) -> Vec<String> {
        let faults = scenario.faults.iter();
        faults.map(|(fault, _)| fault.to_string()).collect()
    }

    fn model(name: &str) -> Model {
        let mut model = Model::new(catalog::by_name(name).unwrap(), 3);
        model.time = Time::Synchronous;
        model
    }

    #[test]
    fn a_crash_at_a_point_becomes_a_kill_there_with_its_pass_and_restart() {
        let id = ProcessId(1);
        let passes = |crashed| {
            let what = What::Deliver {
                from: ProcessId(0),
                to: id,
            };
            happened(what, None, vec![Did::Point("after-vote")], crashed)
        };
        let mut model = model("two-phase-commit");
        model.storage = simulation::Storage::Lost;
        let dies = scenario(&model, vec![passes(false), passes(true)]).unwrap();
        assert_eq!(written(&dies), ["kill=1@after-vote#2"]);
        let back = happened(What::Restart(id), None, Vec::new(), false);
        let comes_back = scenario(&model, vec![passes(true), back]).unwrap();
        assert_eq!(
            written(&comes_back),
            ["kill=1@after-vote,restart=1s,storage=lost"]
        );
        let nowhere = happened(What::Crash(id), None, Vec::new(), true);
        let error = scenario(&model, vec![nowhere]).unwrap_err();
        assert_eq!((error.number, error.why), (1, "it falls at no point"));
    }

    #[test]
    fn lost_messages_become_drops_of_the_first_of_their_kind() {
        let send = |to| Did::Send(ProcessId(to), "commit".to_owned());
        let start = || {
            let what = What::Start(ProcessId(0));
            happened(what, None, vec![send(1), send(2)], false)
        };
        let lose = |to| {
            let (from, to) = (ProcessId(0), ProcessId(to));
            happened(What::Lose { from, to }, Some("commit"), Vec::new(), false)
        };
        let model = model("two-phase-commit");
        let both = scenario(&model, vec![start(), lose(1), lose(2)]).unwrap();
        assert_eq!(written(&both), ["drop=100%,of=0,kind=commit,most=2"]);
        assert!(scenario(&model, vec![start(), lose(2)]).is_err());
    }

    #[test]
    fn the_blocking_of_two_phase_commit_and_the_split_of_three_phase_commit_are_written_down() {
        let explore = |model: &Model| {
            let found = model.explore().unwrap().counterexample.expect("one");
            Scenario::from_counterexample(model, &found).unwrap()
        };
        let mut blocks = model("two-phase-commit");
        blocks.bounds = Bounds {
            crashes: 1,
            may_crash: Some(vec![ProcessId(0)]),
            at_points: true,
            ..Bounds::default()
        };
        static NON_BLOCKING: [Property; 1] = [commitment::NON_BLOCKING];
        blocks.also = &NON_BLOCKING;
        let blocks = explore(&blocks);
        assert_eq!(written(&blocks), ["kill=0@after-votes"]);
        let mut split = model("three-phase-commit");
        split.bounds.splits = 1;
        split.history = commitment::votes_and_decisions;
        let split = explore(&split);
        assert_eq!(written(&split), ["delay=300ms", "split=0@450ms"]);
        // And a run reads them.
        for scenario in [blocks, split] {
            let text = scenario.to_toml();
            let read = Scenario::parse(Path::new("counterexample.toml"), &text).unwrap();
            assert_eq!(written(&read), written(&scenario), "{text}");
            let algorithm = catalog::by_name(&read.algorithm.clone().unwrap()).unwrap();
            let connections = Connections::Persistent;
            read.check(algorithm, 3, connections).unwrap();
        }
    }
}
