//! The verbs: sign in, submit, status, delete, download.

use std::path::Path;

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use url::Url;
use uuid::Uuid;

use super::auth::token::SignIn;
use super::blob::{self, Download};
use super::call::{Call, Called};
use super::export::{Asked, BlobLocation, Deleted, Export, ExportRequest};
use super::http::{Wire, below, percent_encoded};
use super::witness::{Seen, Witness};
use super::{Auth, Options, answer};
use crate::error::{Error, Kind, Result};
use crate::event::{Observer, Step};
use crate::model::RequestId;

/// One identity's way to Partner Center. Many tasks may share it by reference: they sign in once.
#[derive(Debug)]
pub struct Client {
    pub(super) wire: Wire,
    pub(super) sign_in: SignIn,
    // Ties all calls of one client together in the service's logs.
    pub(super) correlation: Uuid,
}

/// What the API said to a question about nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub host: String,
    /// 404, as it should be; any success says as much.
    pub status: u16,
    /// The service's clock, to the second.
    pub date: Option<Timestamp>,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// `Config` when an address is not https, a value of the sign-in is empty, or https cannot be set up.
    pub fn new(options: Options, auth: Auth) -> Result<Client> {
        auth.check()?;
        let wire = Wire::new(options, Observer::silent())?;
        Ok(Client { wire, sign_in: SignIn::new(auth), correlation: Uuid::new_v4() })
    }

    /// Tells this observer about waits and repeats.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.wire.observer = observer;
        self
    }

    /// Remembers what answers look like, for [`Client::seen`].
    #[must_use]
    pub fn witnessed(mut self) -> Self {
        self.wire.witness = Some(Witness::default());
        self
    }

    /// What answers looked like since the last call of this; nothing unless [`Client::witnessed`].
    pub fn seen(&self) -> Seen {
        self.wire.witness.as_ref().map(Witness::take).unwrap_or_default()
    }

    /// Fetches a token, so that a wrong sign-in fails before anything else is done, and tells the observer what of it
    /// will end soon.
    ///
    /// # Errors
    /// `Auth` when it is refused, `Source` when it cannot be reached.
    pub async fn sign_in(&self) -> Result<()> {
        self.sign_in.token(&self.wire, None, Step::Submit).await?;
        self.tell_warnings().await;
        Ok(())
    }

    /// Asks for an export.
    ///
    /// `idempotency` names this wish: pass the same value when the answer was lost, so that the service can tell a
    /// repeat from a second wish. (That it does is documented, and nobody has confirmed it.) A lost answer is not asked
    /// for again here: the caller writes down that there may be an export that nobody knows.
    ///
    /// # Errors
    /// `Config` when the service does not accept the request, `Auth`, `Source`, and `Contract` when it gives no id.
    pub async fn submit(&self, request: &ExportRequest, idempotency: Uuid) -> Result<Asked> {
        let url = request.url(&self.wire.options)?;
        let call =
            Call { method: Method::POST, url, id: idempotency, verb: "queue the export", step: Step::Submit };
        match self.try_call(&call).await? {
            // Without an id in the answer an export may stand there all the same.
            Called::Answered(got) if got.status.is_success() => {
                Ok(answer::created(&got).map_or_else(Asked::Unanswered, Asked::Queued))
            }
            Called::Answered(got) => Err(self.refusal(&call, got)),
            Called::Lost(error) => Ok(Asked::Unanswered(error)),
        }
    }

    /// What the service says about an export; `None` when it does not know it (any more).
    ///
    /// # Errors
    /// `Auth`, `Source`, and `Contract` when the answer cannot be used.
    pub async fn status(&self, path: &str, id: &RequestId) -> Result<Option<Export>> {
        let call = Call {
            method: Method::GET,
            url: self.address(path, Some(id))?,
            id: Uuid::new_v4(),
            verb: "look at the export",
            step: Step::Wait,
        };
        let got = self.call(&call).await?;
        match got.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status if status.is_success() => answer::about(&got, id),
            _ => Err(self.refusal(&call, got).with("request", id)),
        }
    }

    /// Asks for an export that cannot exist: proves that the API is there and takes the token, and queues nothing.
    ///
    /// # Errors
    /// `Auth`, `Source`, `Config` as for any call.
    pub async fn look(&self, path: &str) -> Result<Looked> {
        let call = Call {
            method: Method::GET,
            url: self.address(path, Some(&RequestId(Uuid::new_v4().to_string())))?,
            id: Uuid::new_v4(),
            verb: "ask the API",
            step: Step::Submit,
        };
        let got = self.call(&call).await?;
        match got.status {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => {}
            _ => return Err(self.refusal(&call, got)),
        }
        let host = super::host::name(&call.url);
        Ok(Looked { host, status: got.status.as_u16(), date: got.date })
    }

    /// Removes an export and its bytes from the service.
    ///
    /// # Errors
    /// `Auth`, `Source`.
    pub async fn delete(&self, path: &str, id: &RequestId) -> Result<Deleted> {
        let call = Call {
            method: Method::DELETE,
            url: self.address(path, Some(id))?,
            id: Uuid::new_v4(),
            verb: "delete the export",
            step: Step::Done,
        };
        let got = self.call(&call).await?;
        match got.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Deleted::Gone),
            status if status.is_success() => Ok(Deleted::Deleted),
            status => match self.refusal(&call, got) {
                // Which 4xx answers for an export in work is not documented.
                refusal if status.is_client_error() && refusal.kind() != Kind::Auth => {
                    Ok(Deleted::StillProcessing)
                }
                refusal => Err(refusal.with("request", id)),
            },
        }
    }

    /// Downloads the bytes of an export to the path `into`, which is complete or absent afterwards.
    ///
    /// Progress is told to `observer` under the name `scope`.
    ///
    /// # Errors
    /// `Contract` when the host is not allowed or the bytes are too many, `Source` when they cannot be had,
    /// `Destination` when they cannot be written.
    pub async fn download(
        &self,
        location: &BlobLocation,
        into: &Path,
        observer: &Observer,
        scope: &str,
    ) -> Result<Download> {
        blob::download(&self.wire, location, into, observer, scope).await
    }

    /// Asks the blob host for the first byte of an export alone, and does not read the answer: what it looks like is in
    /// [`Client::seen`].
    ///
    /// # Errors
    /// `Contract` when the host is not allowed, `Source` when it does not answer.
    pub async fn try_range(&self, location: &BlobLocation) -> Result<()> {
        blob::try_range(&self.wire, location).await
    }

    fn address(&self, path: &str, id: Option<&RequestId>) -> Result<Url> {
        address(&self.wire.options, path, id)
    }
}

impl ExportRequest {
    /// The address to which it is posted.
    ///
    /// # Errors
    /// `Config` when the path is not one.
    pub fn url(&self, options: &Options) -> Result<Url> {
        let mut url = address(options, &self.path, None)?;
        let mut query = String::new();
        if let Some(filter) = self.filter.as_deref().filter(|filter| !filter.is_empty()) {
            query = format!("$filter={}&", percent_encoded(filter));
        }
        query.push_str("fileformat=");
        query.push_str(self.format.as_str());
        url.set_query(Some(&query));
        Ok(url)
    }
}

/// # Errors
/// `Config` when a part is not one: `..` would name all exports instead of one.
fn address(options: &Options, path: &str, id: Option<&RequestId>) -> Result<Url> {
    let id = id.map(|id| id.0.as_str());
    for (what, part) in [("dataset path", Some(path)), ("request id", id)] {
        if part.is_some_and(|part| !answer::is_plain(part)) {
            return Err(Error::new(Kind::Config, format!("this is not a {what}"))
                .with("text", part.unwrap_or_default())
                .hint("Write letters, digits, '-' and '_' only, as the service gave it."));
        }
    }
    Ok(below(&options.api, ["payouts", path].into_iter().chain(id)))
}
