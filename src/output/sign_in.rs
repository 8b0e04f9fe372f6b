//! The sign-in for people and for programs. Never a token.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::{Style, print, print_json, say, table};
use crate::source::auth::{DeviceCode, SignedIn, StoredSignIn};

/// Shows a person where to enter which code: on standard error, or as an event.
pub fn print_device_code(style: Style, code: &DeviceCode, ts: Timestamp) {
    if style.json {
        let line = json!({
            "schema": "payoutlake.event.v1",
            "ts": ts,
            "level": "info",
            "event": "device_code",
            "verification_uri": code.verification_uri,
            "user_code": code.user_code,
            "expires_at": code.expires_at,
            "message": "enter the code at the address",
        });
        print(&format!("{line}\n"));
        return;
    }
    let minutes = (code.expires_at.duration_since(ts).as_secs() + 30) / 60;
    say(&format!(
        "to sign in, open  {}\nand enter         {}\n\nwaiting for it ({minutes} minutes at most) ...\n",
        code.verification_uri, code.user_code
    ));
}

/// Prints who is signed in, for what, and until when.
pub fn print_signed_in(style: Style, signed_in: &SignedIn, pipeline: &Path, program: &str) {
    if style.json {
        print_json("payoutlake.auth.v1", signed_in);
        return;
    }
    let mut out = format!("signed in as {} in {}\n", signed_in.principal, signed_in.tenant);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<14} {value}");
        }
    };
    line("kind", &format!("{} at {}", signed_in.kind, signed_in.authority));
    line("application", &signed_in.client_id);
    let until = format!("until {:.0}", signed_in.access_token_expires_at);
    let audience =
        signed_in.audience.as_ref().map(|audience| format!(", for {audience}")).unwrap_or_default();
    line("access token", &format!("{until}{audience}"));
    line("scopes", &signed_in.scopes.join(" "));
    line("roles", &signed_in.roles.join(" "));
    line("proved by", &signed_in.methods.join(" "));
    line("kept in", signed_in.store.as_deref().unwrap_or_default());
    for expiry in &signed_in.expiries {
        let _ = writeln!(out, "  {expiry}");
    }
    for warning in &signed_in.warnings {
        let _ = writeln!(out, "! {warning}");
    }
    let _ = writeln!(out, "next: {program} plan {}", pipeline.display());
    print(&out);
}

pub fn print_logged_out(style: Style, was_signed_in: bool) {
    match (style.json, was_signed_in) {
        (true, _) => print_json("payoutlake.logout.v1", &json!({ "removed": was_signed_in })),
        (false, true) => print("signed out: the refresh token is removed from its store\n"),
        (false, false) => print("nobody was signed in\n"),
    }
}

/// Prints the sign-ins that are kept on this machine.
pub fn print_stored_sign_ins(style: Style, found: &[StoredSignIn]) {
    if style.json {
        print_json("payoutlake.stored_sign_ins.v1", &json!({ "sign_ins": found }));
        return;
    }
    if found.is_empty() {
        print("no sign-in is kept on this machine\n");
        return;
    }
    let rows: Vec<_> = found
        .iter()
        .map(|one| {
            let file = one.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let expiry = one.expiry.as_ref().map(|expiry| {
                let note = if expiry.assumed { " (assumed)" } else { "" };
                let mark = if expiry.near { "! " } else { "" };
                format!("{mark}{:.0}{note}", expiry.at)
            });
            let expiry = expiry.unwrap_or_else(|| "not known".to_owned());
            [file, one.principal.clone(), one.tenant.clone(), format!("{:.0}", one.last_used_at), expiry]
        })
        .collect();
    print(&table(["kept in", "signed in as", "tenant", "last used", "expires"], &rows));
}
