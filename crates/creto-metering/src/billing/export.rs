//! Tables as they leave, as CSV or Parquet: events, invoices, their lines, the ledger of prepaid credits and the one of usage. A table is
//! read in pages by what never moves, and sent as it is read: however long it is, a page and a group of it are in memory.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use creto_kernel::{TenantId, Timestamp};
use futures::Stream;
use parquet::errors::ParquetError;

use super::Billing;
use super::parquet::ParquetFile;
use crate::core::csv;
use crate::model::table::{Cell, Column};
use crate::store::export::{self, Place};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// One row for each invoice.
    Invoices,
    /// One row for each line.
    Lines,
    /// One row for each line of the ledger of prepaid credits.
    Ledger,
    /// One row for each entry of the ledger of usage.
    Entries,
    /// One row for each event, in the order they were recorded.
    Events,
}

impl Export {
    /// The tables there are.
    pub const NAMES: &str = "`events`, `invoices`, `lines`, `ledger`, `entries`";

    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "invoices" => Some(Self::Invoices),
            "lines" | "fees" => Some(Self::Lines),
            "ledger" => Some(Self::Ledger),
            "entries" => Some(Self::Entries),
            "events" => Some(Self::Events),
            _ => None,
        }
    }

    /// Its columns, in every format.
    #[must_use]
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Invoices => export::INVOICES,
            Self::Lines => export::LINES,
            Self::Ledger => export::LEDGER,
            Self::Entries => export::ENTRIES,
            Self::Events => export::EVENTS,
        }
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// How its files end.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl Billing {
    /// The table's rows of what was recorded, made or posted from one moment until before another: exports of adjoining times have every
    /// row, and none twice. An error in the middle ends the stream with it: what came before is no whole file.
    pub fn export(
        &self,
        tenant: &TenantId,
        table: Export,
        format: Format,
        (since, until): (Timestamp, Timestamp),
    ) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + use<> {
        let first = Place::Start { since, until };
        let sending = Sending { billing: self.clone(), tenant: tenant.clone(), table, writer: None, next: Some(first) };
        futures::stream::try_unfold((sending, format), |(mut sending, format)| async move {
            Ok(sending.chunk(format).await?.map(|chunk| (chunk, (sending, format))))
        })
    }
}

/// A table on its way out.
struct Sending {
    billing: Billing,
    tenant: TenantId,
    table: Export,
    writer: Option<Writer>,
    /// Where the next page begins; nothing once the last one was read.
    next: Option<Place>,
}

impl Sending {
    /// The next bytes, where there are any left.
    async fn chunk(&mut self, format: Format) -> io::Result<Option<Vec<u8>>> {
        let columns = self.table.columns();
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::new(format, columns)?,
        };
        while let Some(place) = self.next.take() {
            let (rows, next) = self.page(place).await.map_err(io::Error::other)?;
            rows.into_iter().try_for_each(|row| writer.push(columns, row))?;
            self.next = next;
            if self.next.is_none() {
                writer.finish()?;
            }
            let bytes = writer.take();
            if !bytes.is_empty() {
                self.writer = Some(writer);
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    async fn page(&self, place: Place) -> Result<(Vec<Vec<Cell>>, Option<Place>), creto_db::DbError> {
        let (db, tenant) = (&self.billing.db, &self.tenant);
        match self.table {
            Export::Events => export::events(db, tenant, place).await,
            Export::Invoices => export::invoices(db, tenant, place).await,
            Export::Lines => export::lines(db, tenant, place).await,
            Export::Ledger => export::ledger(db, tenant, place).await,
            Export::Entries => export::entries(db, tenant, place).await,
        }
    }
}

/// What makes bytes of rows.
enum Writer {
    Csv(Vec<u8>),
    Parquet(Box<ParquetFile<Written>>, Written),
}

impl Writer {
    fn new(format: Format, columns: &'static [Column]) -> io::Result<Self> {
        match format {
            Format::Csv => {
                let mut out = Vec::new();
                csv::heading(&mut out, columns);
                Ok(Self::Csv(out))
            }
            Format::Parquet => {
                let written = Written::default();
                let file = ParquetFile::new(written.clone(), columns).map_err(parquet_failed)?;
                Ok(Self::Parquet(Box::new(file), written))
            }
        }
    }

    fn push(&mut self, columns: &[Column], row: Vec<Cell>) -> io::Result<()> {
        match self {
            Self::Csv(out) => {
                csv::row(out, columns, &row);
                Ok(())
            }
            Self::Parquet(file, _) => file.push(row).map_err(parquet_failed),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Csv(_) => Ok(()),
            Self::Parquet(file, _) => file.finish().map_err(parquet_failed),
        }
    }

    /// What was written since the last time.
    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Csv(out) => std::mem::take(out),
            Self::Parquet(_, written) => written.take(),
        }
    }
}

fn parquet_failed(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

/// Bytes that a file has written and nobody has sent yet.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
