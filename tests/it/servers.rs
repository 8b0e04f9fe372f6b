//! Storage servers that `tests/servers/serve.py` has started, and lakes on them.

use std::collections::BTreeMap;
use std::process::Command;

use payoutlake::lake::Location;
use payoutlake::secret::Secret;
use uuid::Uuid;

/// A kind of server: where it is (a variable of the environment), and what a user would set to write there.
pub struct Server {
    name: &'static str,
    address: &'static str,
    scheme: &'static str,
    settings: fn(&str) -> Vec<(&'static str, String)>,
}

pub const AZURE: Server = Server {
    name: "Azurite",
    address: "PAYOUTLAKE_TEST_AZURE_URL",
    scheme: "az",
    settings: |url| {
        vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", format!("{url}/devstoreaccount1")),
        ]
    },
};

/// The same for every Azurite: <https://learn.microsoft.com/azure/storage/common/storage-connect-azurite>.
pub const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub const S3: Server = Server {
    name: "moto's S3 server",
    address: "PAYOUTLAKE_TEST_S3_URL",
    scheme: "s3",
    settings: |url| {
        vec![
            ("AWS_ENDPOINT_URL", url.to_owned()),
            ("AWS_ACCESS_KEY_ID", "an-id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "canary-of-s3".to_owned()),
        ]
    },
};

pub const GCS: Server = Server {
    name: "server with the API of Google Cloud Storage",
    address: "PAYOUTLAKE_TEST_GCS_URL",
    scheme: "gs",
    settings: |url| {
        // A key file as object_store takes it for emulators.
        let key = r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
        vec![("GOOGLE_BASE_URL", url.to_owned()), ("GOOGLE_SERVICE_ACCOUNT_KEY", key.to_owned())]
    },
};

impl Server {
    /// A new lake; `None`, and a word about it, where no such server was started. In CI that is a failure.
    pub fn lake(&self) -> Option<ServedLake> {
        let Ok(url) = std::env::var(self.address) else {
            assert!(
                std::env::var_os("PAYOUTLAKE_TEST_NO_SKIP").is_none(),
                "{} is not set: nothing was tested on {}",
                self.address,
                self.name
            );
            eprintln!(
                "skipped: no {} (`python3 tests/servers/serve.py cargo test` starts one and sets {})",
                self.name, self.address
            );
            return None;
        };
        let settings = (self.settings)(&url).into_iter().collect();
        Some(ServedLake { url: format!("{}://lake/some/{}", self.scheme, Uuid::new_v4()), settings })
    }
}

/// A lake of its own on a server.
#[derive(Clone)]
pub struct ServedLake {
    pub url: String,
    pub settings: BTreeMap<&'static str, String>,
}

impl ServedLake {
    pub fn location(&self) -> Location {
        let settings = self.settings.iter();
        Location::new(
            &self.url,
            settings.map(|(key, value)| ((*key).to_owned(), Secret::new(value.as_str()))),
        )
    }

    /// Sets what a user would set.
    pub fn set(&self, command: &mut Command) {
        command.envs(&self.settings);
    }
}
