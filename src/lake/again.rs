//! Requests that the client of an object store sends once only, because it cannot know whether they may be repeated.

use std::error::Error;

use object_store::Result;
use object_store::client::{HttpError, HttpErrorKind};

/// How often one request is sent.
const ATTEMPTS: u32 = 5;

/// Sends a request again when the connection breaks before its answer. It may have been done by then: a create finds its
/// own object there, and a removal nothing.
///
/// # Errors
/// What the store says to the last attempt.
pub(super) async fn again<T, F: Future<Output = Result<T>>>(mut send: impl FnMut() -> F) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match send().await {
            Err(cause) if broke_off(&cause) => {}
            answer => return answer,
        }
    }
    send().await
}

fn broke_off(cause: &(dyn Error + 'static)) -> bool {
    let kind = cause.downcast_ref::<HttpError>().map(HttpError::kind);
    kind == Some(HttpErrorKind::Interrupted) || cause.source().is_some_and(broke_off)
}
