"""What the documentation leaves open, and what networks and services do: each style answers in its own way.

Styles are named and can be put together: `--style value-capital,status-shouting,no-bom`. A later one wins.
"""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Style:
    # --- Signing in ---
    token_seconds: int = 3600
    # "number", "text" or "missing".
    expires_in: str = "number"
    # A device code: what its polls say before a person has signed in.
    device_polls: tuple = ("authorization_pending", "slow_down", "authorization_pending")
    # A refresh token is over as soon as it was used, or goes on for its 90 days.
    refresh_once: bool = True
    # A token with readable claims, or an opaque one.
    token_claims: bool = True

    # --- Exports ---
    create_status: int = 202
    # "array" value: [..], "capital" Value: [..], "object" value: {..}, "bare-array", "bare-object", or "location": an
    # empty body and the id at the end of the header Location.
    create_shape: str = "array"
    status_shape: str = "array"
    # Field names as "camel" requestId, "pascal" RequestId, or "odd" requestID, blobLOCATION.
    names: str = "camel"
    extra_fields: bool = False
    # Only requestId, status and blobLocation.
    few_fields: bool = False
    total_as_text: bool = False
    # Other exports in a status answer, before the one that was asked for.
    neighbours: bool = False
    # What each poll says, the last one from then on. None: no status at all.
    statuses: tuple = ("Queued", "Processing", "Completed")
    # Polls that say Completed with a location that is still empty, null or missing.
    without_location: tuple = ()
    # "length", "chunked" or "close" (neither length nor chunks).
    framing: str = "length"
    content_type: str = "application/json; charset=utf-8"
    json_bom: bool = False
    # A create that repeats an ms-requestid gets the export of the first one.
    idempotent: bool = False
    # Whether a filter may have a day without a time.
    bare_days: bool = True
    # "empty", "json", "204" or "500".
    delete: str = "empty"

    # --- Faults: what happens to the first, second ... request of a kind ("token", "create", "status", "blob", "delete") ---
    faults: dict = field(default_factory=dict)
    # The first export is Failed once, or every one always.
    failed: str = ""
    # The first export is forgotten (404): "waiting" at its second poll, "finished" when its blob is asked for.
    forgotten: str = ""

    # The filter may look at another clock than the column earningDate: hours between the two, by `Row.clock`.
    clocks: tuple = (0,)

    # --- Blobs ---
    blob_framing: str = "length"
    blob_name: str = "{id}.csv"
    blob_host: str = "127.0.0.1"
    blob_type: str = "application/octet-stream"
    # "strong" or "weak" entity tags, "none" (Accept-Ranges and Range unknown).
    ranges: str = "strong"
    md5: bool = True
    # Bytes per piece, 5 ms apart; 0 sends all at once.
    trickle: int = 0
    # A signature ends after so many seconds (None: an hour), or so many bytes.
    sas_seconds: float = 3600
    sas_bytes: int = 0
    # Signatures that are over when they are handed out.
    sas_born_expired: int = 0

    # --- Files ---
    era: str = "E8"
    second_era: str = ""
    payments_era: str = "P2"
    # "grown", "listed" or "shuffled"; see headers.py.
    order: str = "grown"
    case: str = "published"
    unknown_column: bool = False
    # "plain", "gzip", "zip", "zip-stored" or "zip-months" (one file a month in a folder).
    container: str = "plain"
    bom: bool = True
    newline: str = "\r\n"
    last_newline: bool = True
    quote_all: bool = False
    # "date", "seconds", "millis" or "ticks".
    dates: str = "ticks"
    # "plain", "odd", "thousands" or "accounting".
    numbers: str = "odd"


STYLES = {
    "documented": {},
    # Answers of other shapes.
    "value-capital": {"create_shape": "capital", "status_shape": "capital"},
    "value-object": {"create_shape": "object", "status_shape": "object"},
    "bare-array": {"create_shape": "bare-array", "status_shape": "bare-array"},
    "bare-object": {"create_shape": "bare-object", "status_shape": "bare-object"},
    "location-only": {"create_shape": "location"},
    "names-pascal": {"names": "pascal"},
    "names-odd": {"names": "odd"},
    "extra-fields": {"extra_fields": True},
    "few-fields": {"few_fields": True},
    "total-text": {"total_as_text": True},
    "neighbours": {"neighbours": True},
    "create-200": {"create_status": 200},
    "create-201": {"create_status": 201},
    # Statuses.
    "status-shouting": {"statuses": ("QUEUED", "PROCESSING", "COMPLETED")},
    "status-lower": {"statuses": ("queued", "processing", "completed")},
    "status-unknown": {"statuses": ("Validating", "In Progress", "Packing 3/7", "Completed")},
    "status-missing": {"statuses": (None, "", "Completed")},
    "status-at-once": {"statuses": ("Completed",)},
    "late-location": {"without_location": ("", None, "missing")},
    # Framing.
    "chunked": {"framing": "chunked", "blob_framing": "chunked"},
    "no-length": {"framing": "close", "blob_framing": "close"},
    "text-type": {"content_type": "text/plain"},
    "json-bom": {"json_bom": True},
    # Signing in.
    "expires-text": {"expires_in": "text"},
    "expires-missing": {"expires_in": "missing"},
    "opaque-token": {"token_claims": False},
    "device-at-once": {"device_polls": ()},
    "device-declined": {"device_polls": ("authorization_pending", "authorization_declined")},
    "device-expired": {"device_polls": ("authorization_pending", "expired_token")},
    "refresh-keeps": {"refresh_once": False},
    "short-tokens": {"token_seconds": 2, "statuses": ("Queued",) * 3 + ("Processing",) * 3 + ("Completed",)},
    # The client is told an hour and gets two seconds.
    "lying-tokens": {"token_seconds": 2, "expires_in": "hour", "statuses": ("Queued",) * 5 + ("Completed",)},
    # What the filter compares is up to most of a day away from the column.
    "other-clock": {"clocks": (0, 0, -8, 9, 20, -20)},
    # Repeats, life of an export, cleaning up.
    "idempotent": {"idempotent": True},
    "failed-once": {"failed": "once"},
    "failed-always": {"failed": "always"},
    "forgotten-waiting": {"forgotten": "waiting"},
    "forgotten-finished": {"forgotten": "finished"},
    "times-only": {"bare_days": False},
    "delete-json": {"delete": "json"},
    "delete-204": {"delete": "204"},
    "delete-500": {"delete": "500"},
    # Things that break: the list says what happens to the first, second ... request of a kind.
    "token-cut": {"faults": {"token": ["cut", "reset"]}},
    "token-garbled": {"faults": {"token": ["garbage"] * 99}},
    "token-down": {"faults": {"token": ["502-html", "429-after"]}},
    "status-cut": {"faults": {"status": ["cut", None, "reset", "cut"]}},
    "status-garbled": {"faults": {"status": [None, "garbage", None, "empty"]}},
    "status-down": {"faults": {"status": ["503-after", "500-html", None, "504-empty", "502-html"]}},
    "status-429": {"faults": {"status": ["429", "429-after", "429-date"]}},
    "status-401": {"faults": {"status": [None, "401"]}},
    "create-down": {"faults": {"create": ["503-after", "500-html"]}},
    "create-429": {"faults": {"create": ["429", "429-after"]}},
    "create-lost": {"faults": {"create": ["lost"]}},
    # The export is made at once, and the answer comes late.
    "create-slow": {"faults": {"create": ["slow"]}},
    "create-cut": {"faults": {"create": ["cut"]}},
    "blob-cut": {"faults": {"blob": ["cut", "cut"]}},
    "blob-reset": {"faults": {"blob": ["reset", "cut-reset"]}},
    "blob-down": {"faults": {"blob": ["503-after", "500-html"]}},
    "blob-flipped": {"faults": {"blob": ["flipped"]}},
    "delete-cut": {"faults": {"delete": ["cut", "reset"]}},
    "refused-400": {"faults": {"create": ["400"] * 99}},
    "refused-403": {"faults": {"create": ["403"] * 99}},
    "refused-mfa": {"faults": {"token": ["mfa"] * 99}},
    "refused-401": {"faults": {"create": ["401"] * 99}},
    "outage": {"faults": {"status": ["503"] * 30}},
    # To a host with another name, where nobody may bring credentials.
    "status-redirect": {"faults": {"status": ["redirect"] * 99}},
    "blob-redirect": {"faults": {"blob": ["redirect"] * 99}},
    # Blobs.
    "weak-tags": {"ranges": "weak"},
    "no-ranges": {"ranges": "none"},
    "no-md5": {"md5": False},
    "trickle": {"trickle": 4096},
    "sas-bytes": {"sas_bytes": 40_000},
    "sas-seconds": {"sas_seconds": 0.4, "trickle": 2048},
    "sas-expired-first": {"sas_born_expired": 1},
    "blob-elsewhere": {"blob_host": "blobs.fabrikam.invalid"},
    "named-zip": {"blob_name": "2026-11_25.zip", "blob_type": "application/x-zip-compressed"},
    # Files.
    "era-2019": {"era": "E1", "payments_era": "P1"},
    "era-2020": {"era": "E3", "payments_era": "P1"},
    "era-2023": {"era": "E5", "payments_era": "P1"},
    "era-2025": {"era": "E7"},
    "listed": {"order": "listed"},
    "shuffled": {"order": "shuffled"},
    "title-case": {"case": "title"},
    "lower-case": {"case": "lower"},
    "snake-case": {"case": "snake"},
    "unknown-column": {"unknown_column": True},
    "gzip": {"container": "gzip"},
    "zip": {"container": "zip", "blob_name": "{id}.zip"},
    "zip-stored": {"container": "zip-stored", "blob_name": "{id}"},
    "zip-months": {"container": "zip-months", "second_era": "E5", "blob_name": "{id}.zip"},
    "no-bom": {"bom": False},
    "lf": {"newline": "\n"},
    "cr": {"newline": "\r"},
    "no-last-newline": {"last_newline": False},
    "quote-all": {"quote_all": True},
    "dates": {"dates": "date"},
    "seconds": {"dates": "seconds"},
    "millis": {"dates": "millis"},
    "numbers-plain": {"numbers": "plain"},
    "thousands": {"numbers": "thousands"},
    "accounting": {"numbers": "accounting"},
}


def style(names):
    """The style of a list of names, with the faults of all of them."""
    made = Style()
    for name in names.split(","):
        if name not in STYLES:
            raise SystemExit(f"no style is called {name!r}; known are: {', '.join(STYLES)}")
        changes = dict(STYLES[name])
        if "faults" in changes:
            changes["faults"] = made.faults | changes["faults"]
        made = replace(made, **changes)
    return made
