//! The socket by which the announcer says what it wants.

use std::{future::Future, io, path::Path, pin::pin, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    keeper::Keeper,
    wanted::{Answer, Finding, Message},
};

/// No message of a plane comes near, whatever its claims say: see [`crate::bounds`].
pub(crate) const LONGEST: u64 = 16 * 1024 * 1024;
/// How often it is looked whether all is still there.
const TURN: Duration = Duration::from_secs(2);

/// Listens on that path, which is taken over from an earlier process.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // The announcer is another user of the same Pod; nobody else has the folder.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    Ok(listener)
}

/// Does what the announcer says, and keeps to the last word while there is none. Once it is to `stop` it still does what
/// an announcer says that hands over, and ends with that.
///
/// # Errors
/// If no connections can be taken any more.
pub async fn serve(
    listener: &UnixListener,
    keeper: &mut Keeper,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut stop = pin!(stop);
    let mut stopping = false;
    let mut peer: Option<Peer> = None;
    let mut message: Option<Message> = None;
    let mut told: Option<Answer> = None;
    while !stopping || peer.is_some() {
        tokio::select! {
            () = &mut stop, if !stopping => {
                stopping = true;
                continue;
            }
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                peer = Some(Peer::new(stream));
                // It is answered when it has said what it wants.
                told = None;
                continue;
            }
            line = next_line(&mut peer) => match line {
                Ok(Some(line)) => match read(&line) {
                    Ok(new) => message = Some(new),
                    Err(finding) => {
                        let refusal = Answer { wanted: true, findings: vec![finding] };
                        answer(&mut peer, &refusal).await;
                        continue;
                    }
                },
                Ok(None) => {
                    info!("the announcer is gone; all stays as it is");
                    peer = None;
                    continue;
                }
                Err(error) => {
                    warn!(%error, "the announcer cannot be read");
                    peer = None;
                    continue;
                }
            },
            () = sleep(TURN) => {}
        }
        let Some(message) = &message else { continue };
        let new = keeper.keep(message).await;
        if told.as_ref() != Some(&new) {
            answer(&mut peer, &new).await;
            told = Some(new);
        }
    }
    Ok(())
}

struct Peer {
    lines: BufReader<tokio::net::unix::OwnedReadHalf>,
    /// What has come of the next line.
    line: Vec<u8>,
    writer: OwnedWriteHalf,
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: BufReader::new(reader), line: Vec::new(), writer }
    }
}

/// The next line. Nothing is lost if the wait is given up: what has come of it stays.
async fn next_line(peer: &mut Option<Peer>) -> io::Result<Option<Vec<u8>>> {
    let Some(Peer { lines, line, .. }) = peer else { return std::future::pending().await };
    let room = LONGEST.saturating_sub(u64::try_from(line.len()).unwrap_or(u64::MAX));
    lines.take(room).read_until(b'\n', line).await?;
    if line.last() == Some(&b'\n') {
        return Ok(Some(std::mem::take(line)));
    }
    if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn read(line: &[u8]) -> Result<Message, Finding> {
    Message::read(line).map_err(|error| Finding { reason: "Refused".to_owned(), message: error.to_string() })
}

async fn answer(peer: &mut Option<Peer>, answer: &Answer) {
    for finding in &answer.findings {
        warn!(reason = finding.reason, "{}", finding.message);
    }
    let Some(Peer { writer, .. }) = peer else { return };
    let Ok(mut text) = serde_json::to_vec(answer) else { return };
    text.push(b'\n');
    if let Err(error) = writer.write_all(&text).await {
        warn!(%error, "the announcer cannot be answered");
        *peer = None;
    }
}
