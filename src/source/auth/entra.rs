//! What Microsoft Entra means when it refuses: data, not cases.
//!
//! Entra asks programs to branch on the OAuth `error` and not on its `AADSTS` numbers; the numbers only choose the
//! words for people here.

use reqwest::StatusCode;
use serde_json::Value;

use crate::error::{Error, Kind};
use crate::source::quote::Quoter;
use crate::source::retry::{Failure, Passing, is_passing};

struct Explanation {
    codes: &'static [u32],
    /// Stands behind "sign-in refused: ".
    meaning: &'static str,
    hint: &'static str,
}

const fn explanation(codes: &'static [u32], meaning: &'static str, hint: &'static str) -> Explanation {
    Explanation { codes, meaning, hint }
}

/// Entra's own trouble, which passes by itself.
const PASSING_CODES: &[u64] = &[90006, 90024, 90033, 90055];

#[rustfmt::skip]
const EXPLANATIONS: &[Explanation] = &[
    explanation(&[50034], "the user is not in this tenant", "Check the user name and the tenant id."),
    explanation(&[50053], "the account is locked, or the sign-in came from an address that Microsoft blocks", "Wait some minutes before trying again; repeated tries keep the lock alive."),
    explanation(&[50055], "the password has expired", "Sign in once in a browser, set a new password, and give it to payoutlake."),
    explanation(&[50057], "the account is disabled", "Ask a tenant administrator to enable the account, or use another one."),
    explanation(&[50126], "wrong user name or password", "Check both; a password that begins or ends with a blank cannot be used, and federated users cannot sign in this way."),
    explanation(&[50072, 50074, 50076, 50079], "the account must use multi-factor authentication, which a password alone cannot do", "Sign in with a kind that supports it (device code), or ask a tenant administrator for an account that policy exempts."),
    explanation(&[50078], "the multi-factor sign-in has expired", "Sign in again."),
    explanation(&[50059, 50128], "the request names no tenant", "Set the tenant id (or its domain name) of the account."),
    explanation(&[50158], "a sign-in step outside of Microsoft is required", "Use a way to sign in with a browser (device code)."),
    explanation(&[50173], "the grant was revoked, usually because the password was changed", "Sign in again."),
    explanation(&[50194], "the app belongs to one tenant and was used through 'common'", "Set the tenant id of the app's own tenant."),
    explanation(&[50196], "Microsoft sees this app signing in again and again", "Stop other copies of this job and wait some minutes."),
    explanation(&[500011], "the Partner Center API is not known in this tenant", "A tenant administrator makes it known with 'az ad sp create --id 4990cffe-04e8-4e8b-808a-1175604b879f'."),
    explanation(&[53000, 53003, 530032, 530035], "a conditional-access policy or the security defaults forbid it", "Ask a tenant administrator which policy it was (the sign-in log names it by the correlation id)."),
    explanation(&[65001], "nobody has consented to this app", "A tenant administrator grants admin consent to the permission 'Microsoft Partner: user_impersonation' of the app."),
    explanation(&[65004, 90094], "consent was declined or only an administrator may give it", "A tenant administrator grants admin consent to the app."),
    explanation(&[650052, 650057], "the app has no permission for the Partner Center API", "Add the API permission 'Microsoft Partner' (4990cffe-04e8-4e8b-808a-1175604b879f) to the app registration, then grant admin consent."),
    explanation(&[70000, 70008, 70043, 700082], "the grant is not valid or has expired", "Sign in again."),
    explanation(&[70011], "the scope is not valid", "Check source.api.resource: it is https://api.partner.microsoft.com in the public cloud."),
    explanation(&[70018, 70019], "the device code is wrong or has expired", "Start the sign-in again, and enter the code within its time."),
    explanation(&[700016], "the app id is not known in this tenant", "Check the client id and the tenant id: they belong to the same app registration."),
    explanation(&[7000112], "the app is disabled", "A tenant administrator enables the enterprise application."),
    explanation(&[7000215], "wrong client secret", "Copy the secret's value, not its id; the portal shows the value only when the secret is made."),
    explanation(&[7000218], "the app must prove itself with a secret, because public client flows are off", "In the app registration, under Authentication, set 'Allow public client flows' to Yes."),
    explanation(&[7000222], "the client secret has expired", "Make a new secret in the app registration and give its value to payoutlake."),
    explanation(&[700025], "the app is a public client and must not send a secret", "Sign in without a client secret."),
    explanation(&[700027, 700030], "the app's certificate or its signature is not accepted", "Upload the certificate to the app registration, or use the one that is there."),
    explanation(&[90002], "the tenant does not exist", "Check the tenant id, and that source.api.authority is the cloud in which it lives."),
    explanation(&[90014, 900144], "a field of the sign-in is missing", "Check that tenant, client id, user name and secret are all set and not empty."),
    explanation(&[90038], "the tenant lives in another national cloud", "Set source.api.authority to that cloud's sign-in address, such as https://login.microsoftonline.us/."),
    explanation(&[900420], "the audience of the token is no longer accepted", "Check source.api.resource: it is https://api.partner.microsoft.com in the public cloud."),
    explanation(&[9001023], "passwords cannot be used through 'common'", "Set the tenant id."),
    explanation(&[901002], "the sign-in service wants a scope and got a resource", "Check source.api.authority: it ends before the tenant and has no version in it."),
    explanation(&[9002313], "the request is malformed", "Check tenant, client id and user name for stray characters."),
];

/// For refusals without a known number, by the OAuth `error`.
#[rustfmt::skip]
const OAUTH_HINTS: &[(&str, &str)] = &[
    ("invalid_grant", "Check the user name, the password and the tenant."),
    ("interaction_required", "The account needs a sign-in with a browser (device code)."),
    ("invalid_client", "Check the client id and the client secret."),
    ("unauthorized_client", "Check the client id, and that the app may use this way to sign in."),
    ("invalid_scope", "Check source.api.resource."),
    ("invalid_request", "Check tenant, client id and user name."),
];

const OTHER_HINT: &str = "Check source.api.authority, the tenant and the client id.";

/// Why no token came, from the status and the body of the answer.
pub(super) fn explain(status: StatusCode, body: &[u8], tenant: &str, quoter: &Quoter<'_>) -> Failure {
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let oauth = json.get("error").and_then(Value::as_str).unwrap_or_default();
    let code = aadsts(&json);
    let passing_code = code.is_some_and(|code| PASSING_CODES.contains(&code));
    let words = quoter.quote_body(body);
    if is_passing(status) || oauth == "temporarily_unavailable" || passing_code {
        return Failure::Passing(Passing::of_answer(status, None, words));
    }
    let known =
        EXPLANATIONS.iter().find(|known| known.codes.iter().any(|each| code == Some(u64::from(*each))));
    let hint = known
        .map(|known| known.hint)
        .or_else(|| OAUTH_HINTS.iter().find(|(error, _)| *error == oauth).map(|(_, hint)| *hint));
    let meaning = known.map_or("the sign-in service says no", |known| known.meaning);
    let mut error = Error::new(Kind::Auth, format!("sign-in refused: {meaning}"))
        .with("tenant", quoter.quote(tenant))
        .with("status", status.as_u16());
    if let Some(code) = code {
        error = error.with("code", format!("AADSTS{code}"));
    }
    if let Some(words) = words.filter(|_| known.is_none()) {
        error = error.with("answer", words);
    }
    if let Some(id) = json.get("correlation_id").and_then(Value::as_str) {
        error = error.with("correlation", quoter.quote(id));
    }
    Failure::Final(error.hint(hint.unwrap_or(OTHER_HINT)))
}

/// The number: from `error_codes`, or from the description that begins with it.
fn aadsts(json: &Value) -> Option<u64> {
    let listed = json.get("error_codes").and_then(|codes| codes.get(0)).and_then(Value::as_u64);
    listed.or_else(|| {
        let description = json.get("error_description")?.as_str()?;
        let (_, rest) = description.split_once("AADSTS")?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: u16, body: &str) -> Failure {
        explain(StatusCode::from_u16(status).unwrap(), body.as_bytes(), "contoso", &Quoter::default())
    }

    #[test]
    fn no_number_is_explained_twice() {
        let mut seen = std::collections::HashSet::new();
        for known in EXPLANATIONS {
            assert!(known.hint.ends_with('.'), "{}", known.hint);
            for code in known.codes {
                assert!(seen.insert(*code), "AADSTS{code} stands twice");
                assert!(!PASSING_CODES.contains(&u64::from(*code)), "AADSTS{code} cannot be both");
            }
        }
    }

    #[test]
    fn a_known_number_gets_its_words() {
        for body in [
            r#"{"error":"invalid_grant","error_description":"AADSTS50126: Error validating","error_codes":[50126]}"#,
            r#"{"error":"invalid_grant","error_description":"AADSTS50126: Error validating credentials."}"#,
        ] {
            let Failure::Final(error) = explained(400, body) else { panic!("{body}") };
            assert_eq!(error.kind(), Kind::Auth);
            assert_eq!(error.message(), "sign-in refused: wrong user name or password");
            assert!(format!("{error}").contains("AADSTS50126"), "{error}");
        }
    }

    #[test]
    fn an_unknown_number_and_a_foreign_page_are_quoted() {
        let Failure::Final(error) =
            explained(400, r#"{"error":"invalid_client","error_description":"AADSTS123: new"}"#)
        else {
            panic!()
        };
        assert!(format!("{error}").contains("invalid_client: AADSTS123: new"), "{error}");
        assert_eq!(error.hint_text(), Some("Check the client id and the client secret."));
        let Failure::Final(error) = explained(407, "<html>proxy</html>") else { panic!() };
        assert!(format!("{error}").contains("a web page"), "{error}");
    }

    #[test]
    fn trouble_of_the_sign_in_service_passes() {
        for (status, body) in [
            (503, ""),
            (429, "{}"),
            (400, r#"{"error":"temporarily_unavailable"}"#),
            (400, r#"{"error":"server_error","error_codes":[90033]}"#),
        ] {
            assert!(matches!(explained(status, body), Failure::Passing(_)), "{status} {body}");
        }
    }
}
