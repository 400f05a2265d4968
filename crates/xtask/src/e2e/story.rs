//! What a visitor does, from the empty cluster to a load balanced over two kinds of Pods, and what must show.

use std::thread;
use std::time::Duration;

use super::page::{self, Page, PodRow};
use crate::chore::{Outcome, timed};

const NGINX: &str = include_str!("../../../../tests/e2e/nginx.yml");
const APACHE: &str = include_str!("../../../../tests/e2e/apache.yml");
const SERVICE: &str = include_str!("../../../../tests/e2e/service.yml");
const WRONG: &str = include_str!("../../../../tests/e2e/wrong.yml");

/// One request by hand, as the Service of `service.yml` is reached from outside.
const CURL: &str = "curl -s localhost:30007";

/// The story; each chapter stands on the one before.
pub(crate) fn play(page: &Page, url: &str) -> Outcome {
    let chapters: &[(&str, &dyn Fn() -> Outcome)] = &[
        ("the cluster starts", &|| start(page, url)),
        ("manifests make Pods", &|| apply(page)),
        ("a request is answered", &|| request(page)),
        ("its path is shown", &|| hops(page)),
        ("a second Deployment shares the load", &|| share(page)),
        ("a deleted Pod comes back elsewhere", &|| delete(page)),
        ("a wrong manifest is refused in kubectl's words", &|| refuse(page)),
        ("the clock stops and goes on", &|| clock(page)),
        ("the console is clean", &|| console(page)),
    ];
    chapters.iter().try_for_each(|(name, chapter)| timed(name, chapter).map(drop))
}

fn start(page: &Page, url: &str) -> Outcome {
    page.open(url)?;
    page.until_started()?;
    page.until("three nodes", || Ok(page.texts(".node-card[data-node]")?.len() == 3))?;
    println!("speed: {}", page.choose_last("#speed")?);
    page.shot("1-start")
}

/// Replaces what the page offers by manifests with names of our own.
fn apply(page: &Page) -> Outcome {
    page.set_file("deployment.yml", NGINX)?;
    page.set_file("service.yml", SERVICE)?;
    page.click(".tab[data-file='deployment.yml']")?;
    page.click("#apply")?;
    page.until_terminal("deployment.apps/hello-nginx created")?;
    page.until_terminal("service/hello created")?;
    page.until_ready("hello-nginx-", 2)?;
    page.shot("2-pods")
}

fn request(page: &Page) -> Outcome {
    page.until_idle()?;
    page.click("#send-request")?;
    page.until_terminal("Welcome to nginx!")?;
    page.until("the request in the list", || Ok(!page.texts(".request-row")?.is_empty()))
}

/// The path of the request names the node it enters at, and kube-proxy's chains in their order.
fn hops(page: &Page) -> Outcome {
    page.click(".request-row")?;
    let wanted = ["kind-control-plane", "KUBE-NODEPORTS", "KUBE-SVC-", "KUBE-SEP-"];
    page.until(&format!("{wanted:?} in the hops"), || {
        let hops = page.texts(".hop")?.join("\n");
        Ok(wanted.iter().all(|text| hops.contains(text)))
    })?;
    page.shot("3-hops")
}

/// The choice is random, so that both answer is all there is to ask for: of twelve requests, one of two equal
/// halves stays silent once in 2048 runs.
fn share(page: &Page) -> Outcome {
    page.set_file("apache.yml", APACHE)?;
    page.run("kubectl apply -f apache.yml")?;
    page.until_ready("hello-apache-", 2)?;
    // The rules of all nodes come a little after.
    page.run("sleep 3")?;
    let answers = page.run(&format!("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do {CURL}; done"))?;
    let nginx = answers.matches("<h1>Welcome to nginx!</h1>").count();
    let apache = answers.matches("<h1>It works!</h1>").count();
    println!("of 12 answers {nginx} are nginx's and {apache} Apache's");
    page.shot("4-shared")?;
    if nginx > 0 && apache > 0 && nginx + apache == 12 {
        return Ok(());
    }
    Err(format!("12 requests, {nginx} answers of nginx, {apache} of Apache"))
}

fn delete(page: &Page) -> Outcome {
    let old = page.until_ready("hello-nginx-", 2)?;
    let gone = &old[0];
    page.run(&format!("kubectl delete pod {}", gone.name))?;
    let now = page.until_ready("hello-nginx-", 2)?;
    let is_new = |pod: &&PodRow| old.iter().all(|old| old.name != pod.name);
    let new = now.iter().find(is_new).ok_or("no new Pod has come")?;
    println!("{} {:?} is gone, {} {:?} has come", gone.name, gone.address, new.name, new.address);
    if new.address.is_none() || old.iter().any(|old| old.address == new.address) {
        return Err(format!("the new Pod has no address of its own: {new:?}"));
    }
    page.until("the old tile to go", || {
        let tiles = page.attributes(".pod-tile[data-pod]", "data-pod")?;
        Ok(!tiles.iter().any(|tile| tile.ends_with(&gone.name)))
    })
}

fn refuse(page: &Page) -> Outcome {
    page.set_file("wrong.yml", WRONG)?;
    let said = page.run("kubectl apply -f wrong.yml")?;
    if !said.contains("strict decoding error: unknown field \"spec.replica\"") {
        return Err(format!("kubectl said only: {said}"));
    }
    let said = page.run("kubectl get services")?;
    if said.contains("hello") {
        Ok(())
    } else {
        Err(format!("after the error kubectl said only: {said}"))
    }
}

/// While the clock stands nothing happens; a command begun meanwhile ends when it goes again.
fn clock(page: &Page) -> Outcome {
    page.click("#clock-toggle")?;
    let number = page.start("sleep 1")?;
    // The command itself is an event, which the page takes up with its next frame.
    thread::sleep(Duration::from_millis(300));
    let before = page.fingerprint()?;
    thread::sleep(Duration::from_millis(700));
    if page.fingerprint()? != before || page.terminal()?.contains(&page::end(number)) {
        return Err("the clock was stopped, yet the world went on".to_string());
    }
    page.click("#clock-step")?;
    page.shot("5-stopped")?;
    page.click("#clock-toggle")?;
    page.until_terminal(&page::end(number))
}

fn console(page: &Page) -> Outcome {
    page.shot("6-end")?;
    let errors = page.console_errors()?;
    if errors.is_empty() { Ok(()) } else { Err(format!("in the console:\n{}", errors.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_have_names_that_the_page_does_not_offer() {
        for text in [NGINX, APACHE, SERVICE, WRONG] {
            assert!(!text.contains("nginx-deployment") && !text.contains("nginx-service"));
        }
    }
}
