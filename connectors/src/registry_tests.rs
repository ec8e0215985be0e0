//! Tests of the registry against a small connector.

use super::*;
use arrow::datatypes::{Field, TimeUnit};

struct Lake;

impl Connector for Lake {
    fn describe(&self) -> Description {
        Description {
            options: vec![OptionSpec::new("path", ValueKind::Text, "the folder")],
            metadata: vec![
                MetadataSpec { key: "offset", data_type: DataType::Int64, is_writable: false, doc: "" },
                MetadataSpec { key: "timestamp", data_type: DataType::Int64, is_writable: true, doc: "" },
            ],
            no_sink: Some("write to a river instead"),
            decodes: true,
            ..Description::new("lake", "water")
        }
    }

    fn check(&self, _: &TableSpec, options: &TypedOptions<'_>) -> OptionResult<()> {
        options.required("path").map(drop)
    }
}

struct River;

impl Connector for River {
    fn describe(&self) -> Description {
        Description {
            no_source: Some("read a lake instead"),
            append_only: Some("dam it"),
            ..Description::new("river", "water")
        }
    }

    fn check(&self, _: &TableSpec, _: &TypedOptions<'_>) -> OptionResult<()> {
        Ok(())
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register(Arc::new(Lake));
    registry.register(Arc::new(River));
    registry
}

fn column(name: &str, data_type: DataType, metadata: Option<&str>) -> TableColumn {
    let metadata = metadata.map(|key| Metadata { key: key.to_owned(), is_virtual: false });
    TableColumn { field: Arc::new(Field::new(name, data_type, true)), metadata }
}

fn table(options: &[(&str, &str)]) -> TableSpec {
    TableSpec {
        s3: thalweg_engine::s3::S3Options::default(),
        name: "t".into(),
        columns: vec![column("a", DataType::Int64, None)],
        primary_key: vec![],
        partition_keys: vec![],
        options: Options::new(options.iter().copied()).unwrap(),
    }
}

fn fault(spec: &TableSpec) -> String {
    registry().check(spec).unwrap_err().to_string()
}

#[test]
fn connectors_are_found_by_name_or_suggested() {
    assert_eq!(registry().check(&table(&[("connector", "lake"), ("path", "p")])), Ok(()));
    let missing = fault(&table(&[("path", "p")]));
    assert_eq!(missing, "option `connector` is missing; add 'connector' = one of lake, river");
    let near = fault(&table(&[("connector", "rivr")]));
    assert_eq!(near, "option `connector`: there is no connector 'rivr'; did you mean 'river'? There are lake, river");
    assert!(fault(&table(&[("connector", "lake")])).starts_with("option `path` is missing"));
}

#[test]
fn options_belong_to_what_the_connector_does() {
    let unknown = fault(&table(&[("connector", "river"), ("late.table", "l")]));
    assert_eq!(unknown, "option `late.table`: unknown to connector `river`; connector `river` knows connector");
    let spec = table(&[("connector", "lake"), ("path", "p"), ("late.table", "l"), ("bad-record", "dead-letter")]);
    assert!(fault(&spec).contains("needs a table"));
    let more = [("connector", "lake"), ("late.table", "l"), ("bad-record", "dead-letter"), ("bad-record.table", "b")];
    let routes = registry().routes(&table(&more)).unwrap();
    assert_eq!(routes, Routes { bad_records: Some("b".into()), late: Some("l".into()) });
}

#[test]
fn one_way_connectors_say_what_to_do() {
    let lake = table(&[("connector", "lake"), ("path", "p")]);
    let refused = registry().sink(&lake, lake.physical(), StreamKind::Append).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "option `connector`: a table of connector `lake` cannot be written to; write to a river instead"
    );
    let river = table(&[("connector", "river")]);
    assert!(registry().source(&river, river.physical()).err().unwrap().to_string().ends_with("read a lake instead"));
}

#[test]
fn sinks_of_rows_that_stay_take_no_changes() {
    let river = table(&[("connector", "river")]);
    let refused = registry().sink(&river, river.physical(), StreamKind::Changelog).err().unwrap();
    let text =
        "option `connector`: it takes rows that stay, and this query takes rows back when its result changes; dam it";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn metadata_and_partitions_are_checked() {
    let mut spec = table(&[("connector", "lake"), ("path", "p")]);
    spec.columns.push(column("o", DataType::Int64, Some("offset")));
    assert_eq!(registry().check(&spec), Ok(()));
    spec.columns.push(column("x", DataType::Int32, Some("offset")));
    let declared = "metadata column `x` is declared INT, but `offset` of connector `lake` is BIGINT; declare it BIGINT";
    assert!(fault(&spec).contains(declared), "{}", fault(&spec));
    spec.columns.pop();
    spec.columns.push(column("x", DataType::Int32, Some("offfset")));
    assert!(fault(&spec).ends_with("did you mean 'offset'? It has offset, timestamp"), "{}", fault(&spec));
    spec.columns.pop();
    let list = DataType::List(Arc::new(Field::new("e", DataType::Timestamp(TimeUnit::Second, None), true)));
    spec.columns.push(column("x", DataType::Struct(vec![Field::new("l", list, true)].into()), Some("offset")));
    assert!(fault(&spec).contains("metadata column `x` is declared"), "{}", fault(&spec));
    let mut river = table(&[("connector", "river")]);
    river.partition_keys.push("a".into());
    assert!(fault(&river).contains("PARTITIONED BY"));
    river.partition_keys.clear();
    river.columns.push(column("o", DataType::Int64, Some("offset")));
    assert!(fault(&river).ends_with("it has none at all"));
}

#[test]
fn sources_give_columns_of_the_table() {
    let row = |names: &[&str]| {
        let fields: Vec<Field> = names.iter().map(|n| Field::new(*n, DataType::Int64, true)).collect();
        DataType::Struct(fields.into())
    };
    let mut spec = table(&[("connector", "lake"), ("path", "p")]);
    spec.columns.push(column("s", row(&["x", "y"]), None));
    let indices = |name: &str, data_type| spec.indices(&Schema::new(vec![Field::new(name, data_type, true)]));
    assert_eq!(indices("s", row(&["y"])), Ok(vec![1]));
    assert_eq!(indices("s", row(&[])), Ok(vec![1]));
    assert!(indices("s", row(&["z"])).is_err());
    assert!(indices("a", DataType::Int32).is_err());
    assert!(indices("b", DataType::Int64).unwrap_err().to_string().contains("has no column `b`"));
}
