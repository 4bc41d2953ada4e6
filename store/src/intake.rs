//! The stream on its way into the store: what came of it is counted, and the clock is told.

use arrow_array::RecordBatch;
use cs_common::meter;
use cs_common::report::Count;
use cs_common::rows::Rows;
use cs_common::stream::StreamReader;

/// A stream, and how much of it has come.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) stream: StreamReader,
    pub(crate) count: Count,
}

impl Intake {
    pub(crate) fn new(stream: StreamReader) -> Self {
        Self {
            stream,
            count: Count::default(),
        }
    }

    /// Returns the next batch, as [`StreamReader::next_batch`] does.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, cs_common::Error> {
        meter::work("read");
        let batch = self.stream.next_batch()?;
        if let Some(batch) = &batch {
            meter::batch("gather", batch.num_rows());
            self.count.add(&Rows::new(batch)?);
        }
        Ok(batch)
    }
}
