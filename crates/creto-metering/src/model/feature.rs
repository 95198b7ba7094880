//! Features, their privileges, and what is entitled to them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::definition::{self, DefinitionError};
use crate::model::entry::{Definition, Kind};

/// Most privileges of a feature.
pub const PRIVILEGES_MAX: usize = 100;
/// Most features that one plan or subscription is entitled to.
pub const FEATURES_MAX: usize = 500;

/// What the value of a privilege is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// A whole number.
    Integer,
    /// Yes or no.
    Boolean,
    /// Text.
    #[default]
    String,
    /// One of `select_options`.
    Select,
}

/// What limits the values of a privilege.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivilegeConfig {
    /// The values of a `select`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub select_options: Vec<String>,
}

/// What a feature allows more or less of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Privilege {
    /// Its name in the feature.
    pub code: String,
    /// What people name it by.
    #[serde(default)]
    pub name: Option<String>,
    /// What its value is.
    #[serde(default)]
    pub value_type: ValueType,
    /// What limits its values.
    #[serde(default)]
    pub config: PrivilegeConfig,
}

impl Privilege {
    /// A value as it is kept; refused where it is none of this privilege.
    pub fn value(&self, sent: &Value) -> Result<Value, DefinitionError> {
        let text = sent.as_str();
        let value = match self.value_type {
            ValueType::Boolean => sent.as_bool().or_else(|| text.and_then(|text| text.parse().ok())).map(Value::from),
            ValueType::Integer => sent.as_i64().or_else(|| text.and_then(|text| text.parse::<i64>().ok())).map(Value::from),
            ValueType::String => text.filter(|text| definition::text("value", text).is_ok()).map(Value::from),
            ValueType::Select => text.filter(|text| self.config.select_options.iter().any(|option| option == text)).map(Value::from),
        };
        let what = match self.value_type {
            ValueType::Boolean => "is neither true nor false",
            ValueType::Integer => "is no whole number",
            ValueType::String => "is no text",
            ValueType::Select => "is none of the privilege's `select_options`",
        };
        value.ok_or_else(|| DefinitionError::new(self.code.clone(), what))
    }
}

/// Something a subscription may be entitled to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// What it is asked for by.
    pub code: String,
    /// What people name it by.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
    /// What it allows more or less of.
    #[serde(default)]
    pub privileges: Vec<Privilege>,
}

impl Feature {
    /// The privilege of this code.
    #[must_use]
    pub fn privilege(&self, code: &str) -> Option<&Privilege> {
        self.privileges.iter().find(|privilege| privilege.code == code)
    }

    /// Values by privilege, as they are kept.
    pub fn values(&self, sent: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, DefinitionError> {
        let each = |(code, value): (&String, &Value)| {
            let problem = || DefinitionError::new(code.clone(), format!("is no privilege of `{}`", self.code));
            Ok((code.clone(), self.privilege(code).ok_or_else(problem)?.value(value)?))
        };
        sent.iter().map(each).collect()
    }
}

impl Definition for Feature {
    const KIND: Kind = Kind::Feature;

    fn code(&self) -> &str {
        &self.code
    }

    fn check(&self) -> Result<(), DefinitionError> {
        definition::code("code", &self.code)?;
        definition::text("name", self.name.as_deref().unwrap_or_default())?;
        definition::text("description", self.description.as_deref().unwrap_or_default())?;
        definition::count("privileges", &self.privileges, PRIVILEGES_MAX)?;
        definition::distinct("privileges", self.privileges.iter().map(|privilege| privilege.code.as_str()))?;
        for privilege in &self.privileges {
            definition::code("privileges", &privilege.code)?;
            definition::text("privileges", privilege.name.as_deref().unwrap_or_default())?;
            let options = &privilege.config.select_options;
            if (privilege.value_type == ValueType::Select) == options.is_empty() {
                return Err(DefinitionError::new("privileges", "have `select_options` where they are of type `select`, and only there"));
            }
            definition::count("privileges", options, PRIVILEGES_MAX)?;
            definition::distinct("privileges", options.iter().map(String::as_str))?;
        }
        Ok(())
    }

    // What was asked as a number is not answered as a text.
    fn check_successor(&self, next: &Self) -> Result<(), DefinitionError> {
        let changed = |before: &&Privilege| next.privilege(&before.code).is_some_and(|after| after.value_type != before.value_type);
        match self.privileges.iter().find(changed) {
            Some(_) => Err(DefinitionError::new("value_type", "of a privilege cannot change: make another privilege")),
            None => Ok(()),
        }
    }
}

/// What a plan says of a feature, or a subscription beside its plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Values by privilege.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
    /// Of a subscription: the plan's feature is not its.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Of a subscription: privileges of the plan that are not its.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<String>,
}

/// A privilege with what it is worth to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PrivilegeValue {
    /// The privilege.
    #[serde(flatten)]
    pub privilege: Privilege,
    /// What holds.
    pub value: Value,
    /// What the plan says.
    pub plan_value: Option<Value>,
    /// What the subscription says in place of it.
    pub override_value: Option<Value>,
}

/// A feature that a plan or a subscription is entitled to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Entitlement {
    /// The feature.
    pub code: String,
    /// What people name it by.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// What it is worth.
    pub privileges: Vec<PrivilegeValue>,
}

/// What holds of a feature: what the subscription says before what its plan says. `None` where neither entitles to it.
#[must_use]
pub fn entitlement(feature: &Feature, plan: Option<&Granted>, own: Option<&Granted>) -> Option<Entitlement> {
    if own.is_some_and(|own| own.removed) || (plan.is_none() && own.is_none()) {
        return None;
    }
    let worth = |privilege: &Privilege| {
        let without = own.is_some_and(|own| own.without.contains(&privilege.code));
        let plan_value = plan.filter(|_| !without).and_then(|plan| plan.values.get(&privilege.code)).cloned();
        let override_value = own.and_then(|own| own.values.get(&privilege.code)).cloned();
        let value = override_value.clone().or_else(|| plan_value.clone())?;
        Some(PrivilegeValue { privilege: privilege.clone(), value, plan_value, override_value })
    };
    Some(Entitlement {
        code: feature.code.clone(),
        name: feature.name.clone(),
        description: feature.description.clone(),
        privileges: feature.privileges.iter().filter_map(worth).collect(),
    })
}

/// A change of what a plan or a subscription is entitled to.
#[derive(Clone, Debug)]
pub enum EntitlementChange {
    /// These features with these values, and no others.
    Replace(BTreeMap<String, BTreeMap<String, Value>>),
    /// A merge patch (RFC 7396) over them: what is not said stays, a privilege or a feature that is null is removed.
    Patch(BTreeMap<String, Option<BTreeMap<String, Value>>>),
}

/// What is said of a feature, after more is said.
#[must_use]
pub fn merged(before: Option<&Granted>, plan: Option<&Granted>, values: BTreeMap<String, Value>) -> Granted {
    let mut after = before.cloned().unwrap_or_default();
    if after.removed {
        // It comes back with what is said now, and nothing else of the plan's.
        after.removed = false;
        after.without = plan.map(|plan| plan.values.keys().cloned().collect()).unwrap_or_default();
    }
    after.without.retain(|code| !values.contains_key(code));
    after.values.extend(values);
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seats() -> Feature {
        let privileges = json!([
            { "code": "max", "value_type": "integer" }, { "code": "root", "value_type": "boolean" },
            { "code": "provider", "value_type": "select", "config": { "select_options": ["google", "okta"] } }, { "code": "note" }
        ]);
        serde_json::from_value(json!({ "code": "seats", "privileges": privileges })).unwrap()
    }

    fn granted(values: Value) -> Granted {
        Granted { values: serde_json::from_value(values).unwrap(), ..Granted::default() }
    }

    #[test]
    fn a_value_is_of_the_privileges_type() {
        let feature = seats();
        feature.check().unwrap();
        for (code, sent, kept) in [
            ("max", json!(3), Some(json!(3))),
            ("max", json!("3"), Some(json!(3))),
            ("max", json!(3.5), None),
            ("root", json!(true), Some(json!(true))),
            ("root", json!("false"), Some(json!(false))),
            ("root", json!(1), None),
            ("provider", json!("okta"), Some(json!("okta"))),
            ("provider", json!("github"), None),
            ("note", json!("x"), Some(json!("x"))),
            ("note", json!(7), None),
            ("none", json!(7), None),
        ] {
            let sent = BTreeMap::from([(code.to_owned(), sent)]);
            assert_eq!(feature.values(&sent).ok().and_then(|values| values.get(code).cloned()), kept, "{sent:?}");
        }
        let other = Feature { privileges: vec![Privilege { value_type: ValueType::String, ..seats().privileges.remove(0) }], ..seats() };
        assert_eq!(feature.check_successor(&other).unwrap_err().field, "value_type");
    }

    #[test]
    fn a_subscription_has_its_plans_features_with_its_own_values_and_without_what_was_removed() {
        let feature = seats();
        let plan = granted(json!({ "max": 5, "root": true }));
        let held = |own: Option<&Granted>| {
            let found = entitlement(&feature, Some(&plan), own)?;
            Some(found.privileges.into_iter().map(|it| (it.privilege.code, it.value)).collect::<BTreeMap<_, _>>())
        };
        let expect = |values: Value| Some(serde_json::from_value::<BTreeMap<String, Value>>(values).unwrap());
        assert_eq!(held(None), expect(json!({ "max": 5, "root": true })));
        let own = granted(json!({ "max": 9, "provider": "okta" }));
        assert_eq!(held(Some(&own)), expect(json!({ "max": 9, "root": true, "provider": "okta" })));
        let own = Granted { without: BTreeSet::from(["root".to_owned()]), ..Granted::default() };
        assert_eq!(held(Some(&own)), expect(json!({ "max": 5 })));
        let removed = Granted { removed: true, ..Granted::default() };
        assert_eq!(held(Some(&removed)), None);
        let back = merged(Some(&removed), Some(&plan), BTreeMap::from([("max".to_owned(), json!(2))]));
        assert_eq!(held(Some(&back)), expect(json!({ "max": 2 })), "as it was said, and nothing else");
        assert_eq!(entitlement(&feature, None, None), None);
    }
}
