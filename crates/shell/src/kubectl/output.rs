//! What a verb that changes objects says: a line for each, or the objects themselves (`-o`); and the request it
//! makes.

use kube_api::{AnyObject, KindInfo, Request, Status};
use serde_json::{Value, json};

use super::jsonpath::Template;
use super::kube::{Fail, Kube, error};
use crate::flags::Args;

/// `--dry-run`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DryRun {
    No,
    Client,
    Server,
}

impl DryRun {
    pub(crate) fn of(args: &Args) -> Result<DryRun, Fail> {
        match args.get("dry-run") {
            None | Some("none") => Ok(DryRun::No),
            Some("client" | "unchanged") => Ok(DryRun::Client),
            Some("server") => Ok(DryRun::Server),
            Some(other) => Err(error(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// ` (dry run)`
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            DryRun::No => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// What is said about the objects of one command.
pub(crate) struct Told<'a> {
    kube: &'a Kube<'a>,
    manager: String,
    pub(crate) dry_run: DryRun,
    output: Option<String>,
    template: Option<Template>,
    shows_managers: bool,
    objects: Vec<Value>,
}

impl<'a> Told<'a> {
    /// For a verb that goes by the name `manager` unless `--field-manager` says otherwise.
    pub(crate) fn new(kube: &'a Kube<'a>, args: &Args, manager: &str) -> Result<Told<'a>, Fail> {
        let output = args.get("output").filter(|output| !output.is_empty()).map(str::to_string);
        let known = [None, Some("name"), Some("yaml"), Some("json")];
        let template = output.as_deref().and_then(|output| output.strip_prefix("jsonpath="));
        let template = template.map(|text| {
            Template::parse(text)
                .map_err(|why| error(format!("error parsing jsonpath {text}, {why}")))
        });
        let template = template.transpose()?;
        if template.is_none() && !known.contains(&output.as_deref()) {
            let output = output.unwrap_or_default();
            return Err(kube.unsupported(&format!("-o {output} here")));
        }
        Ok(Told {
            kube,
            manager: args.get("field-manager").unwrap_or(manager).to_string(),
            dry_run: DryRun::of(args)?,
            output,
            template,
            shows_managers: args.is_on("show-managed-fields"),
            objects: Vec::new(),
        })
    }

    /// The same without a word.
    pub(crate) fn silent(&self) -> Told<'a> {
        Told {
            kube: self.kube,
            manager: self.manager.clone(),
            dry_run: self.dry_run,
            output: Some(String::new()),
            template: None,
            shows_managers: false,
            objects: Vec::new(),
        }
    }

    /// The request that this verb makes.
    pub(crate) fn request(&self) -> Request<'_> {
        let request = Request::new(&self.manager, self.kube.now());
        request.dry(self.dry_run == DryRun::Server)
    }

    /// Says what has become of an object.
    pub(crate) async fn tell(
        &mut self,
        kind: &KindInfo,
        object: &Value,
        what: &str,
    ) -> Result<(), Fail> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let name = kind.object_name(name);
        match self.output.as_deref() {
            None => {
                let suffix = self.dry_run.suffix();
                self.kube.out(format!("{name} {what}{suffix}\n")).await
            }
            Some("name") => self.kube.out(format!("{name}\n")).await,
            Some(_) => {
                self.objects.push(shown(object.clone(), self.shows_managers));
                Ok(())
            }
        }
    }

    /// Shows the objects that were told about, one as it is, several as a list.
    pub(crate) async fn end(self) -> Result<(), Fail> {
        let value = match self.objects.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => json!({"apiVersion": "v1", "items": many, "kind": "List", "metadata": {}}),
        };
        let text = match &self.template {
            Some(template) => template
                .fill(&value)
                .map_err(|why| error(format!("error executing jsonpath: {why}")))?,
            None => text(&value, self.output.as_deref() == Some("yaml")),
        };
        self.kube.out(text).await
    }
}

fn text(value: &Value, as_yaml: bool) -> String {
    if as_yaml { super::yaml::print(value) } else { super::get::json_text(value) }
}

/// An object as it is shown: who manages its fields only if that was asked for.
pub(crate) fn shown(mut value: Value, shows_managers: bool) -> Value {
    if let (false, Some(meta)) = (shows_managers, value.get_mut("metadata")) {
        meta.as_object_mut().map(|meta| meta.remove(kube_api::managed::MANAGED_FIELDS));
    }
    value
}

/// Changes an object; says what it has done, or nothing if there is nothing to be done.
pub(crate) type Change<'a> =
    dyn FnMut(&KindInfo, &mut Value) -> Result<Option<&'static str>, Fail> + 'a;

/// Changes objects one by one, and says what has become of them.
pub(crate) async fn change_all(
    kube: &Kube<'_>,
    told: &mut Told<'_>,
    found: &[(KindInfo, AnyObject)],
    change: &mut Change<'_>,
) -> Result<i32, Fail> {
    let mut code = 0;
    for (kind, object) in found {
        let mut value = object.to_value();
        let what = match change(kind, &mut value) {
            Ok(Some(what)) => what,
            Ok(None) => continue,
            Err(Fail::Message(text)) => {
                kube.err(format!("{text}\n")).await?;
                code = 1;
                continue;
            }
            Err(other) => return Err(other),
        };
        let done: Result<Value, Status> = kube.api(|api| {
            let changed = api.object(kind.id, value)?;
            if told.dry_run == DryRun::Client {
                return Ok(changed.to_value());
            }
            Ok(api.update_for(changed, &told.request())?.to_value())
        })?;
        match done {
            Ok(value) => told.tell(kind, &value, what).await?,
            Err(status) => {
                kube.err(format!("{status}\n")).await?;
                code = 1;
            }
        }
    }
    Ok(code)
}
