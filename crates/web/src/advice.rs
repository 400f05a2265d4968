//! What to do next, in one line.

use lab::view::ServiceView;

use crate::clock::Going;
use crate::engine::Engine;
use crate::requests::{Mood, Row};
use crate::services::is_own;

/// The button that applies the files.
pub const APPLY: &str = "Apply";
/// The button that asks a Service.
pub const SEND: &str = "Send request";

/// A sentence, and the button that it begins with, if one is meant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advice {
    /// The button's name; empty: none.
    pub button: &'static str,
    /// What it does, or what goes on.
    pub words: String,
}

/// What goes on, and what to do next; `newest` is the newest request.
pub fn advise(engine: &Engine, newest: Option<&Row>) -> Advice {
    let (button, words) = said(engine, newest);
    Advice { button, words }
}

fn said(engine: &Engine, newest: Option<&Row>) -> (&'static str, String) {
    let view = engine.view();
    let say = |words: &str| ("", words.to_string());
    if engine.clock.is_paused {
        return say("The clock stands still. Step, or let it run.");
    }
    if matches!(engine.going(), Going::Opening | Going::Packets) {
        return say("The packet is on its way; the clock runs slowly to let you follow.");
    }
    if engine.is_running() {
        return say("A command runs in the terminal; Ctrl-C ends it.");
    }
    if view.nodes.is_empty() {
        return say("There is no cluster. Open kind.yml and create one.");
    }
    let own: Vec<&ServiceView> = view.services.iter().filter(|s| is_own(s)).collect();
    if own.is_empty() {
        return (APPLY, "sends the files in the editor to the cluster.".to_string());
    }
    let mut pods = view.nodes.iter().flat_map(|node| &node.pods).chain(&view.waiting);
    if pods.any(|pod| pod.namespace != "kube-system" && !pod.is_ready && !pod.is_ending) {
        return say("Pods are starting. A gate blinks when its node’s rules are rewritten.");
    }
    if own.iter().all(|service| service.endpoints.is_empty()) {
        return say("No endpoints: the Service’s selector fits no ready Pod’s labels.");
    }
    if !own.iter().any(|service| engine.send_command(service).is_some()) {
        return say("No NodePort is published here: ask from a node, with docker exec.");
    }
    match newest {
        None => (SEND, "asks the Service from your machine. Follow the packet.".to_string()),
        Some(row) if row.mood == Mood::Bad => {
            let Row { number, status, .. } = row;
            ("", format!("Request {number}: {status}. Its packets, on the right, say where."))
        }
        Some(row) => {
            ("", format!("Answered by {}. Its packets are on the right, hop by hop.", row.answer))
        }
    }
}

#[cfg(test)]
mod tests {
    use lab::Options;

    use super::*;

    #[test]
    fn it_leads_through_the_first_minute() {
        let mut engine = Engine::new(&Options::default());
        assert_eq!(advise(&engine, None).button, APPLY);
        engine.run("kubectl apply -f deployment.yml -f service.yml");
        for frame in 0..1200 {
            engine.frame(f64::from(frame) * 16.0, || false);
        }
        engine.look();
        assert_eq!(advise(&engine, None).button, SEND);
        engine.clock.is_paused = true;
        assert!(advise(&engine, None).words.contains("stands still"));
    }

    #[test]
    fn without_a_cluster_it_says_so() {
        let engine = Engine::new(&Options { cluster: None, ..Options::default() });
        assert!(advise(&engine, None).words.contains("kind.yml"));
    }
}
