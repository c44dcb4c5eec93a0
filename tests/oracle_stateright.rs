//! A second model checker as an oracle for ours: `stateright` drives the same processes through
//! an adapter, and must reach exactly as many states. It knows our processes only by what they
//! print with `Debug`, runs every step anew, and has a network, timers and a search of its own.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use stateright::actor::{Actor, ActorModel, Id, Network, Out, model_timeout};
use stateright::{Checker, Expectation, Model as _};
use wirewatt::algorithm::{
    Action, Algorithm, Body, Channels, KindNumber, Message, OperationId, Options, Process,
    ProcessId, Setup, Step, TimerId, catalog,
};
use wirewatt::simulation::check::{Model, per_process};

/// A process of ours for `stateright`.
#[derive(Clone)]
struct Adapter {
    algorithm: &'static Algorithm,
    n: u32,
    options: Options,
}

/// A message's kind, operation and body.
type Content = (u16, u64, Vec<u8>);

#[derive(Debug, Clone)]
enum Input {
    Receive(ProcessId, Content),
    Timer(u32),
}

/// What a process knows, as it prints it, and what it has reported. The inputs so far make it
/// again: a boxed process cannot go from thread to thread.
#[derive(Debug, Clone)]
struct State {
    inputs: Vec<Input>,
    text: String,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.text.hash(hasher);
    }
}

impl Adapter {
    /// The process after these inputs: what it is then, and the actions of the last step.
    fn replay(&self, id: Id, inputs: &[Input]) -> (String, Vec<Action>) {
        let id = ProcessId(usize::from(id) as u32);
        let setup = Setup {
            id,
            n: self.n,
            rounds: 1,
            options: &self.options,
        };
        let mut process = self.algorithm.build(&setup).expect("a good setup");
        let mut reported = Vec::new();
        let mut actions = step(id, process.as_mut(), |process, step| process.start(step));
        let mut keep = |actions: &[Action]| {
            reported.extend(actions.iter().filter_map(|action| match action {
                Action::Report(outcome) => Some(format!("{outcome:?}")),
                _ => None,
            }));
        };
        keep(&actions);
        for input in inputs {
            actions = step(id, process.as_mut(), |process, step| match input {
                Input::Receive(from, content) => process
                    .receive(&message(*from, content), step)
                    .expect("a message that has its place"),
                Input::Timer(timer) => process.timer(TimerId(*timer), step),
            });
            keep(&actions);
        }
        (format!("{process:?} {reported:?}"), actions)
    }

    fn next(
        &self,
        id: Id,
        mut inputs: Vec<Input>,
        input: Option<Input>,
        out: &mut Out<Self>,
    ) -> State {
        inputs.extend(input);
        let (text, actions) = self.replay(id, &inputs);
        for action in actions {
            match action {
                Action::Send {
                    to,
                    kind,
                    operation,
                    body,
                } => out.send(
                    Id::from(to.index()),
                    (kind.0, operation.0, body.as_bytes().to_vec()),
                ),
                Action::SetTimer { id, .. } => out.set_timer(id.0, model_timeout()),
                Action::CancelTimer(id) => out.cancel_timer(id.0),
                Action::Persist(bytes) => out.save(bytes),
                Action::Report(_) | Action::Point(_) => {}
            }
        }
        State { inputs, text }
    }
}

fn message(from: ProcessId, (kind, operation, body): &Content) -> Message {
    Message {
        from,
        kind: KindNumber(*kind),
        operation: OperationId(*operation),
        body: Body::from_bytes(body.clone()),
    }
}

/// One step, and those that follow from messages of the process to itself.
fn step(
    id: ProcessId,
    process: &mut dyn Process,
    run: impl FnOnce(&mut dyn Process, &mut Step<'_>),
) -> Vec<Action> {
    let mut choose = |_| panic!("`stateright` chooses between steps, not within one");
    let mut first = Step::new(&mut choose);
    run(process, &mut first);
    let mut queue: VecDeque<Action> = first.into_actions().into();
    let mut done = Vec::new();
    while let Some(action) = queue.pop_front() {
        match action {
            Action::Send {
                to,
                kind,
                operation,
                body,
            } if to == id => {
                let content = (kind.0, operation.0, body.as_bytes().to_vec());
                let mut next = Step::new(&mut choose);
                process
                    .receive(&message(id, &content), &mut next)
                    .expect("a message that has its place");
                queue.extend(next.into_actions());
            }
            other => done.push(other),
        }
    }
    done
}

impl Actor for Adapter {
    type Msg = Content;
    type Timer = u32;
    type State = State;
    type Storage = Vec<u8>;
    type Random = ();

    fn on_start(&self, id: Id, _storage: &Option<Vec<u8>>, out: &mut Out<Self>) -> State {
        self.next(id, Vec::new(), None, out)
    }

    fn on_msg(
        &self,
        id: Id,
        state: &mut Cow<'_, State>,
        from: Id,
        content: Content,
        out: &mut Out<Self>,
    ) {
        let from = ProcessId(usize::from(from) as u32);
        let input = Input::Receive(from, content);
        *state = Cow::Owned(self.next(id, state.inputs.clone(), Some(input), out));
    }

    fn on_timeout(&self, id: Id, state: &mut Cow<'_, State>, timer: &u32, out: &mut Out<Self>) {
        let input = Input::Timer(*timer);
        *state = Cow::Owned(self.next(id, state.inputs.clone(), Some(input), out));
    }
}

/// How many states `stateright` reaches.
fn oracle(algorithm: &'static Algorithm, n: u32, options: &Options) -> usize {
    let adapter = Adapter {
        algorithm,
        n,
        options: options.clone(),
    };
    let network = match algorithm.channels {
        Channels::Fifo => Network::new_ordered([]),
        Channels::Unordered => Network::new_unordered_nonduplicating([]),
    };
    ActorModel::new((), ())
        .actors(vec![adapter; (algorithm.processes)(n) as usize])
        .init_network(network)
        // Without a property nothing is explored.
        .property(Expectation::Always, "true", |_, _| true)
        .checker()
        .spawn_bfs()
        .join()
        .unique_state_count()
}

#[test]
fn stateright_reaches_as_many_states() {
    for (name, n, options) in [
        ("centralized", 4, vec![]),
        ("ring", 4, vec![]),
        ("two-phase-commit", 2, vec![]),
        ("two-phase-commit", 3, vec![]),
        ("two-phase-commit", 4, vec![("vote-no", "2")]),
    ] {
        let algorithm = catalog::by_name(name).unwrap();
        let mut model = Model::new(algorithm, n);
        for (option, value) in options {
            model = model.option(option, value);
        }
        model.history = per_process;
        model.only = Some(Vec::new());
        let explored = model.explore().unwrap();
        // All of its processes have started in its first state.
        let starting = (algorithm.processes)(n) as usize;
        let states = oracle(algorithm, n, &model.options);
        println!("{name}, N={n}: {explored}");
        assert_eq!(explored.states - starting, states, "{name}, N={n}");
    }
}
