//! Who runs the commands of containers: shells and their tools are not programs of an image here, and live
//! elsewhere.

use std::rc::Rc;

use netsim::Host;

use crate::{Container, Log, Program};

/// Runs command lines in containers.
pub trait Commands {
    /// The program of a command line, which prints to `out`; `None` when the container has no such program.
    ///
    /// Being process 1 or started from outside, it is not ended by SIGTERM unless it says so itself.
    fn run(
        &self,
        host: Host,
        container: &Rc<Container>,
        argv: &[String],
        out: &Log,
    ) -> Option<Program>;
}
