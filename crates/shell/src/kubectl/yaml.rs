//! Objects as YAML, as kubectl prints them: keys sorted, go-yaml's quoting.

use kube_api::node::NodeKind;
use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};
use serde_json::Value;

/// A value as a YAML document.
pub(crate) fn print(value: &Value) -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail; what was written so far would be shown if it did.
    let _ = emit(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn emit(value: &Value, out: &mut Vec<u8>) -> Result<(), libyaml_safer::Error> {
    let mut emitter = Emitter::new();
    let mut sink: &mut dyn std::io::Write = out;
    emitter.set_output(&mut sink);
    emitter.set_unicode(true);
    emitter.set_width(80);
    emitter.emit(Event::stream_start(Encoding::Utf8))?;
    emitter.emit(Event::document_start(None, &[], true))?;
    node(&mut emitter, value)?;
    emitter.emit(Event::document_end(true))?;
    emitter.emit(Event::stream_end())?;
    emitter.flush()
}

fn node(emitter: &mut Emitter<'_>, value: &Value) -> Result<(), libyaml_safer::Error> {
    match value {
        Value::Null => scalar(emitter, "null", ScalarStyle::Plain),
        Value::Bool(value) => scalar(emitter, &value.to_string(), ScalarStyle::Plain),
        Value::Number(number) => scalar(emitter, &number.to_string(), ScalarStyle::Plain),
        Value::String(text) => string(emitter, text),
        Value::Array(items) => {
            let style = if items.is_empty() { SequenceStyle::Flow } else { SequenceStyle::Block };
            emitter.emit(Event::sequence_start(None, None, true, style))?;
            items.iter().try_for_each(|item| node(emitter, item))?;
            emitter.emit(Event::sequence_end())
        }
        Value::Object(fields) => {
            let style = if fields.is_empty() { MappingStyle::Flow } else { MappingStyle::Block };
            emitter.emit(Event::mapping_start(None, None, true, style))?;
            for (name, value) in fields {
                string(emitter, name)?;
                node(emitter, value)?;
            }
            emitter.emit(Event::mapping_end())
        }
    }
}

fn string(emitter: &mut Emitter<'_>, text: &str) -> Result<(), libyaml_safer::Error> {
    let style = if text.contains('\n') {
        ScalarStyle::Literal
    } else if means_something_else(text) {
        ScalarStyle::DoubleQuoted
    } else {
        ScalarStyle::Plain
    };
    scalar(emitter, text, style)
}

fn scalar(
    emitter: &mut Emitter<'_>,
    text: &str,
    style: ScalarStyle,
) -> Result<(), libyaml_safer::Error> {
    emitter.emit(Event::scalar(None, None, text, true, true, style))
}

/// Without quotes the text would be read as a number, a switch, nothing, a date or a time.
fn means_something_else(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let is_date = text.len() >= 10
        && text.bytes().take(4).all(|b| b.is_ascii_digit())
        && text.as_bytes().get(4) == Some(&b'-');
    let is_base_60 = text.contains(':')
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'-' | b'+' | b'_'));
    if is_date || is_base_60 {
        return true;
    }
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'_' | b'~'));
    if !plain {
        return false;
    }
    let documents = kube_api::yaml::documents(text);
    let content = documents.into_iter().next().map(|document| document.content);
    match content {
        Some(Ok(Some(node))) => !matches!(node.kind, NodeKind::String(_)),
        // A document that says nothing: `null`, `~`.
        Some(Ok(None)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn quotes_where_go_yaml_puts_them() {
        let value = serde_json::json!({
            "number": 5, "text": "5", "yes": "true", "nothing": "", "null": "null", "date": "2026-01-05T09:00:00Z",
            "lines": "a\nb\n", "colon": "a: b", "list": [{"name": "x", "more": [1, 2]}, "y"], "empty": {}, "none": [],
            "star": "*", "time": "10:30", "address": "10.96.0.1", "image": "nginx:1.27",
        });
        expect![[r#"
            address: 10.96.0.1
            colon: 'a: b'
            date: "2026-01-05T09:00:00Z"
            empty: {}
            image: nginx:1.27
            lines: |
              a
              b
            list:
            - more:
              - 1
              - 2
              name: x
            - "y"
            none: []
            nothing: ""
            "null": "null"
            number: 5
            star: '*'
            text: "5"
            time: "10:30"
            "yes": "true"
        "#]]
        .assert_eq(&print(&value));
    }
}
