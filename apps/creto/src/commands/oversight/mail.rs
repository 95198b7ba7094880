//! `creto oversight mail`: what a mail server pipes in, with the exit codes that it understands (sysexits.h).

use std::io::Read as _;
use std::process::ExitCode;

use bytes::Bytes;
use creto_oversight::channels::email::reply::MAIL_BYTES_MAX;
use creto_oversight::{MailError, OversightError};
use http::Method;
use serde_json::Value;

use crate::cli::govern::OversightMailArgs;
use crate::client::Client;
use crate::commands::answer::{show, text};
use crate::commands::remote::Remote;
use crate::config::Config;
use crate::failure::Failure;

const PATH: &str = "/v1/oversight/mail";
/// What bodies of mails are (RFC 2046, section 5.2.1).
const KIND: &str = "message/rfc822";
/// The mail cannot be kept: its writer is told.
const EX_DATAERR: u8 = 65;
/// There is nobody at that address.
const EX_NOUSER: u8 = 67;
/// It may be kept later: the mail server keeps it and tries again.
const EX_TEMPFAIL: u8 = 75;
/// It is from the wrong sender.
const EX_NOPERM: u8 = 77;

/// Hands in one mail.
pub(in crate::commands) async fn mail(config: Result<Config, Failure>, args: OversightMailArgs, json: bool) -> ExitCode {
    match hand_in(config, args).await {
        Ok(answer) => {
            let told = show(json, &answer, |answer| format!("kept as a comment on `{}`; it decides nothing\n", text(answer, "request")));
            // It is kept: a standard output that is closed does not make the mail come again.
            drop(told);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            failure.report(json);
            ExitCode::from(exit_code(failure.code()))
        }
    }
}

async fn hand_in(config: Result<Config, Failure>, args: OversightMailArgs) -> Result<Value, Failure> {
    let body = read()?;
    let Some(url) = args.url else {
        let client = Client::open(config?, None).await?;
        let answer = client.bytes(Method::POST, PATH, body).await;
        let closed = client.close().await;
        let answer = answer?;
        closed?;
        return serde_json::from_slice(&answer).map_err(|e| Failure::protocol(format!("the answer to `{PATH}` cannot be read: {e}")));
    };
    let token = match &args.token_file {
        Some(file) => {
            let unreadable = |e| Failure::usage(format!("`{}` cannot be read: {e}", file.display()), "name a file with a key");
            Some(std::fs::read_to_string(file).map_err(unreadable)?.trim().to_owned())
        }
        None => std::env::var("CRETO_TOKEN").ok(),
    };
    Remote::at(&url, token)?.send(Method::POST, PATH, KIND, body).await?.good()?.json(PATH)
}

/// The whole mail; the rest of one that is too large is read away, or the mail server would see its pipe break.
fn read() -> Result<Bytes, Failure> {
    let unreadable = |e: std::io::Error| Failure::protocol(format!("standard input broke off: {e}"));
    let mut input = std::io::stdin().lock();
    let mut mail = Vec::new();
    let limit = u64::try_from(MAIL_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    input.by_ref().take(limit).read_to_end(&mut mail).map_err(unreadable)?;
    if mail.len() > MAIL_BYTES_MAX {
        std::io::copy(&mut input, &mut std::io::sink()).map_err(unreadable)?;
        return Err(OversightError::Mail(MailError::TooLarge(MAIL_BYTES_MAX)).into());
    }
    Ok(Bytes::from(mail))
}

/// What a mail server does with it. Whatever is not about the mail itself may pass.
fn exit_code(code: &str) -> u8 {
    match code {
        // Nobody is to be told: a bounce to a program would be answered by a program.
        "oversight.mail_automatic" => 0,
        "oversight.mail_unknown" => EX_NOUSER,
        "oversight.mail_sender" | "oversight.mail_unverified" => EX_NOPERM,
        "oversight.mail_late"
        | "oversight.mail_too_large"
        | "oversight.mail_unreadable"
        | "oversight.mail_empty"
        | "oversight.mail_full"
        | "oversight.comment_too_long" => EX_DATAERR,
        _ => EX_TEMPFAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_about_the_mail_is_tried_again_and_programs_are_told_nothing() {
        for (code, exit) in [
            ("oversight.mail_automatic", 0),
            ("oversight.mail_unknown", 67),
            ("oversight.mail_sender", 77),
            ("oversight.mail_late", 65),
            ("oversight.comment_too_long", 65),
            ("oversight.no_channel", 75),
            ("http.forbidden", 75),
            ("app.protocol", 75),
            ("db.unavailable", 75),
        ] {
            assert_eq!(exit_code(code), exit, "{code}");
        }
    }
}
