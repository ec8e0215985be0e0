//! Answers of the date and time functions.

use arrow::datatypes::TimeUnit;

use super::*;

const MOMENT: &str = "2024-02-29 13:04:05.678";

fn ltz(ms: i64) -> ScalarValue {
    ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into()))
}

#[test]
fn fields() {
    let moment = || ts(MOMENT);
    table(&[
        ("year", &[moment()], i(2024)),
        ("quarter", &[moment()], i(1)),
        ("month", &[moment()], i(2)),
        ("week", &[moment()], i(9)),
        ("dayofyear", &[moment()], i(60)),
        ("dayofmonth", &[moment()], i(29)),
        ("dayofweek", &[moment()], i(5)),
        ("dayofweek", &[date("2024-03-03")], i(1)),
        ("hour", &[moment()], i(13)),
        ("minute", &[moment()], i(4)),
        ("second", &[moment()], i(5)),
        ("hour", &[ts("1969-12-31 23:59:59.999")], i(23)),
        ("hour", &[ScalarValue::TimestampNanosecond(Some(-1), None)], i(23)),
        ("hour", &[ltz(3_600_000)], i(1)),
        ("hour", &[ScalarValue::Time32Second(Some(7_200))], i(2)),
        ("minute", &[date("2024-03-03")], i(0)),
        ("hour", &[NO_TIME], NO_LONG),
        ("extract", &[s("EPOCH"), ts("1970-01-02 00:00:01.5")], i(86_401)),
        ("date_part", &[s("dow"), date("2024-03-03")], i(1)),
        ("date_part", &[s("MILLISECOND"), moment()], i(678)),
        ("date_part", &[s("century"), moment()], i(21)),
        ("date_part", &[s("isoyear"), date("2021-01-03")], i(2020)),
    ]);
    assert!(refusal("date_part", &[s("fortnight"), ts(MOMENT)]).contains("YEAR, QUARTER"));
}

#[test]
fn formatting() {
    let with = |pattern: &str| eval("date_format", &[ts(MOMENT), s(pattern)]).unwrap().to_string();
    for (pattern, expected) in [
        ("yyyy-MM-dd", "2024-02-29"),
        ("HH:mm", "13:04"),
        ("yyyy-MM-dd HH:mm:ss.SSS", "2024-02-29 13:04:05.678"),
        ("yyyyMMdd'T'HHmmssSSSSSS", "20240229T130405678000"),
        ("d/M/yy h:mm a", "29/2/24 1:04 PM"),
        ("EEE, EEEE MMM MMMM", "Thu, Thursday Feb February"),
        ("DDD Q ww", "060 1 09"),
        ("'it''s' ''", "it's '"),
        ("k K G X", "13 1 AD Z"),
        ("日 yyyy", "日 2024"),
        ("SS|ss|S", "67|05|6"),
        ("yyyyy", "02024"),
    ] {
        assert_eq!(with(pattern), expected, "{pattern}");
    }
    table(&[
        ("date_format", &[s("2024-02-29 13:04:05"), s("HH")], s("13")),
        ("date_format", &[s("nonsense"), s("HH")], NO_TEXT),
        ("date_format", &[NO_TIME, s("HH")], NO_TEXT),
        ("date_format", &[date("2024-02-29"), s("yyyy/MM/dd HH")], s("2024/02/29 00")),
        ("date_format", &[ts("1969-12-31 23:59:59.999"), s("ss.SSS")], s("59.999")),
        ("from_unixtime", &[i(44)], s("1970-01-01 00:00:44")),
        ("from_unixtime", &[i(-1), s("yyyy HH")], s("1969 23")),
    ]);
    for (pattern, part) in
        [("yyyy-bb", "unknown letter `b`"), ("'x", "quote is not closed"), ("HHH", "at most 2"), ("[yyyy]", "reserved")]
    {
        let message = refusal("date_format", &[ts(MOMENT), s(pattern)]);
        assert!(message.contains(part), "{pattern}: {message}");
    }
}

#[test]
fn parsing() {
    table(&[
        ("to_timestamp", &[s("2020-01-02 03:04:05")], ts("2020-01-02 03:04:05")),
        ("to_timestamp", &[s("2020-01-02T03:04:05.5Z")], ts("2020-01-02 03:04:05.5")),
        ("to_timestamp", &[s("2020-1-2")], ts("2020-01-02")),
        ("to_timestamp", &[s("2021-02-29")], NO_TIME),
        ("to_timestamp", &[s("x")], NO_TIME),
        ("to_timestamp", &[s("29/02/2024 1 PM"), s("dd/MM/yyyy h a")], ts("2024-02-29 13:00:00")),
        ("to_timestamp", &[s("20240229130405678"), s("yyyyMMddHHmmssSSS")], ts(MOMENT)),
        ("to_timestamp", &[s("29 feb 24"), s("d MMM yy")], ts("2024-02-29")),
        ("to_timestamp", &[s("2024-02-29x"), s("yyyy-MM-dd")], NO_TIME),
        ("to_timestamp", &[s("2024-02"), s("yyyy-MM-dd")], NO_TIME),
        ("to_date", &[s("2024-02-29")], date("2024-02-29")),
        ("to_date", &[s("2024.060"), s("yyyy.DDD")], date("2024-02-29")),
        ("to_date", &[s("99999999999-01-01")], ScalarValue::Date32(None)),
        ("to_timestamp_ltz", &[i(100), i(0)], ltz(100_000)),
        ("to_timestamp_ltz", &[i(100), i(3)], ltz(100)),
        ("to_timestamp_ltz", &[i(100)], ltz(100)),
        ("to_timestamp_ltz", &[d(1.5), i(0)], ltz(1_500)),
        ("to_timestamp_ltz", &[i(i64::MAX), i(0)], ScalarValue::TimestampMillisecond(None, Some("UTC".into()))),
        (
            "to_timestamp_ltz",
            &[s("2020-06-01 02:00:00"), s("yyyy-MM-dd HH:mm:ss"), s("Europe/Berlin")],
            ltz(1_590_969_600_000),
        ),
        ("unix_timestamp", &[s("1970-01-01 00:01:00")], i(60)),
        ("unix_timestamp", &[s("1970-01-02"), s("yyyy-MM-dd")], i(86_400)),
        ("unix_timestamp", &[s("?")], NO_LONG),
        ("convert_tz", &[s("1970-01-01 00:00:00"), s("UTC"), s("America/Los_Angeles")], s("1969-12-31 16:00:00")),
        ("convert_tz", &[s("2021-03-28 02:30:00"), s("Europe/Berlin"), s("UTC")], s("2021-03-28 01:30:00")),
        ("convert_tz", &[s("?"), s("UTC"), s("UTC")], NO_TEXT),
    ]);
    assert!(refusal("convert_tz", &[s("1970-01-01"), s("UTC"), s("Mars/Base")]).contains("Europe/Berlin"));
    assert!(refusal("to_timestamp_ltz", &[i(1), i(6)]).contains("write 0 (seconds) or 3"));
}

#[test]
fn arithmetic() {
    let day = |text: &str| date(text);
    table(&[
        ("timestampdiff", &[s("DAY"), ts("2003-01-02 10:00:00"), ts("2003-01-03 10:00:00")], int(1)),
        ("timestampdiff", &[s("DAY"), ts("2003-01-02 10:00:00"), ts("2003-01-03 09:59:59")], int(0)),
        ("timestampdiff", &[s("HOUR"), ts("2003-01-03 10:00:00"), ts("2003-01-02 09:00:00")], int(-25)),
        ("timestampdiff", &[s("MONTH"), day("2024-01-31"), day("2024-02-29")], int(0)),
        ("timestampdiff", &[s("MONTH"), day("2024-02-29"), day("2024-01-29")], int(-1)),
        ("timestampdiff", &[s("SQL_TSI_YEAR"), day("2020-02-29"), day("2024-02-28")], int(3)),
        ("timestampdiff", &[s("second"), NO_TIME, day("2024-02-28")], NO_INT),
        ("timestampadd", &[s("WEEK"), i(1), day("2003-01-02")], day("2003-01-09")),
        ("timestampadd", &[s("MONTH"), i(1), day("2024-01-31")], day("2024-02-29")),
        ("timestampadd", &[s("HOUR"), i(-1), ts("2024-03-01 00:30:00")], ts("2024-02-29 23:30:00")),
        ("timestampadd", &[s("YEAR"), i(i64::MAX), ts("2024-03-01 00:30:00")], NO_TIME),
        ("timestampadd", &[s("DAY"), i(i64::MIN), ts("2024-03-01 00:30:00")], NO_TIME),
        ("floor", &[ts(MOMENT), s("HOUR")], ts("2024-02-29 13:00:00")),
        ("floor", &[ts(MOMENT), s("QUARTER")], ts("2024-01-01")),
        ("floor", &[ts(MOMENT), s("WEEK")], ts("2024-02-25")),
        ("floor", &[ts("1969-12-31 23:59:59.999"), s("DAY")], ts("1969-12-31")),
        ("ceil", &[ts(MOMENT), s("MONTH")], ts("2024-03-01")),
        ("ceiling", &[ts("2024-02-29 13:00:00"), s("HOUR")], ts("2024-02-29 13:00:00")),
        ("floor", &[date("2024-02-29"), s("YEAR")], date("2024-01-01")),
    ]);
    let hours = eval("timestampadd", &[s("HOUR"), i(25), date("2024-02-29")]).unwrap();
    assert_eq!(hours, ts("2024-03-01 01:00:00"));
    assert!(
        refusal("timestampdiff", &[s("SECOND"), date("1900-01-01"), date("2024-01-01")]).contains("use a larger unit")
    );
    assert!(
        refusal("timestampdiff", &[s("BLINK"), date("1900-01-01"), date("2024-01-01")]).contains("no unit of time")
    );
    assert!(refusal("floor", &[ts(MOMENT)]).contains("FLOOR(x TO HOUR)"));
}

#[test]
fn the_clock_is_read_when_the_function_runs() {
    use datafusion_expr::Volatility;
    let wall = thalweg_engine::clock::Clock::fake(86_400_000 + 3_723_004);
    crate::functions::set_wall_clock(wall.clone());
    let read = |name: &str| call(name, &[], 2).unwrap();
    let rows = |value: ScalarValue| value.to_array_of_size(2).unwrap();
    for name in ["now", "current_timestamp", "current_row_timestamp", "proctime"] {
        assert_eq!(&read(name).into_array(2).unwrap(), &rows(ltz(86_400_000 + 3_723_004)), "{name}");
        assert_eq!(function(name).signature().volatility, Volatility::Volatile);
    }
    assert_eq!(&read("current_date").into_array(2).unwrap(), &rows(ScalarValue::Date32(Some(1))));
    assert_eq!(&read("current_time").into_array(2).unwrap(), &rows(ScalarValue::Time32Second(Some(3_723))));
    assert_eq!(&read("unix_timestamp").into_array(2).unwrap(), &rows(i(90_123)));
    wall.advance(std::time::Duration::from_secs(1));
    assert_eq!(&read("unix_timestamp").into_array(2).unwrap(), &rows(i(90_124)));
    assert_eq!(read("localtimestamp").data_type(), DataType::Timestamp(TimeUnit::Millisecond, None));
}
