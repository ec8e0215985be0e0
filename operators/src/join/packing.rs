//! Columns of types that state cannot hold as they are, arrays for instance: each value as a byte string. Called for the columns of a
//! side that are no keys.
//!
//! Invariants
//! - K1 equal values have equal bytes, and no others have. Floats inside count by their bits.

use super::nullable;
use arrow::array::{ArrayRef, AsArray, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;
use thalweg_engine::key::hash_rows;
use thalweg_engine::{Error, Result, type_name};

/// See the module.
pub(super) struct Packing(RowConverter);

impl Packing {
    /// How state keeps a column, and its packing if it has to be packed. Errors: `user` if there is no way.
    pub(super) fn of(name: &str, field: &Field) -> Result<(FieldRef, Option<Packing>)> {
        let data_type = field.data_type();
        if hash_rows(&[new_empty_array(data_type)], 0, &mut Vec::new()).is_ok() {
            return Ok((nullable(name, data_type.clone()), None));
        }
        let fields = vec![SortField::new(data_type.clone())];
        if !RowConverter::supports_fields(&fields) {
            let text = format!("a join cannot keep column `{}` of type {}", field.name(), type_name(data_type));
            return Err(Error::user(format!("{text}; select the parts of it that are needed below the join")));
        }
        Ok((nullable(name, DataType::Binary), Some(Packing(RowConverter::new(fields)?))))
    }

    pub(super) fn pack(&self, column: &ArrayRef) -> Result<ArrayRef> {
        Ok(Arc::new(self.0.convert_columns(std::slice::from_ref(column))?.try_into_binary()?))
    }

    pub(super) fn unpack(&self, bytes: &ArrayRef) -> Result<ArrayRef> {
        let packed = || Error::internal("a packed column of a join is not binary");
        let rows = self.0.from_binary(bytes.as_binary_opt::<i32>().ok_or_else(packed)?.clone());
        self.0.convert_rows(&rows)?.pop().ok_or_else(packed)
    }
}
