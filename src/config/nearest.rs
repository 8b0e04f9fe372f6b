//! "Did you mean": the nearest known name.

/// The hint for serde's "unknown field `x`, expected one of `a`, `b`" and the like.
pub(super) fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("missing field") {
        let key = quoted.next()?;
        return Some(format!("add the key `{key}`; `pipelines/partner-center.toml` explains it"));
    }
    if !message.starts_with("unknown") {
        return None;
    }
    let wrong = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)))?;
    Some(format!("did you mean `{nearest}`? known here: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let message = "unknown field `acount`, expected one of `version`, `account`, `lake`";
        assert!(suggestion(message).unwrap().starts_with("did you mean `account`?"));
        assert!(suggestion("missing field `lake`").unwrap().contains("`lake`"));
        assert_eq!(suggestion("invalid type: integer `3`, expected a string"), None);
    }
}
