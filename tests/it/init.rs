//! `init`: from nothing to a pipeline file that works, with one sign-in and without a question that has an answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use payoutlake::sandbox;
use serde_json::{Value, json};

use crate::world::{AS_OF, Done, World};

/// `payoutlake sandbox` as a process of its own.
struct Service {
    child: Child,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It ends with the test, however that ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn service(world: &World, faults: &[&str]) -> Service {
    let args = format!("--json sandbox --months 2 --rows-per-month 40 --delay-millis 20 --as-of {AS_OF}");
    let mut args: Vec<&str> = args.split(' ').collect();
    faults.iter().for_each(|fault| args.extend(["--fault", fault]));
    let mut child = world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    Service { child, url: told["url"].as_str().unwrap().to_owned() }
}

/// `init` at a service, with the sandbox's secrets in the environment and no terminal.
fn init(world: &World, service: &Service, args: &[&str]) -> Command {
    let api = format!("{}v1.0/", service.url);
    let at = ["init", "--api", &api, "--authority", &service.url];
    let mut command = world.command(&[&at[..], args].concat());
    command.env("PARTNER_CENTER_CLIENT_SECRET", sandbox::CLIENT_SECRET);
    command.env("PARTNER_CENTER_USERNAME", sandbox::USERNAME);
    command.env("PARTNER_CENTER_PASSWORD", sandbox::PASSWORD);
    command
}

const IDS: [&str; 4] = ["--tenant", sandbox::TENANT, "--client-id", sandbox::CLIENT_ID];

fn written(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.path(name)).unwrap()
}

/// Whoever signs in at the sandbox is `payouts.reader@contoso.example`.
fn is_complete(text: &str) {
    for line in [
        "account = \"contoso\"",
        "lake = \"./lake\"",
        "name = \"transaction_history\"",
        "name = \"payments\"",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("# Alias of the identity that signs in."), "the comments are there");
    for secret in [sandbox::CLIENT_SECRET, sandbox::PASSWORD] {
        assert!(!text.contains(secret), "a secret is written: {text}");
    }
}

/// The service is on this machine and quick: a run need not wait ten seconds before it looks.
fn hurry(world: &World, name: &str) {
    let text = written(world, name);
    world.write(
        name,
        text.replace("[source.api]\n", "[source.api]\npoll = { first_secs = 0, max_secs = 1 }\n"),
    );
}

fn refused(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, code, "{}\n{}", done.stdout, done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
}

#[test]
fn a_person_signs_in_once_and_the_file_works() {
    let world = World::new();
    let service = service(&world, &[]);
    let done = world.finish(init(&world, &service, &[&IDS[..], &["my.toml"]].concat()));
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    assert_eq!(done.stdout, "");
    for words in
        ["SANDB0XPC", "signed in as payouts.reader@contoso.example", "wrote my.toml: account contoso"]
    {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    for next in ["check my.toml", "plan my.toml", "run my.toml"] {
        assert!(done.stderr.contains(&format!(" {next}\n")), "{next}: {}", done.stderr);
    }
    let text = written(&world, "my.toml");
    is_complete(&text);
    assert!(text.contains(&format!("tenant = \"{}\"", sandbox::TENANT)), "{text}");
    assert!(text.contains("payoutlake check my.toml"), "the head names another file: {text}");
    assert!(!world.path("lake").exists(), "only the file is written");

    // Nobody signs in again.
    let check = world.run(&["check", "my.toml"]);
    assert_eq!(check.code, 0, "{}", check.stdout);
    hurry(&world, "my.toml");
    let plan = world.ok(&["plan", "my.toml"]);
    assert!(
        plan.stdout.contains("transaction_history") && plan.stdout.contains("payments"),
        "{}",
        plan.stdout
    );
    world.ok(&["run", "my.toml", "--lake", "other"]);
    let kept = world.files(".local/state/payoutlake/sign-in");
    let tokens = kept.iter().filter(|(name, _)| name.ends_with(".json")).count();
    assert_eq!(tokens, 1, "one sign-in, one token");

    // Under the same alias the sign-in that is kept is good for another file, too.
    let again = [&IDS[..], &["--account", "contoso", "other.toml"]].concat();
    let again = world.finish(init(&world, &service, &again));
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(!again.stderr.contains("SANDB0XPC"), "signed in twice: {}", again.stderr);
}

#[test]
fn kinds_with_a_secret_write_where_it_is_and_not_what_it_is() {
    let world = World::new();
    let service = service(&world, &[]);
    // An application has no domain to take an alias from.
    for (kind, file, account) in
        [("username-password", "deep/folder/user.toml", "contoso"), ("client-secret", "app.toml", "default")]
    {
        let mut command = init(&world, &service, &["--sign-in", kind, "--json", file]);
        // What the environment has is not written, either.
        command.env("PARTNER_CENTER_TENANT_ID", sandbox::TENANT);
        command.env("PARTNER_CENTER_CLIENT_ID", sandbox::CLIENT_ID);
        let done = world.finish(command);
        assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
        assert_eq!(done.stderr, "");
        let told: Value = serde_json::from_str(&done.stdout).unwrap();
        let wanted = json!({
            "schema": "payoutlake.init.v1", "file": file, "account": account, "lake": "./lake",
            "datasets": ["transaction_history", "payments"], "refused": [], "sign_in": kind, "signed_in": true,
        });
        assert_eq!(told, wanted);
        let text = written(&world, file);
        assert!(text.contains("tenant = \"${env:PARTNER_CENTER_TENANT_ID}\""), "{text}");
        assert!(!text.contains(sandbox::CLIENT_SECRET) && !text.contains(sandbox::PASSWORD), "{text}");
        let mut check = world.command(&["check", file]);
        check.env("PARTNER_CENTER_TENANT_ID", sandbox::TENANT);
        check.env("PARTNER_CENTER_CLIENT_ID", sandbox::CLIENT_ID);
        let without = world.run(&["check", file]);
        assert_eq!(without.code, 78, "{}", without.stdout);
        check.env("PARTNER_CENTER_CLIENT_SECRET", sandbox::CLIENT_SECRET);
        check.env("PARTNER_CENTER_USERNAME", sandbox::USERNAME);
        check.env("PARTNER_CENTER_PASSWORD", sandbox::PASSWORD);
        let check = world.finish(check);
        assert!([0, 3].contains(&check.code), "{}", check.stdout);
    }
}

#[test]
fn a_first_refresh_token_is_used_and_its_successor_kept() {
    let world = World::new();
    let service = service(&world, &[]);
    let file = [&IDS[..], &["--account", "first", "first.toml"]].concat();
    assert_eq!(world.finish(init(&world, &service, &file)).code, 0);
    let sign_ins = || {
        let files = world.files(".local/state/payoutlake/sign-in");
        let json = files.into_iter().filter(|(name, _)| name.ends_with(".json"));
        json.map(|(name, bytes)| (name, serde_json::from_slice::<Value>(&bytes).unwrap())).collect::<Vec<_>>()
    };
    let token = sign_ins()[0].1["refresh_token"].as_str().unwrap().to_owned();
    let mut command = init(&world, &service, &[&IDS[..], &["--sign-in", "refresh-token"]].concat());
    command.env("PARTNER_CENTER_REFRESH_TOKEN", &token);
    let done = world.finish(command);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!written(&world, "pipeline.toml").contains(&token));
    let kept = sign_ins();
    let (name, stored) = kept.iter().find(|(name, _)| name.starts_with("contoso-")).unwrap();
    assert_ne!(stored["refresh_token"], token.as_str(), "{name}");
    // The first one has done its work.
    assert_eq!(world.run(&["check", "pipeline.toml"]).code, 0);
}

#[test]
fn what_the_sign_in_may_not_see_is_not_offered() {
    let world = World::new();
    let service = service(&world, &["missing-role:payments"]);
    let user = [&IDS[..], &["--sign-in", "username-password"]].concat();
    let done = world.finish(init(&world, &service, &[&user[..], &["my.toml"]].concat()));
    assert_eq!(done.code, 0, "{}", done.stderr);
    for words in ["! payments is out of its sight", "Finance Contributor"] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    let text = written(&world, "my.toml");
    assert!(text.contains("\n# [[datasets]]\n") && text.contains("\n# name = \"payments\"\n"), "{text}");
    let plan = world.ok(&["plan", "my.toml"]);
    assert!(!plan.stdout.contains("payments"), "{}", plan.stdout);
    // Whoever names it gets it, and is told.
    let named =
        [&user[..], &["--dataset", "payments", "--dataset", "transaction_history", "named.toml"]].concat();
    let done = world.finish(init(&world, &service, &named));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("! payments is out of its sight"), "{}", done.stderr);
    assert!(written(&world, "named.toml").contains("\nname = \"payments\"\n"));
}

#[test]
fn a_sign_in_that_fails_writes_nothing() {
    for (fault, words) in
        [("wrong-password", "wrong user name or password"), ("missing-role", "may not do this")]
    {
        let world = World::new();
        let service = service(&world, &[fault]);
        let user = [&IDS[..], &["--sign-in", "username-password", "new/my.toml"]].concat();
        let done = world.finish(init(&world, &service, &user));
        refused(&done, 77, &[words, "--offline"]);
        assert!(!world.path("new").exists(), "{fault}");
        assert!(world.files(".local").is_empty(), "{fault}");
    }
    let world = World::new();
    let done = world.run(&[&["init", "--sign-in", "client-secret"], &IDS[..]].concat());
    refused(&done, 78, &["PARTNER_CENTER_CLIENT_SECRET is not set", "--offline"]);
    assert!(world.files("").is_empty());
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let world = World::new();
    for (args, words) in [
        (
            &["init"][..],
            &["--tenant and --client-id", "PARTNER_CENTER_TENANT_ID and PARTNER_CENTER_CLIENT_ID"][..],
        ),
        (&["init", "--offline", "--tenant", "t"], &["--client-id", "PARTNER_CENTER_CLIENT_ID"]),
        (&["init", "--client-id", "my app"], &["cannot be the application"]),
        (&["init", "--tenant", "a/b"], &["cannot be the directory"]),
        (&["init", "--account", "Contoso Ltd"], &["account alias"]),
        (&["init", "--dataset", "payment"], &["transaction_history, payments"]),
        (&["init", "--sign-in", "magic"], &["possible values", "device-code"]),
        (&["init", "--sandbox", "--offline"], &["cannot be used with"]),
    ] {
        refused(&world.run(args), 2, words);
    }
    refused(&world.run(&["init", "--lake", "ftp://host/lake"]), 78, &["'ftp' is no storage"]);
    let address = ["init", "--offline", "--api", "https://user:canary@host/"];
    let done = world.run(&[&address[..], &IDS].concat());
    refused(&done, 78, &["a user name or a password"]);
    assert!(!done.stderr.contains("canary"), "{}", done.stderr);
    let mut command = world.command(&["init", "--offline", "--tenant", "contoso.com"]);
    command.env("PARTNER_CENTER_TENANT_ID", "fabrikam.com");
    refused(&world.finish(command), 2, &["PARTNER_CENTER_TENANT_ID has another value"]);
    assert!(world.files("").is_empty());
}

#[test]
fn a_file_that_is_there_is_replaced_only_on_demand() {
    let world = World::new();
    world.write("pipeline.toml", "mine");
    let args =
        ["init", "--offline", "--tenant", "contoso.onmicrosoft.com", "--client-id", sandbox::CLIENT_ID];
    refused(&world.run(&args), 2, &["there already", "--force"]);
    assert_eq!(written(&world, "pipeline.toml"), "mine");
    let done = world.ok(&[&args[..], &["--force", "--lake", "/data/lake", "--dataset", "payments"]].concat());
    let next = done.stderr.lines().find(|line| line.starts_with("next:")).unwrap_or_default();
    assert!(next.ends_with("auth login pipeline.toml"), "{}", done.stderr);
    let text = written(&world, "pipeline.toml");
    assert!(
        text.contains("\naccount = \"contoso\"\n") && text.contains("\nlake = \"/data/lake\"\n"),
        "{text}"
    );
    let plan = world.ok(&["plan", "pipeline.toml"]);
    assert!(
        plan.stdout.contains("payments") && !plan.stdout.contains("transaction_history\n"),
        "{}",
        plan.stdout
    );
    assert_eq!(world.files("").len(), 1, "nothing is left beside it");
}

#[test]
fn the_sandbox_needs_no_account() {
    let world = World::new();
    let done = world.ok(&["init", "--sandbox", "--account", "trial", "--lake", "try", "s.toml"]);
    assert!(done.stderr.contains("wrote s.toml: account trial, lake try"), "{}", done.stderr);
    let text = written(&world, "s.toml");
    assert!(text.contains("payoutlake run s.toml"), "{text}");
    world.write("s.toml", text.replace("rows_per_month = 20000", "rows_per_month = 40\ndelay_millis = 20"));
    world.ok(&["run", "s.toml"]);
    assert!(world.path("try/payments/account=trial").exists());
}

/// Runs a command on a pseudo terminal whose person has typed these lines already, and gives what stands on the screen.
#[cfg(unix)]
fn typed(mut command: Command, lines: &str) -> (i32, String) {
    let python = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut terminal = Command::new("python3");
    terminal.args(["-c", python]).arg(command.get_program()).args(command.get_args());
    terminal.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    terminal.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    terminal.current_dir(command.get_current_dir().unwrap());
    command = terminal;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    (done.status.code().unwrap_or(-1), String::from_utf8(done.stdout).unwrap().replace('\r', ""))
}

#[cfg(unix)]
#[test]
fn a_person_on_a_terminal_is_asked_what_has_no_answer() {
    let world = World::new();
    let service = service(&world, &[]);
    let (tenant, client) = (sandbox::TENANT, sandbox::CLIENT_ID);
    // A wrong answer is explained, and asked for again.
    let lines =
        format!("two words\n{tenant}\nmy app\n{client}\npayment\npayments\nContoso EU\ncontoso-eu\n\n");
    let (code, screen) = typed(init(&world, &service, &[]), &lines);
    assert_eq!(code, 0, "{screen}");
    for words in [
        "Directory (tenant) id",
        "'two words' cannot be the directory",
        "'my app' cannot be the application",
        "SANDB0XPC",
        "signed in as payouts.reader@contoso.example",
        "Datasets [transaction_history, payments]: ",
        "the API has no dataset 'payment'",
        "Alias of the account, a folder in the lake [contoso]: ",
        "'Contoso EU' is not a valid account alias",
        "Lake [./lake]: ",
        "wrote pipeline.toml: account contoso-eu, lake ./lake, datasets payments\n",
    ] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    // The sign-in is kept under the alias that was chosen after it.
    assert_eq!(world.run(&["check", "pipeline.toml"]).code, 0);

    // With every answer given nothing is asked.
    let all =
        [&IDS[..], &["--account", "contoso-eu", "--lake", "l", "--dataset", "payments", "all.toml"]].concat();
    let (code, screen) = typed(init(&world, &service, &all), "");
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("]: ") && !screen.contains("SANDB0XPC"), "{screen}");

    // The end of the input (Ctrl-D) ends it.
    let (code, screen) =
        typed(init(&world, &service, &["--offline", "end.toml"]), &format!("{tenant}\n\u{4}"));
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("the input ended") && !world.path("end.toml").exists(), "{screen}");
}
