//! Other spellings of a good answer of the API.

use serde_json::{Map, Value, json};

use super::FaultKind;

/// Spells an answer differently; gives `None` for a fault of another sort.
#[must_use]
pub fn reshaped(kind: FaultKind, answer: &Value) -> Option<Value> {
    use FaultKind as F;
    let export = answer["value"][0].clone();
    Some(match kind {
        F::ShapeCapital => renamed(answer, &|name| {
            let (first, rest) = name.split_at(1);
            first.to_uppercase() + rest
        }),
        F::ShapeLower => renamed(answer, &str::to_lowercase),
        F::ShapeObject => changed(answer, |whole| whole["value"] = export.clone()),
        F::ShapeArray => json!([export]),
        F::ShapeBare => export,
        F::ShapeExtra => changed(answer, |whole| {
            whole["@odata.context"] = json!("https://api.partner.microsoft.com/v1.0/payouts/$metadata");
            let one = &mut whole["value"][0];
            one["processingStartDateTime"] = one["requestDateTime"].clone();
            one["priority"] = json!({"lane": 3, "tags": ["a", null]});
        }),
        F::ShapeMissing => {
            let mut one = Map::new();
            for name in ["requestId", "status", "blobLocation"] {
                if export[name] != "" {
                    one.insert(name.to_owned(), export[name].clone());
                }
            }
            json!({"value": [one]})
        }
        F::ShapeNull => changed(answer, |whole| {
            for value in whole["value"][0].as_object_mut().into_iter().flat_map(Map::values_mut) {
                if *value == "" {
                    *value = Value::Null;
                }
            }
        }),
        F::StatusUpper => changed(answer, |whole| {
            let word = export["status"].as_str().unwrap_or_default().to_uppercase();
            whole["value"][0]["status"] = word.into();
        }),
        _ => return None,
    })
}

fn changed(answer: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut answer = answer.clone();
    change(&mut answer);
    answer
}

/// The same with other names of fields, at every depth.
fn renamed(value: &Value, rename: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (rename(name), renamed(value, rename))).collect()
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, rename)).collect(),
        other => other.clone(),
    }
}
