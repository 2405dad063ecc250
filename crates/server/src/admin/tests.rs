//! The description of the API against what there is.

use super::DESCRIPTION;
use super::bearer::{ADMIN_READ_SCOPE, ADMIN_SCOPE};
use super::operation::{Access, Operation};
use super::problem::Code;
use super::representation::SETTABLE;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).unwrap()
}

#[test]
fn every_operation_is_described_and_every_description_is_of_one() {
    let description = description();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        described.extend(methods.map(|method| (path.clone(), method.to_uppercase())));
    }
    let there = Operation::ALL
        .iter()
        .map(|operation| (operation.template().to_owned(), operation.method().to_string()));
    assert_eq!(described, there.collect());
}

#[test]
fn what_an_operation_wants_is_described() {
    let description = description();
    for operation in Operation::ALL {
        let method = operation.method().as_str().to_lowercase();
        let described = &description["paths"][operation.template()][method];
        let security = match operation.access() {
            Access::Open => json!([]),
            Access::Reading => json!([{ "bearer": [ADMIN_READ_SCOPE] }]),
            Access::Changing => json!([{ "bearer": [ADMIN_SCOPE] }]),
        };
        assert_eq!(described["security"], security, "{operation:?}");
        assert_eq!(described.get("requestBody").is_some(), operation.has_body(), "{operation:?}");
    }
}

#[test]
fn every_code_and_every_member_is_described() {
    let description = description();
    let schemas = &description["components"]["schemas"];
    let codes: Vec<_> = Code::ALL.iter().map(|code| json!(code.as_str())).collect();
    assert_eq!(schemas["Problem"]["properties"]["code"]["enum"], json!(codes));
    let patch: BTreeSet<_> = schemas["ClientPatch"]["properties"].as_object().unwrap().keys().collect();
    let settable: BTreeSet<_> = SETTABLE.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(patch, settable.iter().collect());
}
