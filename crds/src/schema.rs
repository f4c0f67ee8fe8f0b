//! The schemas of the definitions, brought to what the API server and these types both understand.
//!
//! What the API server takes and these types do not read would leave an object out of every list. So the schema is at
//! least as strict as the types: whole numbers have bounds, addresses and times a pattern.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// The greatest whole number that all JSON parsers agree on (RFC 8259, 6).
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// Formats of whole numbers: whether Kubernetes knows them, and their bounds. Kubernetes only warns of numbers that are out
/// of them.
const INTEGERS: [(&str, bool, f64, f64); 6] = [
    ("uint8", false, 0.0, u8::MAX as f64),
    ("uint16", false, 0.0, u16::MAX as f64),
    ("uint32", false, 0.0, u32::MAX as f64),
    ("uint64", false, 0.0, EXACT_MAX),
    ("int32", true, i32::MIN as f64, i32::MAX as f64),
    ("int64", true, -EXACT_MAX, EXACT_MAX),
];

macro_rules! ipv4 {
    () => {
        r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

/// The format `ipv4` of Kubernetes takes leading zeros, and IPv6 addresses that end like IPv4 ones.
const IPV4: &str = concat!("^", ipv4!(), "$");

/// An IPv4 network.
pub(crate) const IPV4_CIDR: &str = concat!("^", ipv4!(), "/(3[0-2]|[12]?[0-9])$");

/// The format `date-time` of Kubernetes takes any separator before fractions of a second, and any offset. The year 9999 ends
/// in the year 10000 somewhere on Earth.
const DATE_TIME: &str = r"^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";

/// Makes the schemas of a definition as strict as the types.
pub(crate) fn tighten(definition: &mut CustomResourceDefinition) {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tighten_schema(schema);
        }
    }
}

fn tighten_schema(schema: &mut JSONSchemaProps) {
    let format = schema.format.clone().unwrap_or_default();
    if let Some((_, known, min, max)) = INTEGERS.into_iter().find(|(name, ..)| *name == format) {
        schema.minimum = Some(schema.minimum.map_or(min, |given| given.max(min)));
        schema.maximum = Some(schema.maximum.map_or(max, |given| given.min(max)));
        schema.format = schema.format.take().filter(|_| known);
    }
    let pattern = match format.as_str() {
        "ipv4" => Some(IPV4),
        "date-time" => Some(DATE_TIME),
        _ => None,
    };
    if let Some(pattern) = pattern {
        schema.pattern.get_or_insert_with(|| pattern.to_owned());
    }
    children(schema).for_each(tighten_schema);
}

/// The schemas of which a schema is made.
fn children(schema: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let items = schema.items.iter_mut().flat_map(|items| match items {
        JSONSchemaPropsOrArray::Schema(schema) => vec![&mut **schema],
        JSONSchemaPropsOrArray::Schemas(schemas) => schemas.iter_mut().collect(),
    });
    let values = schema.additional_properties.iter_mut().filter_map(|values| match values {
        JSONSchemaPropsOrBool::Schema(schema) => Some(&mut **schema),
        JSONSchemaPropsOrBool::Bool(_) => None,
    });
    let variants = [&mut schema.all_of, &mut schema.any_of, &mut schema.one_of];
    let variants = variants.into_iter().flat_map(|variants| variants.iter_mut().flatten());
    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    properties.chain(items).chain(values).chain(variants)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::definitions;

    /// Of the formats that Kubernetes validates (apiextensions, `supportedVersionedFormats`), those that are in use.
    const KNOWN: [&str; 4] = ["date-time", "int32", "int64", "ipv4"];

    #[test]
    fn only_formats_that_kubernetes_knows_are_used() {
        let mut formats = BTreeSet::new();
        visit(&mut |schema| formats.extend(schema.format.clone()));
        let unknown: Vec<_> = formats.iter().filter(|it| !KNOWN.contains(&it.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn every_whole_number_has_bounds() {
        visit(&mut |schema| {
            if schema.type_.as_deref() == Some("integer") {
                assert!(schema.minimum.is_some() && schema.maximum.is_some(), "{schema:?}");
            }
        });
    }

    #[test]
    fn bounds_of_a_field_are_kept_where_they_are_narrower() {
        let given = |min, max| JSONSchemaProps {
            format: Some("uint16".into()),
            minimum: min,
            maximum: max,
            ..JSONSchemaProps::default()
        };
        for (min, max, expected) in [
            (Some(1.0), None, (1.0, 65535.0)),
            (Some(-1.0), Some(9.0), (0.0, 9.0)),
            (None, Some(1e9), (0.0, 65535.0)),
        ] {
            let mut schema = given(min, max);
            tighten_schema(&mut schema);
            assert_eq!((schema.minimum, schema.maximum), (Some(expected.0), Some(expected.1)));
            assert_eq!(schema.format, None);
        }
    }

    fn visit(look: &mut impl FnMut(&JSONSchemaProps)) {
        fn below(schema: &mut JSONSchemaProps, look: &mut impl FnMut(&JSONSchemaProps)) {
            look(schema);
            for child in children(schema) {
                below(child, look);
            }
        }
        for mut definition in definitions() {
            for version in &mut definition.spec.versions {
                let schema = version.schema.as_mut().and_then(|it| it.open_api_v3_schema.as_mut());
                below(schema.unwrap(), look);
            }
        }
    }
}
