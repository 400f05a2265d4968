//! How Pods live and die, without a shell: a manifest, a time, and what the Pod says then.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use base::Duration;
use controllers::pods::summary;
use kube_api::core::Pod;
use kube_api::{DeleteOptions, Kind, yaml};
use lab::{Options, World};

/// A world with these objects in it.
fn world(manifest: &str) -> World {
    let world = World::new(&Options::default());
    apply(&world, manifest);
    world
}

fn apply(world: &World, manifest: &str) {
    let now = world.lab().now();
    world.lab().with("kind", |cluster| {
        for document in yaml::documents(manifest) {
            let Some(node) = document.content.unwrap() else { continue };
            let word = |name: &str| node.get(name).unwrap().as_str().unwrap().to_string();
            let kinds = cluster.api.store().kinds();
            let kind = kinds.find(&word("apiVersion"), &word("kind")).unwrap().id;
            let value = cluster.api.decode(kind, &node).unwrap_or_else(|e| panic!("{}", e.0));
            let object = cluster.api.object(kind, value).unwrap();
            cluster.api.create(object, now).unwrap();
        }
    });
    world.advance(now, u32::MAX);
}

fn wait(world: &World, millis: u64) {
    world.advance(world.lab().now() + Duration::from_millis(millis), u32::MAX);
}

/// `1/1 Running 0`, as a row of `kubectl get pods` says it.
fn row(world: &World, name: &str) -> String {
    let pod = world.lab().with("kind", |c| c.api.store().get::<Pod>("default", name).cloned());
    let Some(pod) = pod.unwrap() else { return "gone".to_string() };
    let sum = summary(&pod);
    format!("{}/{} {} {}", sum.ready, sum.total, sum.status, sum.restarts)
}

/// A Pod with one container; `more` are lines of the container, `spec` of the Pod.
fn pod(image: &str, more: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  {spec}\n  containers:\n  - name: c\n    image: {image}\n    {more}\n"
    )
}

#[test]
fn rows_of_a_pod_by_its_time() {
    let ready = "readinessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 2, periodSeconds: 1}";
    let never = "restartPolicy: Never";
    for (what, manifest, rows) in [
        (
            "image",
            pod("nginx", "", ""),
            &[(1000, "0/1 ContainerCreating 0"), (1000, "1/1 Running 0")],
        ),
        (
            "gone image",
            pod("nginx:nope", "", ""),
            &[(500, "0/1 ErrImagePull 0"), (2000, "0/1 ImagePullBackOff 0")],
        ),
        ("probe", pod("nginx", ready, ""), &[(3000, "0/1 Running 0"), (1500, "1/1 Running 0")]),
        (
            "never",
            pod("busybox", "command: [\"echo\", \"hi\"]", never),
            &[(3000, "0/1 Completed 0"), (9000, "0/1 Completed 0")],
        ),
        (
            "again",
            pod("busybox", "command: [\"echo\", \"hi\"]", ""),
            &[(2500, "0/1 CrashLoopBackOff 1"), (12000, "0/1 CrashLoopBackOff 2")],
        ),
        (
            "deadline",
            pod("nginx", "", "activeDeadlineSeconds: 4"),
            &[(3000, "1/1 Running 0"), (2000, "0/1 Completed 0")],
        ),
        (
            "no config",
            pod("nginx", "envFrom: [{configMapRef: {name: none}}]", ""),
            &[
                (2000, "0/1 CreateContainerConfigError 0"),
                (20000, "0/1 CreateContainerConfigError 0"),
            ],
        ),
    ] {
        let world = world(&manifest);
        for (millis, wanted) in rows {
            wait(&world, *millis);
            assert_eq!(row(&world, "a"), *wanted, "{what} after {millis} ms more");
        }
    }
}

#[test]
fn restarts_wait_longer_and_longer_up_to_five_minutes() {
    let world = world(&pod("busybox", "command: [\"echo\", \"hi\"]", ""));
    let restarts =
        |world: &World| row(world, "a").rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    let mut starts = Vec::new();
    let mut known = 0;
    for secs in 0..1600 {
        wait(&world, 1000);
        if restarts(&world) > known {
            known = restarts(&world);
            starts.push(secs);
        }
    }
    let waits: Vec<u32> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, wanted) in waits.iter().zip([10, 20, 40, 80, 160, 300, 300, 300]) {
        assert!((wanted..wanted + 3).contains(wait), "{waits:?}");
    }
    assert!(waits.len() >= 8, "{waits:?}");
}

#[test]
fn a_pod_that_is_deleted_has_its_grace() {
    for (grace, least, most) in [(None, 30_000, 33_000), (Some(5), 5_000, 8_000), (Some(0), 0, 500)]
    {
        // A program that does not listen to SIGTERM.
        let world = world(&pod("busybox", "command: [\"sleep\", \"3600\"]", ""));
        wait(&world, 3000);
        let begun = world.lab().now();
        world.lab().with("kind", |cluster| {
            let options = DeleteOptions { grace_seconds: grace, ..DeleteOptions::default() };
            cluster.api.delete(Pod::id(), "default", "a", options, begun).unwrap();
        });
        let mut took = 0;
        while row(&world, "a") != "gone" {
            wait(&world, 100);
            took += 100;
            assert!(took <= 60_000, "it stays for ever");
        }
        assert!((least..=most).contains(&took), "{grace:?}: {took} ms");
    }
}

#[test]
fn addresses_of_pods_that_have_ended_are_given_to_others() {
    // A node has room for 253 addresses.
    let world = World::new(&Options::default());
    for turn in 0..3 {
        let mut text = String::new();
        for n in 0..100 {
            text.push_str(&format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{turn}-{n}}}\nspec:\n  nodeName: kind-worker\n  restartPolicy: Never\n  containers: [{{name: c, image: busybox, command: [echo, hi]}}]\n---\n"
            ));
        }
        apply(&world, &text);
        wait(&world, 4000);
        assert_eq!(row(&world, &format!("p{turn}-99")), "0/1 Completed 0");
    }
}
