//! What a shell remembers between commands: variables, functions, directory, the last exit code.

use base::tree::BTreeMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use brush_parser::ast::FunctionBody;
use lab::{Lab, Place};
use netsim::Process;
use programs::Container;

use crate::files::{ContainerFiles, Files, absolute};
use crate::grammar::arith::Variables;

/// The process id of a shell's first job; those after it count on.
const PID_FIRST: u32 = 4001;
/// Jobs that are remembered though they have ended.
const JOBS_MAX: usize = 100;

/// One shell: at a place, with its files.
pub struct Session {
    /// The world it acts in.
    pub lab: Lab,
    /// Where it is.
    pub place: Place,
    /// The files it sees.
    pub files: Rc<dyn Files>,
    /// The container it runs in, in a Pod.
    pub container: Option<Rc<Container>>,
    /// It is what the container was started for.
    pub is_main: bool,
    /// SIGTERM has come and has not been dealt with.
    pub(crate) signals: Rc<Cell<bool>>,
    state: RefCell<State>,
}

#[derive(Clone, Default)]
struct State {
    variables: BTreeMap<String, Variable>,
    functions: BTreeMap<String, Rc<FunctionBody>>,
    cwd: String,
    status: i32,
    /// `$1`, `$2`, …
    parameters: Vec<String>,
    /// `set -e`, `-u`, `-o pipefail`, …
    options: Vec<String>,
    jobs: Vec<Job>,
    /// `$!`, and how many were started.
    last_job: u32,
    /// What is to be done on a signal, by its name.
    traps: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Variable {
    value: String,
    is_exported: bool,
}

/// A command in the background.
#[derive(Clone)]
pub struct Job {
    /// `%1`
    pub number: usize,
    /// `$!`
    pub pid: u32,
    /// It.
    pub process: Process,
}

impl Session {
    /// A new shell.
    pub fn new(lab: &Lab, place: Place, files: Rc<dyn Files>) -> Session {
        let user = if place == Place::Machine { "you" } else { "root" };
        let home = if place == Place::Machine { files.home() } else { "/root".to_string() };
        let state = State { cwd: home.clone(), ..State::default() };
        let state = RefCell::new(state);
        let session = Session {
            lab: lab.clone(),
            place,
            files,
            container: None,
            is_main: false,
            signals: Rc::default(),
            state,
        };
        for (name, value) in [("HOME", home.as_str()), ("USER", user), ("PWD", home.as_str())] {
            session.set(name, value);
            session.export(name);
        }
        session
    }

    /// A shell in a container: with its environment and its files.
    pub fn in_container(lab: &Lab, place: Place, container: &Rc<Container>) -> Session {
        let files = Rc::new(ContainerFiles(container.files.clone()));
        let cwd = if container.working_dir.is_empty() { "/" } else { &container.working_dir };
        let state = State { cwd: cwd.to_string(), ..State::default() };
        let state = RefCell::new(state);
        let container = Some(container.clone());
        let session = Session {
            lab: lab.clone(),
            place,
            files,
            container,
            is_main: false,
            signals: Rc::default(),
            state,
        };
        session.set("PWD", cwd);
        session.set("HOME", "/root");
        session.export("HOME");
        for (name, value) in session.container.iter().flat_map(|container| container.env.iter()) {
            session.set(name, value);
            session.export(name);
        }
        session
    }

    /// A copy whose changes are its own: `( … )`, the parts of a pipeline.
    pub(crate) fn fork(&self) -> Session {
        Session {
            lab: self.lab.clone(),
            place: self.place.clone(),
            files: self.files.clone(),
            container: self.container.clone(),
            is_main: self.is_main,
            signals: Rc::default(),
            state: RefCell::new(self.state.borrow().clone()),
        }
    }

    /// A variable's value, if it is set.
    pub fn var(&self, name: &str) -> Option<String> {
        self.state.borrow().variables.get(name).map(|variable| variable.value.clone())
    }

    /// Sets a variable.
    pub fn set(&self, name: &str, value: &str) {
        let mut state = self.state.borrow_mut();
        state.variables.entry(name.to_string()).or_default().value = value.to_string();
    }

    pub(crate) fn unset(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        state.variables.remove(name);
        state.functions.remove(name);
    }

    pub(crate) fn export(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        state.variables.entry(name.to_string()).or_default().is_exported = true;
    }

    /// The variables that commands see, by name; in a container those that it was started with come
    /// first, in their order.
    pub(crate) fn exported(&self) -> Vec<(String, String)> {
        let state = self.state.borrow();
        let exported = state.variables.iter().filter(|(_, variable)| variable.is_exported);
        let mut exported: Vec<(String, String)> =
            exported.map(|(name, variable)| (name.clone(), variable.value.clone())).collect();
        if let Some(container) = &self.container {
            let at = |name: &str| container.env.iter().position(|(known, _)| known == name);
            base::order::sort_by_key(&mut exported, |(name, _)| at(name).unwrap_or(usize::MAX));
        }
        exported
    }

    pub(crate) fn all_variables(&self) -> Vec<(String, String)> {
        let state = self.state.borrow();
        let all = state.variables.iter();
        all.map(|(name, variable)| (name.clone(), variable.value.clone())).collect()
    }

    /// The exit code of the last command.
    pub fn status(&self) -> i32 {
        self.state.borrow().status
    }

    pub(crate) fn set_status(&self, status: i32) {
        self.state.borrow_mut().status = status;
    }

    /// The directory it is in.
    pub fn cwd(&self) -> String {
        self.state.borrow().cwd.clone()
    }

    pub(crate) fn set_cwd(&self, path: &str) {
        self.state.borrow_mut().cwd = path.to_string();
        self.set("PWD", path);
    }

    /// A path as an absolute one.
    pub fn path(&self, path: &str) -> String {
        absolute(&self.state.borrow().cwd, path)
    }

    pub(crate) fn parameters(&self) -> Vec<String> {
        self.state.borrow().parameters.clone()
    }

    pub(crate) fn set_parameters(&self, parameters: Vec<String>) -> Vec<String> {
        std::mem::replace(&mut self.state.borrow_mut().parameters, parameters)
    }

    pub(crate) fn function(&self, name: &str) -> Option<Rc<FunctionBody>> {
        self.state.borrow().functions.get(name).cloned()
    }

    pub(crate) fn define(&self, name: &str, body: FunctionBody) {
        self.state.borrow_mut().functions.insert(name.to_string(), Rc::new(body));
    }

    pub(crate) fn option(&self, name: &str) -> bool {
        self.state.borrow().options.iter().any(|option| option == name)
    }

    pub(crate) fn set_option(&self, name: &str, is_on: bool) {
        let mut state = self.state.borrow_mut();
        state.options.retain(|option| option != name);
        if is_on {
            state.options.push(name.to_string());
        }
    }

    /// What is to be done on a signal.
    pub(crate) fn trap(&self, signal: &str) -> Option<String> {
        self.state.borrow().traps.get(signal).cloned()
    }

    pub(crate) fn set_trap(&self, signal: &str, handler: Option<&str>) {
        let traps = &mut self.state.borrow_mut().traps;
        match handler {
            Some(handler) => traps.insert(signal.to_string(), handler.to_string()),
            None => traps.remove(signal),
        };
    }

    pub(crate) fn add_job(&self, process: Process) {
        let mut state = self.state.borrow_mut();
        if state.jobs.len() >= JOBS_MAX {
            // Nobody has asked for so long what became of them.
            state.jobs.retain(|job| job.process.exit_code().is_none());
        }
        let number = state.jobs.last().map_or(1, |job| job.number + 1);
        state.last_job = state.last_job.max(PID_FIRST - 1).saturating_add(1);
        let pid = state.last_job;
        state.jobs.push(Job { number, pid, process });
    }

    /// What became of a job is known to who asked.
    pub(crate) fn forget_job(&self, pid: u32) {
        self.state.borrow_mut().jobs.retain(|job| job.pid != pid);
    }

    /// `$!`
    pub(crate) fn last_job(&self) -> Option<u32> {
        Some(self.state.borrow().last_job).filter(|pid| *pid > 0)
    }

    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.state.borrow().jobs.clone()
    }
}

impl Variables for Session {
    fn get(&self, name: &str) -> String {
        self.var(name).unwrap_or_default()
    }

    fn set(&self, name: &str, value: i64) {
        Session::set(self, name, &value.to_string());
    }
}
