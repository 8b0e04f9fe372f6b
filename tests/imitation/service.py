"""What the imitation knows and decides: who may sign in, exports and their lives, the shapes of answers. No HTTP."""

import base64
import json
import os
import re
import secrets
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, quote

from blob_server import BlobServer
from corpus import Corpus, file_bytes
from styles import style

TENANT = "4a1c9f6e-0000-4000-8000-1234567890ab"
CLIENT = "0b5e3c1d-1111-4111-8111-abcdefabcdef"
USER, PASSWORD = "payouts@fabrikam.example", "p&ss+w%rd =\"ü\N{EURO SIGN}\\"
SECRET = "s3cr~t+/=&client"
RESOURCE = "https://api.partner.microsoft.com"
DATASETS = ("transactionhistory", "payments")
DATE_FIELDS = ("earningfordate", "payoutstatusupdatets")


class Refused(Exception):
    """An answer that ends a request: status, JSON body or text, headers."""

    def __init__(self, status, body, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def problem(status, code, message):
    return Refused(status, {"error": {"code": code, "message": message}})


class Export:
    def __init__(self, dataset, query):
        self.id, self.dataset, self.filter = str(uuid.uuid4()), dataset, query
        self.asked, self.polls, self.content, self.dead = datetime.now(timezone.utc), 0, None, False
        self.signatures, self.attempt = {}, 0


class Signature:
    def __init__(self, until):
        self.until, self.sent = until, 0


class Service:
    def __init__(self, options):
        self.options, self.style = options, style(options.style)
        self.corpus = corpus_of(options)
        self.exports, self.tokens, self.repeats, self.counts, self.devices = {}, {}, {}, {}, {}
        self.lock, self.started = threading.RLock(), time.monotonic()
        self.log_file = open(options.log, "a", encoding="utf-8")
        self.blobs = BlobServer(options.azurite, options.azurite_public or options.azurite) if options.azurite else None
        if options.refresh_token:
            self.tokens["refresh", options.refresh_token] = True
            self.log(kind="secret", value=options.refresh_token)
        self.log(kind="secret", value=PASSWORD)
        self.log(kind="secret", value=SECRET)

    def log(self, **entry):
        with self.lock:
            entry["at"] = round(time.monotonic() - self.started, 4)
            self.log_file.write(json.dumps(entry) + "\n")
            self.log_file.flush()

    def fault(self, kind):
        """What happens to this request of a kind, by its number."""
        with self.lock:
            number = self.counts.get(kind, 0)
            self.counts[kind] = number + 1
        listed = self.style.faults.get(kind, [])
        return listed[number] if number < len(listed) else None

    # --- Signing in ---

    def token(self, version, tenant, form):
        if tenant != TENANT:
            raise entra(400, "invalid_request", 90002, "Tenant not found.")
        if form.get("client_id") != CLIENT:
            raise entra(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        grant = form.get("grant_type")
        if grant == "password":
            if (form.get("username"), form.get("password")) != (USER, PASSWORD):
                raise entra(400, "invalid_grant", 50126, "Invalid username or password.")
        elif grant == "client_credentials":
            if form.get("client_secret") != SECRET:
                raise entra(401, "invalid_client", 7000215, "Invalid client secret provided.")
        elif grant == "refresh_token":
            known = ("refresh", form.get("refresh_token"))
            with self.lock:
                if known not in self.tokens:
                    raise entra(400, "invalid_grant", 700082, "The refresh token has expired due to inactivity.")
                if self.style.refresh_once:
                    del self.tokens[known]
        elif grant == "urn:ietf:params:oauth:grant-type:device_code":
            self.poll_device(form.get("device_code"))
        else:
            raise entra(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        return self.issue(version, form, grant != "client_credentials")

    def device(self, tenant, form):
        """What a person is shown, and the code that the client polls with."""
        if tenant != TENANT or form.get("client_id") != CLIENT:
            raise entra(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        code = "BAQABAAEAAA" + secrets.token_urlsafe(40)
        with self.lock:
            self.devices[code] = [0, time.monotonic()]
        self.log(kind="secret", value=code)
        return {
            "device_code": code,
            "user_code": "FK7Q2MZ9P",
            "verification_uri": "https://microsoft.com/devicelogin",
            "expires_in": 900,
            "interval": 1,
            "message": "To sign in, open https://microsoft.com/devicelogin and enter the code FK7Q2MZ9P.",
        }

    def poll_device(self, code):
        with self.lock:
            if code not in self.devices:
                raise entra(400, "bad_verification_code", 70018, "The device code is not valid.")
            polls, last = self.devices[code]
            self.devices[code] = [polls + 1, time.monotonic()]
            self.log(kind="device-poll", after=round(time.monotonic() - last, 3))
            if polls < len(self.style.device_polls):
                raise entra(400, self.style.device_polls[polls], 70016, "The device code has not been used yet.")
            del self.devices[code]

    def issue(self, version, form, delegated):
        if version == "v1" and form.get("resource") != RESOURCE:
            raise entra(400, "invalid_resource", 500011, "The resource principal was not found.")
        if version == "v2" and RESOURCE + "/.default" not in form.get("scope", "").split():
            raise entra(400, "invalid_scope", 70011, "The provided value for scope is not valid.")
        seconds = self.style.token_seconds
        token = self.make_token(seconds)
        with self.lock:
            self.tokens[token] = time.monotonic() + seconds
        self.log(kind="secret", value=token)
        told = 3600 if self.style.expires_in == "hour" else seconds
        # Version 1 writes its numbers as text.
        answer = {"token_type": "Bearer", "expires_in": told if version == "v2" else str(told), "access_token": token}
        if version == "v1":
            answer |= {"resource": RESOURCE, "expires_on": str(int(time.time()) + told), "not_before": "1"}
        if self.style.expires_in == "missing":
            answer.pop("expires_in"), answer.pop("expires_on", None)
        elif self.style.expires_in in ("text", "number"):
            answer["expires_in"] = {"text": str, "number": int}[self.style.expires_in](told)
        if delegated and (version == "v1" or "offline_access" in form.get("scope", "")):
            answer["refresh_token"] = self.make_refresh_token()
        return answer

    def make_token(self, seconds):
        if not self.style.token_claims:
            return "EwB4A8l6BAA" + secrets.token_urlsafe(60)
        claims = {"aud": RESOURCE, "exp": int(time.time()) + seconds, "tid": TENANT, "upn": USER, "oid": "6d3f"}
        parts = [{"typ": "JWT", "alg": "RS256"}, claims]
        packed = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        return ".".join(packed + [secrets.token_urlsafe(60)])

    def make_refresh_token(self):
        token = "0.AX" + secrets.token_urlsafe(60)
        with self.lock:
            self.tokens["refresh", token] = True
        self.log(kind="secret", value=token)
        return token

    def authorise(self, header):
        kind, _, token = (header or "").partition(" ")
        if kind != "Bearer" or self.tokens.get(token, 0) < time.monotonic():
            raise problem(401, "unauthenticated", "Invalid Authorization header")

    # --- Exports ---

    def create(self, dataset, query, repeat):
        wanted = parse_qs(query, keep_blank_values=True)
        unknown = set(wanted) - {"$filter", "fileformat", "fileFormat"}
        if unknown or wanted.get("fileformat", ["csv"])[0] not in ("csv", "tsv"):
            raise problem(400, "invalidRequest", f"unknown parameters {sorted(unknown)} or file format")
        text = wanted.get("$filter", [""])[0]
        window_of(text)
        if not self.style.bare_days and re.search(r"\d-\d\d-\d\d(?!T)", text):
            raise problem(400, "invalidRequest", "A date must have a time")
        with self.lock:
            if self.style.idempotent and repeat and repeat in self.repeats:
                return self.repeats[repeat]
            export = Export(dataset, text)
            self.exports[export.id] = export
            self.repeats[repeat] = export
            return export

    def find(self, dataset, key):
        export = self.exports.get(key)
        if export is None or export.dead or export.dataset != dataset:
            raise problem(404, "itemNotFound", "Resource is not available for the given input")
        return export

    def is_first(self, export):
        return next(iter(self.exports)) == export.id

    def poll(self, dataset, key):
        """The export, its status, and its blob's address (None: the field is left out)."""
        with self.lock:
            export = self.find(dataset, key)
            export.polls += 1
            if self.style.forgotten == "waiting" and self.is_first(export) and export.polls == 2:
                export.dead = True
                raise problem(404, "itemNotFound", "Resource is not available for the given input")
            if self.is_held(export):
                return export, "Processing", ""
            at = min(export.polls, len(self.style.statuses)) - 1
            status = self.style.statuses[at]
            if (status or "").lower() != "completed":
                return export, status, ""
            if self.style.failed == "always" or (self.style.failed == "once" and self.is_first(export)):
                return export, "Failed", ""
            without = self.style.without_location
            late = export.polls - len(self.style.statuses)
            if late < len(without):
                return export, status, without[late]
            return export, status, self.location(export)

    def is_held(self, export):
        held = self.options.hold_file and not os.path.exists(self.options.hold_file)
        return held and (self.options.hold_filter or "") in export.filter

    def stops_halfway(self):
        return self.options.halfway_file and not os.path.exists(self.options.halfway_file)

    def location(self, export):
        if export.content is None:
            window, clocks = window_of(export.filter), self.style.clocks
            rows = [row for row in self.corpus.rows[export.dataset] if matches(row, window, clocks)]
            export.content = file_bytes(export.dataset, rows, self.style)
            if self.blobs:
                self.blobs.put(export.id, export.content)
        over = export.attempt < self.style.sas_born_expired
        export.attempt += 1
        if self.blobs:
            address, sig = self.blobs.signed(export.id, -60 if over else self.style.sas_seconds)
        else:
            sig = base64.b64encode(secrets.token_bytes(32)).decode()
            export.signatures[sig] = Signature(time.monotonic() + (-1 if over else self.style.sas_seconds))
            name = self.style.blob_name.format(id=export.id)
            until = quote((datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
            query = f"sv=2021-12-02&se={until}&sr=b&sp=r&sig={quote(sig, safe='')}"
            address = f"http://{self.style.blob_host}:{self.port}/blobs/{export.id}/{name}?{query}"
        self.log(kind="secret", value=sig)
        self.log(kind="secret", value=quote(sig, safe=""))
        return address

    def delete(self, dataset, key):
        with self.lock:
            export = self.find(dataset, key)
            finished = export.content is not None or self.style.failed
            if not finished:
                raise problem(409, "invalidRequest", "The request is being processed and cannot be deleted")
            export.dead = True
            return export


def corpus_of(options):
    return Corpus(options.seed, options.today, options.months, options.rows_per_month, options.padding)


def entra(status, error, number, message):
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {message}\r\nTrace ID: {uuid.uuid4()}\r\nTimestamp: 2026-11-25 00:00:00Z",
        "error_codes": [number],
    }
    return Refused(status, body)


def window_of(text):
    """From and to of the dates in a filter. The grammar is eq, ge, le, and, or, parentheses; anything else is refused."""
    pattern = r"\(?(\w+) (eq|ge|le) ('(?:[^']|'')*'|[0-9T:.\-]+Z?)\)?"
    low, high = None, None
    for part in re.split(r" and ", text) if text else []:
        found = re.fullmatch(pattern, part.strip())
        if not found:
            raise problem(400, "invalidRequest", f"Syntax error in filter at {part!r}")
        name, operator, value = found.groups()
        if name.lower() not in DATE_FIELDS or operator == "eq":
            raise problem(400, "invalidRequest", f"The imitation filters by dates alone, not by {name} {operator}")
        moment = moment_of(value)
        low, high = (moment, high) if operator == "ge" else (low, moment)
    return low, high


def moment_of(text):
    for form in ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
        except ValueError:
            pass
    raise problem(400, "invalidRequest", f"{text!r} is no date")


def matches(row, window, clocks):
    low, high = window
    moment = row.filtered_by + timedelta(hours=clocks[row.clock % len(clocks)])
    return (low is None or moment >= low) and (high is None or moment <= high)


# --- The shapes of answers ---


def envelope(service, export, status, location, shape, neighbours=False):
    style = service.style
    item = {"requestId": export.id}
    if not style.few_fields:
        asked = export.asked.strftime("%Y-%m-%dT%H:%M:%S.%f") + "7Z"
        item |= {"requestDateTime": asked, "processingStartDateTime": None}
        item |= {"requestPath": f"/v1.0/payouts/{export.dataset}", "requestQueryString": export.filter}
    if location != "missing":
        item["blobLocation"] = location
    if status is not None:
        item["status"] = status
    if style.extra_fields:
        item |= {"id": str(uuid.uuid4()), "etag": 'W/"1"', "links": [{"requestId": str(uuid.uuid4())}], "progress": 0.5}
    items = [renamed(item, style.names)]
    if neighbours:
        other = {"requestId": str(uuid.uuid4()), "status": "Failed", "blobLocation": "", "requestPath": "/elsewhere"}
        items.insert(0, renamed(other, style.names))
    total = str(len(items)) if style.total_as_text else len(items)
    rest = {} if style.few_fields else {"nextLink": None, "totalCount": total}
    return {
        "array": {"value": items} | rest,
        "capital": {"Value": items} | rest,
        "object": {"value": items[-1]} | rest,
        "bare-array": items,
        "bare-object": items[-1],
    }[shape]


def renamed(item, names):
    if names == "pascal":
        return {name[0].upper() + name[1:]: value for name, value in item.items()}
    odd = {"requestId": "requestID", "blobLocation": "blobLOCATION", "status": "STATUS"}
    return {odd.get(name, name): value for name, value in item.items()} if names == "odd" else item
