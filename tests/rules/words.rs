//! The closed lists: every cause has its finding, its code and its place.

use crate::scene::Scene;

/// In the order of their codes, for good.
const CAUSES: [&str; 21] = [
    "syn-sent-hold",
    "syn-recv-hold",
    "established-hold",
    "close-wait-hold",
    "time-wait-hold",
    "udp-hold",
    "table-full",
    "hash-undersized",
    "nat-ports-exhausted",
    "insert-clash",
    "ruleset-drop",
    "stale-nat-entry",
    "window-invalid",
    "listener-overflow",
    "ephemeral-ports-exhausted",
    "paws-drop",
    "backend-unresponsive",
    "backend-refusing",
    "syn-flood",
    "asymmetric-routing",
    "rp-filter-drop",
];

#[test]
fn every_cause_has_its_finding_in_the_order_of_the_codes() {
    let report = Scene::default().report();
    let json = serde_json::to_value(&report.findings).unwrap();
    let findings = json.as_array().unwrap();
    assert_eq!(findings.len(), CAUSES.len());
    for (index, (found, name)) in findings.iter().zip(CAUSES).enumerate() {
        assert_eq!(found["code"], format!("CT{:03}", index + 1));
        assert_eq!(found["name"], name);
        assert_ne!(found["refutes"], "", "{name} says what would refute it");
    }
}
