//! Why a file is held before anything is compared with the lake: what the contract freezes, and too many refused rows.

use super::balance::Counts;
use super::commit::Source;
use super::process::Processed;
use crate::load::Guards;
use crate::model::Difference;
use crate::normalise::{Contract, OnColumn, OnRow, OnType};

/// All that speaks against a file.
pub(super) fn found(
    contract: Contract,
    guards: &Guards,
    source: &Source,
    processed: &Processed,
) -> Vec<Difference> {
    let mut differences = frozen(contract, source, processed);
    differences.extend(too_many_refused(guards, source, processed));
    differences
}

/// What the contract freezes a window for.
fn frozen(contract: Contract, source: &Source, processed: &Processed) -> Vec<Difference> {
    let difference = |entity: &str, what: String, found: u64| Difference {
        scope: source.window.map_or_else(|| source.name.clone(), |window| window.to_string()),
        what,
        old: "0".to_owned(),
        new: found.to_string(),
        limit: format!("contract: {entity} = \"freeze\""),
    };
    let [of_type, of_row] = &processed.first_of;
    let first = |first: &Option<String>| first.clone().unwrap_or_default();
    let faults = |of_row: bool| {
        let codes = processed.faults.iter().filter(|(code, _)| code.is_of_row() == of_row);
        codes.map(|(_, count)| *count).sum::<u64>()
    };
    let names = processed.unknown.iter().cloned().collect::<Vec<_>>().join(", ");
    let found = [
        (
            "columns",
            contract.columns == OnColumn::Freeze,
            processed.unknown.len() as u64,
            format!("columns that no schema version knows: {names}"),
        ),
        (
            "types",
            contract.types == OnType::Freeze,
            faults(false),
            format!("rows with a cell that does not fit its type, first {}", first(of_type)),
        ),
        (
            "rows",
            contract.rows == OnRow::Freeze,
            faults(true),
            format!("rows that lack a value or are none, first {}", first(of_row)),
        ),
    ];
    let broken = found.into_iter().filter(|(_, freezes, count, _)| *freezes && *count > 0);
    broken.map(|(entity, _, count, what)| difference(entity, what, count)).collect()
}

/// Whether so many rows are refused that the rest is not believed either.
fn too_many_refused(guards: &Guards, source: &Source, processed: &Processed) -> Option<Difference> {
    let Counts { read, quarantined, .. } = processed.counts;
    let limit = guards.quarantined;
    limit.is_broken(u128::from(quarantined), u128::from(read)).then(|| Difference {
        scope: source.window.map_or_else(|| source.name.clone(), |window| window.to_string()),
        what: format!("rows that are refused, first {}", processed.first_fault.clone().unwrap_or_default()),
        old: "0".to_owned(),
        new: format!("{quarantined} of {read}"),
        limit: limit.words("rows"),
    })
}
