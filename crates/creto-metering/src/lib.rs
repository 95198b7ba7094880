//! Usage, budgets and prices.
