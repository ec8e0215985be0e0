//! The wide row of Nexmark (`event_type`, and one nullable struct for each type), and which of its columns somebody reads.

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::sync::Arc;

/// A column of `person`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PersonColumn {
    Id,
    Name,
    EmailAddress,
    CreditCard,
    City,
    State,
    DateTime,
    Extra,
}

/// A column of `auction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuctionColumn {
    Id,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    DateTime,
    Expires,
    Seller,
    Category,
    Extra,
}

/// A column of `bid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BidColumn {
    Auction,
    Bidder,
    Price,
    Channel,
    Url,
    DateTime,
    Extra,
}

/// A column of the wide row, with the wanted columns of its struct.
#[derive(Debug, Clone)]
pub(super) enum WideColumn {
    EventType,
    Person(Fields, Vec<PersonColumn>),
    Auction(Fields, Vec<AuctionColumn>),
    Bid(Fields, Vec<BidColumn>),
}

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

const PERSON: &[(&str, DataType, PersonColumn)] = &[
    ("id", DataType::Int64, PersonColumn::Id),
    ("name", DataType::Utf8, PersonColumn::Name),
    ("emailAddress", DataType::Utf8, PersonColumn::EmailAddress),
    ("creditCard", DataType::Utf8, PersonColumn::CreditCard),
    ("city", DataType::Utf8, PersonColumn::City),
    ("state", DataType::Utf8, PersonColumn::State),
    ("dateTime", TIMESTAMP, PersonColumn::DateTime),
    ("extra", DataType::Utf8, PersonColumn::Extra),
];

const AUCTION: &[(&str, DataType, AuctionColumn)] = &[
    ("id", DataType::Int64, AuctionColumn::Id),
    ("itemName", DataType::Utf8, AuctionColumn::ItemName),
    ("description", DataType::Utf8, AuctionColumn::Description),
    ("initialBid", DataType::Int64, AuctionColumn::InitialBid),
    ("reserve", DataType::Int64, AuctionColumn::Reserve),
    ("dateTime", TIMESTAMP, AuctionColumn::DateTime),
    ("expires", TIMESTAMP, AuctionColumn::Expires),
    ("seller", DataType::Int64, AuctionColumn::Seller),
    ("category", DataType::Int64, AuctionColumn::Category),
    ("extra", DataType::Utf8, AuctionColumn::Extra),
];

const BID: &[(&str, DataType, BidColumn)] = &[
    ("auction", DataType::Int64, BidColumn::Auction),
    ("bidder", DataType::Int64, BidColumn::Bidder),
    ("price", DataType::Int64, BidColumn::Price),
    ("channel", DataType::Utf8, BidColumn::Channel),
    ("url", DataType::Utf8, BidColumn::Url),
    ("dateTime", TIMESTAMP, BidColumn::DateTime),
    ("extra", DataType::Utf8, BidColumn::Extra),
];

fn fields<C>(table: &[(&str, DataType, C)]) -> Fields {
    table.iter().map(|(name, kind, _)| Field::new(*name, kind.clone(), true)).collect()
}

fn columns<C: Copy>(table: &[(&str, DataType, C)]) -> Vec<C> {
    table.iter().map(|(.., column)| *column).collect()
}

/// The schema of a Nexmark table: `event_type`, `person`, `auction`, `bid`, all nullable.
#[must_use]
pub fn wide_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_type", DataType::Int32, true),
        Field::new("person", DataType::Struct(fields(PERSON)), true),
        Field::new("auction", DataType::Struct(fields(AUCTION)), true),
        Field::new("bid", DataType::Struct(fields(BID)), true),
    ]))
}

/// The columns that somebody reads: a part of [`wide_schema`], in any order, reaching into the structs.
#[derive(Debug, Clone)]
pub struct Projection {
    schema: SchemaRef,
    columns: Vec<WideColumn>,
}

impl Projection {
    /// Takes every column.
    #[must_use]
    pub fn all() -> Self {
        let columns = vec![
            WideColumn::EventType,
            WideColumn::Person(fields(PERSON), columns(PERSON)),
            WideColumn::Auction(fields(AUCTION), columns(AUCTION)),
            WideColumn::Bid(fields(BID), columns(BID)),
        ];
        Self { schema: wide_schema(), columns }
    }

    /// Takes the columns that `schema` names, and of a struct the columns that its field names.
    ///
    /// # Errors
    /// If `schema` names a column that a Nexmark table does not have, or gives one another type.
    pub fn new(schema: SchemaRef) -> Result<Self, ArrowError> {
        let columns = schema.fields().iter().map(wide_column).collect::<Result<_, _>>()?;
        Ok(Self { schema, columns })
    }

    /// The schema of the batches made with this projection.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn columns(&self) -> &[WideColumn] {
        &self.columns
    }
}

fn wide_column(field: &FieldRef) -> Result<WideColumn, ArrowError> {
    match (field.name().as_str(), field.data_type()) {
        ("event_type", DataType::Int32) => Ok(WideColumn::EventType),
        ("person", DataType::Struct(fields)) => Ok(WideColumn::Person(fields.clone(), pick("person", fields, PERSON)?)),
        ("auction", DataType::Struct(fields)) => {
            Ok(WideColumn::Auction(fields.clone(), pick("auction", fields, AUCTION)?))
        }
        ("bid", DataType::Struct(fields)) => Ok(WideColumn::Bid(fields.clone(), pick("bid", fields, BID)?)),
        (name, kind) => Err(no_column(name, kind)),
    }
}

fn pick<C: Copy>(parent: &str, fields: &Fields, columns: &[(&str, DataType, C)]) -> Result<Vec<C>, ArrowError> {
    let find = |field: &FieldRef| {
        let found = columns.iter().find(|(name, kind, _)| name == field.name() && kind == field.data_type());
        found
            .map(|(.., column)| *column)
            .ok_or_else(|| no_column(&format!("{parent}.{}", field.name()), field.data_type()))
    };
    fields.iter().map(find).collect()
}

fn no_column(name: &str, kind: &DataType) -> ArrowError {
    let columns = "event_type INT, and `person`, `auction`, `bid` as ROW with fields of the benchmark";
    ArrowError::SchemaError(format!("a nexmark table has no column `{name}` of type {kind}; its columns are {columns}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_wide_row_is_a_projection() {
        assert_eq!(Projection::all().schema(), &wide_schema());
        let bid =
            Fields::from(vec![Field::new("url", DataType::Utf8, true), Field::new("price", DataType::Int64, true)]);
        let schema = Schema::new(vec![Field::new("bid", DataType::Struct(bid), true)]);
        let projection = Projection::new(Arc::new(schema)).unwrap();
        let [WideColumn::Bid(_, columns)] = projection.columns() else { panic!("one column") };
        assert_eq!(columns, &[BidColumn::Url, BidColumn::Price]);
    }

    #[test]
    fn other_names_and_types_are_refused() {
        let field = |name: &str, kind| Arc::new(Schema::new(vec![Field::new(name, kind, true)]));
        let inner = DataType::Struct(Fields::from(vec![Field::new("prize", DataType::Int64, true)]));
        for (schema, message) in [
            (field("events", DataType::Int32), "`events` of type Int32"),
            (field("event_type", DataType::Int64), "`event_type` of type Int64"),
            (field("bid", DataType::Utf8), "`bid` of type Utf8"),
            (field("bid", inner), "`bid.prize` of type Int64"),
        ] {
            let error = Projection::new(schema).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
