//! Keys: the one stable hash of rows, key groups and their ranges. Called by partitioners, state and restore.
//!
//! Invariants
//! - K1 the hash depends on logical values only: NULL = NULL, NaN = NaN, -0.0 = 0.0, all encodings of one string are equal.
//! - K2 the hash never changes within [`HASH_VERSION`]; the vectors in the tests are part of the format of every checkpoint.
//! - K3 only [`KeyGroupRange::of`] and [`KeyGroup::owner`] map groups to subtasks, and they agree.
//! - K4 the key group uses the 8 highest bits; hash tables mix the hash again before they use it.
//!
//! The hash. `fold(a, b)` is the 128-bit product of `a` and `b`, low half xor high half. A fixed-width value is sign-extended
//! to 64 bits (floats: the bits as f64, one NaN, no -0.0; decimals: low half, then high half) and hashed as
//! `fold(v ^ K0, K1)`. Bytes are read in little-endian words of 8, the rest padded with zeros:
//! `h = fold(h ^ word, K1)` from `h = K0 ^ len`, then `fold(h, K2)`. NULL is the constant `K3`. Columns after the first are
//! combined by `h = fold(rotate_left(h, 23) ^ column, K2)`. A struct is hashed as its fields in order, starting from `K0`.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

/// The version of the hash; stored with every checkpoint.
pub const HASH_VERSION: u16 = 1;
/// The number of key groups: the limit of parallelism, fixed for ever in a job's checkpoints.
pub const KEY_GROUPS: u32 = 256;

const K0: u64 = 0x9E37_79B9_7F4A_7C15;
const K1: u64 = 0xD6E8_FEB8_6659_FD93;
const K2: u64 = 0xA076_1D64_78BD_642F;
const K3: u64 = 0xE703_7ED1_A0B4_28DB;

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let p = u128::from(a) * u128::from(b);
    (p as u64) ^ ((p >> 64) as u64)
}

#[inline(always)]
fn hash_word(v: u64) -> u64 {
    fold(v ^ K0, K1)
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut h = K0 ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for w in &mut words {
        let mut word = [0u8; 8];
        word.copy_from_slice(w);
        h = fold(h ^ u64::from_le_bytes(word), K1);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut word = [0u8; 8];
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        h = fold(h ^ u64::from_le_bytes(word), K1);
    }
    fold(h, K2)
}

fn float_bits(v: f64) -> u64 {
    if v.is_nan() {
        f64::NAN.to_bits()
    } else if v == 0.0 {
        0
    } else {
        v.to_bits()
    }
}

/// One of [`KEY_GROUPS`] parts of the key space; state moves between subtasks in whole key groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u8);

impl KeyGroup {
    /// The group of a row with this hash.
    #[inline(always)]
    pub fn of(hash: u64) -> KeyGroup {
        KeyGroup((hash >> 56) as u8)
    }

    /// The subtask that owns this group among `parallelism` (1..=256) ones.
    #[inline(always)]
    pub fn owner(self, parallelism: u32) -> u32 {
        u32::from(self.0) * parallelism / KEY_GROUPS
    }
}

/// A contiguous range of key groups, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyGroupRange {
    /// The first group.
    pub start: u16,
    /// One past the last group.
    pub end: u16,
}

impl KeyGroupRange {
    /// All groups.
    pub const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: KEY_GROUPS as u16 };

    /// The groups of `subtask` among `parallelism`: exactly those whose [`KeyGroup::owner`] it is.
    pub fn of(subtask: u32, parallelism: u32) -> KeyGroupRange {
        let bound = |s: u32| (s * KEY_GROUPS).div_ceil(parallelism) as u16;
        KeyGroupRange { start: bound(subtask), end: bound(subtask + 1) }
    }

    /// Whether the group lies in the range.
    pub fn contains(&self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&u16::from(group.0))
    }

    /// Whether the two ranges share a group.
    pub fn intersects(&self, other: &KeyGroupRange) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Hashes each row of the key columns into `out` (cleared first). No columns: every row hashes to 0.
/// Errors: a type that can be no key, as `user`.
pub fn hash_rows(columns: &[ArrayRef], rows: usize, out: &mut Vec<u64>) -> Result<()> {
    out.clear();
    out.resize(rows, 0);
    for (i, column) in columns.iter().enumerate() {
        hash_column(column, i == 0, out)?;
    }
    Ok(())
}

/// Hashes further columns into what [`hash_rows`] made of the `before` columns before them: as if it had been given all of them.
/// Errors: a type that can be no key, as `user`.
pub fn hash_more(columns: &[ArrayRef], before: usize, hashes: &mut [u64]) -> Result<()> {
    columns.iter().enumerate().try_for_each(|(i, column)| hash_column(column, before + i == 0, hashes))
}

#[inline(always)]
fn put(slot: &mut u64, first: bool, h: u64) {
    *slot = if first { h } else { fold(slot.rotate_left(23) ^ h, K2) };
}

fn hash_values<T: ArrowPrimitiveType>(array: &ArrayRef, first: bool, out: &mut [u64], to: impl Fn(T::Native) -> u64) {
    let array = array.as_primitive::<T>();
    if array.null_count() == 0 {
        for (slot, v) in out.iter_mut().zip(array.values()) {
            put(slot, first, hash_word(to(*v)));
        }
    } else {
        for (slot, v) in out.iter_mut().zip(array.iter()) {
            put(slot, first, v.map_or(K3, |v| hash_word(to(v))));
        }
    }
}

fn hash_iter<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, first: bool, out: &mut [u64]) {
    for (slot, v) in out.iter_mut().zip(values) {
        put(slot, first, v.map_or(K3, hash_bytes));
    }
}

fn hash_strings<O: OffsetSizeTrait>(array: &ArrayRef, first: bool, out: &mut [u64]) {
    let array = array.as_string::<O>();
    hash_iter(array.iter().map(|v| v.map(str::as_bytes)), first, out);
}

fn hash_decimal(array: &ArrayRef, first: bool, out: &mut [u64]) {
    let array = array.as_primitive::<Decimal128Type>();
    for (slot, v) in out.iter_mut().zip(array.iter()) {
        let h = v.map_or(K3, |v| fold(hash_word(v as u64) ^ ((v >> 64) as u64), K2));
        put(slot, first, h);
    }
}

fn hash_struct(array: &ArrayRef, first: bool, out: &mut [u64]) -> Result<()> {
    let array = array.as_struct();
    let mut inner = vec![K0; array.len()];
    for column in array.columns() {
        hash_column(column, false, &mut inner)?;
    }
    for (i, (slot, h)) in out.iter_mut().zip(inner).enumerate() {
        put(slot, first, if array.is_null(i) { K3 } else { h });
    }
    Ok(())
}

fn hash_column(array: &ArrayRef, first: bool, out: &mut [u64]) -> Result<()> {
    match array.data_type() {
        DataType::Null => out.iter_mut().for_each(|slot| put(slot, first, K3)),
        DataType::Boolean => {
            for (slot, v) in out.iter_mut().zip(array.as_boolean().iter()) {
                put(slot, first, v.map_or(K3, |v| hash_word(u64::from(v))));
            }
        }
        DataType::Int8 => hash_values::<Int8Type>(array, first, out, |v| i64::from(v) as u64),
        DataType::Int16 => hash_values::<Int16Type>(array, first, out, |v| i64::from(v) as u64),
        DataType::Int32 => hash_values::<Int32Type>(array, first, out, |v| i64::from(v) as u64),
        DataType::Int64 => hash_values::<Int64Type>(array, first, out, |v| v as u64),
        DataType::UInt8 => hash_values::<UInt8Type>(array, first, out, u64::from),
        DataType::UInt16 => hash_values::<UInt16Type>(array, first, out, u64::from),
        DataType::UInt32 => hash_values::<UInt32Type>(array, first, out, u64::from),
        DataType::UInt64 => hash_values::<UInt64Type>(array, first, out, |v| v),
        DataType::Float32 => hash_values::<Float32Type>(array, first, out, |v| float_bits(f64::from(v))),
        DataType::Float64 => hash_values::<Float64Type>(array, first, out, float_bits),
        DataType::Decimal128(..) => hash_decimal(array, first, out),
        DataType::Date32 => hash_values::<Date32Type>(array, first, out, |v| i64::from(v) as u64),
        DataType::Date64 => hash_values::<Date64Type>(array, first, out, |v| v as u64),
        DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => hash_temporal(array, first, out)?,
        DataType::Utf8 => hash_strings::<i32>(array, first, out),
        DataType::LargeUtf8 => hash_strings::<i64>(array, first, out),
        DataType::Utf8View => {
            hash_iter(array.as_string_view().iter().map(|v| v.map(str::as_bytes)), first, out);
        }
        DataType::Binary => hash_iter(array.as_binary::<i32>().iter(), first, out),
        DataType::LargeBinary => hash_iter(array.as_binary::<i64>().iter(), first, out),
        DataType::BinaryView => hash_iter(array.as_binary_view().iter(), first, out),
        DataType::FixedSizeBinary(_) => hash_iter(array.as_fixed_size_binary().iter(), first, out),
        DataType::Struct(_) => hash_struct(array, first, out)?,
        DataType::Dictionary(_, values) => {
            hash_column(&arrow::compute::cast(array, values)?, first, out)?;
        }
        other => return Err(Error::user(format!("a column of type {other} can be no key"))),
    }
    Ok(())
}

fn hash_temporal(array: &ArrayRef, first: bool, out: &mut [u64]) -> Result<()> {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            hash_values::<Time32SecondType>(array, first, out, |v| i64::from(v) as u64);
        }
        DataType::Time32(_) => hash_values::<Time32MillisecondType>(array, first, out, |v| i64::from(v) as u64),
        DataType::Time64(TimeUnit::Microsecond) => {
            hash_values::<Time64MicrosecondType>(array, first, out, |v| v as u64);
        }
        DataType::Time64(_) => hash_values::<Time64NanosecondType>(array, first, out, |v| v as u64),
        DataType::Timestamp(TimeUnit::Second, _) => hash_values::<TimestampSecondType>(array, first, out, |v| v as u64),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            hash_values::<TimestampMillisecondType>(array, first, out, |v| v as u64);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            hash_values::<TimestampMicrosecondType>(array, first, out, |v| v as u64);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            hash_values::<TimestampNanosecondType>(array, first, out, |v| v as u64);
        }
        other => return Err(Error::internal(format!("{other} is no temporal type"))),
    }
    Ok(())
}

/// The stable hash of a text; for names made from what a thing is.
pub fn hash_text(text: &str) -> u64 {
    hash_bytes(text.as_bytes())
}

/// The stable hash of some content; for fingerprints and checks.
pub fn hash_content(bytes: &[u8]) -> u64 {
    hash_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
        LargeStringArray, StringArray, StringViewArray, TimestampMillisecondArray,
    };
    use std::sync::Arc;

    fn hash(columns: &[ArrayRef]) -> Vec<u64> {
        let mut out = vec![];
        hash_rows(columns, columns.first().map_or(0, |c| c.len()), &mut out).unwrap();
        out
    }

    /// These numbers are in every checkpoint: a change of the hash needs a new `HASH_VERSION`.
    #[test]
    fn committed_vectors_of_version_1() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), Some(i64::MIN), None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["", "a", "12345678", "123456789", "Tha\u{142}weg"]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.5, f64::NAN, f64::INFINITY, -1.0]));
        let decimals: ArrayRef = Arc::new(Decimal128Array::from(vec![0, 1, -1, i128::MAX, i128::MIN]));
        let golden = include_str!("../tests/golden/hash_v1.txt");
        let mut text = String::new();
        let sets = [vec![ints.clone()], vec![texts.clone()], vec![floats], vec![decimals], vec![ints, texts]];
        for (name, columns) in ["int", "text", "float", "decimal", "int+text"].iter().zip(sets) {
            let hashes: Vec<String> = hash(&columns).iter().map(|h| format!("{h:016x}")).collect();
            text.push_str(&format!("{name} {}\n", hashes.join(" ")));
        }
        assert_eq!(text, golden);
    }

    #[test]
    fn the_hash_sees_values_not_encodings() {
        let a: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("yz")]));
        let b: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("x"), None, Some("yz")]));
        let c: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), None, Some("yz")]));
        let d: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("yz")].into_iter().collect();
        let all = [hash(std::slice::from_ref(&a)), hash(&[b]), hash(&[c]), hash(&[Arc::new(d)])];
        assert!(all.iter().all(|h| *h == all[0]));
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-5, 7]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![-5, 7]));
        let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![-5, 7]));
        let wide = hash(&[wide]);
        assert!(hash(&[narrow]) == wide && wide == hash(&[time]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let h = hash(&[floats]);
        assert!(h[0] == h[1] && h[2] == h[3] && h[0] != h[2]);
        let narrow: ArrayRef = Arc::new(Float32Array::from(vec![0.5, f32::NAN]));
        let wide: ArrayRef = Arc::new(Float64Array::from(vec![0.5, f64::NAN]));
        assert_eq!(hash(&[narrow]), hash(&[wide]));
        let sliced = hash(&[a.slice(2, 1)]);
        assert_eq!(sliced[0], all[0][2], "a slice hashes as its rows");
    }

    #[test]
    fn groups_are_even_and_ranges_agree_with_owners() {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..256_000));
        let mut counts = [0u32; 256];
        hash(&[keys]).into_iter().for_each(|h| counts[KeyGroup::of(h).0 as usize] += 1);
        // 1 000 expected per group; 6 standard deviations of a fair draw are 190.
        assert!(counts.iter().all(|c| (810..1_190).contains(c)), "{counts:?}");
        for parallelism in 1..=KEY_GROUPS {
            for subtask in 0..parallelism {
                let range = KeyGroupRange::of(subtask, parallelism);
                assert!(range.start < range.end);
                for g in range.start..range.end {
                    assert_eq!(KeyGroup(g as u8).owner(parallelism), subtask, "group {g} of {parallelism}");
                }
            }
            assert_eq!(KeyGroupRange::of(parallelism - 1, parallelism).end, 256);
        }
    }

    #[test]
    fn types_that_can_be_no_key_are_refused() {
        let list = arrow::array::ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]);
        let mut out = vec![];
        assert!(hash_rows(&[Arc::new(list)], 1, &mut out).unwrap_err().message().contains("no key"));
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        let h = hash(&[flags]);
        assert_ne!(h[0], h[1]);
        assert_eq!(hash(&[]), Vec::<u64>::new());
    }
}
