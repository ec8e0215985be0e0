//! Rows that come and go, on standard output: all changes of an epoch together, when every subtask has it. They wait as lines in what the
//! sink has prepared, so a checkpoint keeps them, and the committer's thread writes them; it may wait for a slow reader.

use super::queue::Queue;
use super::text::Table;
use super::{RowFormat, Terminal};
use crate::rows::json_lines;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_engine::Batch;
use thalweg_engine::error::Result;
use thalweg_engine::sink::{
    Committer, JobInfo, Prepare, Prepared, Release, Sink, SinkContext, SinkFactory, SinkOpen, Written,
};

/// The column of JSON that says how often a row came, or went.
const WEIGHT: &str = "$weight";

pub(super) struct ChangeSink {
    queue: Queue,
    format: RowFormat,
    table: Table,
    /// The line of names, until the first subtask has written it.
    header: Arc<Mutex<Option<String>>>,
}

impl ChangeSink {
    pub(super) fn new(terminal: &Terminal, schema: &SchemaRef, prefix: Option<String>) -> ChangeSink {
        let table = Table::new(schema, prefix).marked();
        let header = (terminal.format == RowFormat::Text).then(|| table.header());
        ChangeSink {
            queue: terminal.queue.clone(),
            format: terminal.format,
            table,
            header: Arc::new(Mutex::new(header)),
        }
    }
}

impl SinkFactory for ChangeSink {
    fn sink(&self) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Changes {
            queue: self.queue.clone(),
            format: self.format,
            table: self.table.clone(),
            header: self.header.clone(),
            gone: vec![],
            come: vec![],
        }))
    }

    fn committer(&self, _job: &JobInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(Shower(self.queue.clone()))))
    }
}

/// One subtask, with the lines of the rows that go in this epoch, and of those that come.
struct Changes {
    queue: Queue,
    format: RowFormat,
    table: Table,
    header: Arc<Mutex<Option<String>>>,
    gone: Vec<u8>,
    come: Vec<u8>,
}

impl Changes {
    fn encode(&mut self, batch: &Batch, weights: &[i64]) -> Result<Vec<u8>> {
        match self.format {
            RowFormat::Text => self.table.changes(batch.columns(), weights),
            RowFormat::Json => json_lines(&weighted(batch, weights)?),
        }
    }
}

/// The rows with their weights as a column.
fn weighted(batch: &Batch, weights: &[i64]) -> Result<RecordBatch> {
    let schema = batch.schema();
    let weight = Arc::new(Field::new(WEIGHT, DataType::Int64, false));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([weight]).collect();
    let mut columns = batch.columns().columns().to_vec();
    columns.push(Arc::new(Int64Array::from(weights.to_vec())) as ArrayRef);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

impl Sink for Changes {
    fn open(&mut self, _ctx: &mut SinkOpen<'_>) -> Result<Release> {
        self.queue.start()?;
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = header.take() {
            self.queue.force(line.into_bytes())?;
        }
        Ok(Release::Epoch)
    }

    fn write(&mut self, batch: Batch, _ctx: &mut SinkContext<'_>) -> Result<Written> {
        for gone in [true, false] {
            let picked = |w: &i64| if gone { *w < 0 } else { *w > 0 };
            let rows = match batch.weights() {
                None if gone => continue,
                None => batch.clone(),
                Some(weights) => batch.filter(&weights.iter().map(|w| Some(picked(w))).collect())?,
            };
            if rows.is_empty() {
                continue;
            }
            let weights = rows.weights().map_or_else(|| vec![1; rows.num_rows()], <[i64]>::to_vec);
            let lines = self.encode(&rows, &weights)?;
            if gone { self.gone.extend(lines) } else { self.come.extend(lines) }
        }
        Ok(Written::Done)
    }

    fn prepare(&mut self, _id: u64, _last: bool, _ctx: &mut SinkContext<'_>) -> Result<Prepare> {
        if self.gone.is_empty() && self.come.is_empty() {
            return Ok(Prepare::Done(Prepared::default()));
        }
        let rows = vec![std::mem::take(&mut self.gone).into(), std::mem::take(&mut self.come).into()];
        Ok(Prepare::Done(Prepared { bytes: vec![], rows }))
    }
}

struct Shower(Queue);

impl Committer for Shower {
    /// What goes is shown before what comes, of all subtasks.
    fn commit(&mut self, _id: u64, parts: &[Prepared]) -> Result<()> {
        let lines = |n: usize| parts.iter().filter_map(move |p| p.rows.get(n));
        let all: Vec<u8> = lines(0).chain(lines(1)).flat_map(|l| l.iter().copied()).collect();
        if all.is_empty() { Ok(()) } else { self.0.put(all) }
    }

    fn recover(&mut self, id: u64, parts: &[Prepared]) -> Result<()> {
        self.commit(id, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn batch(rows: &[(i64, i64)]) -> Batch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let column: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>());
        let columns = RecordBatch::try_new(schema, vec![column]).unwrap();
        Batch::with_weights(columns, rows.iter().map(|r| r.1).collect::<Vec<_>>().into()).unwrap()
    }

    /// What two subtasks show of an epoch.
    fn shown(format: RowFormat) -> String {
        let screen = Screen::default();
        let terminal = Terminal::new(screen.clone(), format, "");
        let schema = batch(&[]).schema();
        let factory = ChangeSink::new(&terminal, &schema, None);
        terminal.queue.start().unwrap();
        if let Some(header) = factory.header.lock().unwrap().take() {
            terminal.queue.force(header.into_bytes()).unwrap();
        }
        let clock = thalweg_engine::clock::Clock::fake(0);
        let mut ctx = SinkContext { clock: &clock, frontier: thalweg_engine::EventTime::MIN, wake_at: None };
        let parts = [&[(1, 1), (2, -2)][..], &[(3, 2), (4, -1)]].map(|rows| {
            let mut sink = factory.sink().unwrap();
            sink.write(batch(rows), &mut ctx).unwrap();
            match sink.prepare(1, false, &mut ctx).unwrap() {
                Prepare::Done(prepared) => prepared,
                Prepare::Pending => panic!("pending"),
            }
        });
        assert_eq!(
            screen.0.lock().unwrap().iter().filter(|b| **b == b'+').count(),
            0,
            "not before the epoch is complete"
        );
        factory.committer(&JobInfo::default()).unwrap().unwrap().commit(1, &parts).unwrap();
        let text = screen.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_epoch_is_shown_at_once_and_what_goes_comes_first() {
        let text = shown(RowFormat::Text);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        let wanted =
            [vec!["n"], vec!["-", "2"], vec!["-", "2"], vec!["-", "4"], vec!["+", "1"], vec!["+", "3"], vec!["+", "3"]];
        assert_eq!(lines, wanted, "{text}");
    }

    #[test]
    fn json_has_the_weight() {
        let wanted =
            "{\"n\":2,\"$weight\":-2}\n{\"n\":4,\"$weight\":-1}\n{\"n\":1,\"$weight\":1}\n{\"n\":3,\"$weight\":2}\n";
        assert_eq!(shown(RowFormat::Json), wanted);
    }
}
