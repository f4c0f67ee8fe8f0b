//! What `returnPath` and `guard` take of a Service's throughput and connections, beside a plane without them.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use foghorn_lab::{
    Config, Error, Host, Lab, Result,
    foghorn::{install_chart, set_up},
    steps::{say, step, taking_down},
    topology::Network,
    until,
};
use foghorn_testbed::Crowd;
use serde_json::{Value, json};

use crate::{arena::lab_name, figures::median};

const PATIENCE: Duration = Duration::from_secs(60);
/// Connections at once.
const CLIENTS: usize = 4;
const CHUNK: usize = 128 * 1024;
/// What a client asks for: everything until it has had enough.
const STREAM: u8 = b's';
/// Or nothing but an answer.
const CONNECTION: u8 = b'c';
/// Threads that accept connections.
const SERVERS: usize = CLIENTS;
/// The plane that the others are compared with, and those, with what their specs have more.
const PLAIN: &str = "plain";

/// For how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds, in which each plane has its turn
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Print the results as JSON, one object a line that starts with `{`
    #[arg(long)]
    json: bool,
}

/// A plane and what was measured of it, in each round.
struct Case {
    name: &'static str,
    target: SocketAddr,
    bytes: Vec<f64>,
    connections: Vec<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = lab_name()?;
    Lab::down(&name)?;
    taking_down(&name, || {
        let lab = set_up(Config { name: name.clone(), nodes: 1, ..Config::default() })?;
        let mut cases = step("the chart, and a plane for each case", || {
            install_chart(&lab, &[])?;
            serve(&lab.client(Network::Private))?;
            specs().into_iter().map(|(name, more)| case(&lab, name, &more)).collect::<Result<Vec<_>>>()
        })?;
        let client = lab.client(Network::Public);
        let lasts = Duration::from_secs(arguments.seconds);
        step(&format!("{} rounds", arguments.rounds), || {
            for _ in 0..arguments.rounds {
                for case in &mut cases {
                    case.bytes.push(throughput(&client, case.target, lasts)?);
                    case.connections.push(connections(&client, case.target, lasts)?);
                }
            }
            Ok(())
        })?;
        let plain = cases.iter().find(|case| case.name == PLAIN).map(Case::medians);
        for case in &cases {
            let ((bytes, connections), (of_plain, of_plain_connections)) =
                (case.medians(), plain.unwrap_or_default());
            let ratios = (bytes / of_plain, connections / of_plain_connections);
            say(&if arguments.json {
                json!({
                    "bench": "datapath", "case": case.name, "rounds": arguments.rounds,
                    "megabytes_per_s": bytes / 1e6, "connections_per_s": connections,
                    "ratio_throughput": ratios.0, "ratio_connections": ratios.1,
                })
                .to_string()
            } else {
                format!(
                    "{:<20} {:>8.0} MB/s ({:.3}) {:>8.0} connections/s ({:.3})",
                    case.name,
                    bytes / 1e6,
                    ratios.0,
                    connections,
                    ratios.1
                )
            });
        }
        Ok(())
    })
}

fn specs() -> Vec<(&'static str, Value)> {
    let (path, guard) = (json!({"mode": "Auto"}), json!({"mode": "Drop"}));
    vec![
        (PLAIN, json!({})),
        ("return-path", json!({"returnPath": path.clone()})),
        ("guard", json!({"guard": guard.clone()})),
        ("return-path-guard", json!({"returnPath": path, "guard": guard})),
    ]
}

/// A plane with one Service that leads to a host outside the cluster.
fn case(lab: &Lab, name: &'static str, more: &Value) -> Result<Case> {
    let plane = Crowd::make_with(lab, name, more)?;
    plane.scale(1)?;
    let claims = plane.whole(1)?;
    let claim = claims.first().ok_or_else(|| Error::Config(format!("plane {name} has no claim")))?;
    let target = plane.target(claim);
    let client = lab.client(Network::Public);
    until(&format!("an answer from {target}"), PATIENCE, || {
        Ok(connections(&client, target, Duration::from_millis(200)).ok())
    })?;
    if more.as_object().is_some_and(|more| !more.is_empty()) {
        lab.kubectl(&["wait", "--for=condition=Datapath", "networkplane", name, "--timeout=60s"])?;
    }
    Ok(Case { name, target, bytes: Vec::new(), connections: Vec::new() })
}

impl Case {
    fn medians(&self) -> (f64, f64) {
        let of = |figures: &[f64]| median(figures.to_vec()).unwrap_or_default();
        (of(&self.bytes), of(&self.connections))
    }
}

/// Answers whoever asks, on all addresses of a host, for as long as this process lives.
fn serve(host: &Host) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
    let listen = move || TcpListener::bind(address).map_err(Error::io(format!("listening on {address}")));
    let listener = Arc::new(joined(host.inside(listen)?)??);
    for _ in 0..SERVERS {
        let listener = Arc::clone(&listener);
        thread::spawn(move || listener.incoming().flatten().for_each(answer));
    }
    Ok(())
}

/// A connection for its own sake has one octet each way.
fn answer(mut stream: TcpStream) {
    let mut asked = [0];
    if stream.read_exact(&mut asked).is_err() {
        return;
    }
    if asked != [STREAM] {
        // Whoever is gone by then has not counted it.
        let _gone = stream.write_all(&asked);
        return;
    }
    thread::spawn(move || {
        let chunk = vec![0; CHUNK];
        while stream.write_all(&chunk).is_ok() {}
    });
}

/// Octets in a second.
fn throughput(client: &Host, target: SocketAddr, lasts: Duration) -> Result<f64> {
    let read = move || {
        let mut stream = connect(target)?;
        stream.write_all(&[STREAM]).map_err(Error::io(format!("asking {target}")))?;
        let (began, mut buffer, mut count) = (Instant::now(), vec![0; CHUNK], 0.0);
        while began.elapsed() < lasts {
            count += stream.read(&mut buffer).map_err(Error::io(format!("reading from {target}")))? as f64;
        }
        Ok(count / began.elapsed().as_secs_f64())
    };
    joined(client.inside(read)?)?
}

/// Connections made in a second, by several at once: each is made when the server has accepted and answered it, so that there
/// never are more than it can take.
fn connections(client: &Host, target: SocketAddr, lasts: Duration) -> Result<f64> {
    let make = move || {
        let (began, mut count) = (Instant::now(), 0.0);
        while began.elapsed() < lasts {
            let mut stream = connect(target)?;
            let asked = stream.write_all(&[CONNECTION]).and_then(|()| stream.read_exact(&mut [0]));
            asked.map_err(Error::io(format!("asking {target}")))?;
            // A reset leaves no port in TIME_WAIT on either side.
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .map_err(Error::io("setting an option of a socket"))?;
            count += 1.0;
        }
        Ok(count / began.elapsed().as_secs_f64())
    };
    let all: Vec<_> = (0..CLIENTS).map(|_| client.inside(make)).collect::<Result<_>>()?;
    all.into_iter().map(|thread| joined(thread)?).sum()
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect_timeout(&target, Duration::from_secs(2))
        .map_err(Error::io(format!("connecting to {target}")))
}

fn joined<T>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::Config("a thread on a host panicked".to_owned())))
}
