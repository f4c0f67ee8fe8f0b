//! The program `nft`: it takes rules as text, and puts them in force all together or not at all.

use std::{io, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::{
    ruleset::{OWNER_SET, PREFIX, owned, table_name},
    table::deletion,
    trace::Trace,
};

const PROGRAM: &str = "nft";
/// It takes some hundredths of a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program, or it cannot be run.
    #[error("the program nft cannot be run: {0}")]
    Run(#[from] io::Error),
    /// The kernel does not let this process change rules.
    #[error("the kernel does not allow it: the container has no capability NET_ADMIN")]
    NotPermitted,
    /// The rules are refused.
    #[error("nft refuses: {0}")]
    Refused(String),
    /// It does not end.
    #[error("nft did not end within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// Puts what the text says in force.
///
/// # Errors
/// If nothing of it is.
pub async fn apply(text: &str) -> Result<(), NftError> {
    run(&["-f", "-"], text).await.map(drop)
}

/// Removes a plane's table.
///
/// # Errors
/// If it is still there.
pub async fn remove(plane: &str) -> Result<(), NftError> {
    apply(&deletion(&table_name(plane))).await
}

/// What a plane's table says of itself; nothing if there is none.
///
/// # Errors
/// If that is not known.
pub async fn trace(plane: &str) -> Result<Option<Trace>, NftError> {
    match run(&["-t", "list", "table", "inet", &table_name(plane)], "").await {
        Ok(text) => Ok(Some(Trace::read(comment(&text).unwrap_or_default()))),
        Err(NftError::Refused(why)) if why.contains("No such file") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The planes of which there is a table.
///
/// # Errors
/// If that is not known.
pub async fn planes() -> Result<Vec<String>, NftError> {
    let text = run(&["list", "tables", "inet"], "").await?;
    Ok(plane_names(&text).map(str::to_owned).collect())
}

/// Says once more that the plane's table has an owner.
///
/// # Errors
/// If that cannot be said.
pub async fn own(plane: &str) -> Result<(), NftError> {
    apply(&owned(plane)).await
}

/// Whether the plane's table has an owner: a container of the plane was there a short time ago. Tables of an earlier release
/// do not say so.
///
/// # Errors
/// If that is not known.
pub async fn is_owned(plane: &str) -> Result<bool, NftError> {
    match run(&["list", "set", "inet", &table_name(plane), OWNER_SET], "").await {
        Ok(text) => Ok(has_element(&text)),
        Err(NftError::Refused(why)) if why.contains("No such file") => Ok(false),
        Err(error) => Err(error),
    }
}

async fn run(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take();
    let ended = async {
        if let Some(stdin) = &mut stdin {
            // If it ends before it has read all, its own words tell why.
            drop(stdin.write_all(input.as_bytes()).await);
        }
        drop(stdin.take());
        child.wait_with_output().await
    };
    let output = timeout(TIMEOUT, ended).await.map_err(|_| NftError::TimedOut)??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    if why.contains("Operation not permitted") {
        return Err(NftError::NotPermitted);
    }
    Err(NftError::Refused(why.lines().next().unwrap_or_default().to_owned()))
}

/// The comment of the first table of a listing.
fn comment(listing: &str) -> Option<&str> {
    let line = listing.lines().find_map(|line| line.trim().strip_prefix("comment \""))?;
    line.strip_suffix('"')
}

/// Whether a set has an element by its listing.
fn has_element(listing: &str) -> bool {
    listing.contains("elements = {")
}

fn plane_names(listing: &str) -> impl Iterator<Item = &str> {
    let table =
        |line| -> Option<&str> { str::strip_prefix(line, "table inet ")?.trim().strip_prefix(PREFIX) };
    listing.lines().filter_map(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_the_tables_comment_and_which_tables_are_ours() {
        let listing = "table inet foghorn-public {\n\tcomment \"foghorn rp_filter eth1 2\"\n\tset a {\n";
        assert_eq!(comment(listing), Some("foghorn rp_filter eth1 2"));
        assert_eq!(comment("table inet foghorn-public {\n}\n"), None);
        let set = "table inet foghorn-public {\n\tset owner {\n\t\ttype inet_service\n\t\tflags timeout\n";
        assert!(!has_element(set));
        assert!(has_element(&format!("{set}\t\telements = {{ 1 timeout 10m expires 9m58s }}\n")));
        let tables = "table inet filter\ntable inet foghorn-public\ntable inet foghorn-private-dev\n";
        assert_eq!(plane_names(tables).collect::<Vec<_>>(), ["public", "private-dev"]);
    }
}
