//! Paging: a page's number and size, and the totals that clients show.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Rows on a page that asks for no number.
pub const PER_PAGE_DEFAULT: u32 = 20;
/// Most rows on a page.
pub const PER_PAGE_MAX: u32 = 1_000;

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Counts from 1.
    #[serde(default = "first")]
    pub page: u32,
    /// Rows on a page, at most [`PER_PAGE_MAX`].
    #[serde(default = "usual")]
    pub per_page: u32,
}

const fn first() -> u32 {
    1
}

const fn usual() -> u32 {
    PER_PAGE_DEFAULT
}

impl Default for Page {
    fn default() -> Self {
        Self { page: 1, per_page: PER_PAGE_DEFAULT }
    }
}

impl Page {
    /// The page of this number; numbers outside their range are taken as the nearest that is inside.
    #[must_use]
    pub fn new(page: u32, per_page: u32) -> Self {
        Self { page: page.max(1), per_page: per_page.clamp(1, PER_PAGE_MAX) }
    }

    /// How many rows it holds at most.
    #[must_use]
    pub fn limit(self) -> i64 {
        i64::from(self.per_page.clamp(1, PER_PAGE_MAX))
    }

    /// How many rows come before it.
    #[must_use]
    pub fn offset(self) -> i64 {
        i64::from(self.page.max(1) - 1).saturating_mul(self.limit())
    }
}

/// One page of rows with its totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    /// The rows.
    pub items: Vec<T>,
    /// This page's number.
    pub page: u32,
    /// Its size.
    pub per_page: u32,
    /// Rows on all pages.
    pub total: u64,
}

impl<T: ToSchema> PartialSchema for Listed<T> {
    fn schema() -> RefOr<Schema> {
        let rows = ArrayBuilder::new().items(Ref::from_schema_name(T::name())).description(Some("The rows."));
        ObjectBuilder::new()
            .description(Some("One page of rows with its totals."))
            .property("items", rows)
            .property("page", described(u32::schema(), "This page's number."))
            .property("per_page", described(u32::schema(), "Its size."))
            .property("total", described(u64::schema(), "Rows on all pages."))
            .required("items")
            .required("page")
            .required("per_page")
            .required("total")
            .into()
    }
}

/// Named by what is listed: derived, pages of everything would have one name, and of several schemas of a name one is left.
impl<T: ToSchema> ToSchema for Listed<T> {
    fn name() -> Cow<'static, str> {
        format!("Listed_{}", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// A schema with what it is for.
pub(crate) fn described(schema: RefOr<Schema>, about: &str) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.description = Some(about.to_owned());
            Schema::Object(object).into()
        }
        other => other,
    }
}

impl<T> Listed<T> {
    /// A page of `total` rows.
    #[must_use]
    pub fn of(items: Vec<T>, page: Page, total: i64) -> Self {
        let per_page = page.per_page.clamp(1, PER_PAGE_MAX);
        Self { items, page: page.page.max(1), per_page, total: u64::try_from(total).unwrap_or(0) }
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.total.div_ceil(u64::from(self.per_page.max(1)))
    }

    /// The same page with other rows in place of these.
    pub fn with<U>(&self, items: Vec<U>) -> Listed<U> {
        Listed { items, page: self.page, per_page: self.per_page, total: self.total }
    }

    /// The same page of other rows.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Listed<U> {
        Listed { items: self.items.into_iter().map(each).collect(), page: self.page, per_page: self.per_page, total: self.total }
    }
}
