//! What a status code of the API means, and who can mend it.

use reqwest::StatusCode;

use crate::error::{Error, Kind};

const ROLES_HINT: &str = "The signed-in user needs roles in Partner Center: Business Contributor and Finance Contributor \
    (payouts: Account owner or Financial contributor; incentives: Incentives admin or user). \
    Ask your Partner Center administrator.";

const APP_ONLY_HINT: &str = "The payout API wants a token that stands for a user, and this one stands for an application alone. \
    Sign in as a user instead of with a client secret.";

const CLAIMS_HINT: &str = "A conditional-access policy wants more than this sign-in gave (usually multi-factor authentication). Ask a tenant administrator.";

const AUDIENCE_HINT: &str = "The API takes only tokens whose audience is https://api.partner.microsoft.com: check source.api.resource. \
    A token for api.partnercenter.microsoft.com is refused.";

const NOT_FOUND_HINT: &str = "Partner Center answers 404 to everything when the wrong account signs in: check the tenant and the user \
    (one that must use multi-factor authentication cannot use a password), then source.api.api.";

/// A refusal that words in the answer tell from others with the same status.
struct Special {
    status: StatusCode,
    words: &'static str,
    kind: Kind,
    meaning: &'static str,
    hint: &'static str,
}

#[rustfmt::skip]
const SPECIALS: &[Special] = &[
    Special { status: StatusCode::BAD_REQUEST, words: "missing user information", kind: Kind::Auth,
        meaning: "the token stands for no user", hint: APP_ONLY_HINT },
    Special { status: StatusCode::FORBIDDEN, words: "insufficient_claims", kind: Kind::Auth,
        meaning: "the sign-in was not strong enough", hint: CLAIMS_HINT },
];

/// Why the API did not do what it was asked, once it is clear that repeating does not help.
///
/// `verb` completes "cannot ...": `queue the export`. `words` are the service's own, already safe to print.
pub(super) fn explain(verb: &str, status: StatusCode, words: Option<String>) -> Error {
    let said = words.as_deref().unwrap_or_default().to_lowercase();
    let special = SPECIALS.iter().find(|special| special.status == status && said.contains(special.words));
    let (kind, meaning, hint) = match special {
        Some(special) => (special.kind, special.meaning, special.hint),
        None => by_status(status),
    };
    let error = Error::new(kind, format!("cannot {verb}: {meaning}")).with("status", status.as_u16());
    let error = match words {
        Some(words) => error.with("answer", words),
        None => error,
    };
    error.hint(hint)
}

fn by_status(status: StatusCode) -> (Kind, &'static str, &'static str) {
    match status.as_u16() {
        401 => (Kind::Auth, "the API does not accept the token", AUDIENCE_HINT),
        403 => (Kind::Auth, "the account may not do this", ROLES_HINT),
        404 => (Kind::Auth, "the API does not know the address", NOT_FOUND_HINT),
        407 => {
            (Kind::Config, "the proxy wants a sign-in", "Put the proxy's user and password into HTTPS_PROXY.")
        }
        300..=399 => (
            Kind::Config,
            "the API redirects, which is not followed because the token would go along",
            "Check source.api.api, and that no proxy or portal answers in its place.",
        ),
        _ => (
            Kind::Config,
            "the service does not accept the request",
            "Check the filter and the dataset of the pipeline against the service's own words above.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_kind_and_hint() {
        let table = [
            (400, "bad filter", Kind::Config, "service's own words"),
            (400, "Authorization header token missing user information", Kind::Auth, "as a user"),
            (401, "Invalid Authorization header", Kind::Auth, "audience"),
            (403, "", Kind::Auth, "Finance Contributor"),
            (403, "insufficient_claims", Kind::Auth, "conditional-access"),
            (404, "", Kind::Auth, "404 to everything"),
            (302, "", Kind::Config, "no proxy"),
            (411, "", Kind::Config, "filter"),
        ];
        for (status, words, kind, hint) in table {
            let words = Some(words.to_owned()).filter(|words| !words.is_empty());
            let error = explain("queue the export", StatusCode::from_u16(status).unwrap(), words);
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.hint_text().unwrap().contains(hint), "{status}: {error:#}");
        }
    }
}
