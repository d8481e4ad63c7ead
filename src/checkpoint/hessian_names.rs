//! Which Hessian belongs to which weight: by the weight's own name, or by what a setting makes of it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::error::{CheckpointError, file_error, tensor_error};
use super::overrides::Overrides;
use super::settings::JobSettings;
use super::source::Source;
use super::tensor_names::{HESSIAN_ENDINGS, is_hessian, stem, stem_of_hessian};
use crate::descent::options::Objective;

/// A Hessian that no tensor of the checkpoint has the name of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnmatchedHessian {
    /// The tensor of the Hessian.
    pub hessian: String,
    /// The weight without a Hessian whose name is most similar, if any ends in the same way.
    pub similar: Option<String>,
}

/// The names of the weights and of the Hessians of a job.
pub(super) struct HessianNames<'a> {
    settings: &'a JobSettings,
    overrides: &'a Overrides<'a>,
    checkpoint: &'a Source,
    hessians: &'a Source,
    unmatched: OnceCell<Vec<UnmatchedHessian>>,
}

impl<'a> HessianNames<'a> {
    /// Takes both sources.
    ///
    /// # Errors
    /// An alias or a new name that applies to no weight, or leads to no Hessian.
    pub fn new(
        (settings, overrides): (&'a JobSettings, &'a Overrides<'a>),
        checkpoint: &'a Source,
        hessians: &'a Source,
    ) -> Result<Self, CheckpointError> {
        let names = HessianNames { settings, overrides, checkpoint, hessians, unmatched: OnceCell::new() };
        let has_part =
            |source: &Source, part: &str| source.tensors().any(|name| name.split('.').any(|found| found == part));
        let has_start = |source: &Source, start: &str| source.tensors().any(|name| name.starts_with(start));
        for (from, to) in &settings.alias {
            for (part, source) in [(from, checkpoint), (to, hessians)] {
                if !has_part(source, part) {
                    let problem = format!("alias: {from}={to}: no tensor has the component \"{part}\"");
                    return Err(file_error(source.path(), problem));
                }
            }
        }
        for (from, to) in &settings.rename {
            for (start, source) in [(from, checkpoint), (to, hessians)] {
                if !has_start(source, start) {
                    let problem = format!("rename: {from}={to}: no tensor has a name that starts with \"{start}\"");
                    return Err(file_error(source.path(), problem));
                }
            }
        }
        Ok(names)
    }

    /// The endings of the Hessians that serve the objective of a weight, the better first.
    fn endings(&self, weight: &str) -> &'static [&'static str] {
        match self.overrides.options_of(weight).objective {
            Objective::Diagonal => &HESSIAN_ENDINGS,
            Objective::Full => &HESSIAN_ENDINGS[1..],
        }
    }

    /// Finds the Hessian of a weight: under the weight's own name, under an alias, under a new name, or under both.
    pub fn of(&self, weight: &str) -> Option<String> {
        let renamed = |stem: &str| {
            let of_prefix = |(from, to): (&String, &String)| Some(format!("{to}{}", stem.strip_prefix(from.as_str())?));
            self.settings.rename.iter().filter_map(of_prefix).collect::<Vec<_>>()
        };
        let aliased = |stem: &str| {
            let of_part = |(from, to): (&String, &String)| {
                let parts: Vec<&str> = stem.split('.').map(|part| if part == from { to } else { part }).collect();
                let name = parts.join(".");
                (name != stem).then_some(name)
            };
            self.settings.alias.iter().filter_map(of_part).collect::<Vec<_>>()
        };
        let mut stems = vec![stem(weight).to_owned()];
        stems.extend(renamed(stem(weight)));
        let own = stems.len();
        for at in 0..own {
            stems.extend(aliased(&stems[at]));
        }
        let endings = self.endings(weight);
        stems.iter().find_map(|stem| {
            let names = endings.iter().map(|ending| format!("{stem}.{ending}"));
            names.into_iter().find(|name| self.hessians.shard(name).is_some())
        })
    }

    /// The error of a weight that is to be compressed, but has no Hessian.
    pub fn absent(&self, weight: &str) -> CheckpointError {
        let file = self.checkpoint.file_of(weight);
        let names: Vec<String> =
            self.endings(weight).iter().map(|ending| format!("{}.{ending}", stem(weight))).collect();
        let (file_of, names) = (self.hessians.path().display(), names.join(" or "));
        let mut problem = format!("is selected, but {file_of} has no {names}, and no alias leads to another");
        if let Some(found) = self.unmatched().iter().find(|found| found.similar.as_deref() == Some(weight)) {
            problem += &format!("; the most similar name there is {}", found.hessian);
        }
        tensor_error(&file, weight, problem)
    }

    /// Lists the Hessians that belong to no tensor of the checkpoint.
    pub fn unmatched(&self) -> &[UnmatchedHessian] {
        self.unmatched.get_or_init(|| {
            let of_weights: Vec<(&str, Option<String>)> =
                self.checkpoint.tensors().map(|name| (name, self.of(name))).collect();
            let used: BTreeSet<&str> =
                of_weights.iter().filter_map(|(_, hessian)| hessian.as_deref().map(stem_of_hessian)).collect();
            let without = of_weights.iter().filter(|(_, hessian)| hessian.is_none()).map(|(name, _)| *name);
            let endings = NameEndings::new(without);
            let hessians = self.hessians.tensors().filter(|name| is_hessian(name));
            let unused = hessians.filter(|name| !used.contains(stem_of_hessian(name)));
            let describe = |name: &str| UnmatchedHessian {
                hessian: name.to_owned(),
                similar: endings.most_similar(stem_of_hessian(name)).map(str::to_owned),
            };
            unused.map(describe).collect()
        })
    }

    /// Counts the Hessians.
    pub fn count(&self) -> usize {
        self.hessians.tensors().filter(|name| is_hessian(name)).count()
    }
}

/// Weights by the last two components of their names.
struct NameEndings<'a>(BTreeMap<Vec<&'a str>, Vec<&'a str>>);

impl<'a> NameEndings<'a> {
    fn new(weights: impl Iterator<Item = &'a str>) -> Self {
        let mut groups: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
        for weight in weights {
            groups.entry(ending(stem(weight))).or_default().push(weight);
        }
        NameEndings(groups)
    }

    /// The weight whose name shares the most components with `name`, counted from the end; two at least.
    fn most_similar(&self, name: &str) -> Option<&'a str> {
        let shared = |weight: &str| {
            let (ours, theirs) = (stem(weight).rsplit('.'), name.rsplit('.'));
            ours.zip(theirs).take_while(|(ours, theirs)| ours == theirs).count()
        };
        self.0.get(&ending(name))?.iter().copied().max_by_key(|weight| shared(weight))
    }
}

/// The last two components of a name, or one where there are no more.
fn ending(name: &str) -> Vec<&str> {
    name.rsplit('.').take(2).collect()
}
