//! Other spellings of a good answer of the API.

use serde_json::{Map, Value, json};

use super::FaultKind;

/// Spells an answer differently: what is in the export first, then what is around it, then the names. `hit` tells
/// whether a fault hits.
#[must_use]
pub fn reshaped(answer: Value, hit: impl Fn(FaultKind) -> bool) -> Value {
    use FaultKind as F;
    let mut answer = answer;
    let Some(export) = answer.pointer_mut("/value/0").and_then(Value::as_object_mut) else {
        return answer;
    };
    if hit(F::StatusUpper) {
        let word = export["status"].as_str().unwrap_or_default().to_uppercase();
        export.insert("status".to_owned(), word.into());
    }
    if hit(F::ShapeExtra) {
        export.insert("processingStartDateTime".to_owned(), export["requestDateTime"].clone());
        export.insert("priority".to_owned(), json!({"lane": 3, "tags": ["a", null]}));
    }
    let missing = hit(F::ShapeMissing);
    if missing {
        let kept = |name: &str| ["requestId", "status", "blobLocation"].contains(&name);
        export.retain(|name, value| kept(name) && *value != "");
    }
    if hit(F::ShapeNull) {
        export.values_mut().filter(|value| **value == "").for_each(|value| *value = Value::Null);
    }
    let export = Value::Object(export.clone());
    if missing {
        answer = json!({"value": [export]});
    }
    let mut answer = if hit(F::ShapeObject) {
        answer["value"] = export;
        answer
    } else if hit(F::ShapeArray) {
        json!([export])
    } else if hit(F::ShapeBare) {
        export
    } else {
        answer
    };
    if hit(F::ShapeCapital) {
        answer = renamed(&answer, &|name| {
            let (first, rest) = name.split_at(1);
            first.to_uppercase() + rest
        });
    }
    if hit(F::ShapeLower) {
        answer = renamed(&answer, &str::to_lowercase);
    }
    answer
}

/// The same with other names of fields, at every depth.
fn renamed(value: &Value, rename: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: Map<String, Value> =
                fields.iter().map(|(name, value)| (rename(name), renamed(value, rename))).collect();
            Value::Object(fields)
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, rename)).collect(),
        other => other.clone(),
    }
}
