//! What a storage answers becomes a next step: which variable, which role.

use crate::error::Error;

/// A kind of cloud storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    Azure,
    S3,
    Gcs,
}

/// Whom an error is about.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub cloud: Cloud,
    /// Of a SAS: no storage says that one has expired, some say that it is wrong.
    pub good_until: Option<String>,
}

/// What a person must know of a storage that refuses: what its answer says -> what helps.
type Advice = (&'static str, &'static str);

impl Asked {
    /// A storage's answer, with what helps.
    pub(super) fn explain(&self, error: Error, answer: &str) -> Error {
        let error = match &self.good_until {
            Some(until) if answer.contains(" 403 ") => error.with("SAS good until", until),
            _ => error,
        };
        match self.good_until {
            // The same answer as to an identity without a role.
            Some(_) if answer.contains("AuthorizationPermissionMismatch") => error.hint(
                "the SAS of AZURE_STORAGE_SAS_TOKEN lacks a permission: read, write, create, delete and list are needed \
                 (sp=rwcdl)",
            ),
            _ => error.hint(self.cloud.advice(answer)),
        }
    }
}

impl Cloud {
    /// Settings that name another address than the public cloud's, by their canonical names; the first that is set counts.
    pub(super) fn endpoints(self) -> &'static [&'static str] {
        match self {
            Cloud::Azure => &["azure_storage_endpoint"],
            Cloud::S3 => &["aws_endpoint_url_s3", "aws_endpoint"],
            Cloud::Gcs => &["google_base_url"],
        }
    }

    /// The one of them that people know.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Cloud::Azure => "AZURE_STORAGE_ENDPOINT",
            Cloud::S3 => "AWS_ENDPOINT_URL",
            Cloud::Gcs => "GOOGLE_BASE_URL",
        }
    }

    /// How the names of its settings begin.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Cloud::Azure => "azure",
            Cloud::S3 => "aws",
            Cloud::Gcs => "google",
        }
    }

    pub(super) fn secret_variable(self) -> &'static str {
        match self {
            Cloud::Azure => "AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_ACCOUNT_KEY",
            Cloud::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            Cloud::Gcs => "GOOGLE_APPLICATION_CREDENTIALS",
        }
    }

    pub(super) fn needed(self) -> &'static str {
        match self {
            Cloud::Azure => {
                "az://container/path needs AZURE_STORAGE_ACCOUNT_NAME; a key is base64, a SAS token begins with sv="
            }
            Cloud::S3 => {
                "a store that is not Amazon's needs AWS_ENDPOINT_URL, and AWS_ALLOW_HTTP=true without TLS"
            }
            Cloud::Gcs => "GOOGLE_APPLICATION_CREDENTIALS names a readable JSON file of a service account",
        }
    }

    /// What helps where an answer, in the storage's own words, is known.
    pub(super) fn known(self, answer: &str) -> Option<&'static str> {
        let table: &[Advice] = match self {
            Cloud::Azure => AZURE,
            Cloud::S3 => S3,
            Cloud::Gcs => GCS,
        };
        table.iter().chain(ANY).find(|(words, _)| answer.contains(words)).map(|(_, help)| *help)
    }

    /// Which container, bucket or account an answer misses.
    pub(super) fn advice(self, answer: &str) -> &'static str {
        self.known(answer).unwrap_or(
            "check the storage and its credentials (src/docs/storage.md), and run the same command again",
        )
    }
}

/// Of the connection, whoever is at its other end.
const ANY: &[Advice] = &[
    (
        "Connection refused",
        "nothing answers at the storage's address: check it (AWS_ENDPOINT_URL, AZURE_STORAGE_ENDPOINT or GOOGLE_BASE_URL) and \
         that the server runs; what was committed is safe",
    ),
    (
        "received corrupt message",
        "the server at the storage's address speaks without TLS: write http:// in AWS_ENDPOINT_URL, AZURE_STORAGE_ENDPOINT or \
         GOOGLE_BASE_URL, or correct its port",
    ),
    (
        "URL scheme is not allowed",
        "the storage's address is without TLS: write https://, or set AWS_ALLOW_HTTP=true (AZURE_…, GOOGLE_…)",
    ),
];

/// Error codes of the Blob service: <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>,
/// and of Entra: <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
const AZURE: &[Advice] = &[
    (
        "OutOfRangeInput",
        "a name in the address is too short or too long: AZURE_STORAGE_ENDPOINT of an emulator ends in the account, as in \
         http://127.0.0.1:10000/devstoreaccount1",
    ),
    ("ContainerNotFound", "create the container, or correct its name in the lake's URL"),
    ("The specified container does not exist", "create the container, or correct its name in the lake's URL"),
    ("FilesystemNotFound", "create the container, or correct its name in the lake's URL"),
    (
        "AuthorizationPermissionMismatch",
        "give the identity of AZURE_CLIENT_ID (or the managed identity) the role Storage Blob Data Contributor on the \
         container; a new role takes some minutes",
    ),
    (
        "AuthorizationResourceTypeMismatch",
        "the SAS of AZURE_STORAGE_SAS_TOKEN must be for containers and objects (sr=c, or srt=sco)",
    ),
    (
        "AuthorizationProtocolMismatch",
        "the SAS of AZURE_STORAGE_SAS_TOKEN is for HTTPS alone, and the endpoint is not HTTPS",
    ),
    (
        "Signature not valid in the specified time frame",
        "AZURE_STORAGE_SAS_TOKEN has expired or is not good yet: make a new one and run the same command again; what was \
         downloaded and committed is kept",
    ),
    (
        "Signature fields not well formed",
        "AZURE_STORAGE_SAS_TOKEN is cut or altered: copy it whole, without the '?'",
    ),
    (
        // `AuthenticationFailed`, and Azurite's `AuthorizationFailure`.
        "Server failed to authenticate the request",
        "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN is not one of this storage account or has expired, or this \
         machine's clock is wrong; set another and run the same command again: what was committed is kept",
    ),
    (
        "AuthorizationFailure",
        "the storage account's firewall lets this machine or identity not in, or the SAS lacks a permission: read, \
         write, create, delete and list are needed (sp=rwcdl)",
    ),
    (
        "InvalidAuthenticationInfo",
        "the token of the storage identity is not accepted: sign in again, or renew it",
    ),
    (
        "KeyBasedAuthenticationNotPermitted",
        "the account forbids keys: unset AZURE_STORAGE_ACCOUNT_KEY and use an identity (AZURE_TENANT_ID, AZURE_CLIENT_ID, \
         AZURE_CLIENT_SECRET, or a managed identity)",
    ),
    ("AADSTS7000222", "the secret of AZURE_CLIENT_SECRET has expired: make a new one for AZURE_CLIENT_ID"),
    ("AADSTS7000215", "AZURE_CLIENT_SECRET is wrong: set the secret's value, not its id"),
    ("AADSTS700016", "AZURE_CLIENT_ID is no application of the tenant AZURE_TENANT_ID"),
    ("AADSTS90002", "there is no tenant AZURE_TENANT_ID"),
    (
        "AADSTS",
        "the storage's sign-in failed: check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    ),
    (
        "169.254.169.254",
        "no credential for Azure is set, and this machine has no managed identity: set AZURE_STORAGE_ACCOUNT_KEY, \
         AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or AZURE_USE_AZURE_CLI=true",
    ),
    (
        "PublicAccessNotPermitted",
        "no credential was sent: unset AZURE_SKIP_SIGNATURE and set one for the storage account",
    ),
    (
        "dns error",
        "there is no such storage account: correct its name in the lake's URL or AZURE_STORAGE_ACCOUNT_NAME",
    ),
];

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const S3: &[Advice] = &[
    (
        "Missing SecretAccessKey",
        "set AWS_SECRET_ACCESS_KEY beside AWS_ACCESS_KEY_ID, both in the environment or both in [storage]: where [storage] names \
         a credential, those of the environment are not looked at",
    ),
    (
        "Missing AccessKeyId",
        "set AWS_ACCESS_KEY_ID beside AWS_SECRET_ACCESS_KEY, both in the environment or both in [storage]: where [storage] names \
         a credential, those of the environment are not looked at",
    ),
    ("NoSuchBucket", "create the bucket, or correct its name in the lake's URL"),
    ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID is not known to the storage"),
    ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID"),
    (
        "ExpiredToken",
        "AWS_SESSION_TOKEN has expired: get new credentials and run the same command again; what was downloaded and \
         committed is kept",
    ),
    ("InvalidToken", "AWS_SESSION_TOKEN does not belong to AWS_ACCESS_KEY_ID: set both anew, or unset it"),
    ("RequestTimeTooSkewed", "this machine's clock is wrong by more than 15 minutes: set it"),
    (
        "AccessDenied",
        "allow the identity s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the lake's \
         objects and s3:ListBucket on the bucket",
    ),
    ("AllAccessDisabled", "the bucket is closed: choose another"),
    ("incorrectly configured region", "set AWS_REGION to the region of the bucket"),
    ("AuthorizationHeaderMalformed", "set AWS_REGION to the region of the bucket"),
    ("PermanentRedirect", "set AWS_REGION to the region of the bucket"),
    (
        "169.254.",
        "no credential for S3 is set, and this machine has no role: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
         (a profile in ~/.aws is not read)",
    ),
    ("dns error", "the storage's host is not found: check AWS_ENDPOINT_URL and AWS_REGION"),
];

/// <https://cloud.google.com/storage/docs/json_api/v1/status-codes>
const GCS: &[Advice] = &[
    ("The specified bucket does not exist", "create the bucket, or correct its name in the lake's URL"),
    (
        "invalid_grant",
        "the key of GOOGLE_APPLICATION_CREDENTIALS is no longer valid, or this machine's clock is wrong",
    ),
    (
        "does not have storage.",
        "give the service account of GOOGLE_APPLICATION_CREDENTIALS the role Storage Object Admin on the bucket",
    ),
    ("UserProjectAccountProblem", "the bucket's project has no billing account"),
    (
        // By address or by name.
        "computeMetadata",
        "no credential for Google Cloud is set, and this machine has no service account: set \
         GOOGLE_APPLICATION_CREDENTIALS to a JSON key file",
    ),
    ("dns error", "the storage's host is not found: check GOOGLE_BASE_URL, or the network"),
];
