//! Slices of the event stream as record batches, column by column: a column nobody reads costs nothing.
//!
//! Called by the source's readers, each with the slices of its splits, and by benchmarks. Cheap to clone: the tables of texts
//! are shared.
//!
//! Invariants
//! - G1 the row of an event is the same in every slice and projection that contains it.
//! - G2 exactly one of the three structs of a row is not NULL, and a NULL struct has only NULL columns.

use super::config::{ConfigError, NexmarkConfig};
use super::dice::{Dice, Field};
use super::events::{Event, Events, Kind};
use super::schema::{AuctionColumn, BidColumn, PersonColumn, Projection, WideColumn};
use super::texts::Texts;
use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Fields;
use arrow::error::ArrowError;
use std::sync::Arc;

/// Which events to make: the `count` events `first`, `first + stride`, `first + 2 * stride`, .. of the stream, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Index of the first event.
    pub first: u64,
    /// Distance between two events; [`SPLITS`](super::SPLITS) for a split, 1 for a run of the whole stream. 0 is taken as 1.
    pub stride: u64,
    /// How many events; fewer come back at the end of the stream, and never more than [`Slice::MAX_ROWS`].
    pub count: usize,
}

impl Slice {
    /// The most rows that one batch holds; keeps the text of a column below 2 GiB at every setting.
    pub const MAX_ROWS: usize = 65_536;

    /// The events `first..first + count`.
    #[must_use]
    pub fn run(first: u64, count: usize) -> Self {
        Self { first, stride: 1, count }
    }
}

/// Makes the rows of a Nexmark table.
#[derive(Debug, Clone)]
pub struct Generator {
    config: Arc<NexmarkConfig>,
    events: Events,
    dice: Dice,
    texts: Arc<Texts>,
}

impl Generator {
    /// Checks the settings and makes the tables of texts (about 1 MiB).
    ///
    /// # Errors
    /// If a setting is outside its limits.
    pub fn new(config: NexmarkConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let dice = Dice::new(config.seed);
        let texts = Arc::new(Texts::new(dice));
        Ok(Self { events: Events::new(config.clone()), config: Arc::new(config), dice, texts })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &NexmarkConfig {
        &self.config
    }

    /// How many events the table has; the stream ends before this index.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.config.events()
    }

    /// Whether the table has no events; it always has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Event time of the event at `index`, ms since 1970-01-01 UTC.
    #[must_use]
    pub fn event_time_ms(&self, index: u64) -> i64 {
        self.events.event(index).time_ms
    }

    /// Makes the rows of a slice. The batch is shorter than asked for, or empty, where the stream ends.
    ///
    /// # Errors
    /// If the projection declares a struct NOT NULL, which cannot hold here.
    pub fn generate(&self, slice: Slice, projection: &Projection) -> Result<RecordBatch, ArrowError> {
        let stride = slice.stride.max(1);
        let left = self.len().saturating_sub(slice.first).div_ceil(stride);
        let count = left.min(slice.count.min(Slice::MAX_ROWS) as u64);
        let events: Vec<Event> = (0..count).map(|row| self.events.event(slice.first + row * stride)).collect();
        let rows = Rows { generator: self, events: &events };
        let columns = projection.columns().iter().map(|column| rows.column(column)).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
        RecordBatch::try_new_with_options(projection.schema().clone(), columns, &options)
    }
}

/// The events of one batch, on their way into columns.
struct Rows<'a> {
    generator: &'a Generator,
    events: &'a [Event],
}

/// The events of one type within a batch: the others are NULL in its columns.
struct Typed<'a> {
    events: &'a [Event],
    kind: Kind,
    nulls: NullBuffer,
}

impl Rows<'_> {
    fn column(&self, column: &WideColumn) -> Result<ArrayRef, ArrowError> {
        match column {
            WideColumn::EventType => {
                Ok(Arc::new(Int32Array::from_iter_values(self.events.iter().map(|event| event.kind as i32))))
            }
            WideColumn::Person(fields, columns) => self.structure(Kind::Person, fields, columns, Self::person),
            WideColumn::Auction(fields, columns) => self.structure(Kind::Auction, fields, columns, Self::auction),
            WideColumn::Bid(fields, columns) => self.structure(Kind::Bid, fields, columns, Self::bid),
        }
    }

    fn structure<C: Copy>(
        &self,
        kind: Kind,
        fields: &Fields,
        columns: &[C],
        make: fn(&Self, &Typed<'_>, C) -> Result<ArrayRef, ArrowError>,
    ) -> Result<ArrayRef, ArrowError> {
        let nulls = self.events.iter().map(|event| event.kind == kind).collect();
        let typed = Typed { events: self.events, kind, nulls };
        let columns = columns.iter().map(|column| make(self, &typed, *column)).collect::<Result<Vec<_>, _>>()?;
        let nulls = Some(typed.nulls);
        let array = StructArray::try_new_with_length(fields.clone(), columns, nulls, self.events.len())?;
        Ok(Arc::new(array))
    }

    fn person(&self, rows: &Typed<'_>, column: PersonColumn) -> Result<ArrayRef, ArrowError> {
        let Generator { config, events, texts, .. } = self.generator;
        match column {
            PersonColumn::Id => Ok(rows.longs(|event| events.person_id(event))),
            PersonColumn::Name => rows.texts(16, |event, out| texts.person_name(event.id, out)),
            PersonColumn::EmailAddress => rows.texts(16, |event, out| texts.email(event.id, out)),
            PersonColumn::CreditCard => rows.texts(20, |event, out| texts.credit_card(event.id, out)),
            PersonColumn::City => rows.texts(16, |event, out| texts.city(event.id, out)),
            PersonColumn::State => rows.texts(2, |event, out| texts.state(event.id, out)),
            PersonColumn::DateTime => Ok(rows.times(|event| event.time_ms)),
            PersonColumn::Extra => {
                let (average, mut scratch) = (config.person_avg_size_bytes, Vec::new());
                rows.texts(average, |event, out| texts.person_extra(event.id, average, &mut scratch, out))
            }
        }
    }

    fn auction(&self, rows: &Typed<'_>, column: AuctionColumn) -> Result<ArrayRef, ArrowError> {
        let Generator { config, events, dice, texts } = self.generator;
        let initial_bid = |event: &Event| events.price(event, dice, Field::InitialBid);
        match column {
            AuctionColumn::Id => Ok(rows.longs(|event| events.auction_id(event))),
            AuctionColumn::ItemName => rows.texts(12, |event, out| texts.item_name(event.id, out)),
            AuctionColumn::Description => rows.texts(52, |event, out| texts.description(event.id, out)),
            AuctionColumn::InitialBid => Ok(rows.longs(initial_bid)),
            AuctionColumn::Reserve => {
                Ok(rows.longs(|event| initial_bid(event) + events.price(event, dice, Field::Reserve)))
            }
            AuctionColumn::DateTime => Ok(rows.times(|event| event.time_ms)),
            AuctionColumn::Expires => Ok(rows.times(|event| events.expires(event, dice))),
            AuctionColumn::Seller => Ok(rows.longs(|event| events.seller(event, dice))),
            AuctionColumn::Category => Ok(rows.longs(|event| events.category(event, dice))),
            AuctionColumn::Extra => {
                let (average, mut scratch) = (config.auction_avg_size_bytes, Vec::new());
                rows.texts(average, |event, out| texts.auction_extra(event.id, average, &mut scratch, out))
            }
        }
    }

    fn bid(&self, rows: &Typed<'_>, column: BidColumn) -> Result<ArrayRef, ArrowError> {
        let Generator { config, events, dice, texts } = self.generator;
        match column {
            BidColumn::Auction => Ok(rows.longs(|event| events.bid_auction(event, dice))),
            BidColumn::Bidder => Ok(rows.longs(|event| events.bidder(event, dice))),
            BidColumn::Price => Ok(rows.longs(|event| events.price(event, dice, Field::Price))),
            BidColumn::Channel => rows.texts(10, |event, out| texts.channel(event.id, out)),
            BidColumn::Url => rows.texts(68, |event, out| texts.url(event.id, out)),
            BidColumn::DateTime => Ok(rows.times(|event| event.time_ms)),
            BidColumn::Extra => {
                let average = config.bid_avg_size_bytes;
                rows.texts(average, |event, out| texts.bid_extra(event.id, average, out))
            }
        }
    }
}

impl Typed<'_> {
    fn values(&self, value: impl Fn(&Event) -> i64) -> ScalarBuffer<i64> {
        self.events.iter().map(|event| if event.kind == self.kind { value(event) } else { 0 }).collect()
    }

    fn longs(&self, value: impl Fn(&Event) -> i64) -> ArrayRef {
        Arc::new(Int64Array::new(self.values(value), Some(self.nulls.clone())))
    }

    fn times(&self, value: impl Fn(&Event) -> i64) -> ArrayRef {
        Arc::new(TimestampMillisecondArray::new(self.values(value), Some(self.nulls.clone())))
    }

    /// A column of texts that take about `expected_bytes` each.
    fn texts(&self, expected_bytes: u64, mut write: impl FnMut(&Event, &mut Vec<u8>)) -> Result<ArrayRef, ArrowError> {
        let present = self.nulls.len() - self.nulls.null_count();
        let mut bytes = Vec::with_capacity(present * expected_bytes as usize);
        let mut offsets = Vec::with_capacity(self.events.len() + 1);
        offsets.push(0);
        for event in self.events {
            if event.kind == self.kind {
                write(event, &mut bytes);
            }
            offsets.push(bytes.len() as i32);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(bytes), Some(self.nulls.clone()))?))
    }
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
