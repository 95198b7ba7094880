//! What somebody wants to happen to a request.

use creto_kernel::{ActionName, Digest, NhiId, ResourceName};

use crate::model::case::Choice;
use crate::model::plan::Plan;
use crate::model::requirement::Selector;
use crate::model::voter::Voter;

/// What somebody wants to happen to a request.
#[derive(Clone, Debug)]
pub enum Command {
    /// A human votes.
    Vote(Ballot),
    /// A human answers a question.
    Answer {
        /// Who.
        voter: Voter,
        /// In words; never empty.
        text: String,
        /// By a named option.
        option: Option<String>,
    },
    /// A human asks the agent back.
    AskBack {
        /// Who.
        voter: Voter,
        /// What.
        text: String,
    },
    /// The agent answers what it was asked back.
    Reply {
        /// Who: the request's own agent.
        agent: NhiId,
        /// What. Untrusted.
        text: String,
    },
    /// A human changes the arguments.
    Edit(Box<Revised>),
    /// A human takes care of it: the chain waits for them.
    Acknowledge {
        /// Who.
        voter: Voter,
    },
    /// Somebody who runs the installation gives it to other people.
    Reassign {
        /// Who.
        by: NhiId,
        /// To whom.
        to: Vec<Selector>,
    },
    /// The next step of the chain begins now.
    Escalate {
        /// Who wants it: a human, or the agent that waits.
        by: NhiId,
        /// What they say; an agent's words are untrusted.
        message: Option<String>,
    },
    /// Time has passed.
    Tick,
    /// People changed: whoever had voted may not act any more, or nobody is left who could.
    Recount,
    /// The agent no longer wants it.
    Cancel {
        /// Who.
        by: NhiId,
        /// Why.
        reason: Option<String>,
    },
    /// Another request takes its place.
    Supersede {
        /// Who.
        by: NhiId,
        /// Which.
        other: String,
    },
    /// An approval that nobody has used is taken back.
    Revoke {
        /// Who.
        by: NhiId,
        /// Why.
        reason: String,
    },
    /// An admission uses the approval for exactly this digest.
    Consume {
        /// The digest, recomputed where the action happens.
        digest: Digest,
        /// Which admission.
        admission: String,
    },
    /// The admitted action was done, or failed.
    Conclude {
        /// Which admission.
        admission: String,
        /// Whether it was done.
        ok: bool,
    },
    /// Nobody knows what came of the admitted action.
    Doubt {
        /// Which admission.
        admission: String,
    },
    /// A human approves at once, around the requirement.
    BreakGlass {
        /// Who.
        voter: Voter,
        /// The digest it approves.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// Another human looks at a broken glass.
    Review {
        /// Who.
        voter: Voter,
        /// Whether it was right.
        justified: bool,
        /// What they say; never empty.
        comment: String,
    },
}

impl Command {
    /// The human whose command it is; `None` for those of agents, of time, and of whoever its caller checked.
    #[must_use]
    pub const fn voter(&self) -> Option<&Voter> {
        match self {
            Self::Vote(ballot) => Some(&ballot.voter),
            Self::Edit(revised) => Some(&revised.voter),
            Self::Answer { voter, .. }
            | Self::AskBack { voter, .. }
            | Self::Acknowledge { voter }
            | Self::BreakGlass { voter, .. }
            | Self::Review { voter, .. } => Some(voter),
            _ => None,
        }
    }
}

/// A vote to be cast.
#[derive(Clone, Debug)]
pub struct Ballot {
    /// Who.
    pub voter: Voter,
    /// For whom they stand in.
    pub stands_in_for: Option<NhiId>,
    /// Yes or no.
    pub choice: Choice,
    /// The digest an approval names; a denial may leave it out.
    pub digest: Option<Digest>,
    /// The digest of what they were shown, where some of the action was hidden from them.
    pub shown: Option<Digest>,
    /// The revision they saw; the current one when absent.
    pub revision: Option<u32>,
    /// What they say.
    pub comment: Option<String>,
    /// The named option of a refusal.
    pub option: Option<String>,
}

/// New arguments, checked and judged by policy again.
#[derive(Clone, Debug)]
pub struct Revised {
    /// Who edited.
    pub voter: Voter,
    /// The revision they saw.
    pub revision: u32,
    /// The action with the new arguments, as RFC 8785 text.
    pub action: String,
    /// Its digest.
    pub digest: Digest,
    /// The name of the action with the new arguments: the same.
    pub tool: ActionName,
    /// What it acts on: the same.
    pub target: ResourceName,
    /// How policy wants the new action decided.
    pub plan: Plan,
}
