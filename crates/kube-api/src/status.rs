//! Answers of the API server that say no (`apimachinery/pkg/api/errors/errors.go`).

use std::fmt;

/// Why the API server says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Machine-readable reason.
    pub reason: Reason,
    /// Human-readable message.
    pub message: String,
    /// For an invalid object, what is wrong with it.
    pub invalid: Option<Invalid>,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// `Service`
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong, each once.
    pub causes: Vec<FieldError>,
}

/// Machine-readable reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 400
    BadRequest,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 409
    AlreadyExists,
    /// 409
    Conflict,
    /// 422
    Invalid,
    /// 415
    UnsupportedMediaType,
    /// 429
    TooManyRequests,
    /// 500
    InternalError,
    /// 500, for an error that has no reason of its own
    Unknown,
}

impl Reason {
    /// As it stands in the status object and in kubectl's message.
    pub fn name(self) -> &'static str {
        match self {
            Reason::BadRequest => "BadRequest",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::InternalError => "InternalError",
            Reason::Invalid => "Invalid",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::Unknown => "",
        }
    }
}

impl fmt::Display for Status {
    /// As kubectl prints it when it is the only thing that went wrong (`kubectl/pkg/cmd/util/helpers.go`,
    /// `checkErr`): invalid objects with a line a cause, everything else as `Error from server (Reason)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Invalid { kind, name, causes }) = &self.invalid else {
            if self.reason == Reason::Invalid {
                return write!(f, "The request is invalid: {}", self.message);
            }
            return f.write_str(&self.in_list());
        };
        write!(f, "The {kind} {name:?} is invalid: ")?;
        match causes.as_slice() {
            [one] => write!(f, "{one}"),
            many => many.iter().try_for_each(|cause| write!(f, "\n* {cause}")),
        }
    }
}

impl Status {
    /// As kubectl prints it among other things that went wrong.
    pub fn in_list(&self) -> String {
        match self.reason {
            Reason::Unknown => format!("Error from server: {}", self.message),
            reason => format!("Error from server ({}): {}", reason.name(), self.message),
        }
    }

    /// With `prefix` before the message, as kubectl says what it was doing.
    pub fn while_doing(mut self, prefix: &str) -> Status {
        self.message = format!("{prefix}: {}", self.message);
        self
    }
}

/// `deployments.apps`, or `pods` in the core group.
pub fn resource_name(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_string() } else { format!("{plural}.{group}") }
}

impl Status {
    fn new(reason: Reason, message: String) -> Status {
        Status { reason, message, invalid: None }
    }

    /// `pods "nope" not found`
    pub fn not_found(resource: &str, name: &str) -> Status {
        Status::new(Reason::NotFound, format!("{resource} {name:?} not found"))
    }

    /// `services "web" already exists`
    pub fn already_exists(resource: &str, name: &str) -> Status {
        Status::new(Reason::AlreadyExists, format!("{resource} {name:?} already exists"))
    }

    /// Somebody else has changed the object since it was read.
    pub fn conflict(resource: &str, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::unfulfilled(resource, name, why)
    }

    /// The object is not, or no longer, what the request is about.
    pub fn unfulfilled(resource: &str, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Status::new(Reason::Conflict, message)
    }

    /// Other managers have a say in fields that were applied.
    pub fn apply_conflict(message: String) -> Status {
        Status::new(Reason::Conflict, message)
    }

    /// An error of which the server says nothing but its text.
    pub fn unknown(message: impl Into<String>) -> Status {
        Status::new(Reason::Unknown, message.into())
    }

    /// The request cannot be carried out as it is; what is wrong with it, the server keeps to itself.
    pub fn rejected() -> Status {
        let text = "the server rejected our request due to an error in our request";
        Status::new(Reason::Invalid, text.to_string())
    }

    /// Objects of this kind take no such patches.
    pub fn unsupported_patch() -> Status {
        let text = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/apply-patch+cbor";
        Status::new(Reason::UnsupportedMediaType, text.to_string())
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message.into())
    }

    /// Not allowed.
    pub fn forbidden(resource: &str, name: &str, why: &str) -> Status {
        Status::new(Reason::Forbidden, format!("{resource} {name:?} is forbidden: {why}"))
    }

    /// Not now.
    pub fn too_many_requests(message: impl Into<String>) -> Status {
        Status::new(Reason::TooManyRequests, message.into())
    }

    /// The server cannot do that.
    pub fn internal(message: impl Into<String>) -> Status {
        Status::new(Reason::InternalError, message.into())
    }

    /// The object is not valid.
    pub fn invalid(kind: &str, group: &str, name: &str, errors: Vec<FieldError>) -> Status {
        let mut causes: Vec<FieldError> = Vec::new();
        for error in errors {
            if !causes.contains(&error) {
                causes.push(error);
            }
        }
        let texts: Vec<String> = causes.iter().map(FieldError::to_string).collect();
        let what = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        let message = format!("{qualified} {name:?} is invalid: {what}");
        let (kind, name) = (kind.to_string(), name.to_string());
        Status { reason: Reason::Invalid, message, invalid: Some(Invalid { kind, name, causes }) }
    }
}

/// A text in quotes, as Go writes it with `%q`: what cannot be printed as `\u00a0`.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c == ' ' || !(c.is_control() || c.is_whitespace() || is_unseen(c)) => {
                quoted.push(c)
            }
            c if u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}')
}

/// Something that is wrong with a field (`apimachinery/pkg/util/validation/field/errors.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field.
    pub field: String,
    /// `Invalid value: 80: must be …`
    pub body: String,
}

impl FieldError {
    /// Must be there.
    pub fn required(field: impl Into<String>, detail: &str) -> FieldError {
        let body = match detail {
            "" => "Required value".to_string(),
            detail => format!("Required value: {detail}"),
        };
        FieldError { field: field.into(), body }
    }

    /// Is wrong; `value` as it is to be shown (texts in quotes).
    pub fn invalid(field: impl Into<String>, value: impl fmt::Display, detail: &str) -> FieldError {
        FieldError { field: field.into(), body: format!("Invalid value: {value}: {detail}") }
    }

    /// Is there twice.
    pub fn duplicate(field: impl Into<String>, value: impl fmt::Display) -> FieldError {
        FieldError { field: field.into(), body: format!("Duplicate value: {value}") }
    }

    /// Is none of the values it may have.
    pub fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> FieldError {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let (value, supported) = (quoted(value), supported.join(", "));
        let body = format!("Unsupported value: {value}: supported values: {supported}");
        FieldError { field: field.into(), body }
    }

    /// May not be there.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError { field: field.into(), body: format!("Forbidden: {detail}") }
    }

    /// Is too long.
    pub fn too_long(field: impl Into<String>, max: usize) -> FieldError {
        let body = format!("Too long: may not be more than {max} bytes");
        FieldError { field: field.into(), body }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}
