//! Why a mail that answers one of ours is not kept.

use creto_kernel::{Coded, ErrorCode, Kind};

use crate::model::request::State;

/// Why a mail that answers one of ours is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// It is addressed to no mail of ours that can still be answered.
    #[error("no mail of this server is answered by that address")]
    Unknown,
    /// It is from somebody else than the mail it answers went to, or that person may not act any more.
    #[error("it is not from the address that the mail it answers was sent to")]
    Sender,
    /// Nothing shows that its sender's domain sent it, and this server takes no such mail.
    #[error("nothing shows that it comes from its sender's domain")]
    Unverified,
    /// The request is over.
    #[error("the request is `{}` already: nobody would read it", .0.as_str())]
    Late(State),
    /// It is larger than any mail that is read.
    #[error("the mail is larger than {0} bytes")]
    TooLarge(usize),
    /// It is no mail, or not one that has one sender and answers one mail of ours.
    #[error("it cannot be read: {0}")]
    Unreadable(&'static str),
    /// A program sent it.
    #[error("it was sent by a program: {0}")]
    Automatic(&'static str),
    /// It says nothing.
    #[error("it has no text of its own")]
    Empty,
    /// As many as may be were kept.
    #[error("as many answers as may be were kept already")]
    Full,
}

impl Coded for MailError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::new("oversight.mail_unknown"),
            Self::Sender => ErrorCode::new("oversight.mail_sender"),
            Self::Unverified => ErrorCode::new("oversight.mail_unverified"),
            Self::Late(_) => ErrorCode::new("oversight.mail_late"),
            Self::TooLarge(_) => ErrorCode::new("oversight.mail_too_large"),
            Self::Unreadable(_) => ErrorCode::new("oversight.mail_unreadable"),
            Self::Automatic(_) => ErrorCode::new("oversight.mail_automatic"),
            Self::Empty => ErrorCode::new("oversight.mail_empty"),
            Self::Full => ErrorCode::new("oversight.mail_full"),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unknown => Kind::NotFound,
            Self::Sender | Self::Unverified => Kind::Denied,
            Self::Late(_) => Kind::Conflict,
            Self::TooLarge(_) => Kind::TooLarge,
            Self::Unreadable(_) | Self::Automatic(_) | Self::Empty => Kind::Invalid,
            Self::Full => Kind::Limited,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Sender => "answer from the address the mail came to, or say it on the request's page",
            Self::Automatic(_) => "nothing is to be done: answers of programs are left alone",
            Self::Unreadable(_) => return None,
            _ => "say it on the request's page",
        };
        Some(hint.to_owned())
    }
}
