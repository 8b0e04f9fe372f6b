//! Why there is no token, in Entra's numbers and OAuth's words.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::super::clock::Moment;
use super::super::faults::FaultKind;
use super::super::faults::injector::Hits;
use super::{DEVICE_GRANT, Version};

/// Why there is no token.
#[derive(Debug)]
pub struct Refused {
    /// The AADSTS number.
    pub code: u32,
    message: String,
    /// The OAuth error where the number does not tell it.
    error: Option<&'static str>,
}

/// Grant (empty: any), fault, number and text.
const FAULTS: [(&str, FaultKind, u32, &str); 9] = [
    ("", FaultKind::InvalidClient, 7000215, "Invalid client secret provided."),
    ("", FaultKind::SecretExpired, 7000222, "The provided client secret keys are expired."),
    (
        "",
        FaultKind::ConsentMissing,
        65001,
        "The user or administrator has not consented to use the application.",
    ),
    (
        "password",
        FaultKind::MfaRequired,
        50076,
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication.",
    ),
    (
        "password",
        FaultKind::MfaEnrol,
        50079,
        "Due to a configuration change made by your administrator, you must enroll in multi-factor authentication.",
    ),
    (
        "password",
        FaultKind::WrongPassword,
        50126,
        "Error validating credentials due to invalid username or password.",
    ),
    ("refresh_token", FaultKind::RefreshExpired, 700082, "The refresh token has expired due to inactivity."),
    (DEVICE_GRANT, FaultKind::DevicePending, 70016, "The user has not yet signed in with the code."),
    (DEVICE_GRANT, FaultKind::DeviceExpired, 70019, "The device code has expired."),
];

/// The refusal of a fault that hits a request of this grant.
pub fn by_fault(hits: &Hits, grant: &str) -> Option<Refused> {
    if grant == DEVICE_GRANT && hits.has(FaultKind::DeviceSlowDown) {
        return Some(Refused::slow_down());
    }
    if grant == DEVICE_GRANT && hits.has(FaultKind::DeviceDeclined) {
        let refused = Refused::new(65004, "User declined to consent to access the app.");
        return Some(Refused { error: Some("authorization_declined"), ..refused });
    }
    let mut fitting = FAULTS.iter().filter(|(only, ..)| only.is_empty() || *only == grant);
    fitting.find(|(_, kind, ..)| hits.has(*kind)).map(|(.., code, text)| Refused::new(*code, *text))
}

impl Refused {
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Refused { code, message: message.into(), error: None }
    }

    pub fn slow_down() -> Self {
        let refused = Refused::new(70016, "The device code is asked for too often.");
        Refused { error: Some("slow_down"), ..refused }
    }

    /// HTTP status, OAuth error and its finer word. Version 1 calls it interaction_required where version 2 says that
    /// the grant is invalid and adds what the user must do.
    fn oauth(&self, version: Version) -> (StatusCode, &'static str, Option<&'static str>) {
        let bad = StatusCode::BAD_REQUEST;
        match self.code {
            _ if self.error.is_some() => (bad, self.error.unwrap_or_default(), None),
            50076 | 50079 if version == Version::V1 => (bad, "interaction_required", None),
            50076 | 50079 => (bad, "invalid_grant", Some("basic_action")),
            65001 => (bad, "invalid_grant", Some("consent_required")),
            50126 | 70000 | 700082 => (bad, "invalid_grant", None),
            70016 => (bad, "authorization_pending", None),
            70018 => (bad, "bad_verification_code", None),
            70019 => (bad, "expired_token", None),
            70003 => (bad, "unsupported_grant_type", None),
            70011 => (bad, "invalid_scope", None),
            700016 => (bad, "unauthorized_client", None),
            90033 => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", None),
            700021 | 700023 | 700024 | 700027 | 7000215 | 7000218 | 7000222 => {
                (StatusCode::UNAUTHORIZED, "invalid_client", None)
            }
            _ => (bad, "invalid_request", None),
        }
    }

    pub fn response(&self, version: Version, now: Moment) -> Response {
        let (status, error, finer) = self.oauth(version);
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let at = now.client.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {at}",
            self.code, self.message
        );
        let mut body = json!({
            "error": error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": at,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        if let Some(finer) = finer {
            body["suberror"] = finer.into();
        }
        (status, Json(body)).into_response()
    }
}
