//! Globs of the names of tensors. `{0..11}` stands for every number from 0 to 11, beside what the crate globset knows.

use globset::{Glob, GlobMatcher};

use super::error::{CheckpointError, file_error, setting_error};
use super::source::Source;

/// Most numbers that a range may stand for: more blocks than any model has.
const LONGEST: usize = 10_000;

/// Globs, any of which a name may match.
pub(super) struct Globs(Vec<GlobMatcher>);

impl Globs {
    /// Compiles the globs of a setting, each of which must match a tensor.
    pub fn new(key: &str, texts: &[String], checkpoint: &Source) -> Result<Self, CheckpointError> {
        let compile = |text: &String| {
            let refuse = |problem: String| setting_error(key, problem);
            let spelt_out = spelt_out(text).map_err(refuse)?;
            let glob = Glob::new(&spelt_out).map_err(|error| refuse(error.to_string()))?.compile_matcher();
            match checkpoint.tensors().any(|name| glob.is_match(name)) {
                true => Ok(glob),
                false => Err(file_error(checkpoint.path(), format!("{key}: \"{text}\" matches no tensor"))),
            }
        };
        texts.iter().map(compile).collect::<Result<_, _>>().map(Globs)
    }

    pub fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(name))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes `{0..3}` as `{0,1,2,3}`.
fn spelt_out(glob: &str) -> Result<String, String> {
    let mut found = String::new();
    let mut rest = glob;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, after)) = after.split_once('}') else { break };
        let numbers = match range(inside) {
            Some((first, last)) if first > last => return Err(format!("\"{glob}\": {first} comes after {last}")),
            Some((first, last)) if last - first >= LONGEST => {
                return Err(format!(
                    "\"{glob}\": {first}..{last} is too long a range, expected at most {LONGEST} numbers"
                ));
            }
            Some((first, last)) => (first..=last).map(|number| number.to_string()).collect::<Vec<_>>().join(","),
            None => inside.to_owned(),
        };
        found += &format!("{before}{{{numbers}}}");
        rest = after;
    }
    Ok(found + rest)
}

/// Reads `0..3`.
fn range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.split_once("..")?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_spelt_out_and_everything_else_stays() {
        for (glob, expected) in [
            ("a.{9..11}.b.{0..0}", "a.{9,10,11}.b.{0}"),
            ("a.{b,c}.{d", "a.{b,c}.{d"),
            ("a.[0-3].*", "a.[0-3].*"),
            ("{a..b}{1..}{..2}", "{a..b}{1..}{..2}"),
        ] {
            assert_eq!(spelt_out(glob).as_deref(), Ok(expected), "{glob}");
        }
        assert!(spelt_out("a.{3..2}").unwrap_err().contains("3 comes after 2"));
        assert!(spelt_out("{0..9999}").is_ok());
        assert!(spelt_out("{0..10000}").unwrap_err().contains("too long a range"));
    }
}
