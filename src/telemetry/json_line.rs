//! A log line as one JSON object. tracing-subscriber's own has only the outermost text
//! of an error; this one has its causes, too.

use std::{
    error::Error,
    fmt::{self, Debug},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use crate::telemetry::error_chain::with_causes;

pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = JsonFields(Map::new());
        event.record(&mut line);
        line.put("timestamp", time.into());
        line.put("level", event.metadata().level().as_str().into());
        line.put("target", event.metadata().target().into());
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

struct JsonFields(Map<String, Value>);

impl JsonFields {
    fn put(&mut self, name: &str, value: Value) {
        // The fields that the crate `log` adds are in the metadata, too.
        if !name.starts_with("log.") {
            let name = name.strip_prefix("r#").unwrap_or(name);
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field.name(), with_causes(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::JsonLine;
    use crate::ports::{StoreError, StoreErrorKind};

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl io::Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for CapturedLog {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn an_error_has_its_causes_and_each_value_its_type() {
        let buffer = CapturedLog::default();
        let lines = tracing_subscriber::fmt()
            .with_writer(buffer.clone())
            .event_format(JsonLine)
            .finish();
        tracing::subscriber::with_default(lines, || {
            let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody \"there\"");
            let error = StoreError::new(StoreErrorKind::Unavailable, "redis check failed");
            let error = error.caused_by(refused);
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                suppressed = 3,
                share = 0.5,
                is = true,
                "store failed"
            );
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["error"], "redis check failed: nobody \"there\"");
        assert_eq!(
            (&line["suppressed"], &line["share"]),
            (&3.into(), &0.5.into())
        );
        assert_eq!(line["is"], true);
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"WARN".into(), &"store failed".into())
        );
        assert!(line["target"].as_str().unwrap().starts_with("recsys::"));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
