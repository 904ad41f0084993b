//! `traceparent` (W3C Trace Context): one trace over all tiers of a pull, also where nobody collects traces.
//!
//! The identifiers go into log lines and onward requests whether or not OTLP is on; when it is, they are those of the span. A header
//! that does not parse is treated as absent, as the recommendation demands; versions to come are read as version 00.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// Where in which trace something happens. Its text is the header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, never all zero.
    pub trace_id: [u8; 16],
    /// The span within it, never all zero.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

/// The text is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct Malformed;

impl TraceContext {
    /// A new trace, sampled.
    pub fn fresh() -> Self {
        Self {
            trace_id: random_non_zero(),
            span_id: random_non_zero(),
            flags: 1,
        }
    }

    /// Another span of the same trace: what goes onward with a request.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: random_non_zero(),
            ..*self
        }
    }

    /// Somewhere in the trace of these 32 hexadecimal digits, as [`TraceContext::trace_id_hex`] writes them; `None` when they are not.
    #[must_use]
    pub fn in_trace(hex: &str) -> Option<Self> {
        let span: [u8; 8] = random_non_zero();
        format!("00-{hex}-{}-01", Hex(&span)).parse().ok()
    }

    /// The trace as 32 hexadecimal digits, for log lines.
    pub fn trace_id_hex(&self) -> String {
        Hex(&self.trace_id).to_string()
    }
}

/// Begins the span of a request that came with `incoming`: joins its trace, and gives the context to log and send onward.
///
/// With OTLP on it is the span's own; without, a child of `incoming` or a fresh trace. Call it before the span is first entered.
pub fn begin(span: &Span, incoming: Option<TraceContext>) -> TraceContext {
    if let Some(parent) = incoming {
        let remote = opentelemetry::Context::new().with_remote_span_context(parent.into());
        // An error means that no one collects traces, or too late a call.
        let _ = span.set_parent(remote);
    }
    let own = span.context().span().span_context().clone();
    if own.is_valid()
        && own.span_id().to_bytes() != incoming.map_or([0; 8], |parent| parent.span_id)
    {
        return own.into();
    }
    incoming.map_or_else(TraceContext::fresh, |parent| parent.child())
}

/// Says that `span`, of a trace of its own, was caused by something in `other`: a copy by the pull that asked for it.
pub fn link(span: &Span, other: TraceContext) {
    span.add_link(other.into());
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        Self::new(
            TraceId::from_bytes(context.trace_id),
            SpanId::from_bytes(context.span_id),
            TraceFlags::new(context.flags),
            true,
            TraceState::default(),
        )
    }
}

impl From<SpanContext> for TraceContext {
    fn from(context: SpanContext) -> Self {
        Self {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        }
    }
}

impl FromStr for TraceContext {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut parts = text.split('-');
        let mut next = || parts.next().ok_or(Malformed);
        let [version] = bytes(next()?)?;
        let trace_id = bytes(next()?)?;
        let span_id = bytes(next()?)?;
        let [flags] = bytes(next()?)?;
        // Version 00 ends here; 255 is forbidden; others may say more.
        let more = parts.next().is_some();
        let context = Self {
            trace_id,
            span_id,
            flags,
        };
        let valid =
            version != 255 && !(version == 0 && more) && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(context).ok_or(Malformed)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (Hex(&self.trace_id), Hex(&self.span_id));
        write!(f, "00-{trace}-{span}-{:02x}", self.flags & 1)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Exactly `N` bytes as lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], Malformed> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(Malformed);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

fn digit(character: u8) -> Result<u8, Malformed> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(Malformed),
    }
}

fn random_non_zero<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::Rng::fill(&mut rand::rng(), &mut bytes[..]);
    if bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_parses_is_what_the_recommendation_allows() {
        let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
        for (text, good) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), true),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes"), true),
            (format!("00-{TRACE}-{SPAN}-01-more"), false),
            (format!("ff-{TRACE}-{SPAN}-01"), false),
            (format!("00-{zero_trace}-{SPAN}-01"), false),
            (format!("00-{TRACE}-{zero_span}-01"), false),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), false),
            (format!("00-{TRACE}-{SPAN}"), false),
            (format!("00-{TRACE}-{SPAN}-1"), false),
            (format!(" 00-{TRACE}-{SPAN}-01"), false),
            (format!("00-{}é-{SPAN}-01", &TRACE[2..]), false),
            (String::new(), false),
        ] {
            assert_eq!(text.parse::<TraceContext>().is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn the_text_comes_back_and_a_child_stays_in_its_trace() {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let context: TraceContext = text.parse().unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.trace_id_hex(), TRACE);
        let child = context.child();
        assert_eq!((child.trace_id, child.flags), (context.trace_id, 1));
        assert_ne!(child.span_id, context.span_id);
        assert_ne!(
            TraceContext::fresh().trace_id,
            TraceContext::fresh().trace_id
        );
    }

    #[test]
    fn without_a_collector_a_request_still_joins_its_trace() {
        let parent = TraceContext::fresh();
        let own = begin(&Span::none(), Some(parent));
        assert_eq!(own.trace_id, parent.trace_id);
        assert_ne!(own.span_id, parent.span_id);
        assert_ne!(begin(&Span::none(), None).trace_id, parent.trace_id);
    }

    #[test]
    fn with_a_collector_the_context_is_that_of_the_span() {
        use opentelemetry::trace::TracerProvider;
        use tracing_subscriber::layer::SubscriberExt;
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let parent = TraceContext::fresh();
            let span = tracing::info_span!("request");
            let own = begin(&span, Some(parent));
            assert_eq!(own.trace_id, parent.trace_id);
            assert_ne!(own.span_id, parent.span_id);
            assert_eq!(own, span.context().span().span_context().clone().into());
        });
    }
}
