//! What of it may they see?
//! Given a shape and the partner's bytes, hands back the bytes without personal data.
//! Never passes on what it does not understand: a field the documented shape lacks is withheld and counted.

use serde_json::{Map, Value};

use crate::account_api::{Endpoint, Field, Kind, shape};

/// A document that is not of the documented shape: nothing of it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the document is not of the documented shape")]
pub struct NotUnderstood;

/// A projection.
#[derive(Debug, PartialEq, Eq)]
pub struct Projected {
    /// The narrowed document.
    pub bytes: Vec<u8>,
    /// Fields that were withheld because no shape knows them.
    pub unknown: u32,
}

/// The document with every personal string empty and every unknown field left out.
///
/// # Errors
/// [`NotUnderstood`] if a documented field has another type than documented.
pub fn without_personal(endpoint: Endpoint, bytes: &[u8]) -> Result<Projected, NotUnderstood> {
    let document: Value = serde_json::from_slice(bytes).map_err(|_| NotUnderstood)?;
    let mut unknown = 0;
    let member = shape(endpoint).member;
    let whole = object(&[member], document, &mut unknown)?;
    if whole.get(member.name).is_none() {
        return Err(NotUnderstood);
    }
    let bytes = serde_json::to_vec(&whole).map_err(|_| NotUnderstood)?;
    Ok(Projected { bytes, unknown })
}

fn object(fields: &[Field], value: Value, unknown: &mut u32) -> Result<Value, NotUnderstood> {
    let Value::Object(members) = value else { return Err(NotUnderstood) };
    let mut seen = Map::new();
    for (name, value) in members {
        match fields.iter().find(|field| field.name == name) {
            Some(field) => drop(seen.insert(name, narrowed(field, value, unknown)?)),
            None => *unknown += 1,
        }
    }
    Ok(Value::Object(seen))
}

fn narrowed(field: &Field, value: Value, unknown: &mut u32) -> Result<Value, NotUnderstood> {
    match (field.kind, value) {
        // Whatever a personal field holds, and be it null, it reads the same.
        _ if field.personal => Ok(Value::String(String::new())),
        (Kind::Object(fields), value @ Value::Object(_)) => object(fields, value, unknown),
        (Kind::Rows(fields), Value::Array(rows)) => {
            let rows = rows.into_iter().map(|row| object(fields, row, unknown));
            rows.collect::<Result<_, _>>().map(Value::Array)
        }
        (Kind::StringArray, Value::Array(items)) if items.iter().all(Value::is_string) => Ok(Value::Array(items)),
        (Kind::Bool, value @ Value::Bool(_))
        | (Kind::Integer, value @ Value::Number(_))
        | (Kind::String | Kind::NullableString, value @ Value::String(_))
        // The document calls these strings; a partner that has nothing to say says null.
        | (Kind::String | Kind::NullableString, value @ Value::Null) => Ok(value),
        _ => Err(NotUnderstood),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(email: &str, extra: Value) -> Vec<u8> {
        let information = json!({"first_name": email, "shoe_size": extra});
        let client = json!({"id": "a", "email": email, "client_information": information, "projects": ["p"], "is_test_account": extra});
        serde_json::to_vec(&json!({ "client": client })).unwrap()
    }

    #[test]
    fn documents_that_differ_only_in_what_is_hidden_look_the_same() {
        let one = without_personal(Endpoint::Client, &client("bill@example.org", json!(1))).unwrap();
        let two = without_personal(Endpoint::Client, &client("melinda@example.org", json!({"deep": [2]}))).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.unknown, 2);
        let text = String::from_utf8(one.bytes).unwrap();
        assert_eq!(text, r#"{"client":{"client_information":{"first_name":""},"email":"","id":"a","projects":["p"]}}"#);
    }

    #[test]
    fn a_shape_that_is_not_understood_is_not_shown() {
        for odd in [r#"{"client":[]}"#, r#"{"klient":{}}"#, "[]", r#"{"client":{"id":{}}}"#, r#"{"client":{"id":1"#] {
            assert_eq!(without_personal(Endpoint::Client, odd.as_bytes()), Err(NotUnderstood), "{odd}");
        }
    }
}
