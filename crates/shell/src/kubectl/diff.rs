//! `kubectl diff`: what applying would change, as `diff -u -N` prints it (`kubectl/pkg/cmd/diff`).

use kube_api::object::time;
use kube_api::patch::LAST_APPLIED;
use kube_api::{Patch, Status};
use serde_json::Value;

use super::apply::{annotated, as_patch, each, patch_for};
use super::kube::{Fail, Kube, error};
use super::manifest::{Manifest, Wrong};
use super::output::{Told, shown};
use crate::flags::Args;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Longer tables of lines are not compared; everything between the ends that are equal is then shown as changed.
const CELLS_MAX: usize = 4_000_000;

/// `kubectl diff -f …`
pub(crate) async fn run(kube: &Kube<'_>, args: &Args) -> Result<i32, Fail> {
    if args.all("filename").is_empty() && args.get("kustomize").is_none() {
        return Err(error("must specify one of -f and -k"));
    }
    let on_server = args.is_on("server-side");
    let manager = if on_server { "kubectl" } else { "kubectl-client-side-apply" };
    let told = Told::new(kube, args, manager)?;
    let mut differs = false;
    // Directories have names that nobody else has.
    let number = kube.now().as_micros().wrapping_mul(2_654_435_761) % 4_294_967_296;
    let code = each(kube, args, "", async |manifest: &Manifest| {
        let (live, merged) = match states(kube, args, &told, manifest, on_server)? {
            Ok(states) => states,
            Err(status) => {
                let doing = format!("error when creating {:?}", manifest.file);
                return Ok(Err(Wrong::refused(status, &doing, String::new())));
            }
        };
        let texts = [live, merged].map(|value| value.map(|value| super::yaml::print(&value)));
        let [old, new] = texts.each_ref().map(|text| lines(text.as_deref().unwrap_or_default()));
        let hunks = unified(&old, &new);
        if !hunks.is_empty() {
            differs = true;
            let name = file_name(manifest);
            let [from, to] =
                [format!("/tmp/LIVE-{number}/{name}"), format!("/tmp/MERGED-{number}/{name}")];
            let stamp = stamp(kube);
            let text =
                format!("diff -u -N {from} {to}\n--- {from}\t{stamp}\n+++ {to}\t{stamp}\n{hunks}");
            kube.out(text).await?;
        }
        Ok(Ok(()))
    })
    .await?;
    Ok(if code != 0 { 2 } else { i32::from(differs) })
}

fn file_name(manifest: &Manifest) -> String {
    let kind = &manifest.kind;
    let group = if kind.group.is_empty() { String::new() } else { format!("{}.", kind.group) };
    format!("{group}{}.{}.{}.{}", kind.version, kind.kind, manifest.namespace, manifest.name)
}

/// `2026-01-05 09:00:01.000000000 +0000`
fn stamp(kube: &Kube<'_>) -> String {
    let text = time(kube.now()).to_string();
    let day = text.get(..10).unwrap_or_default();
    let time = text.get(11..19).unwrap_or_default();
    format!("{day} {time}.{:09} +0000", kube.now().as_micros() % 1_000_000 * 1000)
}

type States = (Option<Value>, Option<Value>);

/// What is there, and what would be there.
fn states(
    kube: &Kube<'_>,
    args: &Args,
    told: &Told<'_>,
    manifest: &Manifest,
    on_server: bool,
) -> Result<Result<States, Status>, Fail> {
    let request = told.request().dry(true);
    let (kind, namespace, name) = (manifest.kind.id, &manifest.namespace, &manifest.name);
    let states = kube.api(|api| {
        let live = api.store().get_any(kind, namespace, name).cloned();
        let merged = match &live {
            _ if on_server => {
                let force = args.is_on("force-conflicts");
                let patch = Patch::Apply { config: manifest.value.clone(), force };
                api.patch(kind, namespace, name, &patch, &request)?
            }
            None => {
                let object = api.object(kind, annotated(manifest))?;
                api.create_for(object, &request)?
            }
            Some(live) => {
                let patch = as_patch(manifest, patch_for(manifest, live)?);
                api.patch(kind, namespace, name, &patch, &request)?
            }
        };
        let (live, mut merged) = (live.map(|live| live.to_value()), merged.to_value());
        if !on_server {
            keep_note(live.as_ref(), &mut merged);
        }
        Ok((live, Some(merged)))
    })?;
    let shows_managers = args.is_on("show-managed-fields");
    Ok(states.map(|(live, merged): States| {
        let (mut live, mut merged) =
            (live.map(|v| shown(v, shows_managers)), merged.map(|v| shown(v, shows_managers)));
        if manifest.kind.kind == "Secret" {
            mask(live.as_mut(), merged.as_mut());
        }
        (live, merged)
    }))
}

/// What would be noted as applied is not part of what is compared.
fn keep_note(live: Option<&Value>, merged: &mut Value) {
    let note = live.and_then(|live| live.pointer("/metadata/annotations")?.get(LAST_APPLIED));
    let all = merged.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(all) = all else { return };
    match note {
        Some(note) => all.insert(LAST_APPLIED.to_string(), note.clone()),
        None => all.remove(LAST_APPLIED),
    };
    if all.is_empty()
        && let Some(meta) = merged.pointer_mut("/metadata").and_then(Value::as_object_mut)
    {
        meta.remove("annotations");
    }
}

/// Secrets are not shown, only whether they change (`masker`).
fn mask(live: Option<&mut Value>, merged: Option<&mut Value>) {
    let mut none = (Value::Null, Value::Null);
    let live = live.unwrap_or(&mut none.0).pointer_mut("/data").and_then(Value::as_object_mut);
    let merged = merged.unwrap_or(&mut none.1).pointer_mut("/data").and_then(Value::as_object_mut);
    let (mut empty, mut nothing) = Default::default();
    let (live, merged) = (live.unwrap_or(&mut empty), merged.unwrap_or(&mut nothing));
    for (key, old) in live.iter_mut() {
        let new = merged.get_mut(key);
        let (before, after) = match &new {
            Some(new) if **new != *old => ("*** (before)", "*** (after)"),
            _ => ("***", "***"),
        };
        *old = before.into();
        if let Some(new) = new {
            *new = after.into();
        }
    }
    for (key, new) in merged.iter_mut() {
        if !live.contains_key(key) {
            *new = "***".into();
        }
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// A line that both have, or one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Both,
    Old,
    New,
}

/// The hunks of a unified diff; nothing where there is no difference.
fn unified(old: &[&str], new: &[&str]) -> String {
    let script = script(old, new);
    let changes: Vec<usize> =
        (0..script.len()).filter(|at| script.get(*at) != Some(&Line::Both)).collect();
    let mut text = String::new();
    let mut rest = changes.as_slice();
    while let [first, more @ ..] = rest {
        // Changes that are close to each other stand in one hunk.
        let mut last = *first;
        let mut count = 0;
        for at in more {
            if at - last > 2 * CONTEXT + 1 {
                break;
            }
            last = *at;
            count += 1;
        }
        rest = more.get(count..).unwrap_or_default();
        let from = first.saturating_sub(CONTEXT);
        let to = (last + CONTEXT + 1).min(script.len());
        hunk(old, new, &script, from..to, &mut text);
    }
    text
}

fn hunk(
    old: &[&str],
    new: &[&str],
    script: &[Line],
    part: std::ops::Range<usize>,
    text: &mut String,
) {
    let count = |lines: &[Line], not: Line| lines.iter().filter(|line| **line != not).count();
    let (before, inside) = script.split_at(part.start);
    let inside = inside.get(..part.len()).unwrap_or_default();
    let (mut a, mut b) = (count(before, Line::New), count(before, Line::Old));
    let range = |start: usize, len: usize| match len {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        len => format!("{},{len}", start + 1),
    };
    let (olds, news) = (count(inside, Line::New), count(inside, Line::Old));
    text.push_str(&format!("@@ -{} +{} @@\n", range(a, olds), range(b, news)));
    for line in inside {
        let (mark, content) = match line {
            Line::Both => (' ', old.get(a)),
            Line::Old => ('-', old.get(a)),
            Line::New => ('+', new.get(b)),
        };
        text.push(mark);
        text.push_str(content.copied().unwrap_or_default());
        text.push('\n');
        a += usize::from(*line != Line::New);
        b += usize::from(*line != Line::Old);
    }
}

/// The shortest way from the old lines to the new ones, what goes before what comes.
fn script(old: &[&str], new: &[&str]) -> Vec<Line> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let old = old.get(..old.len() - tail).unwrap_or_default();
    let new = new.get(..new.len() - tail).unwrap_or_default();
    let mut script = vec![Line::Both; head];
    if (old.len() + 1).saturating_mul(new.len() + 1) > CELLS_MAX {
        script.extend(vec![Line::Old; old.len()]);
        script.extend(vec![Line::New; new.len()]);
    } else {
        between(old, new, &mut script);
    }
    script.extend(vec![Line::Both; tail]);
    script
}

fn between(old: &[&str], new: &[&str], script: &mut Vec<Line>) {
    let width = new.len() + 1;
    // The longest common part of what follows each pair of places.
    let mut common = vec![0u32; (old.len() + 1) * width];
    let at = |common: &[u32], a: usize, b: usize| common.get(a * width + b).copied().unwrap_or(0);
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            let best = if old.get(a) == new.get(b) {
                at(&common, a + 1, b + 1) + 1
            } else {
                at(&common, a + 1, b).max(at(&common, a, b + 1))
            };
            if let Some(cell) = common.get_mut(a * width + b) {
                *cell = best;
            }
        }
    }
    let (mut a, mut b) = (0, 0);
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old.get(a) == new.get(b) {
            script.push(Line::Both);
            (a, b) = (a + 1, b + 1);
        } else if b >= new.len()
            || (a < old.len() && at(&common, a + 1, b) >= at(&common, a, b + 1))
        {
            script.push(Line::Old);
            a += 1;
        } else {
            script.push(Line::New);
            b += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn hunks_are_those_of_diff() {
        let old = lines("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np");
        let new = lines("a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\nO\nO\np");
        expect![[r#"
            @@ -1,5 +1,5 @@
             a
            -b
            +B
             c
             d
             e
            @@ -12,5 +12,6 @@
             l
             m
             n
            -o
            +O
            +O
             p
        "#]]
        .assert_eq(&unified(&old, &new));
        expect![[r#"
            @@ -0,0 +1,2 @@
            +x
            +y
        "#]]
        .assert_eq(&unified(&[], &["x", "y"]));
        assert_eq!(unified(&old, &old), "");
    }
}
