//! Commands that end, and files: with errors that name the command or the path.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::error::{Error, Result};

/// Runs the command and gives its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    check(command, |command| command.stdin(Stdio::null()).output())
}

/// Runs the command with `input` as its standard input and gives its standard output.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    check(command, |command| {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    })
}

fn check(
    command: &mut Command,
    start: impl FnOnce(&mut Command) -> std::io::Result<Output>,
) -> Result<String> {
    let output = start(command).map_err(Error::io(format!("running `{}`", shown(command))))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Command {
        command: shown(command),
        status: output.status.to_string(),
        output: if stderr.is_empty() { stdout } else { stderr },
    })
}

/// Program and arguments in one line.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A command from its words.
pub(crate) fn command<S: AsRef<str>>(words: &[S]) -> Command {
    let mut words = words.iter().map(AsRef::as_ref);
    let mut command = Command::new(words.next().unwrap_or("true"));
    command.args(words);
    command
}

/// Writes a file, and the folders above it.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        create_dir(folder)?;
    }
    fs::write(path, text).map_err(Error::io(format!("writing {}", path.display())))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io(format!("reading {}", path.display())))
}

/// Makes a folder, and those above it.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    /// Another lab that ends may remove the labs' folder, which is empty, before ours is in it.
    const TRIES: usize = 100;
    let mut made = fs::create_dir_all(path);
    for _ in 1..TRIES {
        match &made {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => made = fs::create_dir_all(path),
            _ => break,
        }
    }
    made.map_err(Error::io(format!("making the folder {}", path.display())))
}

/// Removes a folder with all that is in it; one that is not there is removed already.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is removed already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The last lines of a text file; empty if there is none.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).copied().collect::<Vec<_>>().join("\n")
}

/// The names of what is in a folder, sorted; none if there is no such folder.
pub(crate) fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
