//! The list of faults: what each is called, which requests it can hit, what happens without a position, and one line
//! for people. `src/docs/faults.md` and `payoutlake sandbox --list-faults` are made from it.

use super::Route::{Blob, Create, Delete, DeviceCode, Page, Status, Token};
use super::{Reach, When};

const TOKEN: Reach = Reach::requests("token", &[Token]);
const SIGN_IN: Reach = Reach::requests("sign-in", &[Token, DeviceCode]);
const CREATE: Reach = Reach::requests("create", &[Create]);
const STATUS: Reach = Reach::requests("status", &[Status]);
/// Requests that may answer with the address of a blob: a repeated create does.
const ADDRESS: Reach = Reach::requests("create, status", &[Create, Status]);
const DELETE: Reach = Reach::requests("delete", &[Delete]);
const API: Reach = Reach::requests("create, status, delete", &[Create, Status, Delete]);
const BLOB: Reach = Reach::requests("blob", &[Blob]);
const ANY: Reach = Reach::requests("any", &[Token, DeviceCode, Create, Status, Delete, Blob, Page]);
/// From the request on that queues or names the export.
const EXPORT: Reach =
    Reach::kept("the export that create, status or delete names", &[Create, Status, Delete]);
/// The file is made when the export is queued.
const FILE: Reach = Reach::kept("the file of the export that create queues", &[Create]);

macro_rules! faults {
    ($($kind:ident $name:literal $reach:ident $when:ident $about:literal)*) => {
        /// Something that goes wrong. Kebab-case in files and on the command line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultKind { $(#[doc = $about] $kind,)* }

        /// Every fault.
        pub const FAULTS: &[Known] = &[
            $(Known { kind: FaultKind::$kind, name: $name, reach: $reach, when: When::$when, about: $about },)*
        ];
    };
}

/// What is known of a fault.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub kind: FaultKind,
    pub name: &'static str,
    /// Which requests it can hit.
    pub reach: Reach,
    /// Which of them it hits without a position, and how many from a position on.
    pub when: When,
    pub about: &'static str,
}

faults! {
    // Sign-in.
    MfaRequired "mfa-required" TOKEN Always "User and password are answered with AADSTS50076: multi-factor authentication must be done."
    MfaEnrol "mfa-enrol" TOKEN Always "User and password are answered with AADSTS50079: multi-factor authentication must be enrolled."
    WrongPassword "wrong-password" TOKEN Always "User and password are answered with AADSTS50126."
    InvalidClient "invalid-client" TOKEN Always "The secret of the application is refused (AADSTS7000215)."
    SecretExpired "secret-expired" TOKEN Always "The secret of the application has expired (AADSTS7000222)."
    ConsentMissing "consent-missing" TOKEN Always "Nobody has consented to the application (AADSTS65001)."
    SignInThrottled "sign-in-throttled" SIGN_IN EveryThird "Sign-in answers 429 with AADSTS90055 and Retry-After."
    SignInUnavailable "sign-in-unavailable" SIGN_IN EveryThird "Sign-in answers 503 with AADSTS90033: a transient error."
    DevicePending "device-pending" TOKEN Always "Nobody ever types the device code: authorization_pending until it ends."
    DeviceSlowDown "device-slow-down" TOKEN First "A poll of the device code is answered with slow_down."
    DeviceExpired "device-expired" TOKEN Always "The device code has expired (expired_token)."
    DeviceDeclined "device-declined" TOKEN Always "The person declines the device code (authorization_declined)."
    RefreshExpired "refresh-expired" TOKEN Always "The refresh token has expired (AADSTS700082)."
    RefreshReuseRefused "refresh-reuse-refused" TOKEN Always "A refresh token is refused once its successor has been used; without this fault old ones stay good."
    NoRefreshToken "no-refresh-token" TOKEN Always "No refresh token is given, whatever the scope asks for."
    TokenDiesEarly "token-dies-early" TOKEN Always "The access token is good for a tenth of the time that expires_in promises."
    WrongAudience "wrong-audience" TOKEN Always "The access token is for another resource: the API answers it with 401."
    // API: who calls.
    TokenRejected "token-rejected" API Always "A good token is answered with 401."
    UserMissing "user-missing" API Always "A token of an application without a user is answered with 400 'Authorization header token missing user information'."
    MissingRole "missing-role" API Always "The API answers 403."
    LostRole "lost-role" API Onward "The API answers 403 from this request on; without a position from the second one on."
    // Anything on the way.
    ServerBusy "server-busy" API EveryThird "503 with 'Retry-After: 0'."
    Throttled "throttled" API EveryThird "429 with Retry-After in seconds."
    ThrottledDate "throttled-date" API EveryThird "429 with Retry-After as a date."
    ThrottledSilent "throttled-silent" API EveryThird "429 without Retry-After."
    Error500 "error-500" ANY EveryThird "500."
    Error502 "error-502" ANY EveryThird "502 with the HTML page of a proxy."
    Error503 "error-503" ANY EveryThird "503 without Retry-After."
    Error504 "error-504" ANY EveryThird "504 with the HTML page of a proxy."
    Burst500 "burst-500" ANY Burst "500, three times in a row."
    Burst502 "burst-502" ANY Burst "502 with the HTML page of a proxy, three times in a row."
    Burst503 "burst-503" ANY Burst "503 without Retry-After, three times in a row."
    Burst504 "burst-504" ANY Burst "504 with the HTML page of a proxy, three times in a row."
    PageInstead "page-instead" ANY EveryThird "200 with an HTML page in place of the answer, as a captive portal does."
    Redirected "redirected" API Always "307 to another host; the token must not go there."
    Reset "reset" ANY EveryThird "The connection is reset; the request is not looked at."
    AnswerLost "answer-lost" ANY EveryThird "The request is carried out, and the connection is reset before its answer."
    ResetInBody "reset-in-body" ANY EveryThird "The connection is reset in the middle of the answer's body."
    BodyEndsEarly "body-ends-early" ANY EveryThird "The connection ends in the middle of the body; Content-Length is that of the whole."
    StallInBody "stall-in-body" ANY First "The body stops in its middle, and the connection stays open."
    SlowBody "slow-body" ANY Always "The body comes in twenty pieces, a tenth of a second apart."
    Hang "hang" ANY First "The answer never comes, and the connection stays open."
    EmptyBody "empty-body" ADDRESS EveryThird "The answer has no body, and no Location."
    // API: the shape of answers.
    IdInLocation "id-in-location" CREATE Always "The answer has no body; the id is in the header Location alone."
    CreateOk "create-200" CREATE Always "200 in place of 202."
    ShapeCapital "shape-capital" ADDRESS Always "Names begin with a capital: Value, RequestId."
    ShapeLower "shape-lower" ADDRESS Always "Names are in lower case: requestid."
    ShapeObject "shape-object" ADDRESS Always "'value' is the export itself, not a list."
    ShapeArray "shape-array" ADDRESS Always "The answer is the bare list."
    ShapeBare "shape-bare" ADDRESS Always "The answer is the bare export."
    ShapeExtra "shape-extra" ADDRESS Always "The answer has fields that nobody knows, and processingStartDateTime."
    ShapeMissing "shape-missing" ADDRESS Always "The answer has no field but requestId and status, and blobLocation when there is one."
    ShapeNull "shape-null" ADDRESS Always "Fields that would be empty are null."
    StatusUpper "status-upper" ADDRESS Always "The status is in upper case."
    UnknownStatus "unknown-status" ADDRESS Always "The status is 'Validating' while the export is not finished; at a position also afterwards."
    // API: the life of an export.
    ExportFailed "export-failed" EXPORT Always "Exports end with the status Failed."
    ExportStuck "export-stuck" EXPORT Always "The export stays in Processing for ever."
    LocationLate "location-late" EXPORT Always "Completed has an empty blobLocation for the first three looks."
    LocationNever "location-never" EXPORT Always "Completed has an empty blobLocation for ever."
    RequestVanished "request-vanished" STATUS First "The export is gone: 404."
    RepeatsNotHonoured "repeats-not-honoured" CREATE Always "The same ms-requestid again queues another export."
    DeleteFails "delete-fails" DELETE Always "DELETE answers 500 and deletes nothing."
    DeleteRefused "delete-refused" DELETE Always "DELETE answers 409, as while an export is in Processing."
    // The address of a blob.
    ExpiredSignature "expired-signature" ADDRESS Always "The first address of each blob is already expired; the next is good. At a position: the address in that answer is expired."
    AddressOnce "address-once" ADDRESS Always "The address is good for one request; status gives a fresh one."
    ForeignHost "foreign-host" ADDRESS Always "The address names a host that is no blob store."
    PlainHttp "plain-http" ADDRESS Always "The address is that of a blob store, without TLS."
    // The way of a blob.
    BlobGone "blob-gone" BLOB First "The blob store answers 404."
    BlobRefused "blob-refused" BLOB First "The blob store answers 403, as for an expired signature."
    BlobRedirected "blob-redirected" BLOB Always "302 to another host."
    NoRange "no-range" BLOB Always "Ranges are not known: the answer is 200 with the whole."
    WrongRange "wrong-range" BLOB Always "Content-Range is not that of the bytes that come."
    EtagChanges "etag-changes" BLOB Always "Every answer has another ETag."
    NoEtag "no-etag" BLOB Always "There is no ETag."
    BodyCorrupt "body-corrupt" BLOB First "One byte is another on the way; the checksum is that of the blob."
    NoChecksum "no-checksum" BLOB Always "There is no checksum."
    Crc64 "crc64" BLOB Always "x-ms-content-crc64 beside Content-MD5."
    Crc64Only "crc64-only" BLOB Always "x-ms-content-crc64 in place of Content-MD5."
    WrongChecksum "wrong-checksum" BLOB First "Content-MD5 is that of other bytes."
    // What is in a blob.
    BlobTruncated "blob-truncated" FILE Always "The blob ends in its middle; length and checksum are those of what is left."
    BlobCorrupt "blob-corrupt" FILE Always "One byte in the middle of the blob is another; length and checksum are those of the damaged blob."
    BlobHeaderOnly "blob-header-only" FILE Always "The blob holds the header and no row."
    BlobBomOnly "blob-bom-only" FILE Always "The blob holds nothing but the byte order mark."
    BlobZeroBytes "blob-zero-bytes" FILE Always "The blob holds nothing."
    BlobGzip "blob-gzip" FILE Always "The blob is compressed with gzip."
    BlobZip "blob-zip" FILE Always "The blob is a zip, however small."
    BlobPlain "blob-plain" FILE Always "The blob is no zip, however large."
    BlobManyFiles "blob-many-files" FILE Always "The blob is a zip of files with fifty rows."
    MissingKeyColumn "missing-key-column" FILE Always "The column earningId (payments: participantID) is missing."
    ShortLastRecord "short-last-record" FILE Always "The last record ends in its middle."
    BadCells "bad-cells" FILE Always "Five rows have an earningAmount (payments: earned) that is no number, or one with too many digits."
    ManyBadCells "many-bad-cells" FILE Always "The same in every twentieth row."
    FewerRows "fewer-rows" FILE Always "Every second row is missing."
    UnknownColumn "unknown-column" FILE Always "A column that nobody knows stands at the right."
}
