//! Cost by delegation tree: what each hop spent, directly and below it.

use creto_kernel::Micros;
use serde::Serialize;
use utoipa::ToSchema;

/// One hop of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CostNode {
    /// Who, as a SPIFFE ID.
    pub identity: String,
    /// Spent by its own actions.
    #[schema(value_type = String)]
    pub direct: Micros,
    /// Spent by its own actions and everybody's below it.
    #[schema(value_type = String)]
    pub total: Micros,
    /// Those it delegated to, by name.
    #[schema(no_recursion)]
    pub children: Vec<CostNode>,
}

/// Builds the forest from billed amounts, each with its path from the root to the acting identity. Sums saturate at the largest amount.
#[must_use]
pub fn build(postings: &[(Vec<String>, Micros)]) -> Vec<CostNode> {
    let mut roots: Vec<CostNode> = Vec::new();
    for (path, amount) in postings {
        let mut level = &mut roots;
        for (depth, identity) in path.iter().enumerate() {
            let at = match level.binary_search_by(|node| node.identity.as_str().cmp(identity)) {
                Ok(at) => at,
                Err(at) => {
                    level.insert(
                        at,
                        CostNode { identity: identity.clone(), direct: Micros::ZERO, total: Micros::ZERO, children: Vec::new() },
                    );
                    at
                }
            };
            let Some(node) = level.get_mut(at) else { break };
            node.total = node.total.checked_add(*amount).unwrap_or(Micros::MAX);
            if depth + 1 == path.len() {
                node.direct = node.direct.checked_add(*amount).unwrap_or(Micros::MAX);
            }
            level = &mut node.children;
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spending_rolls_up_and_is_billed_once() {
        let path = |names: &str| names.split('/').map(str::to_owned).collect::<Vec<_>>();
        let micros = Micros::new;
        let forest = build(&[
            (path("alice/planner/researcher"), micros(5)),
            (path("alice/planner"), micros(2)),
            (path("bob"), micros(1)),
            (path("alice/planner/researcher"), micros(1)),
        ]);
        let shape: Vec<_> = forest.iter().map(|n| (n.identity.as_str(), n.direct.get(), n.total.get())).collect();
        assert_eq!(shape, [("alice", 0, 8), ("bob", 1, 1)]);
        let planner = &forest[0].children[0];
        assert_eq!((planner.direct.get(), planner.total.get(), planner.children[0].direct.get()), (2, 8, 6));
    }
}
