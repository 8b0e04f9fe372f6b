//! What a sign-in may ask for, before anything relies on it.

use super::{Plan, check};
use crate::error::{Error, Kind, Result};
use crate::model::DatasetName;
use crate::source::auth::{DeviceCode, SignedIn};
use crate::source::{Client, Way};

/// A sign-in that works, and what it sees.
#[derive(Debug)]
pub struct Sight {
    client: Client,
    pub signed_in: SignedIn,
    /// Datasets of the plan that it may ask for.
    pub seen: Vec<DatasetName>,
    /// Those that it may not ask for, and why.
    pub refused: Vec<(DatasetName, Error)>,
}

/// Signs in and asks for every dataset of a plan, without an export. A person signs in, as `show` tells, where that
/// is the way of the plan and nobody has done it before.
///
/// # Errors
/// [`Kind::Auth`] when the sign-in is refused, or sees nothing at all; [`Kind::Source`] when the service cannot be reached.
pub async fn look_around(plan: &Plan, show: impl FnOnce(&DeviceCode)) -> Result<Sight> {
    let client = check::client(plan)?;
    let by_person = matches!(plan.auth.way, Way::DeviceCode { .. });
    let signed_in = match client.signed_in().await {
        Err(error) if by_person && error.kind() == Kind::Auth => {
            client.log_in(show).await?;
            client.signed_in().await?
        }
        done => done?,
    };
    let (mut seen, mut refused) = (Vec::new(), Vec::new());
    for dataset in plan.datasets.iter().map(|plan| &plan.dataset) {
        let Some(api) = &dataset.api else { continue };
        match client.look(&api.path).await {
            Ok(_) => seen.push(dataset.name.clone()),
            Err(error) if error.kind() == Kind::Auth => refused.push((dataset.name.clone(), error)),
            Err(error) => return Err(error.with("dataset", &dataset.name)),
        }
    }
    match refused.pop() {
        Some((dataset, error)) if seen.is_empty() => Err(error.with("dataset", dataset)),
        last => {
            refused.extend(last);
            Ok(Sight { client, signed_in, seen, refused })
        }
    }
}

impl Sight {
    /// Keeps the sign-in where runs of this plan will look for it.
    ///
    /// # Errors
    /// [`Kind::Destination`] when it cannot be stored.
    pub async fn keep_for(&self, plan: &Plan) -> Result<()> {
        match plan.auth.way.store() {
            Some(store) => self.client.keep_in(store).await,
            None => Ok(()),
        }
    }
}
