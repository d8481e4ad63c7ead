//! Texts in the messages of errors.

/// Describes the threads of a pool in a message; 0 is the process's own pool.
pub(super) fn pool_of(threads: usize) -> String {
    match threads {
        0 => "the process's worker threads".to_owned(),
        threads => format!("{threads} worker threads"),
    }
}

/// Replaces control characters by escapes, because a terminal would execute them.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => plain.extend(char.escape_default()),
            false => plain.push(char),
        }
    }
    plain
}
