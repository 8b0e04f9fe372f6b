//! Storage servers that `tests/servers/serve.py` has started, and lakes on them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use payoutlake::lake::{Lake, Location};
use payoutlake::secret::Secret;
use uuid::Uuid;

use crate::world::{Done, World, copy_tree};

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

/// Behind TLS, for tokens of identities.
pub const AZURE_TLS: Server = Server {
    name: "Azurite behind TLS",
    address: "PAYOUTLAKE_TEST_AZURE_TLS_URL",
    scheme: "az",
    settings: |url| {
        let certificate = std::env::var("PAYOUTLAKE_TEST_AZURE_TLS_CERTIFICATE").unwrap();
        [(AZURE.settings)(url), vec![("SSL_CERT_FILE", certificate)]].concat()
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

/// Takes a second create like a first.
pub const FORGETFUL: Server = Server {
    name: "server without conditions",
    address: "PAYOUTLAKE_TEST_FORGETFUL_URL",
    scheme: "gs",
    settings: GCS.settings,
};

/// Loses the answer to each request that changes something, once.
pub const LOSSY_AZURE: Server =
    Server { name: "lossy Azurite", address: "PAYOUTLAKE_TEST_LOSSY_AZURE_URL", ..AZURE };
pub const LOSSY_S3: Server =
    Server { name: "lossy S3 server", address: "PAYOUTLAKE_TEST_LOSSY_S3_URL", ..S3 };

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
            // Past the harness, which shows nothing of a test that is well.
            let _told = writeln!(
                std::io::stderr(),
                "skipped: no {} (`python3 tests/servers/serve.py cargo test` starts one and sets {})",
                self.name,
                self.address
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

    /// Puts the files of a lake on local disk here: names below the lake, and contents.
    pub fn upload(&self, files: Vec<(String, Vec<u8>)>) {
        wait(async {
            let lake = Lake::open(&self.location(), Timestamp::now()).await.unwrap();
            for (name, content) in files {
                // lake.json is there already.
                let _created = lake.create(&name.into(), content.into()).await.unwrap();
            }
        });
    }

    /// Brings all that is here to local disk.
    pub fn download(&self, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        wait(async {
            let Some(lake) = Lake::find(&self.location()).await.unwrap() else { return };
            for found in lake.list(&"".into()).await.unwrap() {
                let file = to.join(found.as_ref());
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                assert!(lake.copy_to(&found, &file).await.unwrap(), "{found} is gone");
            }
        });
    }
}

/// A world with its lake, which is on local disk or on a server.
pub struct Stand {
    pub world: World,
    served: Option<ServedLake>,
}

impl Stand {
    /// Without a lake; `None` where there is no such server.
    pub fn new(server: Option<&Server>) -> Option<Stand> {
        let served = match server {
            Some(server) => Some(server.lake()?),
            None => None,
        };
        Some(Stand { world: World::new(), served })
    }

    /// Where other programs find a folder of the lake.
    pub fn url(&self, folder: &str) -> String {
        format!("{}/{folder}", self.served.as_ref().unwrap().url)
    }

    pub fn setting(&self, name: &str) -> String {
        self.served.as_ref().unwrap().settings[name].clone()
    }

    /// Sets or unsets what a user sets.
    pub fn change(&mut self, changes: &[(&'static str, Option<&str>)]) {
        let settings = &mut self.served.as_mut().unwrap().settings;
        for (name, value) in changes {
            match value {
                Some(value) => settings.insert(name, (*value).to_owned()),
                None => settings.remove(name),
            };
        }
    }

    /// Names another place on the server.
    pub fn move_lake(&mut self, from: &str, to: &str) {
        let url = &mut self.served.as_mut().unwrap().url;
        *url = url.replace(from, to);
    }

    /// A copy of a world, whose lake is on local disk; `None` where there is no such server.
    pub fn copy(base: &World, server: Option<&Server>) -> Option<Stand> {
        let stand = Stand::new(server)?;
        copy_tree(&base.path(""), &stand.world.path(""));
        if let Some(served) = &stand.served {
            served.upload(stand.world.files("lake"));
        }
        Some(stand)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let url = self.served.as_ref().map_or("lake", |served| &served.url);
        let mut command = self.world.command(&[args, &["--lake", url]].concat());
        if let Some(served) = &self.served {
            command.envs(&served.settings);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        self.world.finish(self.command(args))
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, 0, "payoutlake {args:?}\n{}\n{}", done.stdout, done.stderr);
        done
    }

    /// The rows of a query, as CSV without the header.
    pub fn sql(&self, query: &str) -> Vec<String> {
        let done = self.ok(&["sql", "--format", "csv", query]);
        done.stdout.lines().skip(1).map(str::to_owned).collect()
    }

    /// The lake as it is now, on local disk.
    pub fn lake(&self) -> PathBuf {
        let Some(served) = &self.served else { return self.world.path("lake") };
        let copy = self.world.path("downloaded");
        let _old = std::fs::remove_dir_all(&copy);
        served.download(&copy);
        copy
    }
}

fn wait(work: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}
