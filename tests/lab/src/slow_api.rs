//! An API server that takes its time: a relay before it that holds back what the nodes send.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    host::Host,
    lab::Lab,
    topology::{API_SERVER, CONTROL_PLANE},
};

const API_PORT: u16 = 6443;
const RELAY_PORT: u16 = 7443;
/// The table that leads the nodes to the relay.
const TABLE: &str = "foghorn_lab_slow";

/// The relay; the API server is as fast as ever when this is dropped.
#[derive(Debug)]
pub struct SlowApi {
    host: Host,
    open: Arc<Open>,
    thread: Option<JoinHandle<Result<io::Result<()>>>>,
}

/// What is to be closed in the end.
#[derive(Debug, Default)]
struct Open {
    stop: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Lab {
    /// From now on all that the nodes send to the API server arrives so much later; the answers come back at once. So a request takes
    /// that long, and a new connection, which asks twice before its first request, three times as long. Connections
    /// that nodes have already are reset.
    ///
    /// # Errors
    /// If the relay cannot be put there.
    pub fn slow_api(&self, delay: Duration) -> Result<SlowApi> {
        let host = self.named(CONTROL_PLANE);
        let open = Arc::new(Open::default());
        let shared = Arc::clone(&open);
        let thread = host.inside(move || relay(delay, &shared))?;
        // Packets of connections that began before it are new to it, and reach nobody.
        host.nft(&format!(
            "table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\nchain prerouting {{ type nat hook prerouting priority -100; \
             ip daddr {API_SERVER} tcp dport {API_PORT} dnat to {API_SERVER}:{RELAY_PORT}; }}\n}}\n"
        ))?;
        Ok(SlowApi { host, open, thread: Some(thread) })
    }
}

impl Drop for SlowApi {
    fn drop(&mut self) {
        // Without the table it is no longer asked; a lab that is being taken down has none.
        let _gone = self.host.nft(&format!("table ip {TABLE}\ndelete table ip {TABLE}\n"));
        self.open.close();
        if let Some(Ok(Ok(Err(error)))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the relay before the API server: {error}");
        }
    }
}

impl Open {
    /// Keeps a stream to close it in the end.
    fn keep(&self, stream: &TcpStream) -> io::Result<()> {
        let stream = stream.try_clone()?;
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(())
    }

    fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be closed already.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }
}

fn relay(delay: Duration, open: &Open) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, RELAY_PORT))?;
    listener.set_nonblocking(true)?;
    while !open.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // An API server that does not run refuses.
            Ok((client, _)) => drop(connect(client, delay, open)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn connect(client: TcpStream, delay: Duration, open: &Open) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect(SocketAddr::from((API_SERVER, API_PORT)))?;
    open.keep(&client)?;
    open.keep(&server)?;
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pump(from_client, server, delay));
    thread::spawn(move || pump(from_server, client, Duration::ZERO));
    Ok(())
}

/// Hands on what comes, each piece so much later, until one side ends.
fn pump(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (send, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // The other side may have closed it.
        let _closed = to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..length).unwrap_or_default().to_vec();
        if send.send((Instant::now() + delay, piece)).is_err() {
            break;
        }
    }
    let _closed = from.shutdown(Shutdown::Both);
    drop(send);
    if writer.join().is_err() {
        eprintln!("{}", Error::Config("a thread of the relay before the API server panicked".to_owned()));
    }
}
