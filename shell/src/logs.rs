//! Logs on the standard error stream.

use std::io;

use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// The options of a program about its logs.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// How logs look
    #[arg(long, env = "FOGHORN_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
    /// Which logs are written: error, warn, info, debug or trace, also by module, as "info,kube=debug"
    #[arg(long, env = "FOGHORN_LOG", default_value = "info")]
    pub log_level: String,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error(
        "the log level {level:?} cannot be understood; write for example \"info\" or \"info,kube=debug\""
    )]
    Level {
        /// As given.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Logs are initialised once.
    #[error("logs are initialised already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Writes the logs of this process as told.
///
/// # Errors
/// If the level cannot be understood, or when called a second time.
pub fn init(args: &LogArgs) -> Result<(), LogError> {
    let registry = tracing_subscriber::registry().with(filter(&args.log_level)?);
    match args.log_format {
        Format::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init()
        }
        Format::Text => registry.with(fmt::layer().with_writer(io::stderr)).try_init(),
    }
    .map_err(LogError::Twice)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(level).map_err(|source| LogError::Level { level: level.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        logs: LogArgs,
    }

    #[test]
    fn a_wrong_level_is_refused_with_an_example_of_a_right_one() {
        let program =
            Program::parse_from(["program", "--log-level", "info,kube=chatty", "--log-format", "json"]);
        assert_eq!(program.logs.log_format, Format::Json);
        let error = init(&program.logs).unwrap_err().to_string();
        assert!(error.contains("info,kube=chatty") && error.contains("info,kube=debug"), "{error}");
    }

    #[test]
    fn levels_by_module_are_understood() {
        assert_eq!(filter("info,kube=debug").unwrap().to_string(), "kube=debug,info");
    }
}
