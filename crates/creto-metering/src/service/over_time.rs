//! Usage over time, of the whole tenant: from what is kept of days, never from events.

use std::sync::Arc;

use creto_kernel::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Meter;
use super::drafting::{Dims, house_name};
use super::usage::metric_of;
use crate::core::daily::{MODEL, Used};
use crate::core::over_time::{self, STEPS_MAX, Series, Step};
use crate::core::zone::{Day, Zone};
use crate::error::MeteringError;
use crate::model::charge::{ALL_FILTER_VALUES, Charge};
use crate::store::aggregates::{self, KeptOf};
use crate::store::daily::{self, Told};
use crate::store::subscriptions;

/// What usage is told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UsageDimension)]
pub enum Dimension {
    /// The metric.
    #[default]
    Metric,
    /// Who used it, as a SPIFFE ID.
    Agent,
    /// The model, which the event's property `model` names.
    Model,
    /// The subscription, by its external identifier.
    Subscription,
    /// A property that charges group or filter by.
    Property,
}

/// Which usage over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverTimeInput {
    /// The first day; a month of days, a quarter of weeks or a year of months before the last where absent.
    pub from: Option<Day>,
    /// The last day, included; today where absent.
    pub to: Option<Day>,
    /// How long each step is; a day where absent.
    #[serde(default)]
    pub step: Step,
    /// What usage is told apart by; the metric where absent.
    #[serde(default)]
    pub by: Dimension,
    /// Which property; of models the one with another name than `model`.
    pub property: Option<String>,
    /// Of this metric only: then units are told whatever usage is told apart by.
    pub code: Option<String>,
}

/// Usage of the days of a window, step by step. A day is the local one of the subscription that used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = UsageOverTime)]
pub struct OverTime {
    /// The first day.
    #[schema(value_type = String)]
    pub from: Day,
    /// The last day, included.
    #[schema(value_type = String)]
    pub to: Day,
    /// How long each step is.
    pub step: Step,
    /// What usage is told apart by.
    pub by: Dimension,
    /// Which property.
    pub property: Option<String>,
    /// Of this metric only.
    pub code: Option<String>,
    /// The first day of each step. The first step begins with the window, the last one ends with it.
    #[schema(value_type = Vec<String>)]
    pub steps: Vec<Day>,
    /// What each used, dearest first; where there are many the last is all the others.
    pub series: Vec<Series>,
    /// All of them together.
    pub total: Series,
}

impl Meter {
    /// Usage of a tenant over time.
    pub async fn over_time(&self, tenant: &TenantId, asked: OverTimeInput) -> Result<OverTime, MeteringError> {
        let today = Zone::utc().day(self.now());
        // East of Greenwich tomorrow has begun.
        let until = asked.to.unwrap_or_else(|| today.plus_days(1));
        let begin = asked.from.unwrap_or_else(|| asked.step.back(asked.to.unwrap_or(today)));
        let wrong = |problem: String| Err(MeteringError::Malformed(problem));
        if begin > until {
            return wrong(format!("`from` is {begin}, after `to`, {until}"));
        }
        let property = asked.property.filter(|name| asked.by == Dimension::Property || name != MODEL);
        if property.is_none() && asked.by == Dimension::Property {
            return wrong("`by=property` needs `property`, the name of one that charges group or filter by".to_owned());
        }
        if property.is_some() && !matches!(asked.by, Dimension::Property | Dimension::Model) {
            return wrong("`property` is for `by=property` and `by=model`".to_owned());
        }
        let days = (begin, until);
        let code = asked.code.as_deref();
        let mut rows = match (asked.by, &property) {
            (Dimension::Metric, _) => daily::between(&self.db, tenant, Told::Code, days, code).await?,
            (Dimension::Agent, _) => daily::between(&self.db, tenant, Told::Agent, days, code).await?,
            (Dimension::Model, None) => daily::between(&self.db, tenant, Told::Model, days, code).await?,
            (Dimension::Subscription, _) => self.of_subscriptions(tenant, days, code, |of| of.whose.to_owned()).await?,
            (_, property) => {
                let name = property.as_deref().unwrap_or(MODEL);
                self.of_subscriptions(tenant, days, code, |of| of.value(name)).await?
            }
        };
        // Units of several metrics are of different things.
        let several = code.is_none();
        if asked.by != Dimension::Metric && several {
            rows.iter_mut().for_each(|(_, _, used)| used.units = None);
        }
        let has_begun = rows.iter().any(|(day, ..)| *day > today);
        let to = if asked.to.is_none() && !has_begun { today } else { until };
        let Some(steps) = asked.step.steps(begin, to) else {
            return wrong(format!("from {begin} to {to} are more than {STEPS_MAX} steps: ask for longer steps or fewer days"));
        };
        let (mut series, mut total) = over_time::series(asked.step, &steps, rows);
        if several && series.len() > 1 {
            total.forget_units();
            series.iter_mut().filter(|series| series.key.is_none()).for_each(Series::forget_units);
        }
        Ok(OverTime { from: begin, to, step: asked.step, by: asked.by, property, code: asked.code, steps, series, total })
    }

    /// Usage of days from the aggregates of charges, each under the name that `name` gives it.
    async fn of_subscriptions(
        &self,
        tenant: &TenantId,
        days: (Day, Day),
        code: Option<&str>,
        name: impl Fn(&Charged<'_>) -> String,
    ) -> Result<Vec<(Day, String, Used)>, MeteringError> {
        let reader = self.accounts.reader(tenant).await?;
        let external = subscriptions::external_ids(&self.db, tenant).await?;
        let mut found = Vec::new();
        for KeptOf { subscription, day, kept } in aggregates::of_all(&self.db, tenant, days).await? {
            let dims = Dims::parse(&kept.dims)?;
            if !dims.shown.is_empty() {
                continue;
            }
            let whose = external.get(&subscription).map_or_else(|| house_name(&subscription), String::as_str);
            let history = match external.get(&subscription) {
                Some(external) => reader.history(external).await?,
                None => Arc::default(),
            };
            let Some((metric, aggregation)) = metric_of(&subscription, &kept.charge, &history) else { continue };
            if code.is_some_and(|code| code != metric) {
                continue;
            }
            let view = history.iter().find(|view| view.subscription.id.to_string() == subscription);
            let charge = view.and_then(|view| view.plan.charge(&kept.charge));
            let used = Used::of_day(aggregation, &kept.tally.tally.state, kept.tally.cost);
            found.push((day, name(&Charged { whose, dims: &dims, charge }), used));
        }
        Ok(found)
    }
}

/// What an aggregate is of.
struct Charged<'a> {
    whose: &'a str,
    dims: &'a Dims,
    charge: Option<&'a Charge>,
}

impl Charged<'_> {
    /// The value of a property that the charge groups by, or the only one that its filter lets in.
    fn value(&self, property: &str) -> String {
        let grouped = self.dims.group.get(property).cloned().flatten();
        let filter = || self.charge?.filters.get(self.dims.filter?)?.values.get(property);
        let filtered = || match filter().map(Vec::as_slice) {
            Some([only]) if only != ALL_FILTER_VALUES => Some(only.clone()),
            _ => None,
        };
        grouped.or_else(filtered).unwrap_or_default()
    }
}
