//! Erasing the words of requests: what was asked, why, what was answered, and what came by mail. What a legal hold keeps is kept.

use creto_db::{Sql, Step, Write, params};
use creto_enablement_common::erasure::{Count, ERASED, Erasing, Erasure};

// The action keeps its names and loses its arguments, so that a closed request still says what it was about; who voted how stays in the
// log's leaves. `jsonb` keeps no U+0000, which words and arguments may have.
const ERASE: Sql = Sql::per_engine(
    "UPDATE oversight_request SET action = json_set(action, '$.arguments', json('{}')), digest = $6, first_digest = $6, lookup = NULL,
     salt = $7, reason = NULL, extra = NULL, context = NULL, tool_schema = NULL,
     body = json_remove(json_replace(json_set(body, '$.digest', $6, '$.comment', NULL, '$.answer', NULL, '$.option', NULL,
     '$.thread', json('[]'), '$.votes', json('[]')), '$.glass.reason', ''), '$.glass.review', '$.glass.proof.evidence')
     WHERE tenant = $1 AND opened_at < $2 AND ($3 = '' OR agent = $3) AND ($4 = '' OR run = $4) AND ($5 = '' OR digest = $5)
     AND state IN ('denied', 'timed_out', 'cancelled', 'superseded', 'answered', 'expired', 'revoked', 'executed', 'failed')
     AND digest <> $6 AND review_by IS NULL
     AND NOT EXISTS (SELECT 1 FROM oversight_hold h WHERE h.tenant = oversight_request.tenant AND h.request = oversight_request.id)",
    "UPDATE oversight_request SET action = jsonb_set(replace(action, '\\u0000', '\\u0020')::jsonb, '{arguments}', '{}')::text,
     digest = $6, first_digest = $6, lookup = NULL, salt = $7, reason = NULL, extra = NULL, context = NULL, tool_schema = NULL,
     body = (jsonb_set(replace(body, '\\u0000', '\\u0020')::jsonb
     || jsonb_build_object('digest', $6::text, 'comment', NULL, 'answer', NULL, 'option', NULL, 'thread', '[]'::jsonb,
     'votes', '[]'::jsonb), '{glass,reason}', '\"\"', false)
     #- '{glass,review}' #- '{glass,proof,evidence}')::text
     WHERE tenant = $1 AND opened_at < $2 AND ($3 = '' OR agent = $3) AND ($4 = '' OR run = $4) AND ($5 = '' OR digest = $5)
     AND state IN ('denied', 'timed_out', 'cancelled', 'superseded', 'answered', 'expired', 'revoked', 'executed', 'failed')
     AND digest <> $6 AND review_by IS NULL
     AND NOT EXISTS (SELECT 1 FROM oversight_hold h WHERE h.tenant = oversight_request.tenant AND h.request = oversight_request.id)",
);

const EVENTS: &str = "DELETE FROM oversight_event WHERE tenant = $1 AND request IN
     (SELECT id FROM oversight_request WHERE tenant = $1 AND digest = $2)";
const REVISIONS: &str = "DELETE FROM oversight_revision WHERE tenant = $1 AND request IN
     (SELECT id FROM oversight_request WHERE tenant = $1 AND digest = $2)";
const COMMENTS: &str = "DELETE FROM oversight_mail_comment WHERE tenant = $1 AND request IN
     (SELECT id FROM oversight_request WHERE tenant = $1 AND digest = $2)";
const REPLIES: &str = "DELETE FROM oversight_reply WHERE tenant = $1 AND request IN
     (SELECT id FROM oversight_request WHERE tenant = $1 AND digest = $2)";

pub(crate) fn erasing(what: &Erasure) -> Erasing {
    let count = Count::default();
    let mut values = what.params();
    values.extend(params![ERASED, vec![0_u8; 32]]);
    let requests: Box<dyn Step> = Box::new(Write::new(ERASE, values).counted(count.0.clone()));
    let of_them =
        [EVENTS, REVISIONS, COMMENTS, REPLIES].map(|sql| -> Box<dyn Step> { Box::new(Write::new(sql, params![&what.tenant, ERASED])) });
    Erasing { steps: std::iter::once(requests).chain(of_them).collect(), count }
}
