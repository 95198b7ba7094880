//! What can be typed to sell and to bill: the catalog, invoices, wallets.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What the catalog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatalogKind {
    /// How events become units.
    Metrics,
    /// What subscriptions pay.
    Plans,
    /// Rates on top.
    Taxes,
    /// What is sold once.
    AddOns,
    /// What is taken off.
    Coupons,
    /// Who is billed.
    Customers,
    /// Who pays which plan.
    Subscriptions,
}

/// `creto catalog`.
#[derive(Debug, Args)]
pub(crate) struct CatalogArgs {
    /// Which part of the catalog.
    #[arg(value_enum)]
    pub(crate) kind: CatalogKind,
    /// One of them, by its code or external identifier; all when absent.
    pub(crate) code: Option<String>,
    /// Make it, or put its next version in force: a JSON file; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "delete")]
    pub(crate) put: Option<PathBuf>,
    /// Delete it, or end the subscription.
    #[arg(long, requires = "code")]
    pub(crate) delete: bool,
}

/// `creto invoice`.
#[derive(Debug, Subcommand)]
pub(crate) enum InvoiceCommand {
    /// List invoices, newest first.
    List {
        /// Of this customer only.
        #[arg(long, value_name = "C")]
        customer: Option<String>,
    },
    /// Show an invoice with its lines.
    Show {
        /// Which.
        invoice: String,
    },
    /// Write an invoice as PDF.
    Pdf {
        /// Which.
        invoice: String,
        /// Where to.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Bill everything that is due.
    Run,
    /// Compute a draft again.
    Refresh {
        /// Which.
        invoice: String,
    },
    /// Make a draft final.
    Finalize {
        /// Which.
        invoice: String,
    },
    /// Take a final invoice back.
    Void {
        /// Which.
        invoice: String,
        /// Bill its periods again.
        #[arg(long)]
        rebill: bool,
    },
    /// Say that an invoice was paid.
    Paid {
        /// Which.
        invoice: String,
    },
    /// Ask the payment provider for the payment again.
    Retry {
        /// Which.
        invoice: String,
    },
    /// List what the payment provider was asked for.
    Payments {
        /// In this state only: asking, open, paid, withdrawn, given_up.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Write a table as CSV: events, invoices, lines, ledger or entries; `creto meter export` has more.
    Export {
        /// Which table.
        table: String,
    },
}

/// `creto wallet`.
#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// List wallets with their balances.
    List {
        /// Of this customer only.
        #[arg(long, value_name = "C")]
        customer: Option<String>,
    },
    /// Make a wallet.
    Create {
        /// Whose.
        customer: String,
        /// Of which currency, such as EUR.
        #[arg(long, value_name = "CUR")]
        currency: String,
        /// What one credit is worth.
        #[arg(long, value_name = "R", default_value = "1")]
        rate: String,
        /// Credits given with it.
        #[arg(long, value_name = "N")]
        granted: Option<String>,
    },
    /// Show a wallet's movements.
    Show {
        /// Which.
        wallet: String,
    },
    /// Buy, give or take back credits.
    Move(MoveArgs),
    /// Close a wallet.
    Close {
        /// Which.
        wallet: String,
    },
}

/// `creto wallet move`.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// Which wallet.
    pub(crate) wallet: String,
    /// Credits bought; they count once they are paid.
    #[arg(long, value_name = "N")]
    pub(crate) paid: Option<String>,
    /// Credits given.
    #[arg(long, value_name = "N")]
    pub(crate) granted: Option<String>,
    /// Credits taken back.
    #[arg(long, value_name = "N")]
    pub(crate) voided: Option<String>,
    /// Your key of this movement: repeated, nothing moves again.
    #[arg(long, value_name = "K")]
    pub(crate) key: Option<String>,
}
