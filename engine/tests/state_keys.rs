//! Every key type in a keyed table: equal by value, NULLs equal, gathered and restored as the declared Arrow type.

#![expect(clippy::unwrap_used, reason = "tests stop at the first failure")]

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::*;
use std::sync::Arc;
use thalweg_engine::key::{KeyGroupRange, hash_rows};
use thalweg_engine::state::{Budget, KeyedTable, Link, StateStore, TableSpec, ValueColumn};

fn structs() -> ArrayRef {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(1), None, Some(1), Some(9)]));
    let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("x"), None, None, Some("y")]));
    let fields = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)];
    // The last two: a NULL struct over hidden values, which do not count.
    let there = NullBuffer::from(vec![true, true, true, true, false]);
    let array: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![a, b], Some(there)));
    concat(&[&array, &arrow::array::new_null_array(array.data_type(), 1)]).unwrap()
}

/// Arrays with their distinct values, NULL among them, in order of first appearance.
fn cases() -> Vec<(ArrayRef, usize)> {
    let nan = [f64::NAN, -f64::NAN, 0.0, -0.0, f64::INFINITY, f64::MIN].map(Some);
    let dictionary: DictionaryArray<Int8Type> = vec![Some("a"), None, Some("b"), Some("a")].into_iter().collect();
    let dates = vec![Some(i32::MIN), None, Some(2_932_896), Some(i32::MIN)];
    vec![
        (Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX, 0, i64::MIN, -1])), 4),
        (Arc::new(Int64Array::from(vec![Some(0), None, None, Some(0), Some(1)])), 3),
        (Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(-1), Some(i8::MIN)])), 3),
        (Arc::new(Int16Array::from(vec![i16::MIN, i16::MAX])), 2),
        (Arc::new(Int32Array::from(vec![i32::MIN, i32::MAX, i32::MIN])), 2),
        (Arc::new(UInt8Array::from(vec![u8::MAX, 0, u8::MAX])), 2),
        (Arc::new(UInt16Array::from(vec![u16::MAX, 0])), 2),
        (Arc::new(UInt32Array::from(vec![u32::MAX, 0])), 2),
        (Arc::new(UInt64Array::from(vec![u64::MAX, 0, u64::MAX])), 2),
        (Arc::new(Float64Array::from(nan.to_vec())), 4),
        (Arc::new(Float32Array::from(vec![Some(f32::NAN), Some(-f32::NAN), Some(0.0), Some(-0.0), None])), 3),
        (Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])), 3),
        (Arc::new(StringArray::from(vec![Some(""), None, Some("a"), Some(""), Some("ä")])), 4),
        (Arc::new(LargeStringArray::from(vec![Some("x"), None, Some("x")])), 2),
        (Arc::new(StringViewArray::from(vec![Some("a long text, beyond twelve bytes"), None, Some("")])), 3),
        (Arc::new(BinaryArray::from(vec![Some(&b""[..]), None, Some(&[0xFF, 0][..]), Some(&b""[..])])), 3),
        (Arc::new(LargeBinaryArray::from(vec![Some(&b"1"[..]), None])), 2),
        (Arc::new(BinaryViewArray::from(vec![Some(&b"1"[..]), Some(&b"1"[..])])), 1),
        (Arc::new(FixedSizeBinaryArray::try_from_iter([[1u8, 2], [1, 3], [1, 2]].into_iter()).unwrap()), 2),
        (Arc::new(Date32Array::from(dates)), 3),
        (Arc::new(Date64Array::from(vec![i64::MAX, 0])), 2),
        (Arc::new(Time32SecondArray::from(vec![1, 2, 1])), 2),
        (Arc::new(Time64NanosecondArray::from(vec![1, 2, 1])), 2),
        (Arc::new(TimestampMillisecondArray::from(vec![Some(253_402_300_799_999), None]).with_timezone("UTC")), 2),
        (Arc::new(TimestampNanosecondArray::from(vec![i64::MIN, i64::MIN])), 1),
        (Arc::new(Decimal128Array::from(vec![Some(i128::MAX), None, Some(-1), Some(i128::MAX)])), 3),
        (Arc::new(NullArray::new(3)), 1),
        (Arc::new(dictionary), 3),
        (structs(), 4),
    ]
}

fn declared(array: &ArrayRef) -> DataType {
    match array.data_type() {
        DataType::Dictionary(_, values) => (**values).clone(),
        other => other.clone(),
    }
}

/// The same values in the declared type with one NaN and one zero, nothing hidden under NULLs.
fn plain(array: &ArrayRef) -> ArrayRef {
    let array = arrow::compute::cast(array, &declared(array)).unwrap();
    match array.data_type() {
        DataType::Float64 => {
            let float = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(array.as_primitive::<Float64Type>().iter().map(|v| v.map(float)).collect::<Float64Array>())
        }
        DataType::Float32 => {
            let float = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(array.as_primitive::<Float32Type>().iter().map(|v| v.map(float)).collect::<Float32Array>())
        }
        _ => array,
    }
}

fn intern(table: &mut KeyedTable, keys: &[ArrayRef]) -> Vec<u32> {
    let (mut hashes, mut rows) = (vec![], vec![]);
    hash_rows(keys, keys[0].len(), &mut hashes).unwrap();
    table.intern(keys, &hashes, &mut rows).unwrap();
    rows
}

/// Whether row `i` of `a` and row `j` of `b` show the same.
fn shows(a: &ArrayRef, i: usize, b: &ArrayRef, j: usize) -> bool {
    a.slice(i, 1).to_data() == b.slice(j, 1).to_data()
}

#[test]
fn every_key_type_is_told_apart_gathered_and_restored() {
    for (case, (keys, distinct)) in cases().into_iter().enumerate() {
        let name = format!("case {case}: {}", keys.data_type());
        let spec = TableSpec::new([Arc::new(Field::new("k", declared(&keys), true))], [ValueColumn::new("n", 0i64)]);
        let budget = Budget::unlimited("t");
        let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
        let table = store.keyed_table("t", spec.clone()).unwrap();
        let rows = intern(&mut table.lock(), std::slice::from_ref(&keys));
        assert_eq!(table.lock().len(), distinct, "{name}");
        let values = plain(&keys);
        let gathered = table.lock().keys(&rows).unwrap().remove(0);
        assert_eq!(gathered.data_type(), &declared(&keys));
        for i in 0..keys.len() {
            assert!(shows(&gathered, i, &values, i), "{name}: row {i}");
            for j in 0..keys.len() {
                assert_eq!(rows[i] == rows[j], shows(&values, i, &values, j), "{name}: rows {i} and {j}");
            }
        }
        // A second time all are found; sliced arrays have the same keys.
        assert_eq!(intern(&mut table.lock(), &[keys.slice(1, keys.len() - 1)]), rows[1..], "{name}");
        let chain = vec![Link::from(store.freeze().encode().unwrap())];
        let mut restored = StateStore::restore("op", KeyGroupRange::ALL, &budget, &[chain]).unwrap();
        let table = restored.keyed_table("t", spec).unwrap();
        assert_eq!(table.lock().len(), distinct, "{name}: restored");
        intern(&mut table.lock(), &[keys]);
        assert_eq!(table.lock().len(), distinct, "{name}: restored and interned again");
    }
}

#[test]
fn all_types_together_are_one_key() {
    let columns: Vec<ArrayRef> = cases().iter().map(|(keys, _)| concat(&[keys, keys]).unwrap().slice(0, 2)).collect();
    let columns: Vec<ArrayRef> = columns.iter().map(|c| concat(&[c, c]).unwrap()).collect();
    let fields = columns.iter().enumerate().map(|(i, c)| Arc::new(Field::new(format!("k{i}"), declared(c), true)));
    let mut table = KeyedTable::new(Arc::new(TableSpec::new(fields, [])), &Budget::unlimited("t")).unwrap();
    let rows = intern(&mut table, &columns);
    assert_eq!((rows[0] == rows[2], rows[1] == rows[3], rows[0] == rows[1], table.len()), (true, true, false, 2));
}

#[test]
fn no_key_column_is_one_entry() {
    let budget = Budget::unlimited("t");
    let spec = TableSpec::new([], [ValueColumn::new("n", 0i64)]);
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &budget);
    let table = store.keyed_table("t", spec.clone()).unwrap();
    let mut rows = vec![];
    table.lock().intern(&[], &[0; 3000], &mut rows).unwrap();
    rows.iter().for_each(|row| table.lock().column_mut::<i64>(0).unwrap()[*row] += 1);
    assert_eq!((table.lock().len(), rows.len()), (1, 3000));
    table.lock().intern(&[], &[], &mut rows).unwrap();
    assert!(rows.is_empty());
    let chain = vec![Link::from(store.freeze().encode().unwrap())];
    let mut restored = StateStore::restore("op", KeyGroupRange::ALL, &budget, &[chain]).unwrap();
    let table = restored.keyed_table("t", spec).unwrap();
    assert_eq!(table.lock().values(0, &[0]).unwrap().as_primitive::<Int64Type>().value(0), 3000);
}

#[test]
fn the_group_follows_the_leading_columns_only() {
    let spec =
        TableSpec::new(["user", "item"].map(|n| Arc::new(Field::new(n, DataType::Int64, false))), []).grouped_by(1);
    let mut store = StateStore::new("op", KeyGroupRange::ALL, &Budget::unlimited("t"));
    let table = store.keyed_table("t", spec).unwrap();
    let items: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    intern(&mut table.lock(), &[Arc::new(Int64Array::from(vec![5; 1000])), items]);
    let snapshot = store.freeze().encode().unwrap();
    let groups = snapshot.container("t").unwrap().pieces[0].groups.unwrap();
    assert_eq!(groups.end - groups.start, 1);
}

#[test]
fn keys_that_do_not_fit_are_errors() {
    let spec = TableSpec::new([Arc::new(Field::new("k", DataType::Int64, false))], [ValueColumn::new("n", 0i64)]);
    let mut table = KeyedTable::new(Arc::new(spec), &Budget::unlimited("t")).unwrap();
    let mut rows = vec![];
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let e = table.intern(&[text], &[1], &mut rows).unwrap_err();
    assert_eq!(e.message(), "key column `k` is Int64, given Utf8");
    assert_eq!(table.intern(&[], &[1], &mut rows).unwrap_err().message(), "0 key columns for a table with 1");
    let e = table.intern(&[number], &[1, 2], &mut rows).unwrap_err();
    assert_eq!(e.message(), "key column `k`: 1 rows, 2 hashes");
    assert!(table.column::<f64>(0).is_err() && table.column::<i64>(1).is_err() && table.bytes_column(0).is_err());
    assert!(table.is_empty());
}
