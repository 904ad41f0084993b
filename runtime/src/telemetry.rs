//! Log lines to standard error, traces to a collector if there is one.
//!
//! Quiet unless asked: without an endpoint nothing leaves the machine. Lines are JSON unless a person is watching. Writing never
//! makes a request wait: lines go through a bounded queue to a thread of their own, and what does not fit is dropped and counted.
//! The environment is read by the caller, who passes values.

use std::error::Error as StdError;
use std::io::{self, IsTerminal};
use std::thread;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

mod line_writer;
mod trace_context;

pub use trace_context::{TRACEPARENT, TraceContext, begin, link};

use line_writer::LineWriter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What to log and where to send traces.
#[derive(Debug, Clone)]
pub struct Config {
    /// How log lines look.
    pub format: Format,
    /// Which ones appear, in `tracing`'s directives: `info`, `info,node=debug`.
    pub filter: String,
    /// The name under which traces appear.
    pub service: String,
    /// The base URL of an OTLP collector over HTTP (`OTEL_EXPORTER_OTLP_ENDPOINT`); without it there are no traces.
    pub otlp_endpoint: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            filter: "info".to_owned(),
            service: "regmesh".to_owned(),
            otlp_endpoint: None,
        }
    }
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter's directives do not parse.
    #[error("`{filter}` is not a log filter")]
    Filter {
        /// The filter given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The exporter does not accept the endpoint.
    #[error("traces cannot be sent to {endpoint}")]
    Exporter {
        /// The endpoint given.
        endpoint: String,
        /// Why not.
        source: ExporterBuildError,
    },
    /// The writing thread could not be started.
    #[error("the log's thread cannot be started")]
    Thread(#[source] io::Error),
    /// Something in this process logs already.
    #[error("telemetry was started before")]
    Started(#[source] TryInitError),
}

/// Writes out what is queued when dropped: the last thing `main` lets go.
#[derive(Debug)]
pub struct Guard {
    lines: LineWriter,
    traces: Option<SdkTracerProvider>,
}

/// Starts telemetry for the whole process; once.
pub fn init(config: Config) -> Result<Guard, Error> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|source| Error::Filter {
        filter: config.filter.clone(),
        source,
    })?;
    let lines = LineWriter::start(io::stderr()).map_err(Error::Thread)?;
    let traces = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| exporter(endpoint, &config.service))
        .transpose()?;
    let spans = traces.as_ref().map(|traces| {
        let tracer = traces.tracer("regmesh");
        // What the log leaves out is traced all the same.
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(LevelFilter::INFO)
    });
    let format = match config.format {
        Format::Auto if io::stderr().is_terminal() => Format::Text,
        Format::Auto => Format::Json,
        Format::Json | Format::Text => config.format,
    };
    let subscriber = registry()
        .with(spans)
        .with(layer(format, lines.clone()).with_filter(filter));
    subscriber.try_init().map_err(Error::Started)?;
    Ok(Guard { lines, traces })
}

fn layer<S>(format: Format, lines: LineWriter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> registry::LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(lines);
    if format == Format::Text {
        return layer.with_ansi(io::stderr().is_terminal()).boxed();
    }
    // A line reads alone: its fields stand at the top, spans are for traces.
    layer
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .boxed()
}

fn exporter(endpoint: &str, service: &str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|source| Error::Exporter {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take() {
            // The exporter's blocking client may not be dropped inside an async runtime.
            let ended = thread::spawn(move || traces.shutdown()).join();
            if let Ok(Err(error)) = ended {
                tracing::warn!(
                    error = &error as &dyn StdError,
                    "the last traces were not delivered"
                );
            }
        }
        self.lines.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_stands_alone_with_its_fields_at_the_top() {
        let sink = Sink::default();
        let lines = LineWriter::start(sink.clone()).unwrap();
        let subscriber = registry().with(layer(Format::Json, lines.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(repository = "team-a/api", status = 200, "served");
        });
        lines.flush();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "served");
        assert_eq!(line["repository"], "team-a/api");
        assert_eq!(line["status"], 200);
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn a_bad_filter_is_named() {
        let config = Config {
            filter: "no=such=level".to_owned(),
            ..Config::default()
        };
        assert!(
            init(config)
                .unwrap_err()
                .to_string()
                .contains("no=such=level")
        );
    }

    #[tokio::test]
    async fn an_exporter_can_be_made_and_ended_inside_a_runtime() {
        let lines = LineWriter::start(io::sink()).unwrap();
        let traces = exporter("http://127.0.0.1:9/", "test").unwrap();
        drop(Guard {
            lines,
            traces: Some(traces),
        });
    }
}
