//! What a person asks of a sign-in: begin it, end it, and tell who it is and for how long.

use jiff::Timestamp;
use serde::Serialize;

use super::claims::Claims;
use super::{DeviceCode, Store, Way, device, expiry, password};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::model::Expiry;
use crate::source::{Client, host};

/// Who is signed in, and until when. No token.
#[derive(Debug, Clone, Serialize)]
pub struct SignedIn {
    pub kind: &'static str,
    pub tenant: String,
    /// The user's name or the application's id.
    pub principal: String,
    pub client_id: String,
    /// The host of the sign-in service.
    pub authority: String,
    /// Whom the access token is for, when it can be read.
    pub audience: Option<String>,
    pub scopes: Vec<String>,
    pub roles: Vec<String>,
    /// How the user proved who it is: `pwd`, `mfa`.
    pub methods: Vec<String>,
    pub access_token_expires_at: Timestamp,
    /// Where the refresh token is kept.
    pub store: Option<String>,
    pub expiries: Vec<Expiry>,
    /// What a person should look after, with the next step.
    pub warnings: Vec<String>,
}

impl Client {
    /// Signs a person in by device code and stores the refresh token. `show` is called once with what the person must do.
    ///
    /// # Errors
    /// `Usage` for a kind that needs no person, `Auth` when the sign-in is refused or not done in time, `Source` when the
    /// service cannot be reached, `Destination` when the token cannot be stored.
    pub async fn log_in(&self, show: impl FnOnce(&DeviceCode)) -> Result<()> {
        let auth = &self.sign_in.auth;
        let Some(store) = auth.way.store() else { return Err(no_person(&auth.way)) };
        let stored = device::login(auth, &self.wire, show).await?;
        // Whatever stands there is replaced: a person has decided.
        let before = store.read(auth).await.unwrap_or_default();
        store.write(auth, &stored, before.as_ref()).await?;
        self.sign_in.begin_again(stored).await;
        Ok(())
    }

    /// Keeps the newest refresh token that this client knows in another store, unless a newer one stands there: for a
    /// sign-in that began before it was clear where it will be looked for.
    ///
    /// # Errors
    /// `Destination` when it cannot be stored.
    pub async fn keep_in(&self, store: &Store) -> Result<()> {
        let kept = self.sign_in.state().await.kept.clone();
        match kept {
            Some(kept) => store.write(&self.sign_in.auth, &kept, None).await,
            None => Ok(()),
        }
    }

    /// Forgets the stored refresh token; `false` when there was none. Nothing is sent: what Microsoft knows of the
    /// sign-in ends in the account's own pages.
    ///
    /// # Errors
    /// `Usage` for a kind that stores nothing, `Destination` when it cannot be removed.
    pub async fn log_out(&self) -> Result<bool> {
        let auth = &self.sign_in.auth;
        match auth.way.store() {
            Some(store) => store.remove(auth).await,
            None => Err(no_person(&auth.way)),
        }
    }

    /// Tenant, and user or application: as the tokens tell it after the sign-in, as configured before it.
    pub async fn identity(&self) -> (String, String) {
        let state = self.sign_in.state().await;
        let who = state.who.as_ref().or_else(|| state.kept.as_ref()?.who.as_ref());
        self.sign_in.auth.identity_of(who)
    }

    /// Signs in, and tells who that is.
    ///
    /// # Errors
    /// As [`Client::sign_in`].
    pub async fn signed_in(&self) -> Result<SignedIn> {
        let auth = &self.sign_in.auth;
        let token = self.sign_in.token(&self.wire, None, Step::Submit).await?;
        let (tenant, principal) = self.identity().await;
        let claims = Claims::read(token.bearer.expose()).unwrap_or_default();
        let expiries = self.expiries().await;
        Ok(SignedIn {
            kind: auth.way.name(),
            tenant,
            principal,
            client_id: auth.client_id.clone(),
            authority: host::name(&self.wire.options.authority),
            audience: claims.audience(),
            scopes: claims.scopes(),
            roles: claims.roles(),
            methods: claims.methods(),
            access_token_expires_at: token.expires_at,
            store: auth.way.store().map(ToString::to_string),
            warnings: self.warnings(&claims, &expiries),
            expiries,
        })
    }

    /// What the sign-in will lose one day. Nothing is sent; a refresh token is known after the sign-in.
    pub async fn expiries(&self) -> Vec<Expiry> {
        let auth = &self.sign_in.auth;
        expiry::of(auth, self.sign_in.state().await.kept.as_ref(), auth.now())
    }

    /// Tells the observer what will end soon and what is legacy.
    pub(in crate::source) async fn tell_warnings(&self) {
        for warning in self.warnings(&Claims::default(), &self.expiries().await) {
            self.wire.observer.tell(Level::Warn, "", Step::Submit, warning);
        }
    }

    fn warnings(&self, claims: &Claims, expiries: &[Expiry]) -> Vec<String> {
        let auth = &self.sign_in.auth;
        let near = expiries.iter().filter(|expiry| expiry.near);
        let mut told: Vec<String> =
            near.map(|expiry| format!("{expiry}: {}", expiry.advice(&auth.login))).collect();
        let by_password = matches!(auth.way, Way::UsernamePassword { .. });
        // The sandbox on this machine is not Microsoft.
        let sandbox = by_password && host::is_loopback(&self.wire.options.authority);
        if by_password && !sandbox {
            told.push(format!("{}: set kind = \"device-code\" and run {}", password::LEGACY, auth.login));
        }
        if let Some(audience) = claims.audience().filter(|audience| !self.is_for(audience)) {
            told.push(format!(
                "the access token is for {audience}, and the API wants one for {}: check source.api.resource",
                self.wire.options.resource
            ));
        }
        let methods = claims.methods();
        if !sandbox
            && !methods.is_empty()
            && !methods.iter().any(|method| method == "mfa" || method == "ngcmfa")
        {
            told.push(format!(
                "the user signed in without multi-factor authentication, which Microsoft enforces for Partner Center \
                 from 1 April 2026: have it required for the user, then {}",
                auth.login
            ));
        }
        told
    }

    /// Whether an audience is the API's: version 2 tokens may name the application id of the resource.
    fn is_for(&self, audience: &str) -> bool {
        let plain = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
        plain(audience) == plain(&self.wire.options.resource) || audience.eq_ignore_ascii_case(API_APP_ID)
    }
}

/// The application id of the API in every tenant.
const API_APP_ID: &str = "4990cffe-04e8-4e8b-808a-1175604b879f";

fn no_person(way: &Way) -> Error {
    Error::new(
        Kind::Usage,
        format!("source.auth.kind = \"{way}\" needs no sign-in of a person, and stores nothing"),
    )
    .hint("Only device-code and refresh-token do. `payoutlake auth status PIPELINE` tries the sign-in.")
}
