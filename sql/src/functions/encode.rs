//! Digests and encodings: MD5, SHA1, SHA2 family, BASE64, character sets.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder};
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::params::Param::{Bytes, Long, Text as T};
use super::scalar::{Call, Returns, Spec};
use super::times::literal_text;

const DIGEST: Spec = Spec { required: &[T], ..Spec::DEFAULT };

/// Digests and encodings.
pub(super) static SPECS: &[Spec] = &[
    Spec { name: "md5", kernel: |c| digest(c, push_hex::<Md5>), ..DIGEST },
    Spec { name: "sha1", kernel: |c| digest(c, push_hex::<Sha1>), ..DIGEST },
    Spec { name: "sha224", kernel: |c| digest(c, push_hex::<Sha224>), ..DIGEST },
    Spec { name: "sha256", kernel: |c| digest(c, push_hex::<Sha256>), ..DIGEST },
    Spec { name: "sha384", kernel: |c| digest(c, push_hex::<Sha384>), ..DIGEST },
    Spec { name: "sha512", kernel: |c| digest(c, push_hex::<Sha512>), ..DIGEST },
    Spec { name: "sha2", required: &[T, Long], check: check_bits, kernel: sha2, ..Spec::DEFAULT },
    Spec { name: "to_base64", required: &[T], kernel: to_base64, ..Spec::DEFAULT },
    Spec { name: "from_base64", required: &[T], kernel: from_base64, ..Spec::DEFAULT },
    Spec {
        name: "encode",
        required: &[T, T],
        returns: Returns::Type(DataType::Binary),
        check: check_charset,
        kernel: encode,
        ..Spec::DEFAULT
    },
    Spec { name: "decode", required: &[Bytes, T], check: check_charset, kernel: decode, ..Spec::DEFAULT },
];

/// Appends the digest of some bytes as lower-case hexadecimal digits.
type PushHex = fn(&[u8], &mut Vec<u8>);

fn push_hex<D: Digest>(input: &[u8], out: &mut Vec<u8>) {
    let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
    for byte in D::digest(input).as_slice() {
        out.extend_from_slice(&[digit(byte >> 4), digit(*byte)]);
    }
}

fn digest(call: &Call<'_>, push: PushHex) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.write_text(call.rows * 64, |row, out| {
        push(text.value(row).as_bytes(), out);
        Ok(true)
    })
}

fn sha2_of(bits: i64) -> Option<PushHex> {
    Some(match bits {
        224 => push_hex::<Sha224>,
        256 => push_hex::<Sha256>,
        384 => push_hex::<Sha384>,
        512 => push_hex::<Sha512>,
        _ => return None,
    })
}

fn check_bits(literals: &[Option<&ScalarValue>]) -> Result<()> {
    match literals.get(1) {
        Some(Some(ScalarValue::Int64(Some(bits)))) if sha2_of(*bits).is_none() => {
            plan_err!("function `sha2`: there is no digest of {bits} bits; write 224, 256, 384 or 512")
        }
        _ => Ok(()),
    }
}

fn sha2(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, bits) = (call.text(0)?, call.longs(1)?);
    call.write_text(call.rows * 64, |row, out| match sha2_of(bits[row]) {
        Some(push) => {
            push(text.value(row).as_bytes(), out);
            Ok(true)
        }
        None => exec_err!("function `sha2`: there is no digest of {} bits; write 224, 256, 384 or 512", bits[row]),
    })
}

fn to_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.write_text(text.total_bytes(call.rows) / 3 * 4, |row, out| {
        out.extend_from_slice(STANDARD.encode(text.value(row)).as_bytes());
        Ok(true)
    })
}

/// Bytes that are no UTF-8 become U+FFFD.
fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    call.write_text(text.total_bytes(call.rows), |row, out| match STANDARD.decode(text.value(row)) {
        Ok(bytes) => {
            out.extend_from_slice(String::from_utf8_lossy(&bytes).as_bytes());
            Ok(true)
        }
        Err(error) => {
            exec_err!("function `from_base64`: text of {} bytes is no base64: {error}", text.value(row).len())
        }
    })
}

#[derive(Clone, Copy)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16 { little: bool, mark: bool },
}

impl Charset {
    fn parse(name: &str) -> Option<Charset> {
        Some(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" | "ASCII" => Charset::Ascii,
            "ISO-8859-1" | "LATIN1" => Charset::Latin1,
            "UTF-8" | "UTF8" => Charset::Utf8,
            "UTF-16BE" => Charset::Utf16 { little: false, mark: false },
            "UTF-16LE" => Charset::Utf16 { little: true, mark: false },
            "UTF-16" => Charset::Utf16 { little: false, mark: true },
            _ => return None,
        })
    }

    /// Characters that the set lacks become `?`.
    fn encode(self, text: &str, out: &mut Vec<u8>) {
        let single = |limit: u32| move |c: char| if u32::from(c) < limit { u32::from(c) as u8 } else { b'?' };
        match self {
            Charset::Utf8 => out.extend_from_slice(text.as_bytes()),
            Charset::Ascii => out.extend(text.chars().map(single(128))),
            Charset::Latin1 => out.extend(text.chars().map(single(256))),
            Charset::Utf16 { little, mark } => {
                let order = if little { u16::to_le_bytes } else { u16::to_be_bytes };
                let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
                units.for_each(|unit| out.extend_from_slice(&order(unit)));
            }
        }
    }

    /// Bytes that mean nothing in the set become U+FFFD.
    fn decode(self, bytes: &[u8]) -> String {
        match self {
            Charset::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Charset::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Charset::Ascii => bytes
                .iter()
                .map(|byte| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER })
                .collect(),
            Charset::Utf16 { little, mark } => {
                let (little, bytes) = match bytes {
                    [0xFE, 0xFF, rest @ ..] if mark => (false, rest),
                    [0xFF, 0xFE, rest @ ..] if mark => (true, rest),
                    all => (little, all),
                };
                let order = if little { u16::from_le_bytes } else { u16::from_be_bytes };
                let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).map_or(0xFFFD, order));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
        }
    }
}

fn unknown_charset(name: &str) -> String {
    format!("`{name}` is no known character set; write US-ASCII, ISO-8859-1, UTF-8, UTF-16, UTF-16BE or UTF-16LE")
}

fn check_charset(literals: &[Option<&ScalarValue>]) -> Result<()> {
    match literal_text(literals, 1) {
        Some(name) if Charset::parse(name).is_none() => plan_err!("{}", unknown_charset(name)),
        _ => Ok(()),
    }
}

fn encode(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, charset) = (call.text(0)?, call.text(1)?);
    let mut builder = BinaryBuilder::with_capacity(call.rows, text.total_bytes(call.rows));
    let mut bytes = Vec::new();
    for row in 0..call.rows {
        if call.is_null(row) {
            builder.append_null();
            continue;
        }
        let Some(charset) = Charset::parse(charset.value(row)) else {
            return exec_err!("{}", unknown_charset(charset.value(row)));
        };
        bytes.clear();
        charset.encode(text.value(row), &mut bytes);
        builder.append_value(&bytes);
    }
    Ok(Arc::new(builder.finish()))
}

fn decode(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, charset) = (call.typed::<BinaryArray>(0)?, call.text(1)?);
    call.write_text(bytes.value_data().len(), |row, out| match Charset::parse(charset.value(row)) {
        Some(charset) => {
            out.extend_from_slice(charset.decode(bytes.value(row)).as_bytes());
            Ok(true)
        }
        None => exec_err!("{}", unknown_charset(charset.value(row))),
    })
}
