//! Logs and traces: where they go, and how a caller's trace is carried on.
//!
//! Logs are structured: readable lines on a terminal, JSON where a machine reads them. Traces go to an OTLP collector
//! when one is named. A caller's `traceparent` (W3C Trace Context) becomes the parent of the request's span, stands
//! in the leaf of every record that the request appends, and so joins the ledger to the caller's own traces.

mod otlp;
mod trace_context;

use std::ffi::OsString;
use std::io::IsTerminal;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

pub use otlp::{OtlpError, OtlpGuard};
pub use trace_context::{adopt, current, parse_traceparent};

/// Target of spans that are logged and never exported.
pub const NOT_EXPORTED: &str = "ruche_api::http::telemetry";

/// Form of the log on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// What to log and where to send traces.
#[derive(Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// Form of the log.
    pub format: LogFormat,
    /// What is logged, such as `info,ruche_api=debug`; absent means `info`.
    pub filter: Option<String>,
    /// OTLP collector, such as `http://127.0.0.1:4318`; absent means that traces go nowhere.
    pub otlp_endpoint: Option<String>,
}

/// Why logs or traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter {text:?} cannot be read")]
    Filter {
        /// As given.
        text: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter cannot be made.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// Something else in the process set up logging first.
    #[error("logging was set up twice")]
    Twice(#[from] TryInitError),
}

/// Keeps exporting until it is dropped or finished. Finish it when everything else has ended.
#[must_use = "traces are exported while this lives"]
#[derive(Debug, Default)]
pub struct Telemetry {
    otlp: Option<OtlpGuard>,
}

impl Telemetry {
    /// Sets up logs and traces of the process. Must be called outside of an async runtime: the exporter's HTTP
    /// client brings a runtime of its own.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn install(settings: &TelemetrySettings) -> Result<Self, TelemetryError> {
        let text = settings.filter.as_deref().unwrap_or("info");
        let filter = EnvFilter::try_new(text).map_err(|source| TelemetryError::Filter {
            text: text.to_owned(),
            source,
        })?;
        let json = match settings.format {
            LogFormat::Auto => !std::io::stderr().is_terminal(),
            LogFormat::Pretty => false,
            LogFormat::Json => true,
        };
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let log = if json {
            log.json().flatten_event(true).boxed()
        } else {
            log.with_ansi(coloured(
                std::io::stderr().is_terminal(),
                std::env::var_os("NO_COLOR"),
            ))
            .boxed()
        };
        let otlp = settings.otlp_endpoint.as_deref().map(otlp::start).transpose()?;
        let exported = filter_fn(|metadata| metadata.target() != NOT_EXPORTED);
        let traces = otlp.as_ref().map(|otlp| {
            let layer = tracing_opentelemetry::layer().with_tracer(otlp.tracer());
            layer.with_filter(exported)
        });
        tracing_subscriber::registry()
            .with(filter)
            .with(log)
            .with(traces)
            .try_init()?;
        Ok(Self { otlp })
    }

    /// Sends what is left. Must be called outside of an async runtime.
    pub fn finish(self) {
        if let Some(otlp) = self.otlp {
            otlp.finish();
        }
    }
}

/// Whether lines are coloured: on a terminal, unless `NO_COLOR` says anything (<https://no-color.org>).
fn coloured(is_terminal: bool, no_color: Option<OsString>) -> bool {
    is_terminal && no_color.is_none_or(|said| said.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_takes_the_colours_from_a_terminal() {
        assert!(coloured(true, None));
        assert!(coloured(true, Some("".into())));
        assert!(!coloured(true, Some("1".into())));
        assert!(!coloured(false, None));
    }
}
