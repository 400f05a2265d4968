//! The scheduler and the controllers: they watch objects and change objects, on the virtual clock.
//!
//! In reading order, as a Deployment becomes Pods and a Service finds them:
//! - [`manager`]: [`ControlPlane`], which hands changes to all of them;
//! - [`deployment`], [`replicaset`], [`statefulset`], [`daemonset`], [`job`], [`cronjob`]: templates to Pods;
//!   `control`: what they have in common; [`history`]: earlier templates; [`cron`]: schedules;
//! - [`scheduler`]: Pods to nodes; [`affinity`]: which nodes a Pod wants;
//! - [`disruption`]: how many Pods may be missing; [`hpa`]: how many there are to be;
//! - [`endpointslice`]: Services to the addresses of their Pods, in slices and in `Endpoints`;
//! - [`nodelifecycle`]: nodes that are not heard of, and Pods that must leave; [`podgc`]: Pods whose node is gone;
//! - [`volumes`]: claims to volumes;
//! - [`cleanup`]: what has lost its owner; [`namespaces`]: what each has, and how it ends;
//! - [`queue`]: work that waits for its time; [`events`]: what people read about it all;
//! - [`pods`]: what is asked of Pods everywhere.
//!
//! **Invariant:** knows no networks and no packets. An address is what a Pod's status says.
//! **Invariant:** a controller looks only at objects, so it can be stopped, and go on, at any time.

pub mod affinity;
pub mod cleanup;
mod control;
pub mod cron;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpointslice;
pub mod events;
pub mod history;
pub mod hpa;
mod indexes;
pub mod job;
pub mod manager;
pub mod namespaces;
pub mod nodelifecycle;
pub mod podgc;
pub mod pods;
pub mod queue;
pub mod replicaset;
pub mod scheduler;
pub mod statefulset;
pub mod volumes;

pub use manager::ControlPlane;
