//! What Microsoft Entra means when it refuses: data, not cases.
//!
//! Entra asks programs to branch on the OAuth `error` and not on its `AADSTS` numbers; the numbers only choose the
//! words for people here.

use serde_json::Value;

use super::token::Reply;
use super::{Auth, Way};
use crate::error::{Error, Kind};
use crate::source::quote::Quoter;

struct Explanation {
    codes: &'static [u32],
    /// Stands behind "sign-in refused: ".
    meaning: &'static str,
    /// `{login}` becomes the command that signs a person in.
    hint: &'static str,
}

const fn explanation(codes: &'static [u32], meaning: &'static str, hint: &'static str) -> Explanation {
    Explanation { codes, meaning, hint }
}

/// Entra's own trouble, which passes by itself.
const PASSING_CODES: &[u64] = &[90006, 90024, 90033, 90055];

#[rustfmt::skip]
const EXPLANATIONS: &[Explanation] = &[
    explanation(&[50020], "the user belongs to another tenant", "Sign in as a user of this tenant, or have the user invited to it as a guest."),
    explanation(&[50034], "the user is not in this tenant", "Check the user name and the tenant id."),
    explanation(&[50053], "the account is locked, or the sign-in came from an address that Microsoft blocks", "Wait some minutes before trying again; repeated tries keep the lock alive."),
    explanation(&[50055], "the password has expired", "Sign in once in a browser, set a new password, and give it to payoutlake."),
    explanation(&[50057], "the account is disabled", "Ask a tenant administrator to enable the account, or use another one."),
    explanation(&[50105], "the user is not assigned to this app", "Ask a tenant administrator to assign the user to the enterprise application."),
    explanation(&[50126], "wrong user name or password", "Check both; a password that begins or ends with a blank cannot be used, and federated users cannot sign in this way (device-code can)."),
    explanation(&[50072, 50079], "the account must enrol in multi-factor authentication first", "Set kind = \"device-code\" in [source.auth] and run: {login}. The browser leads through the enrolment."),
    explanation(&[50074, 50076], "the account must use multi-factor authentication, which a password alone cannot do", "Set kind = \"device-code\" in [source.auth] and run: {login}"),
    explanation(&[50078], "the multi-factor sign-in has expired", "Sign in again: {login}"),
    explanation(&[50059, 50128], "the request names no tenant", "Set the tenant id (or its domain name) of the account."),
    explanation(&[50132, 50133, 50173], "the grant was revoked, usually because the password was changed", "Sign in again: {login}"),
    explanation(&[50158], "a sign-in step outside of Microsoft is required", "Set kind = \"device-code\" in [source.auth] and run: {login}"),
    explanation(&[50194], "the app belongs to one tenant and was used through 'common'", "Set the tenant id of the app's own tenant."),
    explanation(&[50196], "Microsoft sees this app signing in again and again", "Stop other copies of this job and wait some minutes."),
    explanation(&[500011], "the Partner Center API is not known in this tenant", "A tenant administrator makes it known with 'az ad sp create --id 4990cffe-04e8-4e8b-808a-1175604b879f'."),
    explanation(&[500121], "the second factor was not confirmed", "Sign in again, and confirm it on the phone or key: {login}"),
    explanation(&[53000, 53003, 530032, 530035], "a conditional-access policy or the security defaults forbid it", "Ask a tenant administrator which policy it was (the sign-in log names it by the correlation id)."),
    explanation(&[65001], "nobody has consented to this app", "A tenant administrator grants admin consent to the permission 'Microsoft Partner: user_impersonation' of the app."),
    explanation(&[65004, 90094], "consent was declined or only an administrator may give it", "A tenant administrator grants admin consent to the app."),
    explanation(&[650052, 650057], "the app has no permission for the Partner Center API", "Add the API permission 'Microsoft Partner' (4990cffe-04e8-4e8b-808a-1175604b879f) to the app registration, then grant admin consent."),
    explanation(&[70000], "the grant is not valid", "Sign in again: {login}"),
    explanation(&[70008, 700082], "the refresh token has expired", "Sign in again: {login}. It is kept alive by one run within 90 days."),
    explanation(&[70043, 70044], "the tenant wants a fresh sign-in from time to time, and it is due", "Sign in again: {login}. A tenant administrator can exempt the account from the sign-in frequency."),
    explanation(&[700084], "the refresh token belongs to a single-page app and ends after 24 hours", "Register the redirect address as 'Mobile and desktop applications' and not as SPA, then: {login}"),
    explanation(&[70011], "the scope is not valid", "Check source.api.resource (https://api.partner.microsoft.com in the public cloud) and source.auth.scope."),
    explanation(&[70016], "nobody has entered the code yet", "Enter the code in the browser: {login}"),
    explanation(&[70018, 70019], "the device code is wrong or has expired", "Start again, and enter the code within its time: {login}"),
    explanation(&[700016], "the app id is not known in this tenant", "Check the client id and the tenant id: they belong to the same app registration."),
    explanation(&[7000112], "the app is disabled", "A tenant administrator enables the enterprise application."),
    explanation(&[7000215], "wrong client secret", "Copy the secret's value, not its id; the portal shows the value only when the secret is made."),
    explanation(&[7000218], "the app must prove itself with a secret, because public client flows are off", "In the app registration, under Authentication, set 'Allow public client flows' to Yes."),
    explanation(&[7000222], "the client secret has expired", "Make a new secret in the app registration and give its value to payoutlake."),
    explanation(&[7000229], "the app has no service principal in this tenant", "A tenant administrator grants admin consent to the app, which makes it."),
    explanation(&[700021, 700023], "the app's signed statement names another app or another sign-in service", "Check the client id, the tenant id and source.api.authority."),
    explanation(&[700024, 500133], "the app's signed statement is outside of its time", "Set the clock of this machine right."),
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
    ("interaction_required", "A person must sign in again: {login}"),
    ("consent_required", "A tenant administrator grants admin consent to the app."),
    ("login_required", "A person must sign in again: {login}"),
    ("invalid_client", "Check the client id and the client secret or certificate."),
    ("unauthorized_client", "Check the client id, and that the app may use this way to sign in."),
    ("access_denied", "Ask a tenant administrator what forbids it."),
    ("invalid_scope", "Check source.api.resource and source.auth.scope."),
    ("invalid_resource", "Check source.api.resource."),
    ("unsupported_grant_type", "Check source.api.authority: this sign-in service does not know this kind."),
    ("invalid_request", "Check tenant, client id and user name."),
];

const OTHER_HINT: &str = "Check source.api.authority, the tenant and the client id.";

/// The OAuth `error` of a refusal: what programs branch on. Empty when there is none.
pub(super) fn oauth_error(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    json.get("error").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether the same request may succeed a little later.
pub(super) fn passes(body: &[u8]) -> bool {
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    oauth_error(body) == "temporarily_unavailable"
        || aadsts(&json).is_some_and(|code| PASSING_CODES.contains(&code))
}

/// Why no token came, from the status and the body of the answer.
pub(super) fn explain(reply: &Reply, auth: &Auth, quoter: &Quoter<'_>) -> Error {
    let json: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let oauth = oauth_error(&reply.body);
    let code = aadsts(&json);
    let known =
        EXPLANATIONS.iter().find(|known| known.codes.iter().any(|each| code == Some(u64::from(*each))));
    let hint = match known {
        Some(known) => known.hint,
        None if oauth == "invalid_grant" => invalid_grant(&auth.way),
        None => OAUTH_HINTS.iter().find(|(error, _)| *error == oauth).map_or(OTHER_HINT, |(_, hint)| hint),
    };
    let meaning = known.map_or("the sign-in service says no", |known| known.meaning);
    let mut error = Error::new(Kind::Auth, format!("sign-in refused: {meaning}"))
        .with("tenant", quoter.quote(&auth.tenant))
        .with("status", reply.status.as_u16());
    if let Some(code) = code {
        error = error.with("code", format!("AADSTS{code}"));
    }
    if let Some(words) = quoter.quote_body(&reply.body).filter(|_| known.is_none()) {
        error = error.with("answer", words);
    }
    if let Some(id) = json.get("correlation_id").and_then(Value::as_str) {
        error = error.with("correlation", quoter.quote(id));
    }
    error.hint(hint.replace("{login}", &auth.login))
}

/// What was granted before, and is not valid now.
fn invalid_grant(way: &Way) -> &'static str {
    match way {
        Way::DeviceCode { .. } | Way::RefreshToken { .. } => "Sign in again: {login}",
        _ => "Check the user name, the password and the tenant.",
    }
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
    use reqwest::StatusCode;

    use super::*;
    use crate::secret::Secret;

    fn explained(status: u16, body: &str) -> Error {
        let mut auth = Auth::new("contoso", "c", Way::AccessToken(Secret::new("t")));
        auth.login = "payoutlake auth login my.toml".to_owned();
        let reply = Reply { status: StatusCode::from_u16(status).unwrap(), body: body.into() };
        explain(&reply, &auth, &Quoter::default())
    }

    #[test]
    fn no_number_is_explained_twice() {
        let mut seen = std::collections::HashSet::new();
        for known in EXPLANATIONS {
            assert!(known.hint.ends_with('.') || known.hint.ends_with("{login}"), "{}", known.hint);
            for code in known.codes {
                assert!(seen.insert(*code), "AADSTS{code} stands twice");
                assert!(!PASSING_CODES.contains(&u64::from(*code)), "AADSTS{code} cannot be both");
            }
        }
    }

    /// The numbers that Microsoft documents for what we do.
    #[test]
    fn every_documented_number_is_explained_or_passes() {
        #[rustfmt::skip]
        let documented: [u64; 56] = [
            50034, 50053, 50055, 50057, 50126, 50072, 50074, 50076, 50079, 50078, 50128, 50059, 50158, 50173, 50194,
            50196, 500011, 53000, 53003, 530032, 530035, 65001, 65004, 90094, 650052, 650057, 70000, 70008, 700082,
            70043, 70011, 70016, 70018, 70019, 700016, 7000112, 7000215, 7000218, 7000222, 700025, 700027, 700030,
            90002, 90014, 900144, 90033, 90024, 90006, 90055, 90038, 9001023, 901002, 9002313, 700084, 900420, 700024,
        ];
        for code in documented {
            let body = format!(r#"{{"error":"invalid_grant","error_codes":[{code}]}}"#);
            if passes(body.as_bytes()) {
                continue;
            }
            let error = explained(400, &body);
            assert_ne!(error.message(), "sign-in refused: the sign-in service says no", "AADSTS{code}");
            assert_eq!(error.kind(), Kind::Auth);
            assert!(!error.hint_text().unwrap().contains('{'), "{error:#}");
        }
    }

    #[test]
    fn a_known_number_gets_its_words() {
        for body in [
            r#"{"error":"invalid_grant","error_description":"AADSTS50126: Error validating","error_codes":[50126]}"#,
            r#"{"error":"invalid_grant","error_description":"AADSTS50126: Error validating credentials."}"#,
        ] {
            let error = explained(400, body);
            assert_eq!(error.kind(), Kind::Auth);
            assert_eq!(error.message(), "sign-in refused: wrong user name or password");
            assert!(format!("{error}").contains("AADSTS50126"), "{error}");
        }
        let error = explained(400, r#"{"error":"invalid_grant","error_codes":[700082]}"#);
        assert!(error.hint_text().unwrap().contains("payoutlake auth login my.toml"), "{error:#}");
    }

    #[test]
    fn an_unknown_number_and_a_foreign_page_are_quoted() {
        let error = explained(400, r#"{"error":"invalid_client","error_description":"AADSTS123: new"}"#);
        assert!(format!("{error}").contains("invalid_client: AADSTS123: new"), "{error}");
        assert_eq!(error.hint_text(), Some("Check the client id and the client secret or certificate."));
        let error = explained(407, "<html>proxy</html>");
        assert!(format!("{error}").contains("a web page"), "{error}");
    }

    #[test]
    fn trouble_of_the_sign_in_service_passes() {
        for body in [
            r#"{"error":"temporarily_unavailable"}"#,
            r#"{"error":"server_error","error_codes":[90033]}"#,
            r#"{"error":"invalid_request","error_description":"AADSTS90055: throttled"}"#,
        ] {
            assert!(passes(body.as_bytes()), "{body}");
        }
        assert!(!passes(b"{}") && !passes(b"<html>"));
    }
}
