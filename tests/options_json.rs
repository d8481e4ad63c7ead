//! Options as JSON: what is written can be read again, and every wrong key or value is refused by name.
#![cfg(feature = "safetensors")]

use std::time::Duration;

use armor_core::{Error, FactorPrecision, Method, Objective, Options, Pattern, Precision, RowWeighting};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

fn patterns() -> impl Strategy<Value = Pattern> {
    (1_usize..8).prop_flat_map(|n| (n + 1..=8).prop_map(move |m| Pattern::new(n, m).unwrap()))
}

prop_compose! {
    fn words()(
        method in prop_oneof![Just(Method::Exact), Just(Method::Paper), Just(Method::Gradient)],
        objective in prop_oneof![Just(Objective::Diagonal), Just(Objective::Full)],
        row_weighting in option::of(prop_oneof![Just(RowWeighting::NoWag), Just(RowWeighting::Uniform)]),
        pattern in patterns(),
        // 97 days: longer ones are rounded.
        time_budget in option::of((0..8_380_800_u64, 0..1_000_000_000_u32)),
        memory_limit in option::of(any::<usize>()),
    ) -> Options {
        let options = Options::exact().method(method).objective(objective).pattern(pattern).memory_limit(memory_limit);
        let options = options.time_budget(time_budget.map(|(seconds, nanos)| Duration::new(seconds, nanos)));
        match row_weighting {
            None => options,
            Some(weighting) => options.row_weighting(weighting),
        }
    }
}

prop_compose! {
    fn all_options()(
        words in words(),
        blocks in (any::<usize>(), any::<usize>()),
        counts in (any::<usize>(), any::<usize>(), any::<u64>(), any::<usize>()),
        shares in (0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64),
        temperature in -1e300..1e300_f64,
        learning_rate in proptest::num::f64::POSITIVE | proptest::num::f64::SUBNORMAL,
    ) -> Options {
        words
            .left_block(blocks.0)
            .right_block(blocks.1)
            .iterations(counts.0)
            .patience(counts.1)
            .seed(counts.2)
            .threads(counts.3)
            .shrinkage(shares.0)
            .tolerance(shares.1)
            .max_extrapolation(shares.2)
            .temperature(temperature)
            .learning_rate(learning_rate)
    }
}

proptest! {
    #[test]
    fn options_survive_the_way_through_json(options in all_options()) {
        prop_assert_eq!(Options::from_json(options.to_json().as_bytes())?, options);
    }

    #[test]
    fn every_written_key_may_be_left_out(options in all_options(), index in 0_usize..17) {
        let mut written: Value = serde_json::from_str(&options.to_json())?;
        let keys: Vec<String> = written.as_object().unwrap().keys().cloned().collect();
        prop_assert_eq!(keys.len(), 17);
        let exact: Value = serde_json::from_str(&Options::exact().to_json())?;
        written.as_object_mut().unwrap().remove(&keys[index]);
        let read = Options::from_json(written.to_string().as_bytes())?;
        written[&keys[index]] = exact[&keys[index]].clone();
        prop_assert_eq!(serde_json::from_str::<Value>(&read.to_json())?, written);
    }
}

#[test]
fn words_are_lowercase_and_keys_are_field_names() {
    let options = Options::paper().objective(Objective::Full).row_weighting(RowWeighting::Uniform);
    let written: Value =
        serde_json::from_str(&options.time_budget(Some(Duration::from_millis(1500))).to_json()).unwrap();
    let expected = serde_json::json!({
        "method": "paper", "objective": "full", "shrinkage": 0.5, "row_weighting": "uniform", "memory_limit": null,
        "left_block": 128, "right_block": 128, "pattern": "2:4", "iterations": 20_000, "time_budget": 1.5,
        "tolerance": 1e-6, "patience": 100, "temperature": 0.0, "max_extrapolation": 0.0, "learning_rate": 1e-4,
        "seed": 0, "threads": 0,
    });
    assert_eq!(written, expected);
}

#[test]
fn presets_and_block_sizes_are_shorthands() {
    let read = |json: &str| Options::from_json(json.as_bytes()).unwrap();
    assert_eq!(read("{}"), Options::exact());
    assert_eq!(read(r#"{"preset": "exact"}"#), Options::exact());
    assert_eq!(read(r#" {"preset": "paper"}"#), Options::paper());
    assert_eq!(read(r#"{"block": 32}"#), Options::exact().block(32));
    assert_eq!(read(r#"{"block": [32, 16]}"#), Options::exact().left_block(32).right_block(16));
    assert_eq!(read(r#"{"right_block": 8, "block": 32}"#), Options::exact().left_block(32).right_block(8));
    assert_eq!(read(r#"{"time_budget": 1e300}"#).time_budget, Some(Duration::MAX));
    assert_eq!(read(r#"{"time_budget": 1e-300}"#).time_budget, Some(Duration::from_nanos(1)));
    assert_eq!(read(r#"{"time_budget": null, "memory_limit": null, "row_weighting": null}"#), Options::exact());
}

#[test]
fn wrong_json_is_refused_with_its_key() {
    for (json, key, problem) in [
        ("", "document", "EOF while parsing a value"),
        ("[]", "document", "is not a JSON object"),
        ("{} {}", "document", "trailing characters"),
        (r#"{"seed": 1, "seed": 1}"#, "document", "has the key \"seed\" twice"),
        (r#"{"sed": 1}"#, "sed", "unknown field `sed`, expected one of `preset`, `block`, `method`"),
        (r#"{"seed": -1}"#, "seed", "invalid value: integer `-1`, expected u64"),
        (r#"{"iterations": "many"}"#, "iterations", "invalid type: string \"many\", expected usize"),
        (r#"{"iterations": null}"#, "iterations", "invalid type: null"),
        (r#"{"block": [1, 2, 3]}"#, "block", "expected p or [p, q]"),
        (r#"{"method": "adam"}"#, "method", "unknown variant `adam`, expected one of `exact`, `paper`, `gradient`"),
        (r#"{"preset": "fast"}"#, "preset", "unknown variant `fast`, expected `exact` or `paper`"),
        (r#"{"pattern": "5:4"}"#, "pattern", "5:4 is not N:M"),
        (r#"{"time_budget": -1}"#, "time_budget", "-1 s is below zero"),
        (r#"{"shrinkage": "0.5"}"#, "shrinkage", "invalid type: string \"0.5\", expected f64"),
    ] {
        match Options::from_json(json.as_bytes()) {
            Err(Error::Json { key: found, problem: told }) => {
                assert!(found == key && told.contains(problem), "{json}: {found}: {told}");
            }
            other => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn number_types_of_factors_are_one_name_or_three() {
    let read = |json: &str| serde_json::from_str::<FactorPrecision>(json);
    assert_eq!(read("\"bf16\"").expect("one name"), Precision::Bf16.into());
    let mixed = FactorPrecision { left: Precision::F32, ..Precision::F16.into() };
    let json = r#"{"left":"f32","core":"f16","right":"f16"}"#;
    assert_eq!(read(json).expect("three names"), mixed);
    assert_eq!(serde_json::to_string(&mixed).expect("plain values"), json);
    for wrong in [
        r#"{"left":"f32","core":"f16","right":"f16","x":1}"#,
        r#"{"left":"f32","core":"f16"}"#,
        r#"{"left":"f32","core":"f16","right":"f8"}"#,
        "\"f64\"",
        "3",
    ] {
        let problem = read(wrong).expect_err(wrong).to_string();
        assert!(problem.starts_with("expected \"f32\", \"f16\" or \"bf16\""), "{wrong}: {problem}");
    }
}
