use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn form(change: &[(&str, &str)]) -> Fields {
    let good = [
        ("grant_type", "password"),
        ("username", USERNAME),
        ("password", PASSWORD),
        ("client_id", CLIENT_ID),
    ];
    let pairs = good.iter().chain(change).filter(|(_, value)| *value != "-");
    let mut form: Fields = pairs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for (name, _) in change.iter().filter(|(_, value)| *value == "-") {
        form.remove(*name);
    }
    form
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A desk that outlives its requests.
struct Office {
    key: Key,
    base: Url,
    tickets: Tickets,
    options: Options,
    hits: Hits,
    _dir: tempfile::TempDir,
}

impl Office {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Office {
            key: Key([1; 32]),
            base: Url::parse("http://127.0.0.1:8080/").unwrap(),
            tickets: Tickets::open(dir.path()).unwrap(),
            options: Options::default(),
            hits: Hits::default(),
            _dir: dir,
        }
    }

    fn desk<'a>(&'a self, version: Version, tenant: &'a str, form: &'a Fields, now: i64) -> Desk<'a> {
        let Office { key, base, tickets, options, hits, .. } = self;
        Desk { key, base, tickets, options, now: Moment::plain(at(now)), hits, version, tenant, form }
    }

    fn ask(&self, version: Version, tenant: &str, change: &[(&str, &str)], now: i64) -> Result<Value, u32> {
        let form = form(change);
        let desk = self.desk(version, tenant, &form, now);
        desk.granted().map(|granted| desk.body(&granted)).map_err(|refused| refused.code)
    }
}

#[test]
fn refusals_have_their_numbers() {
    let office = Office::open();
    let scope = format!("{RESOURCE}/.default");
    let app = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
    let cases = [
        (Version::V1, TENANT, vec![("resource", RESOURCE), ("password", "wrong")], 50126),
        (Version::V1, TENANT, vec![("resource", RESOURCE), ("client_id", "other")], 700016),
        (Version::V1, "elsewhere", vec![("resource", RESOURCE)], 90002),
        (Version::V1, TENANT, vec![], 900144),
        (Version::V1, TENANT, vec![("resource", RESOURCE), ("username", "-")], 900144),
        (Version::V2, TENANT, vec![("resource", RESOURCE)], 901002),
        (Version::V2, TENANT, vec![("scope", "payouts")], 70011),
        (Version::V2, TENANT, [&app[..], &[("client_secret", "wrong")]].concat(), 7000215),
        (Version::V2, TENANT, app.to_vec(), 7000218),
        (Version::V2, TENANT, vec![("scope", &scope), ("grant_type", "magic")], 70003),
    ];
    for (version, tenant, change, expected) in cases {
        assert_eq!(office.ask(version, tenant, &change, 0), Err(expected), "{change:?}");
    }
}

#[test]
fn a_device_code_waits_works_and_ends() {
    let office = Office::open();
    let scope = format!("{RESOURCE}/.default offline_access openid");
    let code = tickets::device(&office.key, &scope, at(0));
    let ask = |code: &str, second| {
        let change = [("grant_type", DEVICE_GRANT), ("device_code", code)];
        office.ask(Version::V2, TENANT, &change, second)
    };
    assert_eq!(ask(&code, 1), Err(70016));
    let reply = ask(&code, 2).unwrap();
    assert!(reply["refresh_token"].is_string() && reply["id_token"].is_string());
    // A second time within the interval: slow down.
    assert_eq!(ask(&code, 2), Err(70016));
    assert_eq!(ask(&code, 900), Err(70019));
    assert_eq!(ask("device.0.x.y", 5), Err(70018));
    let refresh = reply["refresh_token"].as_str().unwrap();
    assert_eq!(ask(refresh, 5), Err(70018), "a refresh token is no device code");
}

#[test]
fn refresh_tokens_rotate_and_end() {
    let office = Office::open();
    let ask = |token: &str, second| {
        let change = [("grant_type", "refresh_token"), ("refresh_token", token)];
        office.ask(Version::V2, TENANT, &change, second)
    };
    let first = Refresh::begin(true).ticket(&office.key, at(0));
    let second = ask(&first, 10).unwrap()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    let reply = ask(&second, 20).unwrap();
    let claims = jwt::claims(&office.key, reply["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims["amr"], json!(["pwd", "mfa"]), "what was proved stays proved");
    assert!(ask(&first, 30).is_ok(), "the old one stays good");
    let age = tickets::REFRESH_LIFETIME_SECS;
    assert_eq!(ask(&first, age), Err(700082));
    assert!(ask(&second, age).is_ok(), "it rolls");
    assert_eq!(ask(&second.replace("refresh", "device"), 20), Err(70000));
}

#[test]
fn a_token_is_good_for_its_audience_and_its_time() {
    let office =
        Office { options: Options { token_lifetime_secs: 60, ..Options::default() }, ..Office::open() };
    let header = |resource| {
        let reply = office.ask(Version::V1, TENANT, &[("resource", resource)], 0).unwrap();
        format!("Bearer {}", reply["access_token"].as_str().unwrap())
    };
    let good = header(RESOURCE);
    assert_eq!(caller(&office.key, &good, at(59)).as_deref(), Some("user"));
    assert_eq!(caller(&office.key, &good, at(60)), None);
    assert_eq!(caller(&Key([2; 32]), &good, at(59)), None);
    let mut parts: Vec<&str> = good.split('.').collect();
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let changed = URL_SAFE_NO_PAD.encode(payload.replace("\"user\"", "\"app\""));
    parts[1] = &changed;
    assert_eq!(caller(&office.key, &parts.join("."), at(59)), None);
    assert_eq!(caller(&office.key, &header("https://graph.windows.net"), at(59)), None);
    for bad in ["", "Bearer", "Bearer ", "Bearer x", "Basic abc.def", "Bearer ....."] {
        assert_eq!(caller(&office.key, bad, at(59)), None, "{bad}");
    }
}

/// A signed assertion; `null` takes a claim away.
fn assertion(header: &Value, change: &Value) -> String {
    let mut claims = json!({
        "aud": format!("http://127.0.0.1:8080/{TENANT}/oauth2/v2.0/token"),
        "iss": CLIENT_ID, "sub": CLIENT_ID, "jti": "1", "nbf": 0, "exp": 600,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(&claims));
    let key = RsaKeyPair::from_pkcs8(&assertion::der(PRIVATE_KEY_PEM)).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_certificate_signs_an_application_in() {
    let office = Office::open();
    // Of the certificate, by openssl: CA:EC:89:AE:F8:F8:9D:61:28:55:BB:ED:F1:01:6F:A3:EE:36:03:A8.
    let header = json!({"alg": "RS256", "typ": "JWT", "x5t": "yuyJrvj4nWEoVbvt8QFvo-42A6g"});
    let scope = format!("{RESOURCE}/.default");
    let ask = |assertion: &str| {
        let change = [
            ("grant_type", "client_credentials"),
            ("scope", scope.as_str()),
            ("client_assertion_type", assertion::TYPE),
            ("client_assertion", assertion),
        ];
        office.ask(Version::V2, TENANT, &change, 100)
    };
    let good = assertion(&header, &json!({}));
    let token = ask(&good).unwrap()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(caller(&office.key, &format!("Bearer {token}"), at(100)).as_deref(), Some("app"));
    for (change, expected) in [
        (json!({"iss": "other"}), 700021),
        (json!({"sub": null}), 700021),
        (json!({"aud": "https://login.microsoftonline.com/x/oauth2/v2.0/token"}), 700023),
        (json!({"exp": -300}), 700024),
        (json!({"exp": null}), 700024),
        (json!({"nbf": 500}), 700024),
    ] {
        assert_eq!(ask(&assertion(&header, &change)), Err(expected), "{change}");
    }
    let nameless = assertion(&json!({"alg": "RS256"}), &json!({}));
    let weak = assertion(&json!({"alg": "HS256", "x5t": header["x5t"]}), &json!({}));
    for bad in [&good[..good.len() - 8], nameless.as_str(), weak.as_str(), "x", "a.b.c", ""] {
        assert_eq!(ask(bad), Err(700027), "{bad}");
    }
}
