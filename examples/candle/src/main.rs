//! Goes on with a text, by a Llama that armor-core compressed, or by a dense one.

use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use armor_candle::{Model, weights::read_json};
use clap::Parser;
use serde_json::Value;
use tokenizers::Tokenizer;

/// Goes on with a text, always by the most likely token. The text goes to the standard output, the speed to the standard
/// error output.
#[derive(Parser)]
struct Arguments {
    /// Folder of a compressed model in the format `factors`, or of a dense one
    model: PathBuf,
    /// The text to go on with
    prompt: String,
    /// How many tokens at most
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Folder of another model, such as the dense one, that goes on with the same text to compare
    #[arg(long, value_name = "DENSE")]
    against: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = run(&Arguments::parse());
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    ExitCode::from(u8::from(result.is_err()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (tokenizer, prompt) = encode(&arguments.model, &arguments.prompt)?;
    let mut text = tokenizer.decode_stream(true);
    let tokens = generate(&arguments.model, &prompt, arguments.tokens, |token| {
        write(&text.step(token).map_err(Error::from_boxed)?.unwrap_or_default())
    })?;
    write("\n")?;
    let Some(dense) = &arguments.against else { return Ok(()) };
    ensure!(encode(dense, &arguments.prompt)?.1 == prompt, "{}: has another tokenizer", dense.display());
    let others = generate(dense, &prompt, arguments.tokens, |_| Ok(()))?;
    let word = |token: Option<&u32>| match token {
        Some(&token) => tokenizer.decode(&[token], false).map_err(Error::from_boxed),
        None => Ok("the end".to_owned()),
    };
    match (0..tokens.len().max(others.len())).find(|&at| tokens.get(at) != others.get(at)) {
        None => eprintln!("all {} tokens are the same", tokens.len()),
        Some(at) => {
            let (own, other) = (word(tokens.get(at))?, word(others.get(at))?);
            eprintln!("the first difference is token {}: {own:?}, and {other:?} of the other model", at + 1);
        }
    }
    Ok(())
}

/// Reads the tokenizer of a folder, and turns the prompt into tokens.
fn encode(folder: &Path, prompt: &str) -> Result<(Tokenizer, Vec<u32>)> {
    let path = folder.join("tokenizer.json");
    let failed = |error| anyhow!("{}: {error}", path.display());
    let tokenizer = Tokenizer::from_file(&path).map_err(failed)?;
    let tokens = tokenizer.encode(prompt, true).map_err(failed)?.get_ids().to_vec();
    ensure!(!tokens.is_empty(), "the prompt has no token");
    Ok((tokenizer, tokens))
}

/// Generates until the model ends the text, says how fast, and gives the new tokens.
fn generate(folder: &Path, prompt: &[u32], limit: u32, mut show: impl FnMut(u32) -> Result<()>) -> Result<Vec<u32>> {
    let mut model = Model::load(folder)?;
    let mut ends = Value::Null;
    for path in ["config.json", "generation_config.json"].map(|file| folder.join(file)) {
        let found = if path.exists() { read_json(&path)?["eos_token_id"].take() } else { Value::Null };
        ends = if found.is_null() { ends } else { found };
    }
    let is_end = |token: u32| ends == token || ends.as_array().is_some_and(|ends| ends.contains(&token.into()));
    let started = Instant::now();
    let mut logits = model.forward(prompt)?;
    let (mut tokens, first) = (Vec::new(), started.elapsed());
    loop {
        // The first one where several are equally likely.
        let likeliest = (0..logits.len()).min_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let token = likeliest.context("the model has no logits")? as u32;
        tokens.push(token);
        show(token)?;
        if is_end(token) || tokens.len() == limit as usize {
            break;
        }
        logits = model.forward(&[token])?;
    }
    let speed = |count: usize, time: Duration| match count {
        0 => String::new(),
        _ => format!(", {:.1} a second", count as f64 / time.as_secs_f64()),
    };
    let (before, after) = (speed(prompt.len(), first), speed(tokens.len() - 1, started.elapsed() - first));
    let (folder, known, new, bytes) = (folder.display(), prompt.len(), tokens.len(), model.bytes);
    eprintln!("{folder}: {known} tokens of prompt{before}; then {new} tokens{after}; {bytes} bytes of weights");
    Ok(tokens)
}

/// Writes a part of the text at once. A reader that has left, such as `head`, is no error.
fn write(text: &str) -> Result<()> {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
