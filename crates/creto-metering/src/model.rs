//! Plain types, parsed at the edge.

pub mod account;
pub mod add_on;
pub mod alert;
pub mod billable_metric;
pub mod charge;
pub mod currency;
pub mod customer;
pub mod definition;
pub mod entry;
pub mod event;
pub mod feature;
pub mod invoice;
pub mod metric;
pub mod overrides;
pub mod page;
pub mod plan;
pub mod price;
pub mod quarantine;
pub mod quota;
pub mod raise;
pub mod source;
pub mod subscription;
pub mod tax;
pub mod token_prices;
pub mod wallet;
pub mod wallets;
