//! The scheduler and the controllers: they watch objects and change objects, on the virtual clock.
//!
//! In reading order, as a Deployment becomes Pods and a Service finds them:
//! - [`manager`]: [`ControlPlane`], which hands changes to all of them;
//! - [`deployment`], [`replicaset`], [`daemonset`]: templates to Pods;
//! - [`scheduler`]: Pods to nodes; [`affinity`]: which nodes a Pod wants;
//! - [`endpointslice`]: Services to the addresses of their Pods, in slices and in `Endpoints`;
//! - [`cleanup`]: what has lost its owner; [`namespaces`]: what each has, and how it ends;
//! - [`queue`]: work that waits for its time; [`events`]: what people read about it all;
//! - [`pods`]: what is asked of Pods everywhere.
//!
//! **Invariant:** knows no networks and no packets. An address is what a Pod's status says.
//! **Invariant:** a controller looks only at objects, so it can be stopped, and go on, at any time.

pub mod affinity;
pub mod cleanup;
pub mod daemonset;
pub mod deployment;
pub mod endpointslice;
pub mod events;
pub mod manager;
pub mod namespaces;
pub mod pods;
pub mod queue;
pub mod replicaset;
pub mod scheduler;

pub use manager::ControlPlane;
