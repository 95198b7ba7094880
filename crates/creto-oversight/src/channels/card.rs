//! What a card says, before a channel gives it its form.

use creto_kernel::NhiId;

use crate::channels::visible::{one_line, visible};
use crate::model::notice::{Notice, Told};
use crate::model::plan::Risk;
use crate::model::request::{Request, State};

/// Longest title, in characters.
const TITLE_CHARS_MAX: usize = 120;

/// A request as it is told outside, with every text made visible.
#[derive(Clone, Debug)]
pub struct Card {
    /// The request.
    pub request: Request,
    /// What happened.
    pub told: Told,
    /// Equal for equal deliveries, together with channel and target.
    pub key: String,
    /// One line: what is asked.
    pub title: String,
    /// Who asks, on whose authority: the chain, by names, root first.
    pub chain: String,
    /// The whole action, canonical, every character visible.
    pub action: String,
    /// What the agent says; untrusted.
    pub reason: Option<String>,
    /// What was said with an escalation; untrusted.
    pub message: Option<String>,
    /// Where it is read in full and decided.
    pub url: String,
    /// The secret of a mail's link, bound to request, revision and recipient; other channels have none.
    pub token: Option<String>,
    /// What the address carries under which a mail is answered, bound to request and recipient; none where answers are read by nobody.
    pub reply_token: Option<String>,
}

impl Card {
    /// The card of a request for a notice; `base` is the console's address.
    #[must_use]
    pub fn new(request: Request, notice: &Notice, base: &str) -> Self {
        let action: serde_json::Value = serde_json::from_str(&request.action).unwrap_or_default();
        let word = |name: &str| action.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let test = if request.test { "TEST, binds nobody: " } else { "" };
        let title = one_line(&format!("{test}{} {}", word("action"), word("resource")), TITLE_CHARS_MAX);
        let names: Vec<String> = request.hops.iter().map(|hop| name(hop)).collect();
        Self {
            told: notice.told,
            key: notice.key(),
            title,
            chain: names.join(" → "),
            action: visible(&request.action),
            reason: request.reason.as_deref().map(visible),
            message: notice.message.as_deref().map(visible),
            url: format!("{base}/#/inbox/{}", request.id),
            token: None,
            reply_token: None,
            request,
        }
    }

    /// Whether it still waits for people.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.request.state == State::Pending
    }

    /// Whether a click outside the console may decide it: what is at stake is little enough, and nothing was left out.
    #[must_use]
    pub fn may_be_clicked(&self) -> bool {
        self.waits() && self.request.risk < Risk::Critical && self.request.redacted.is_empty()
    }

    /// How it stands, in words.
    #[must_use]
    pub fn standing(&self) -> String {
        let by = self.request.decided_by.as_deref().map(|by| format!(" by {}", name(by))).unwrap_or_default();
        let said = self.request.comment.as_deref().map(|text| format!(": {}", one_line(text, 300))).unwrap_or_default();
        match self.request.state {
            State::Pending => format!("waits until {}", self.request.deadline),
            state => format!("{}{by}{said}", state.as_str().replace('_', " ")),
        }
    }
}

/// The readable end of an identity.
fn name(id: &str) -> String {
    let short = id.parse::<NhiId>().map(|id| format!("{}/{}", id.kind().as_str(), id.name()));
    visible(&short.unwrap_or_else(|_| id.to_owned()))
}
