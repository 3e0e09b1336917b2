//! Export of traces over OTLP (HTTP, protobuf).

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// Longest wait for the collector.
const EXPORT_WAIT_MAX: Duration = Duration::from_secs(5);

/// The exporter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Only plain HTTP is built in.
    #[error("an OTLP endpoint starts with http:// (a collector on this host or network): {0:?}")]
    Scheme(String),
    /// The client refuses the endpoint.
    #[error("traces cannot be exported to {endpoint}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong.
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// A running export.
#[derive(Debug)]
pub struct OtlpGuard(SdkTracerProvider);

impl OtlpGuard {
    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("ruche")
    }

    /// Sends what is left and stops.
    pub(super) fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(error = %error, "the last traces were not exported");
        }
    }
}

/// Starts exporting to a collector. `endpoint` is the base address; `/v1/traces` is added.
pub(super) fn start(endpoint: &str) -> Result<OtlpGuard, OtlpError> {
    if !endpoint.starts_with("http://") {
        return Err(OtlpError::Scheme(endpoint.to_owned()));
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_WAIT_MAX)
        .build()
        .map_err(|source| OtlpError::Endpoint {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let resource = Resource::builder().with_service_name("ruche").build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    Ok(OtlpGuard(provider))
}
