//! What users meet when the bucket cannot be reached: soon, with the place, the reason and what to do, and never with a secret.

use crate::binary::{Ended, thalweg};
use crate::jobs::environment;
use crate::proxy::{Mode, Proxy};
use thalweg_engine::clock::Clock;
use thalweg_engine::s3::S3Options;
use thalweg_engine::s3::testing::{folder, server};

/// What `thalweg checkpoint list` says.
fn list(url: &str, options: &S3Options) -> Ended {
    let mut command = thalweg(&["checkpoint", "list", "--set", &format!("checkpoint.dir={url}")]);
    Ended::new(environment(&mut command, options).output().unwrap())
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let Some(options) = server() else { return };
    let url = folder();
    let nothing = list(&url, &options);
    assert!(nothing.status == 2 && nothing.stderr.contains("is no folder of checkpoints"), "{}", nothing.stderr);
    let with = |change: &dyn Fn(&mut S3Options)| {
        let mut changed = options.clone();
        change(&mut changed);
        changed
    };
    let cases = [
        ("s3://nowhere/a", options.clone(), "has no bucket `nowhere`; create it"),
        (
            &url,
            with(&|o| o.secret_key = Some("hunter2hunter2".into())),
            "are `s3.access-key` and `s3.secret-key` right",
        ),
        (&url, with(&|o| o.access_key = Some("AKIANOBODY".into())), "are `s3.access-key` and `s3.secret-key` right"),
        (&url, with(&|o| o.endpoint = Some("http://127.0.0.1:1".into())), "no answer from http://127.0.0.1:1"),
        (&url, with(&|o| o.endpoint = Some("http://nowhere.invalid".into())), "http://nowhere.invalid"),
        (&url, with(&|o| o.allow_http = false), "is not encrypted; write https://, or set s3.allow-http=true"),
        (&url, with(&|o| o.endpoint = Some("somewhere".into())), "is no URL; write https://HOST"),
        (&url, with(&|o| o.access_key = None), "belong together"),
    ];
    for (url, options, reason) in cases {
        let out = list(url, &options);
        assert!(out.status == 1 || out.status == 2, "{options:?}: {}", out.status);
        assert!(out.stderr.contains(reason), "{reason}: {}", out.stderr);
        let secret = options.secret_key.as_ref().unwrap();
        assert!(!out.stderr.contains(secret) && !out.stdout.contains(secret), "{}", out.stderr);
    }
    for wrong in ["s3://", "s3:///a", "s3://tests/a/../b", "s4://tests/a"] {
        let out = list(wrong, &options);
        assert!(out.status == 2 && out.stderr.contains("s3://BUCKET/FOLDER"), "{wrong}: {}", out.stderr);
    }
    let out = Ended::new(thalweg(&["checkpoint", "list", "--set", "s3.secret-key=hunter2 hunter2"]).output().unwrap());
    assert!(out.status == 2 && out.stderr.contains("--set s3.secret-key=******`"), "{}", out.stderr);
    assert!(!out.stderr.contains("hunter2"), "{}", out.stderr);
}

#[test]
fn a_server_that_says_nothing_is_given_up_on_within_fifteen_seconds() {
    let Some(options) = server() else { return };
    let proxy = Proxy::start(&options);
    proxy.set(Mode::Silent);
    let clock = Clock::system();
    let out = list(&folder(), &proxy.options(&options));
    assert!(clock.now().as_secs() < 15, "{:?}", clock.now());
    assert!(out.status == 1 && out.stderr.contains("nothing came within"), "{}", out.stderr);
    assert!(out.stderr.contains("see `s3.endpoint`"), "{}", out.stderr);
}
