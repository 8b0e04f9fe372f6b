//! The sign-in of a person: this machine shows an address and a code, the person types the code into a browser anywhere,
//! with all the factors that the tenant wants, and this machine asks again and again until that is done.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::store::Stored;
use super::token::{Reply, no_answer, post};
use super::{Auth, Grant, entra, refresh};
use crate::error::{Error, Kind, Result};
use crate::event::Step;
use crate::secret::Secret;
use crate::source::http::{Wire, below};
use crate::source::quote::Quoter;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Between two questions when the service does not say it (RFC 8628).
const INTERVAL: Duration = Duration::from_secs(5);

/// What `slow_down` adds to it (RFC 8628).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// However fast a service likes to be asked.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// What a person needs to know. The code is for showing; it is worthless after a quarter of an hour.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceCode {
    pub verification_uri: String,
    pub user_code: String,
    pub expires_at: Timestamp,
}

/// One sign-in that has begun.
struct Begun {
    device_code: Secret,
    interval: Duration,
    deadline: Instant,
}

/// Signs a person in and gives what is to be stored. `show` is called once with what the person must do.
///
/// # Errors
/// `Auth` when the sign-in is refused, declined or not done in time, `Source` when the service cannot be reached.
pub(super) async fn login(auth: &Auth, wire: &Wire, show: impl FnOnce(&DeviceCode)) -> Result<Stored> {
    let (begun, shown) = begin(auth, wire).await?;
    show(&shown);
    let reply = wait(auth, wire, &begun).await?;
    let mut secrets = auth.secrets();
    secrets.push(&begun.device_code);
    let granted = reply.granted(auth, wire, &Quoter::new(secrets))?;
    let Some(token) = granted.refresh_token.clone() else {
        return Err(Error::new(Kind::Auth, "the sign-in worked, and no refresh token came with it").hint(
            "The app must be allowed offline_access: check its API permissions, and source.auth.scope if you set it.",
        ));
    };
    let first = Stored::first(auth, wire.options.authority.as_str(), token);
    Ok(refresh::successor(auth, wire, &first, &granted))
}

async fn begin(auth: &Auth, wire: &Wire) -> Result<(Begun, DeviceCode)> {
    let url = below(&wire.options.authority, [auth.tenant.as_str(), "oauth2", "v2.0", "devicecode"]);
    let quoter = Quoter::new(auth.secrets());
    let reply = post(wire, &quoter, Step::Submit, || {
        let form = vec![
            ("client_id", auth.client_id.as_str().into()),
            ("scope", auth.user_scope(&wire.options).into()),
        ];
        Ok(Grant { url: url.clone(), form })
    });
    let reply = reply.await?;
    if !reply.status.is_success() {
        return Err(entra::explain(&reply, auth, &quoter));
    }
    read(&reply.body, auth.now()).ok_or_else(|| no_answer(wire, "a device code"))
}

fn read(body: &[u8], now: Timestamp) -> Option<(Begun, DeviceCode)> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| Some(json.get(name)?.as_str()?.to_owned()).filter(|text| is_line(text));
    let secs = |name: &str| json.get(name).and_then(Value::as_u64).map(|secs| secs.min(86_400));
    let life = Duration::from_secs(secs("expires_in").unwrap_or(900));
    let shown = DeviceCode {
        verification_uri: text("verification_uri").or_else(|| text("verification_url"))?,
        user_code: text("user_code")?,
        expires_at: now.checked_add(SignedDuration::try_from(life).ok()?).ok()?,
    };
    let begun = Begun {
        device_code: Secret::new(text("device_code")?),
        interval: secs("interval").map_or(INTERVAL, Duration::from_secs).max(MIN_INTERVAL),
        deadline: Instant::now() + life,
    };
    Some((begun, shown))
}

/// One line that a terminal shows as it is.
fn is_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control)
}

/// Asks until the person is done.
async fn wait(auth: &Auth, wire: &Wire, begun: &Begun) -> Result<Reply> {
    let mut interval = begun.interval;
    let mut secrets = auth.secrets();
    secrets.push(&begun.device_code);
    let quoter = Quoter::new(secrets);
    loop {
        tokio::time::sleep(interval).await;
        let reply = post(wire, &quoter, Step::Wait, || Ok(grant(auth, wire, &begun.device_code))).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let again = format!("Run it again: {}", auth.login);
        match entra::oauth_error(&reply.body).as_str() {
            "authorization_pending" if Instant::now() < begun.deadline => {}
            "slow_down" if Instant::now() < begun.deadline => interval += SLOW_DOWN,
            "authorization_pending" | "slow_down" | "expired_token" | "code_expired" => {
                return Err(Error::new(Kind::Auth, "the code was not entered in time").hint(again));
            }
            "authorization_declined" | "access_denied" => {
                return Err(Error::new(Kind::Auth, "the sign-in was declined in the browser").hint(again));
            }
            _ => return Err(entra::explain(&reply, auth, &quoter)),
        }
    }
}

fn grant<'a>(auth: &'a Auth, wire: &Wire, device_code: &'a Secret) -> Grant<'a> {
    let mut form = vec![
        ("grant_type", GRANT_TYPE.into()),
        ("client_id", auth.client_id.as_str().into()),
        // Asked for again: not every service remembers it from the beginning.
        ("scope", auth.user_scope(&wire.options).into()),
        ("device_code", device_code.expose().into()),
    ];
    form.extend(auth.way.app_secret().map(|app| ("client_secret", app.secret.expose().into())));
    Grant { url: below(&wire.options.authority, [auth.tenant.as_str(), "oauth2", "v2.0", "token"]), form }
}
