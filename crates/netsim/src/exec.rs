//! Programs: `async fn`s over virtual sockets and the virtual clock, polled in a fixed order.
//!
//! A task waits only for things of this world: sockets, the clock, a [`Notify`], another process. Each
//! remembers the tasks that wait for it; wakers of the standard library are not used.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use base::tree::BTreeMap;
use base::{Duration, Instant, Rng};
use slab::Slab;
use smallvec::SmallVec;

use crate::kernel::Kernel;
use crate::ns::NsId;
use crate::queue::Event;
use crate::sim::Net;
use crate::trace::Cause;

/// Stands for a task for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

/// Stands for a process, also after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcId(u32);

/// Tasks that wait for something.
pub(crate) type Waiters = SmallVec<[TaskId; 2]>;

pub(crate) type Job = Pin<Box<dyn Future<Output = ()>>>;

/// What the kernel knows of tasks and processes. The futures themselves are kept by [`crate::Sim`], so
/// that they can use the kernel while they run.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    ready: VecDeque<TaskId>,
    current: Option<TaskId>,
    tasks: Slab<TaskState>,
    next_serial: u32,
    /// Those that have not ended; how one ended is known to whoever holds its [`Process`].
    processes: BTreeMap<ProcId, ProcessState>,
    next_process: u32,
    /// The same, by namespace.
    running: BTreeSet<(NsId, ProcId)>,
}

#[derive(Debug)]
struct TaskState {
    serial: u32,
    process: ProcId,
    cause: Cause,
    is_queued: bool,
}

#[derive(Debug)]
struct ProcessState {
    name: String,
    ns: NsId,
    tasks: Vec<TaskId>,
    exit: Rc<Cell<Option<i32>>>,
    is_terminating: bool,
    /// Tasks that wait for its end or for its being asked to end.
    waiters: Waiters,
}

impl Scheduler {
    fn task(&self, id: TaskId) -> Option<&TaskState> {
        self.tasks.get(id.slot as usize).filter(|task| task.serial == id.serial)
    }

    fn task_mut(&mut self, id: TaskId) -> Option<&mut TaskState> {
        self.tasks.get_mut(id.slot as usize).filter(|task| task.serial == id.serial)
    }

    fn add_task(&mut self, process: ProcId, cause: Cause) -> TaskId {
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        let slot = self.tasks.insert(TaskState { serial, process, cause, is_queued: true }) as u32;
        let id = TaskId { slot, serial };
        self.ready.push_back(id);
        if let Some(process) = self.process_mut(process) {
            process.tasks.push(id);
        }
        id
    }

    fn remove_task(&mut self, id: TaskId) {
        if self.task(id).is_none() {
            return;
        }
        let task = self.tasks.remove(id.slot as usize);
        if let Some(process) = self.process_mut(task.process) {
            process.tasks.retain(|other| *other != id);
        }
    }

    fn process(&self, id: ProcId) -> Option<&ProcessState> {
        self.processes.get(&id)
    }

    fn process_mut(&mut self, id: ProcId) -> Option<&mut ProcessState> {
        self.processes.get_mut(&id)
    }

    /// The name of a process that has not ended.
    pub(crate) fn process_name(&self, id: ProcId) -> Option<&str> {
        self.process(id).map(|process| process.name.as_str())
    }

    /// Puts a task in the line of those that can go on.
    pub(crate) fn wake(&mut self, id: TaskId) {
        if let Some(task) = self.task_mut(id)
            && !task.is_queued
        {
            task.is_queued = true;
            self.ready.push_back(id);
        }
    }

    pub(crate) fn wake_all(&mut self, waiters: &mut Waiters) {
        for id in waiters.drain(..) {
            self.wake(id);
        }
    }

    /// The next task that can go on.
    pub(crate) fn next_ready(&mut self) -> Option<TaskId> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(task) = self.task_mut(id) {
                task.is_queued = false;
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn set_current(&mut self, id: Option<TaskId>) {
        self.current = id;
    }

    pub(crate) fn wait(&self, waiters: &mut Waiters) {
        if let Some(current) = self.current
            && !waiters.contains(&current)
        {
            waiters.push(current);
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        self.current.and_then(|id| self.task(id)).map(|task| task.cause).unwrap_or_default()
    }

    pub(crate) fn set_cause(&mut self, cause: Cause) {
        if let Some(id) = self.current
            && let Some(task) = self.task_mut(id)
        {
            task.cause = cause;
        }
    }

    pub(crate) fn exists(&self, id: TaskId) -> bool {
        self.task(id).is_some()
    }

    /// The task has come to its end.
    pub(crate) fn finished(&mut self, id: TaskId) {
        self.remove_task(id);
    }
}

/// What a program sees of the world: its namespace, the clock, its process.
#[derive(Clone)]
pub struct Host {
    pub(crate) net: Net,
    pub(crate) ns: NsId,
    pub(crate) process: ProcId,
}

impl Host {
    /// The time.
    pub fn now(&self) -> Instant {
        self.net.now()
    }

    /// The world.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The namespace it runs in.
    pub fn ns(&self) -> NsId {
        self.ns
    }

    /// Randomness of this purpose in this namespace.
    pub fn rng(&self, purpose: &str) -> Rng {
        let kernel = self.net.kernel();
        let ns = kernel.ns(self.ns).map(|ns| ns.name.as_str()).unwrap_or_default();
        kernel.rng.fork(&format!("{ns}/{purpose}"))
    }

    /// Waits on the virtual clock.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.net.sleep_until(self.now() + duration)
    }

    /// Runs `job` beside this task, in the same process, for the same cause.
    pub fn spawn(&self, job: impl Future<Output = ()> + 'static) {
        let cause = self.net.kernel().scheduler.cause();
        self.net.add_job(self.process, cause, Box::pin(job));
    }

    /// What this task does from here on, it does for `cause`.
    pub fn set_cause(&self, cause: Cause) {
        self.net.kernel_mut().scheduler.set_cause(cause);
    }

    /// What this task works for.
    pub fn cause(&self) -> Cause {
        self.net.kernel().scheduler.cause()
    }

    /// Waits until the process is asked to end (SIGTERM).
    pub async fn terminated(&self) {
        poll_fn(|_| {
            let mut kernel = self.net.kernel_mut();
            let scheduler = &mut kernel.scheduler;
            let current = scheduler.current;
            match scheduler.process_mut(self.process) {
                Some(process) if !process.is_terminating => {
                    process.waiters.extend(current);
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }
}

/// A running or ended process, as seen by whoever started it.
#[derive(Clone)]
pub struct Process {
    net: Net,
    id: ProcId,
    exit: Rc<Cell<Option<i32>>>,
}

impl Process {
    /// Its name, while it runs.
    pub fn name(&self) -> String {
        self.net.kernel().scheduler.process(self.id).map(|p| p.name.clone()).unwrap_or_default()
    }

    /// Its exit code, once it has ended; 137 when it was killed.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit.get()
    }

    /// Asks it to end (SIGTERM); what it does about that is its business.
    pub fn terminate(&self) {
        let mut kernel = self.net.kernel_mut();
        let scheduler = &mut kernel.scheduler;
        let Some(process) = scheduler.process_mut(self.id) else { return };
        process.is_terminating = true;
        let mut waiters = std::mem::take(&mut process.waiters);
        scheduler.wake_all(&mut waiters);
    }

    /// Ends it at once (SIGKILL). Its sockets are closed.
    pub fn kill(&self) {
        self.net.end_process(self.id, 137);
    }

    /// Waits for its end.
    pub async fn wait(&self) -> i32 {
        poll_fn(|_| {
            if let Some(code) = self.exit.get() {
                return Poll::Ready(code);
            }
            let mut kernel = self.net.kernel_mut();
            let scheduler = &mut kernel.scheduler;
            let current = scheduler.current;
            if let Some(process) = scheduler.process_mut(self.id) {
                process.waiters.extend(current);
            }
            Poll::Pending
        })
        .await
    }
}

impl Net {
    /// Starts a program in a namespace, for `cause`. Its future's output is its exit code.
    pub fn start<F>(
        &self,
        ns: NsId,
        name: &str,
        cause: Cause,
        program: impl FnOnce(Host) -> F,
    ) -> Process
    where
        F: Future<Output = i32> + 'static,
    {
        let exit = Rc::new(Cell::new(None));
        let id = {
            let mut kernel = self.kernel_mut();
            let scheduler = &mut kernel.scheduler;
            let id = ProcId(scheduler.next_process);
            scheduler.next_process += 1;
            let state = ProcessState {
                name: name.to_string(),
                ns,
                tasks: Vec::new(),
                exit: exit.clone(),
                is_terminating: false,
                waiters: Waiters::new(),
            };
            scheduler.processes.insert(id, state);
            scheduler.running.insert((ns, id));
            id
        };
        let host = Host { net: self.clone(), ns, process: id };
        let running = program(host);
        let net = self.downgrade();
        let job = Box::pin(async move {
            let code = running.await;
            if let Some(net) = net.upgrade() {
                net.end_process(id, code);
            }
        });
        self.add_job(id, cause, job);
        Process { net: self.clone(), id, exit }
    }

    pub(crate) fn add_job(&self, process: ProcId, cause: Cause, job: Job) {
        let id = self.kernel_mut().scheduler.add_task(process, cause);
        self.put_job(id, job);
    }

    /// Ends a process: its tasks are dropped, which closes their sockets.
    fn end_process(&self, id: ProcId, code: i32) {
        let (tasks, current) = {
            let mut kernel = self.kernel_mut();
            let scheduler = &mut kernel.scheduler;
            let Some(process) = scheduler.processes.remove(&id) else { return };
            process.exit.set(Some(code));
            scheduler.running.remove(&(process.ns, id));
            let ProcessState { tasks, mut waiters, .. } = process;
            scheduler.wake_all(&mut waiters);
            (tasks, scheduler.current)
        };
        for task in tasks {
            // The task that runs just now is dropped when it returns.
            if Some(task) != current {
                drop(self.take_job(task));
            }
            self.kernel_mut().scheduler.remove_task(task);
        }
    }

    /// Ends all processes of a namespace at once.
    pub fn kill_all(&self, ns: NsId) {
        let running: Vec<ProcId> = {
            let kernel = self.kernel();
            let of_ns = kernel.scheduler.running.range((ns, ProcId(0))..=(ns, ProcId(u32::MAX)));
            of_ns.map(|(_, id)| *id).collect()
        };
        for id in running {
            self.end_process(id, 137);
        }
    }

    /// Waits until `deadline` on the virtual clock.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep { net: self.clone(), deadline, is_scheduled: false }
    }
}

/// A task's sleep.
pub struct Sleep {
    net: Net,
    deadline: Instant,
    is_scheduled: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        let (deadline, is_scheduled) = (self.deadline, self.is_scheduled);
        {
            let mut kernel = self.net.kernel_mut();
            let Kernel { now, queue, scheduler, .. } = &mut *kernel;
            if *now >= deadline {
                return Poll::Ready(());
            }
            if !is_scheduled && let Some(current) = scheduler.current {
                queue.push(deadline, Event::Wake(current));
            }
        }
        self.is_scheduled = true;
        Poll::Pending
    }
}

/// Tells tasks that something they look at has changed.
#[derive(Clone)]
pub struct Notify {
    net: Net,
    state: Rc<RefCell<(u64, Waiters)>>,
}

impl Notify {
    /// Nothing has changed yet.
    pub fn new(net: &Net) -> Notify {
        Notify { net: net.clone(), state: Rc::default() }
    }

    /// Lets everybody look again who has begun to wait.
    pub fn notify(&self) {
        let mut state = self.state.borrow_mut();
        state.0 += 1;
        self.net.kernel_mut().scheduler.wake_all(&mut state.1);
    }

    /// Waits for the next [`Notify::notify`] after this call.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let Notify { net, state } = self.clone();
        let seen = state.borrow().0;
        poll_fn(move |_| {
            let mut state = state.borrow_mut();
            if state.0 != seen {
                return Poll::Ready(());
            }
            net.kernel().scheduler.wait(&mut state.1);
            Poll::Pending
        })
    }
}

/// Which of two came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first.
    First(A),
    /// The second.
    Second(B),
}

/// Waits for whichever comes first; of two that are both there, the first counts. The other is dropped.
pub async fn select<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if let Poll::Ready(first) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(first));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

/// Waits for `future`, but not longer than until `sleep` is over.
pub async fn timeout<F: Future>(sleep: Sleep, future: F) -> Option<F::Output> {
    match select(future, sleep).await {
        Either::First(output) => Some(output),
        Either::Second(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sim;

    #[test]
    fn a_process_that_has_ended_leaves_nothing_but_its_exit_code() {
        let sim = Sim::new(1);
        let net = sim.net();
        let ns = net.add_namespace("a");
        let start = |code| net.start(ns, "true", Cause::default(), |_| async move { code });
        let ended = start(7);
        for _ in 0..100 {
            drop(start(0));
        }
        let waits = net.start(ns, "sleep", Cause::default(), |host| async move {
            host.terminated().await;
            3
        });
        while sim.step(Instant::MAX) {}
        assert_eq!((ended.exit_code(), ended.name()), (Some(7), String::new()));
        assert_eq!((waits.exit_code(), waits.name()), (None, "sleep".to_string()));
        assert_eq!(net.kernel().scheduler.processes.len(), 1);
        net.kill_all(ns);
        assert_eq!(waits.exit_code(), Some(137));
        assert!(net.kernel().scheduler.processes.is_empty());
    }
}
