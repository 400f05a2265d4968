//! StatefulSets, Jobs, CronJobs, budgets, and the rarer ways of Deployments, DaemonSets and ReplicaSets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use controllers::{disruption, pods};
use expect_test::expect;
use kube_api::apps::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use kube_api::batch::{CronJob, Job};
use kube_api::core::{Event, Pod, ReplicationController};
use kube_api::policy::PodDisruptionBudget;
use kube_api::{DeleteOptions, Kind, MetaExt};
use world::{Cluster, check, deployment};

fn stateful_set(replicas: u32, image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: {replicas}
  selector: {{matchLabels: {{app: db}}}}
  {more}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: a, image: {image}}}]}}
"
    )
}

fn job(name: &str, ends: &str, more: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  {more}
  template:
    metadata: {{labels: {{ends: {ends}}}}}
    spec: {{restartPolicy: Never, containers: [{{name: a, image: busybox}}]}}
"
    )
}

/// A status, without what every one has.
fn status<T: Kind>(cluster: &Cluster, name: &str) -> String {
    let value = kube_api::to_value(&*cluster.get::<T>(name));
    let mut status = value["status"].clone();
    if let Some(fields) = status.as_object_mut() {
        fields.remove("observedGeneration");
        fields.remove("uncountedTerminatedPods");
    }
    status.to_string()
}

// ---- StatefulSets ----------------------------------------------------------------------------------------

#[test]
fn a_stateful_set_starts_and_stops_its_pods_in_order() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&stateful_set(3, "one", ""));
    cluster.pass(1500);
    check(
        cluster.pods(),
        expect![[r#"
        db-0 ready
        db-1 not ready"#]],
    );
    cluster.pass(10_000);
    check(
        cluster.pods(),
        expect![[r#"
        db-0 ready
        db-1 ready
        db-2 ready"#]],
    );
    let pod = cluster.get::<Pod>("db-1");
    check(
        format!("{:?}", pod.metadata.labels),
        expect![[
            r#"Some({"app": "db", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": "db-79b8f5d5ff", "statefulset.kubernetes.io/pod-name": "db-1"})"#
        ]],
    );
    let spec = pod.spec.clone().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-1"), Some("db")));
    cluster.apply(&stateful_set(1, "one", ""));
    cluster.pass(500);
    check(
        cluster.pods(),
        expect![[r#"
        db-0 ready
        db-1 ready
        db-2 ready ending"#]],
    );
    cluster.pass(10_000);
    check(
        cluster.told(&["SuccessfulCreate", "SuccessfulDelete"]),
        expect![[r#"
        Normal SuccessfulCreate create Pod db-0 in StatefulSet db successful
        Normal SuccessfulCreate create Pod db-1 in StatefulSet db successful
        Normal SuccessfulCreate create Pod db-2 in StatefulSet db successful
        Normal SuccessfulDelete delete Pod db-2 in StatefulSet db successful
        Normal SuccessfulDelete delete Pod db-1 in StatefulSet db successful"#]],
    );
    check(
        status::<StatefulSet>(&cluster, "db"),
        expect![[
            r#"{"availableReplicas":1,"collisionCount":0,"currentReplicas":1,"currentRevision":"db-79b8f5d5ff","readyReplicas":1,"replicas":1,"updateRevision":"db-79b8f5d5ff","updatedReplicas":1}"#
        ]],
    );
}

#[test]
fn a_stateful_set_rolls_from_the_highest_ordinal_down_to_its_partition() {
    let mut cluster = Cluster::new(2);
    let strategy = "updateStrategy: {rollingUpdate: {partition: 1}}";
    cluster.apply(&stateful_set(3, "one", strategy));
    cluster.pass(10_000);
    cluster.apply(&stateful_set(3, "two", strategy));
    cluster.pass(500);
    check(
        cluster.pods(),
        expect![[r#"
        db-0 ready
        db-1 ready
        db-2 ready ending"#]],
    );
    cluster.pass(15_000);
    let image = |cluster: &Cluster, n: u32| {
        cluster.get::<Pod>(&format!("db-{n}")).spec.as_ref().unwrap().containers[0].image.clone()
    };
    let images = [0, 1, 2].map(|n| image(&cluster, n).unwrap());
    assert_eq!(images, ["one", "two", "two"]);
    let status = cluster.get::<StatefulSet>("db").status.clone().unwrap();
    assert_ne!(status.current_revision, status.update_revision);
    // What comes back below the partition is of the old template.
    cluster
        .api
        .delete(Pod::id(), "default", "db-0", DeleteOptions::default(), cluster.now)
        .unwrap();
    cluster.pass(5000);
    assert_eq!(image(&cluster, 0).unwrap(), "one");
    cluster.apply(&stateful_set(3, "two", ""));
    cluster.pass(10_000);
    assert_eq!(image(&cluster, 0).unwrap(), "two");
    let status = cluster.get::<StatefulSet>("db").status.clone().unwrap();
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!(cluster.api.store().list::<ControllerRevision>().count(), 2);
}

#[test]
fn a_parallel_stateful_set_waits_for_nobody_and_on_delete_for_somebody() {
    let mut cluster = Cluster::new(2);
    let more =
        "podManagementPolicy: Parallel\n  ordinals: {start: 5}\n  updateStrategy: {type: OnDelete}";
    cluster.apply(&stateful_set(3, "one", more));
    cluster.pass(200);
    check(
        cluster.pods(),
        expect![[r#"
        db-5 not ready
        db-6 not ready
        db-7 not ready"#]],
    );
    cluster.pass(5000);
    cluster.apply(&stateful_set(3, "two", more));
    cluster.pass(5000);
    let image = |cluster: &Cluster| {
        cluster.get::<Pod>("db-6").spec.as_ref().unwrap().containers[0].image.clone().unwrap()
    };
    assert_eq!(image(&cluster), "one");
    cluster
        .api
        .delete(Pod::id(), "default", "db-6", DeleteOptions::default(), cluster.now)
        .unwrap();
    cluster.pass(5000);
    assert_eq!(image(&cluster), "two");
}

#[test]
fn claims_of_a_stateful_set_stay_when_its_pods_go() {
    let mut cluster = Cluster::new(2);
    let claims = "volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], storageClassName: x, resources: {requests: {storage: 1Gi}}}}]";
    let made = |cluster: &Cluster| {
        let kind = cluster.api.store().kinds().by_name("pvc").unwrap().id;
        let all = cluster.api.store().list_any(kind).map(|claim| claim.name().to_string());
        all.collect::<Vec<_>>()
    };
    cluster.apply(&stateful_set(2, "one", claims));
    cluster.pass(5000);
    assert_eq!(made(&cluster), ["data-db-0", "data-db-1"]);
    let volumes = kube_api::to_value(&*cluster.get::<Pod>("db-0"))["spec"]["volumes"].clone();
    check(
        volumes.to_string(),
        expect![[
            r#"[{"name":"data","persistentVolumeClaim":{"claimName":"data-db-0"}},{"name":"kube-api-access-jrtgz","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}]}}]"#
        ]],
    );
    cluster.apply(&stateful_set(0, "one", claims));
    cluster.pass(10_000);
    assert_eq!((cluster.pods().as_str(), made(&cluster).len()), ("", 2));
    // A policy may say that they go with their Pods.
    let goes = format!("persistentVolumeClaimRetentionPolicy: {{whenScaled: Delete}}\n  {claims}");
    cluster.apply(&stateful_set(2, "one", &goes));
    cluster.pass(5000);
    cluster.apply(&stateful_set(1, "one", &goes));
    cluster.pass(5000);
    assert_eq!(made(&cluster), ["data-db-0"]);
}

#[test]
fn a_stateful_set_replaces_a_pod_that_has_failed() {
    let mut cluster = Cluster::new(1);
    cluster.apply(&stateful_set(1, "one", ""));
    cluster.pass(3000);
    cluster.api.modify::<Pod>("default", "db-0", |pod| {
        pod.status.get_or_insert_default().phase = Some("Failed".into());
    });
    cluster.pass(5000);
    check(cluster.pods(), expect!["db-0 ready"]);
    check(
        cluster.told(&["RecreatingFailedPod"]),
        expect!["Warning RecreatingFailedPod StatefulSet default/db is recreating failed Pod db-0"],
    );
}

// ---- Jobs ------------------------------------------------------------------------------------------------

#[test]
fn a_job_runs_to_its_end() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&job("pi", "ok", "completions: 3\n  parallelism: 2"));
    cluster.pass(500);
    check(
        status::<Job>(&cluster, "pi"),
        expect![[r#"{"active":2,"ready":0,"startTime":"2026-01-05T09:00:00Z","terminating":0}"#]],
    );
    cluster.pass(10_000);
    check(
        status::<Job>(&cluster, "pi"),
        expect![[
            r#"{"completionTime":"2026-01-05T09:00:02Z","conditions":[{"lastProbeTime":"2026-01-05T09:00:02Z","lastTransitionTime":"2026-01-05T09:00:02Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"SuccessCriteriaMet"},{"lastProbeTime":"2026-01-05T09:00:02Z","lastTransitionTime":"2026-01-05T09:00:02Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"Complete"}],"ready":0,"startTime":"2026-01-05T09:00:00Z","succeeded":3,"terminating":0}"#
        ]],
    );
    check(
        cluster.told(&["SuccessfulCreate", "Completed"]),
        expect![[r#"
        Normal SuccessfulCreate Created pod: pi-8lvgj
        Normal SuccessfulCreate Created pod: pi-scs6g
        Normal SuccessfulCreate Created pod: pi-724qg
        Normal Completed Job completed"#]],
    );
    assert_eq!(cluster.api.store().list::<Pod>().count(), 3);
    let pod = cluster.api.store().list::<Pod>().next().unwrap();
    assert_eq!(pod.metadata.finalizers, None, "it has been counted");
    cluster.api.delete(Job::id(), "default", "pi", DeleteOptions::default(), cluster.now).unwrap();
    cluster.pass(1000);
    assert_eq!(cluster.api.store().list::<Pod>().count(), 0);
}

#[test]
fn a_job_that_fails_is_tried_again_later_and_later_until_its_limit() {
    let mut cluster = Cluster::new(1);
    cluster.apply(&job("bad", "badly", "backoffLimit: 2"));
    let mut times = Vec::new();
    let mut before = 0;
    for _ in 0..60 {
        let count = cluster.api.store().list::<Pod>().count();
        if count != before {
            times.push(cluster.now.as_secs());
            before = count;
        }
        cluster.pass(1000);
    }
    check(format!("{times:?}"), expect!["[1, 12, 33]"]);
    check(
        status::<Job>(&cluster, "bad"),
        expect![[
            r#"{"conditions":[{"lastProbeTime":"2026-01-05T09:00:33Z","lastTransitionTime":"2026-01-05T09:00:33Z","message":"Job has reached the specified backoff limit","reason":"BackoffLimitExceeded","status":"True","type":"FailureTarget"},{"lastProbeTime":"2026-01-05T09:00:33Z","lastTransitionTime":"2026-01-05T09:00:33Z","message":"Job has reached the specified backoff limit","reason":"BackoffLimitExceeded","status":"True","type":"Failed"}],"failed":3,"ready":0,"startTime":"2026-01-05T09:00:00Z","terminating":0}"#
        ]],
    );
    check(
        cluster.told(&["BackoffLimitExceeded"]),
        expect!["Warning BackoffLimitExceeded Job has reached the specified backoff limit"],
    );
}

#[test]
fn an_indexed_job_numbers_its_pods() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&job(
        "part",
        "ok",
        "completions: 4\n  parallelism: 2\n  completionMode: Indexed",
    ));
    cluster.pass(500);
    let pod = cluster.api.store().list::<Pod>().nth(1).unwrap().clone();
    let value = kube_api::to_value(&*pod);
    check(
        format!(
            "{} {} {}",
            value["metadata"]["annotations"],
            value["spec"]["hostname"],
            value["spec"]["containers"][0]["env"]
        ),
        expect![[
            r#"{"batch.kubernetes.io/job-completion-index":"1"} "part-1" [{"name":"JOB_COMPLETION_INDEX","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.labels['batch.kubernetes.io/job-completion-index']"}}}]"#
        ]],
    );
    cluster.pass(10_000);
    let status = cluster.get::<Job>("part").status.clone().unwrap();
    assert_eq!(status.completed_indexes.as_deref(), Some("0-3"));
}

#[test]
fn a_job_may_be_suspended_late_or_forgotten() {
    let mut cluster = Cluster::new(1);
    let check_end = |cluster: &Cluster, name: &str| {
        let job = cluster.get::<Job>(name);
        let conditions = job.status.clone().unwrap().conditions.unwrap_or_default();
        let word = |c: &kube_api::batch::JobCondition| {
            format!("{}={} {}", c.type_, c.status, c.reason.clone().unwrap_or_default())
        };
        conditions.iter().map(word).collect::<Vec<_>>().join(", ")
    };
    cluster.apply(&job("later", "ok", "suspend: true"));
    cluster.pass(1000);
    assert_eq!(cluster.pods(), "");
    check(check_end(&cluster, "later"), expect!["Suspended=True JobSuspended"]);
    cluster.apply(
        &job("later", "ok", "suspend: false")
            .replace("metadata: {name", "metadata: {labels: {a: b}, name"),
    );
    cluster.pass(5000);
    check(
        check_end(&cluster, "later"),
        expect![
            "Suspended=False JobResumed, SuccessCriteriaMet=True CompletionsReached, Complete=True CompletionsReached"
        ],
    );
    // `broken` runs on and on.
    cluster.apply(&job("slow", "ok", "activeDeadlineSeconds: 5").replace("ends: ok", "app: x"));
    cluster.pass(4000);
    check(check_end(&cluster, "slow"), expect![[""]]);
    cluster.pass(5000);
    check(
        check_end(&cluster, "slow"),
        expect!["FailureTarget=True DeadlineExceeded, Failed=True DeadlineExceeded"],
    );
    cluster.apply(&job("brief", "ok", "ttlSecondsAfterFinished: 3"));
    cluster.pass(4000);
    check(
        check_end(&cluster, "brief"),
        expect!["SuccessCriteriaMet=True CompletionsReached, Complete=True CompletionsReached"],
    );
    cluster.pass(4000);
    assert!(cluster.api.store().get::<Job>("default", "brief").is_none());
}

#[test]
fn a_cron_job_starts_jobs_and_keeps_few() {
    let mut cluster = Cluster::new(1);
    let cron = |policy: &str, ends: &str| {
        let job = job("x", ends, "").replace("\n", "\n    ");
        let spec = job.split("spec:").skip(1).collect::<Vec<_>>().join("spec:");
        format!(
            "apiVersion: batch/v1
kind: CronJob
metadata: {{name: tick}}
spec:
  schedule: '*/2 * * * *'
  concurrencyPolicy: {policy}
  successfulJobsHistoryLimit: 2
  jobTemplate:
    spec:{spec}
"
        )
    };
    cluster.apply(&cron("Allow", "ok"));
    cluster.pass(90_000);
    assert_eq!(cluster.api.store().list::<Job>().count(), 0);
    for _ in 0..10 {
        cluster.pass(60_000);
    }
    let names = |cluster: &Cluster| {
        let jobs = cluster.api.store().list::<Job>().map(|job| job.metadata.name().to_string());
        jobs.collect::<Vec<_>>().join(" ")
    };
    check(names(&cluster), expect!["tick-29460068 tick-29460070"]);
    check(
        status::<CronJob>(&cluster, "tick"),
        expect![[
            r#"{"lastScheduleTime":"2026-01-05T09:10:00Z","lastSuccessfulTime":"2026-01-05T09:10:01Z"}"#
        ]],
    );
    check(
        cluster
            .told(&["SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"])
            .lines()
            .filter(|line| line.contains("ob"))
            .take(6)
            .collect::<Vec<_>>()
            .join("\n"),
        expect![[r#"
            Normal SuccessfulCreate Created job tick-29460062
            Normal SawCompletedJob Saw completed job: tick-29460062, condition: Complete
            Normal SuccessfulCreate Created job tick-29460064
            Normal SawCompletedJob Saw completed job: tick-29460064, condition: Complete
            Normal SuccessfulCreate Created job tick-29460066
            Normal SuccessfulDelete Deleted job tick-29460062"#]],
    );
}

// ---- Deployments -----------------------------------------------------------------------------------------

#[test]
fn a_rollout_that_is_stuck_says_so_after_its_deadline() {
    let mut cluster = Cluster::new(2);
    let stuck = deployment(3, "nginx", "")
        .replace("replicas: 3", "replicas: 3\n  progressDeadlineSeconds: 20")
        .replace("labels: {app: web}}", "labels: {app: web, broken: \"yes\"}}");
    cluster.apply(&stuck);
    cluster.pass(15_000);
    let conditions = |cluster: &Cluster| {
        let deployment = cluster.get::<Deployment>("web");
        let conditions = deployment.status.clone().unwrap().conditions.unwrap();
        let line = |c: &kube_api::apps::DeploymentCondition| {
            let reason = c.reason.as_deref().unwrap_or_default();
            let message = c.message.as_deref().unwrap_or_default();
            format!("{} {} {reason}: {message}", c.type_, c.status)
        };
        conditions.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    check(
        conditions(&cluster),
        expect![[r#"
            Available False MinimumReplicasUnavailable: Deployment does not have minimum availability.
            Progressing True ReplicaSetUpdated: ReplicaSet "web-5c5cfcfd87" is progressing."#]],
    );
    cluster.pass(10_000);
    check(
        conditions(&cluster),
        expect![[r#"
            Available False MinimumReplicasUnavailable: Deployment does not have minimum availability.
            Progressing False ProgressDeadlineExceeded: ReplicaSet "web-5c5cfcfd87" has timed out progressing."#]],
    );
}

#[test]
fn recreation_ends_the_old_before_the_new_begins() {
    let mut cluster = Cluster::new(2);
    let with = |image: &str| {
        deployment(2, image, "").replace("replicas: 2", "replicas: 2\n  strategy: {type: Recreate}")
    };
    cluster.apply(&with("nginx"));
    cluster.pass(3000);
    cluster.apply(&with("httpd"));
    cluster.pass(500);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 0 wanted 0 there 0 ready
            pod on worker1 ready ending
            pod on worker2 ready ending"#]],
    );
    cluster.pass(5000);
    check(
        cluster.show(),
        expect![[r#"
            rs web-69f6d5ffcc 0 wanted 0 there 0 ready
            rs web-754ddc684f 2 wanted 2 there 2 ready
            pod on worker1 ready
            pod on worker2 ready"#]],
    );
}

#[test]
fn a_rollout_in_flight_is_scaled_in_proportion() {
    let mut cluster = Cluster::new(3);
    let with = |replicas: u32, more: &str| {
        deployment(replicas, if more.is_empty() { "one" } else { "two" }, "")
            .replace(
                "spec:\n  replicas",
                "spec:\n  strategy: {rollingUpdate: {maxSurge: 3, maxUnavailable: 2}}\n  replicas",
            )
            .replace("labels: {app: web}}", &format!("labels: {{app: web{more}}}}}"))
    };
    cluster.apply(&with(10, ""));
    cluster.pass(3000);
    cluster.apply(&with(10, ", broken: \"yes\""));
    cluster.pass(5000);
    check(
        cluster.show().lines().filter(|l| l.starts_with("rs")).collect::<Vec<_>>().join("\n"),
        expect![[r#"
            rs web-b7d8464fc 8 wanted 8 there 8 ready
            rs web-c88d78d8f 5 wanted 5 there 0 ready"#]],
    );
    // The documentation's own example.
    cluster.apply(&with(15, ", broken: \"yes\""));
    cluster.pass(5000);
    check(
        cluster.show().lines().filter(|l| l.starts_with("rs")).collect::<Vec<_>>().join("\n"),
        expect![[r#"
            rs web-b7d8464fc 11 wanted 11 there 11 ready
            rs web-c88d78d8f 7 wanted 7 there 0 ready"#]],
    );
}

#[test]
fn a_paused_deployment_rolls_nothing_out_and_its_history_is_limited() {
    let mut cluster = Cluster::new(2);
    let with = |image: &str, paused: bool| {
        deployment(1, image, "").replace(
            "replicas: 1",
            &format!("replicas: 1\n  paused: {paused}\n  revisionHistoryLimit: 1"),
        )
    };
    cluster.apply(&with("v1", false));
    cluster.pass(3000);
    cluster.apply(&with("v2", true));
    cluster.pass(3000);
    assert_eq!(cluster.api.store().list::<ReplicaSet>().count(), 1);
    for image in ["v2", "v3", "v4"] {
        cluster.apply(&with(image, false));
        cluster.pass(6000);
    }
    let revisions = |cluster: &Cluster| {
        let sets = cluster.api.store().list::<ReplicaSet>();
        let mut all: Vec<u64> = sets.map(|s| controllers::deployment::revision_of(s)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(revisions(&cluster), [3, 4]);
    // Back to what was: its number is the next one.
    cluster.apply(&with("v3", false));
    cluster.pass(6000);
    assert_eq!(revisions(&cluster), [4, 5]);
}

#[test]
fn what_a_replica_set_selects_is_adopted_and_released() {
    let mut cluster = Cluster::new(2);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: stray, labels: {app: web}}\nspec: {containers: [{name: a, image: nginx}]}\n";
    let set = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: web}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: a, image: nginx}]}\n";
    cluster.apply(pod);
    cluster.pass(2000);
    cluster.apply(set);
    cluster.pass(2000);
    let stray = cluster.get::<Pod>("stray");
    assert_eq!(stray.metadata.controller().map(|owner| owner.name.as_str()), Some("web"));
    assert_eq!(cluster.api.store().list::<Pod>().count(), 2);
    cluster.api.modify::<Pod>("default", "stray", |pod| {
        pod.metadata.labels = Some([("app".to_string(), "other".to_string())].into());
    });
    cluster.pass(2000);
    assert_eq!(cluster.get::<Pod>("stray").metadata.controller(), None);
    assert_eq!(cluster.api.store().list::<Pod>().count(), 3);
    // Taken back, there is one too many; the youngest goes.
    cluster.api.modify::<Pod>("default", "stray", |pod| {
        pod.metadata.labels = Some([("app".to_string(), "web".to_string())].into());
    });
    cluster.pass(5000);
    assert_eq!(cluster.api.store().list::<Pod>().count(), 2);
}

#[test]
fn a_replication_controller_is_a_replica_set_of_old() {
    let mut cluster = Cluster::new(2);
    cluster.apply("apiVersion: v1\nkind: ReplicationController\nmetadata: {name: old}\nspec:\n  replicas: 2\n  template:\n    metadata: {labels: {app: old}}\n    spec: {containers: [{name: a, image: nginx}]}\n");
    cluster.pass(3000);
    check(
        status::<ReplicationController>(&cluster, "old"),
        expect![[
            r#"{"availableReplicas":2,"fullyLabeledReplicas":2,"readyReplicas":2,"replicas":2}"#
        ]],
    );
    assert_eq!(cluster.nodes_of("old-"), "worker1: 1, worker2: 1");
}

#[test]
fn the_pods_that_serve_least_go_first() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(3, "nginx", ""));
    cluster.pass(3000);
    let names: Vec<String> =
        cluster.api.store().list::<Pod>().map(|pod| pod.metadata.name().to_string()).collect();
    cluster.api.modify::<Pod>("default", &names[1], |pod| {
        let cost = "controller.kubernetes.io/pod-deletion-cost".to_string();
        pod.metadata.annotations.get_or_insert_default().insert(cost, "-5".to_string());
    });
    cluster.apply(&deployment(2, "nginx", ""));
    cluster.pass(3000);
    assert!(cluster.api.store().get::<Pod>("default", &names[1]).is_none());
}

#[test]
fn what_is_refused_is_refused_once_and_then_later() {
    let mut cluster = Cluster::new(1);
    cluster.apply(
        &deployment(100, "nginx", "")
            .replace("spec: {containers", "spec: {priorityClassName: nope, containers"),
    );
    cluster.pass(1000);
    check(
        cluster.told(&["FailedCreate"]).lines().take(1).collect::<Vec<_>>().join(""),
        expect![[
            r#"Warning FailedCreate Error creating: pods "web-587b64d598-" is forbidden: no PriorityClass with name nope was found"#
        ]],
    );
    let count =
        cluster.api.store().list::<Event>().filter(|e| e.reason.as_deref() == Some("FailedCreate"));
    let counts: Vec<_> = count.map(|event| event.count).collect();
    check(format!("{counts:?}"), expect!["[Some(8)]"]);
    let conditions = cluster.get::<Deployment>("web").status.clone().unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|c| c.type_ == "ReplicaFailure" && c.status == "True"));
}

#[test]
fn many_like_events_are_told_as_one_and_none_lives_for_ever() {
    let mut cluster = Cluster::new(1);
    cluster.apply(&deployment(20, "nginx", ""));
    cluster.pass(2000);
    let created = cluster.told(&["SuccessfulCreate"]);
    assert_eq!(created.lines().count(), 10);
    let combined = created.lines().filter(|line| line.contains("(combined from similar events)"));
    assert_eq!(combined.count(), 1);
    for _ in 0..61 {
        cluster.pass(60_000);
    }
    assert_eq!(cluster.api.store().list::<Event>().count(), 0);
}

// ---- DaemonSets ------------------------------------------------------------------------------------------

fn daemon_set(image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  {more}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec: {{containers: [{{name: a, image: {image}}}]}}
"
    )
}

#[test]
fn a_daemon_set_with_a_surge_has_two_pods_on_a_node_for_a_while() {
    let mut cluster = Cluster::new(2);
    let surge = "updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    cluster.apply(&daemon_set("one", surge));
    cluster.pass(3000);
    cluster.apply(&daemon_set("two", surge));
    cluster.pass(500);
    check(
        cluster.show(),
        expect![[r#"
        pod on worker1 not ready
        pod on worker1 ready
        pod on worker2 ready"#]],
    );
    let mut fewest = 9;
    for _ in 0..1000 {
        cluster.pass(10);
        let ready =
            cluster.api.store().list::<Pod>().filter(|p| pods::is_ready(p) && pods::is_active(p));
        fewest = fewest.min(ready.count());
    }
    assert_eq!(fewest, 2);
    check(
        cluster.show(),
        expect![[r#"
        pod on worker1 ready
        pod on worker2 ready"#]],
    );
    check(
        status::<DaemonSet>(&cluster, "agent"),
        expect![[
            r#"{"currentNumberScheduled":2,"desiredNumberScheduled":2,"numberAvailable":2,"numberMisscheduled":0,"numberReady":2,"updatedNumberScheduled":2}"#
        ]],
    );
    let revisions: Vec<i64> =
        cluster.api.store().list::<ControllerRevision>().map(|r| r.revision).collect();
    assert_eq!(revisions.len(), 2);
}

#[test]
fn a_daemon_set_waits_for_its_pods_to_be_deleted_if_it_is_to() {
    let mut cluster = Cluster::new(1);
    cluster.apply(&daemon_set("one", "updateStrategy: {type: OnDelete}"));
    cluster.pass(3000);
    cluster.apply(&daemon_set("two", "updateStrategy: {type: OnDelete}"));
    cluster.pass(3000);
    let image = |cluster: &Cluster| {
        let pod = cluster.api.store().list::<Pod>().next().unwrap().clone();
        pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
    };
    assert_eq!(image(&cluster), "one");
    let name = cluster.api.store().list::<Pod>().next().unwrap().metadata.name().to_string();
    cluster.api.delete(Pod::id(), "default", &name, DeleteOptions::default(), cluster.now).unwrap();
    cluster.pass(5000);
    assert_eq!(image(&cluster), "two");
}

// ---- budgets ---------------------------------------------------------------------------------------------

#[test]
fn a_budget_refuses_what_it_cannot_bear() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(3, "nginx", ""));
    cluster.apply("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 2, selector: {matchLabels: {app: web}}}\n");
    cluster.pass(3000);
    check(
        status::<PodDisruptionBudget>(&cluster, "web"),
        expect![[
            r#"{"conditions":[{"lastTransitionTime":"2026-01-05T09:00:01Z","message":"","observedGeneration":1,"reason":"SufficientPods","status":"True","type":"DisruptionAllowed"}],"currentHealthy":3,"desiredHealthy":2,"disruptionsAllowed":1,"expectedPods":3}"#
        ]],
    );
    let names: Vec<String> =
        cluster.api.store().list::<Pod>().map(|pod| pod.metadata.name().to_string()).collect();
    let evict = |cluster: &mut Cluster, name: &str| {
        let now = cluster.now;
        let done =
            disruption::evict(&mut cluster.api, "default", name, DeleteOptions::default(), now);
        done.map_err(|status| status.message)
    };
    assert_eq!(evict(&mut cluster, &names[0]), Ok(()));
    let refused = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert_eq!(evict(&mut cluster, &names[1]), Err(refused.to_string()));
    cluster.pass(5000);
    assert_eq!(evict(&mut cluster, &names[1]), Ok(()));
    let marked = cluster.get::<Pod>(&names[1]);
    assert!(pods::condition(&marked, "DisruptionTarget").is_some());
}

#[test]
fn a_budget_in_percent_asks_what_controllers_want() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(5, "nginx", ""));
    cluster.apply("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {maxUnavailable: 30%, selector: {matchLabels: {app: web}}}\n");
    cluster.pass(3000);
    let status = cluster.get::<PodDisruptionBudget>("web").status.clone().unwrap();
    assert_eq!(
        (status.expected_pods, status.desired_healthy, status.disruptions_allowed),
        (5, 3, 2)
    );
}

#[test]
fn an_autoscaler_keeps_its_limits_and_finds_no_metrics() {
    let mut cluster = Cluster::new(2);
    cluster.apply(&deployment(1, "nginx", ""));
    cluster.apply("apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 2\n  maxReplicas: 4\n");
    cluster.pass(40_000);
    check(
        cluster.told(&[
            "SuccessfulRescale",
            "FailedGetResourceMetric",
            "FailedComputeMetricsReplicas",
        ]),
        expect![[r#"
            Normal SuccessfulRescale New size: 2; reason: Current number of replicas below Spec.MinReplicas
            Warning FailedGetResourceMetric failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
            Warning FailedComputeMetricsReplicas invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"#]],
    );
    assert_eq!(cluster.api.store().list::<Pod>().count(), 2);
}

#[test]
fn numbers_of_a_job_fail_each_for_themselves() {
    let mut cluster = Cluster::new(2);
    let job = "apiVersion: batch/v1
kind: Job
metadata: {name: each}
spec:
  completions: 3
  parallelism: 3
  completionMode: Indexed
  backoffLimitPerIndex: 1
  template:
    metadata: {labels: {ends: bad}}
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
";
    cluster.apply(job);
    cluster.pass(30_000);
    check(
        cluster.job("each"),
        expect![[r#"
        succeeded null null failed 6 "0-2"
        FailureTarget FailedIndexes: Job has failed indexes
        Failed FailedIndexes: Job has failed indexes"#]],
    );
    // One number too many ends all.
    let more =
        job.replace("each", "few").replace("  template", "  maxFailedIndexes: 0\n  template");
    cluster.apply(&more);
    cluster.pass(30_000);
    check(
        cluster.job("few"),
        expect![[r#"
        succeeded null null failed 6 "0-2"
        FailureTarget MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes
        Failed MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes"#]],
    );
}

#[test]
fn a_job_is_done_when_those_that_matter_have_succeeded() {
    let mut cluster = Cluster::new(2);
    cluster.apply(
        "apiVersion: batch/v1
kind: Job
metadata: {name: lead}
spec:
  completions: 4
  parallelism: 1
  completionMode: Indexed
  successPolicy: {rules: [{succeededIndexes: \"2-3\"}, {succeededIndexes: \"0-2\", succeededCount: 2}]}
  template:
    metadata: {labels: {ends: ok}}
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
",
    );
    cluster.pass(30_000);
    check(
        cluster.job("lead"),
        expect![[r#"
        succeeded 2 "0,1" failed null null
        SuccessCriteriaMet SuccessPolicy: Matched rules at index 1
        Complete SuccessPolicy: Matched rules at index 1"#]],
    );
}
