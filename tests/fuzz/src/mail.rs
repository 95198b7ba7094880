//! Mails that answer ours.

use creto_oversight::channels::email::reply::{Replies, RepliesOptions};
use creto_oversight::model::request::COMMENT_BYTES_MAX;

/// A mail: its header, then its words, which are text without control of what is shown around them and without the mail's own secret.
pub(crate) fn reply(bytes: &[u8]) -> bool {
    let options = RepliesOptions {
        address: "approvals@creto.example".to_owned(),
        authserv_ids: vec!["mx.creto.example".to_owned()],
        authenticated_only: false,
    };
    let replies = Replies::new(&options, "creto@creto.example").expect("options that work");
    let token = "0123456789abcdef0123456789abcdef";
    let (envelope, words) = (replies.envelope(bytes), replies.words(bytes, token));
    if let Ok(words) = &words {
        assert!(!words.text.is_empty() && !words.text.contains(['\0', '\r']), "{words:?}");
        assert!(!words.text.to_ascii_lowercase().contains(token), "{words:?}");
    }
    if let Ok(envelope) = &envelope {
        assert!(envelope.token.len() == token.len() && envelope.token.bytes().all(|b| b.is_ascii_hexdigit()), "{envelope:?}");
        assert_eq!(envelope.from.matches('@').count(), 1, "{envelope:?}");
        assert_eq!(replies.envelope(bytes).as_ref(), Ok(envelope), "read again it says the same");
    }
    words.is_ok_and(|words| words.text.len() <= COMMENT_BYTES_MAX) && envelope.is_ok()
}
