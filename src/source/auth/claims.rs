//! What a token says about itself. Nothing of it is verified here: it is shown and compared, and no right follows from it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The claims of a JSON web token; each may be missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Value);

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Who {
    /// Directory id.
    pub(super) tenant: Option<String>,
    pub(super) object_id: Option<String>,
    /// The name by which the user signs in, or the id of the application.
    pub(super) name: Option<String>,
}

impl Who {
    pub(super) fn principal(&self) -> Option<&str> {
        self.name.as_deref().or(self.object_id.as_deref())
    }
}

impl Claims {
    /// `None` when this is not a JSON web token: access tokens may be of any form.
    pub(super) fn read(token: &str) -> Option<Claims> {
        let mut parts = token.split('.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let json: Value = serde_json::from_slice(&bytes).ok()?;
        json.is_object().then_some(Claims(json))
    }

    /// The first of these claims that is a text.
    fn text(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.0.get(name)?.as_str())
            .filter(|text| !text.is_empty())
            .map(printable)
    }

    /// The texts of a claim that is one text or several.
    fn texts(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::String(one)) => vec![printable(one)],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(printable).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.0.get("exp")?.as_i64()?).ok()
    }

    pub(super) fn audience(&self) -> Option<String> {
        self.texts("aud").into_iter().next()
    }

    /// What a user has allowed the application to do.
    pub(super) fn scopes(&self) -> Vec<String> {
        let scopes = self.text(&["scp"]).unwrap_or_default();
        scopes.split_whitespace().map(str::to_owned).collect()
    }

    pub(super) fn roles(&self) -> Vec<String> {
        self.texts("roles")
    }

    /// How the user proved who it is: `pwd`, `mfa`.
    pub(super) fn methods(&self) -> Vec<String> {
        self.texts("amr")
    }

    pub(super) fn who(&self) -> Option<Who> {
        let who = Who {
            tenant: self.text(&["tid"]),
            object_id: self.text(&["oid", "sub"]),
            name: self.text(&["preferred_username", "upn", "unique_name", "email", "appid", "azp"]),
        };
        who.principal().is_some().then_some(who)
    }
}

/// One line of sensible length: a claim is somebody else's text.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token with these claims and a signature that nobody made.
    pub(in crate::source) fn jwt(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(claims))
    }

    #[test]
    fn claims_are_read_and_other_tokens_are_left_alone() {
        let token = jwt(
            r#"{"aud":"https://api.partner.microsoft.com","exp":1790000000,"tid":"t-1","oid":"o-1","scp":"a b",
                "preferred_username":"reader@contoso.example","amr":["pwd","mfa"],"roles":"r"}"#,
        );
        let claims = Claims::read(&token).unwrap();
        assert_eq!(claims.audience().as_deref(), Some("https://api.partner.microsoft.com"));
        assert_eq!(claims.expires_at().unwrap().as_second(), 1_790_000_000);
        assert_eq!((claims.scopes(), claims.roles()), (vec!["a".into(), "b".into()], vec!["r".into()]));
        assert_eq!(claims.methods(), ["pwd", "mfa"]);
        let who = claims.who().unwrap();
        assert_eq!((who.tenant.as_deref(), who.principal()), (Some("t-1"), Some("reader@contoso.example")));
        for other in ["", "a.b", "user.api.170.f00.sig", "a.!!.c", &jwt("[1]"), &jwt("{\"exp\":")] {
            assert!(Claims::read(other).is_none(), "{other}");
        }
        let odd = Claims::read(&jwt(r#"{"aud":7,"exp":"soon","tid":["x"],"amr":{},"name":"n"}"#)).unwrap();
        assert_eq!((odd.audience(), odd.expires_at(), odd.who()), (None, None, None));
        assert_eq!(odd.methods(), Vec::<String>::new());
    }
}
