//! Tests of the Nexmark generator: slices against the whole stream, and the statistics of a million events.

use super::super::{NexmarkConfig, Projection, SPLITS, wide_schema};
use super::*;
use arrow::array::UInt64Array;
use arrow::array::{Array, AsArray};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, TimestampMillisecondType};
use std::collections::HashMap;

fn generator(events_num: u64) -> Generator {
    Generator::new(NexmarkConfig { events_num, ..NexmarkConfig::default() }).unwrap()
}

fn child<'a>(batch: &'a RecordBatch, parent: &str, name: &str) -> &'a ArrayRef {
    batch.column_by_name(parent).unwrap().as_struct().column_by_name(name).unwrap()
}

fn longs(batch: &RecordBatch, parent: &str, name: &str) -> Vec<i64> {
    child(batch, parent, name).as_primitive::<Int64Type>().iter().flatten().collect()
}

fn strings<'a>(batch: &'a RecordBatch, parent: &str, name: &str) -> Vec<&'a str> {
    child(batch, parent, name).as_string::<i32>().iter().flatten().collect()
}

fn project(parent: &str, names: &[&str]) -> Projection {
    let schema = wide_schema();
    let field = schema.field_with_name(parent).unwrap();
    let DataType::Struct(fields) = field.data_type() else { panic!("a struct") };
    let kept = names.iter().map(|name| fields.find(name).unwrap().1.clone()).collect();
    let field = field.clone().with_data_type(DataType::Struct(kept));
    Projection::new(Arc::new(Schema::new(vec![field]))).unwrap()
}

/// A share of `total` draws must lie within three standard deviations of its probability (four, as many are tested).
fn assert_share(hits: usize, total: usize, probability: f64, what: &str) {
    let share = hits as f64 / total as f64;
    let sigma = (probability * (1.0 - probability) / total as f64).sqrt();
    assert!((share - probability).abs() <= 4.0 * sigma, "{what}: {share} instead of {probability}");
}

#[test]
fn any_slice_alone_equals_the_slice_of_the_whole() {
    let generator = generator(0);
    let all = Projection::all();
    let whole = generator.generate(Slice::run(0, 10_000), &all).unwrap();
    for (first, count) in [(0, 1), (0, 0), (1, 49), (777, 1_000), (9_999, 1), (4_096, 4_096)] {
        let part = generator.generate(Slice::run(first, count), &all).unwrap();
        assert_eq!(part, whole.slice(first as usize, count), "{first} + {count}");
    }
}

#[test]
fn splits_together_are_the_whole_stream() {
    let generator = generator(10_001);
    let all = Projection::all();
    let whole = generator.generate(Slice::run(0, 20_000), &all).unwrap();
    assert_eq!(whole.num_rows(), 10_001);
    let (mut parts, mut order) = (Vec::new(), vec![0; 10_001]);
    let mut at = 0;
    for split in 0..SPLITS {
        let slice = Slice { first: split, stride: SPLITS, count: 8_192 };
        let part = generator.generate(slice, &all).unwrap();
        for row in 0..part.num_rows() as u64 {
            order[(split + row * SPLITS) as usize] = at;
            at += 1;
        }
        parts.push(part);
    }
    let joined = concat_batches(&wide_schema(), &parts).unwrap();
    assert_eq!(take_record_batch(&joined, &UInt64Array::from(order)).unwrap(), whole);
}

#[test]
fn projections_change_no_value() {
    let generator = generator(0);
    let whole = generator.generate(Slice::run(500, 700), &Projection::all()).unwrap();
    for field in wide_schema().fields() {
        let DataType::Struct(children) = field.data_type() else { continue };
        for name in children.iter().map(|child| child.name()) {
            let part = generator.generate(Slice::run(500, 700), &project(field.name(), &[name])).unwrap();
            assert_eq!(child(&part, field.name(), name), child(&whole, field.name(), name), "{name}");
        }
    }
    let two = generator.generate(Slice::run(500, 700), &project("bid", &["extra", "auction"])).unwrap();
    assert_eq!(child(&two, "bid", "extra"), child(&whole, "bid", "extra"));
    assert_eq!(two.num_columns(), 1);
    let none = Projection::new(Arc::new(Schema::empty())).unwrap();
    assert_eq!(generator.generate(Slice::run(500, 700), &none).unwrap().num_rows(), 700);
    let empty_struct = generator.generate(Slice::run(0, 60), &project("person", &[])).unwrap();
    assert_eq!(empty_struct.column(0).null_count(), 59);
}

#[test]
fn exactly_one_struct_is_present_and_null_structs_have_null_columns() {
    let batch = generator(0).generate(Slice::run(0, 500), &Projection::all()).unwrap();
    let kinds = batch.column(0).as_primitive::<Int32Type>();
    for (kind, name) in [(0, "person"), (1, "auction"), (2, "bid")] {
        let parent = batch.column_by_name(name).unwrap().as_struct();
        for row in 0..500 {
            assert_eq!(parent.is_valid(row), kinds.value(row) == kind);
            assert!(parent.columns().iter().all(|column| column.is_valid(row) == (kinds.value(row) == kind)));
        }
    }
}

#[test]
fn streams_end_and_seeds_differ() {
    let all = Projection::all();
    for (events, first, count, rows) in [(100, 0, 1_000, 100), (100, 99, 5, 1), (100, 100, 5, 0), (100, u64::MAX, 5, 0)]
    {
        assert_eq!(generator(events).generate(Slice::run(first, count), &all).unwrap().num_rows(), rows);
    }
    let last = Slice { first: super::super::MAX_EVENTS - 1, stride: u64::MAX, count: 9 };
    assert_eq!(generator(0).generate(last, &all).unwrap().num_rows(), 1);
    assert_eq!(
        generator(0).generate(Slice::run(0, usize::MAX), &project("bid", &[])).unwrap().num_rows(),
        Slice::MAX_ROWS
    );
    let seeded = |seed| {
        let config = NexmarkConfig { seed, ..NexmarkConfig::default() };
        Generator::new(config).unwrap().generate(Slice::run(0, 100), &all).unwrap()
    };
    assert_eq!(seeded(5), seeded(5));
    assert_ne!(seeded(5), seeded(6));
}

#[test]
fn bids_of_a_million_events_have_the_stated_shares() {
    let generator = generator(0);
    let (mut bids, mut hot_auctions, mut hot_bidders, mut hot_channels) = (0, 0, 0, 0);
    let (mut cheap, mut middle, mut extra_bytes) = (0, 0, 0);
    let mut channels: HashMap<String, usize> = HashMap::new();
    let projection = project("bid", &["auction", "bidder", "price", "channel", "extra"]);
    for first in (0..1_000_000).step_by(50_000) {
        let batch = generator.generate(Slice::run(first, 50_000), &projection).unwrap();
        bids += batch.num_rows() - batch.column(0).null_count();
        let events = (first..first + 50_000).map(|index| generator.events.event(index));
        let events: Vec<Event> = events.filter(|event| event.kind == Kind::Bid).collect();
        for ((auction, bidder), event) in
            longs(&batch, "bid", "auction").iter().zip(longs(&batch, "bid", "bidder")).zip(&events)
        {
            hot_auctions += usize::from(auction - 1_000 == (generator.events.auction_id(event) - 1_000) / 100 * 100);
            hot_bidders += usize::from(bidder - 1_001 == (generator.events.person_id(event) - 1_000) / 100 * 100);
        }
        for price in longs(&batch, "bid", "price") {
            assert!((100..=100_000_000).contains(&price));
            cheap += usize::from(price < 10_000);
            middle += usize::from((10_000..1_000_000).contains(&price));
        }
        for channel in strings(&batch, "bid", "channel") {
            *channels.entry(channel.to_owned()).or_default() += 1;
        }
        for extra in strings(&batch, "bid", "extra") {
            assert!((54..=81).contains(&extra.len()));
            extra_bytes += extra.len();
        }
    }
    for name in ["Google", "Facebook", "Baidu", "Apple"] {
        assert_share(channels[name], bids, 0.125, name);
        hot_channels += channels[name];
    }
    assert_eq!((bids, channels.len()), (920_000, 10_004));
    assert_share(hot_channels, bids, 0.5, "hot channel");
    // Draws among the eligible hit the hot one too: 1 in about 111 auctions, 1 in 11 to 1 010 people.
    let share = |hits| hits as f64 / bids as f64;
    assert!((0.500..0.507).contains(&share(hot_auctions)), "{}", share(hot_auctions));
    assert!((0.750..0.753).contains(&share(hot_bidders)), "{}", share(hot_bidders));
    assert_share(cheap, bids, 1.0 / 3.0, "cheap");
    assert_share(middle, bids, 1.0 / 3.0, "middle");
    let mean = extra_bytes as f64 / bids as f64;
    assert!((mean - 67.5).abs() < 4.0 * 8.1 / (bids as f64).sqrt(), "{mean}");
}

#[test]
fn persons_and_auctions_of_a_million_events_have_the_stated_shares() {
    let generator = generator(0);
    let (mut states, mut categories) = (HashMap::new(), HashMap::new());
    let (mut hot_sellers, mut auctions, mut persons) = (0, 0, 0);
    for first in (0..1_000_000).step_by(50_000) {
        let batch = generator.generate(Slice::run(first, 50_000), &project("person", &["state", "id"])).unwrap();
        for state in strings(&batch, "person", "state") {
            *states.entry(state.to_owned()).or_insert(0) += 1;
        }
        let ids = longs(&batch, "person", "id");
        assert_eq!(ids, (0..1_000).map(|at| (first / 50 + at + 1_001) as i64).collect::<Vec<_>>());
        persons += ids.len();
        let projection = project("auction", &["seller", "category", "id", "initialBid", "reserve"]);
        let batch = generator.generate(Slice::run(first, 50_000), &projection).unwrap();
        for category in longs(&batch, "auction", "category") {
            *categories.entry(category).or_insert(0) += 1;
        }
        for (id, seller) in longs(&batch, "auction", "id").iter().zip(longs(&batch, "auction", "seller")) {
            // Auctions 3e, 3e + 1 and 3e + 2 are made in epoch e, whose person has number e.
            hot_sellers += usize::from(seller - 1_000 == (id - 1_000) / 3 / 100 * 100);
            auctions += 1;
        }
        let pairs = longs(&batch, "auction", "reserve").into_iter().zip(longs(&batch, "auction", "initialBid"));
        assert!(pairs.into_iter().all(|(reserve, initial)| reserve >= initial + 100));
    }
    assert_eq!((persons, auctions), (20_000, 60_000));
    assert_eq!(states.len(), 6);
    states.values().for_each(|count| assert_share(*count, persons, 1.0 / 6.0, "state"));
    assert_eq!(categories.keys().max(), Some(&14));
    categories.values().for_each(|count| assert_share(*count, auctions, 0.2, "category"));
    let share = hot_sellers as f64 / auctions as f64;
    assert!((0.744..0.760).contains(&share), "{share}");
}

#[test]
fn event_times_rise_and_wide_rows_have_average_sizes() {
    let batch = generator(0).generate(Slice::run(0, 50_000), &Projection::all()).unwrap();
    for name in ["person", "auction", "bid"] {
        let times = child(&batch, name, "dateTime").as_primitive::<TimestampMillisecondType>();
        assert!(times.iter().flatten().is_sorted());
    }
    let bytes = |name, columns: &[&str]| -> f64 {
        let total: usize = columns.iter().flat_map(|column| strings(&batch, name, column)).map(str::len).sum();
        let parent = batch.column_by_name(name).unwrap();
        total as f64 / (parent.len() - parent.null_count()) as f64
    };
    let person = 8.0 + bytes("person", &["name", "emailAddress", "creditCard", "city", "state", "extra"]);
    let auction = 48.0 + bytes("auction", &["itemName", "description", "extra"]);
    assert!((person - 200.0).abs() < 3.0, "{person}");
    assert!((auction - 500.0).abs() < 6.0, "{auction}");
}
